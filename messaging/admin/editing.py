"""How one dead letter's body is edited and sent again."""

from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from desk.admin import ReadOnlyAdmin
from desk.display import readable_size
from messaging import editing
from messaging.admin.forms import EditForm, SendForm
from messaging.admin.trials import try_some
from messaging.bodies import SHOWN_IN_FULL
from messaging.models import DeadLetter


class EditingAdmin(ReadOnlyAdmin):
    """First shows the body in a form, then what would change and what a dry run says; only then is it sent."""

    def has_edit_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("messaging.edit_deadletter")

    def get_urls(self) -> list[URLPattern]:
        return [
            path(
                "<path:object_id>/edit/",
                self.admin_site.admin_view(self.edit_view),
                name="messaging_deadletter_edit",
            ),
            *super().get_urls(),
        ]

    def edit_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        if not self.has_edit_permission(request):
            raise PermissionDenied
        row: DeadLetter = self.row_of_page(request, object_id)
        page = reverse("admin:messaging_deadletter_change", args=[row.pk])
        if why := _why_no_form(row):
            self.message_user(request, why, messages.WARNING)
            return HttpResponseRedirect(page)
        context: dict[str, Any] = {
            **self.admin_site.each_context(request),
            "title": f"Edit and replay dead letter {row.pk}",
            "opts": self.opts,
            "row": row,
            "page": page,
        }
        step = request.POST.get("step", "")
        if step == "send":
            form: EditForm = SendForm(request.POST)
            if form.is_valid() and (answer := self._send_edited(request, row, form, context)):
                return answer
            return self._show_difference(request, row, form, context)
        given = {"body": editing.editable(bytes(row.body)), "seen": editing.version_of(row)}
        form = EditForm(request.POST) if step else EditForm(initial=given)
        if step == "check" and form.is_valid():
            try:
                editing.check(row, form.cleaned_data["body"].encode())
            except editing.EditError as error:
                form.add_error("body", str(error))
            else:
                reason = SendForm(initial=form.cleaned_data)
                return self._show_difference(request, row, reason, {**context, "edited": form.cleaned_data["body"]})
        return TemplateResponse(request, "admin/messaging/deadletter/edit.html", {**context, "form": form})

    def _send_edited(
        self, request: HttpRequest, row: DeadLetter, form: EditForm, context: dict[str, Any]
    ) -> HttpResponse | None:
        given = form.cleaned_data
        try:
            editing.edit_and_replay(
                dead_letter_id=row.pk, body=given["body"].encode(), by=request.user.get_username(),
                reason=given["reason"], seen=given["seen"],
            )  # fmt: skip
        except editing.ChangedMeanwhileError as error:
            self.message_user(request, str(error), messages.WARNING)
            return HttpResponseRedirect(context["page"])
        except editing.EditError as error:
            form.add_error(None, str(error))
            return None
        self.message_user(
            request, "The edited message is on its way, and the original superseded by it.", messages.SUCCESS
        )
        return HttpResponseRedirect(context["page"])

    def _show_difference(
        self, request: HttpRequest, row: DeadLetter, form: EditForm, context: dict[str, Any]
    ) -> HttpResponse:
        given: str = context.get("edited") or form.data.get("body", "").replace("\r\n", "\n")
        body = given.encode(errors="replace")
        context = {
            **context,
            "form": form,
            "lines": [(_kind_of(line), line) for line in editing.diff(bytes(row.body), body)],
            "trial": try_some([editing.edited(row, body)], 1),
        }
        return TemplateResponse(request, "admin/messaging/deadletter/difference.html", context)


def _why_no_form(row: DeadLetter) -> str:
    """Why this dead letter cannot be edited on a page, and what to do instead; empty when it can."""
    if row.status != DeadLetter.Status.WAITING:
        return f"It was {row.status} by {row.settled_by}: there is nothing to edit."
    if wrong := editing.why_no_body_helps(row):
        mend = "Replay it when a release runs that takes it, or discard it"
        return f"{wrong}. No edit of the body mends that. {mend}."
    if len(row.body) > SHOWN_IN_FULL:
        what = f"too long for a form ({readable_size(len(row.body))})"
    elif editing.editable(bytes(row.body)) is None:
        what = "no text"
    else:
        return ""
    return f"The body is {what}: use manage.py dead_letters edit {row.pk} --file FILE."


def _kind_of(line: str) -> str:
    if line.startswith(("---", "+++", "@@")):
        return "head"
    return {"+": "added", "-": "removed"}.get(line[:1], "same")
