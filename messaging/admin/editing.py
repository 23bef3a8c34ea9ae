"""How one dead letter's body is edited and sent again."""

from typing import Any

from django.contrib import messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from desk.admin import ReadOnlyAdmin
from desk.display import readable_size
from messaging import editing
from messaging.admin.forms import EditForm, SendForm
from messaging.admin.trials import try_some
from messaging.display import SHOWN_IN_FULL
from messaging.models import DeadLetter


class EditingAdmin(ReadOnlyAdmin):
    """First the body in a form, then what would change and what a dry run says of it; only then it is sent."""

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
        """First the body in a form, then what would change and what a dry run says of it; only then it is sent."""
        row = self.get_object(request, unquote(object_id))
        if not (self.has_view_permission(request, row) and self.has_edit_permission(request)):
            raise PermissionDenied
        if row is None:
            raise Http404
        page = reverse("admin:messaging_deadletter_change", args=[row.pk])
        if row.status != DeadLetter.Status.WAITING:
            self.message_user(
                request, f"It was {row.status} by {row.settled_by}: there is nothing to edit.", messages.WARNING
            )
            return HttpResponseRedirect(page)
        if wrong := editing.why_no_body_helps(row):
            mend = "Replay it when a release runs that takes it, or discard it"
            self.message_user(request, f"{wrong}. No edit of the body mends that. {mend}.", messages.WARNING)
            return HttpResponseRedirect(page)
        body = bytes(row.body)
        text = editing.editable(body) if len(body) <= SHOWN_IN_FULL else None
        if text is None:
            what = "no text" if len(body) <= SHOWN_IN_FULL else f"too long for a form ({readable_size(len(body))})"
            self.message_user(
                request, f"The body is {what}: use manage.py dead_letters edit {row.pk} --file FILE.", messages.WARNING
            )
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
        form = EditForm(request.POST) if step else EditForm(initial={"body": text, "seen": editing.version_of(row)})
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


def _kind_of(line: str) -> str:
    if line.startswith(("---", "+++", "@@")):
        return "head"
    return {"+": "added", "-": "removed"}.get(line[:1], "same")
