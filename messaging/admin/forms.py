"""What operators are asked for before something is done."""

from typing import Any

from django import forms
from unfold.widgets import UnfoldAdminIntegerFieldWidget, UnfoldAdminTextareaWidget, UnfoldBooleanWidget

from messaging import replays


class _Reason(UnfoldAdminTextareaWidget):
    def __init__(self) -> None:
        super().__init__(attrs={"rows": 2})


class _Body(forms.Textarea):
    template_name = "django/forms/widgets/textarea.html"

    def __init__(self) -> None:
        attrs = {"rows": 24, "class": "desk-code", "spellcheck": "false", "autocomplete": "off", "wrap": "soft"}
        super().__init__(attrs=attrs)


class DiscardForm(forms.Form):
    reason = forms.CharField(
        max_length=1000, widget=_Reason, label="Reason", help_text="Kept with what is discarded, for who asks later."
    )


class ReplayForm(forms.Form):
    reason = forms.CharField(
        max_length=1000, required=False, widget=_Reason, label="Reason", help_text="What was repaired, for example."
    )
    canary = forms.BooleanField(
        required=False, widget=UnfoldBooleanWidget, label="Canary",
        help_text="First 1 message, then 5, then 25, each step only when all of the one before took effect. "
        "It stops by itself when one of them fails again.",
    )  # fmt: skip
    rate = forms.IntegerField(
        min_value=1, max_value=replays.MAX_RATE, initial=50, widget=UnfoldAdminIntegerFieldWidget,
        label="Messages a second", help_text="For the rest, or for all without a canary.",
    )  # fmt: skip


class EditForm(forms.Form):
    body = forms.CharField(widget=_Body, strip=False, label="Body")
    seen = forms.CharField(widget=forms.HiddenInput)

    def clean_body(self) -> str:
        # A browser sends the line ends of a text its own way.
        text: str = self.cleaned_data["body"]
        return text.replace("\r\n", "\n")


class SendForm(EditForm):
    reason = forms.CharField(
        max_length=1000, widget=_Reason, label="Reason", help_text="Kept with the difference, for who asks later."
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["body"].widget = forms.HiddenInput()
