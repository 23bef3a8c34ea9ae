from httpapi.fields import MoneyField, StrictCharField, StrictIntegerField
from httpapi.problems import pointers
from httpapi.serializers import Serializer


class Part(Serializer):
    name = StrictCharField()
    price = MoneyField(read_only=True)


class Thing(Serializer):
    owner = StrictCharField()
    parts = Part(many=True)


class NumberedThing(Thing):
    number = StrictIntegerField()


def test_two_instances_share_their_fields_and_nothing_else():
    good, bad = Thing(data={"owner": "ann", "parts": [{"name": "wheel"}]}), Thing(data={"owner": 7, "parts": []})
    assert good.fields is bad.fields
    assert good.is_valid()
    assert not bad.is_valid()
    assert good.validated_data == {"owner": "ann", "parts": [{"name": "wheel"}]}
    assert good.errors == {}
    assert set(bad.errors) == {"owner"}


def test_nested_items_are_checked_each_for_itself():
    serializer = Thing(data={"owner": "ann", "parts": [{"name": "wheel"}, {}, {"name": 1}]})
    assert not serializer.is_valid()
    assert [error["pointer"] for error in pointers(serializer.errors)] == ["/parts/1/name", "/parts/2/name"]


def test_a_subclass_has_fields_of_its_own():
    Thing(data={}).is_valid()
    assert set(NumberedThing().fields) == {"owner", "parts", "number"}
    assert set(Thing().fields) == {"owner", "parts"}


def test_a_partial_update_requires_nothing_and_spoils_nothing():
    partial = Thing(data={}, partial=True)
    assert partial.is_valid()
    assert not Thing(data={}).is_valid()
