"""A serializer for the hot path."""

from typing import Any

from django.utils.functional import cached_property
from rest_framework import serializers
from rest_framework.utils.serializer_helpers import BindingDict


class Serializer(serializers.Serializer[Any]):
    """REST framework's, with fields that are made once for the class.

    REST framework copies every field for every instance, which takes longer than checking a small body. Sharing them
    is right as long as they keep nothing of one request: no field, default or validator that asks for the context,
    and nothing that changes `self.fields`. Partial updates get fields of their own.
    """

    _shared_fields: BindingDict

    @cached_property
    def fields(self) -> BindingDict:
        if self.partial:
            return super().fields
        cls = type(self)
        if "_shared_fields" not in cls.__dict__:  # not inherited: a subclass has fields of its own
            # If two threads come here at once, the fields of either will do.
            cls._shared_fields = super(Serializer, cls()).fields
        return cls._shared_fields
