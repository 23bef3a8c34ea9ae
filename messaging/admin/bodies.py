"""How the admin shows the body and the headers of a message."""

from typing import Any, ClassVar

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from desk.admin import ReadOnlyAdmin
from desk.display import printable
from messaging.bodies import readable_body


class BodyAdmin(ReadOnlyAdmin):
    """For the admin of rows that keep a message."""

    not_listed: ClassVar[tuple[str, ...]] = ("headers", "body")

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.body_view)
        name = f"messaging_{self.opts.model_name}_body"
        return [path("<path:object_id>/body/", view, name=name), *super().get_urls()]

    def body_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The body byte for byte, as a file to save; never anything a browser would run."""
        row = self.row_of_page(request, object_id)
        return HttpResponse(
            bytes(row.body),
            content_type="application/octet-stream",
            headers={
                "Content-Disposition": f'attachment; filename="{row.message_id}.body"',
                "X-Content-Type-Options": "nosniff",
            },
        )

    @admin.display(description="body")
    def shown_body(self, row: Any) -> SafeString:
        body = readable_body(bytes(row.body))
        if body.kind == "empty":
            return format_html('<span class="desk-muted">{}</span>', "no body at all")
        url = reverse(f"admin:messaging_{self.opts.model_name}_body", args=[row.pk], current_app=self.admin_site.name)
        return format_html(
            '<p class="desk-muted">{} · <a class="desk-link" href="{}">Download</a></p>'
            '<pre class="desk-text" tabindex="0">{}</pre>',
            body.summary,
            url,
            body.text,
        )

    @admin.display(description="headers")
    def shown_headers(self, row: Any) -> SafeString:
        if not row.headers:
            return format_html('<span class="desk-muted">{}</span>', "none")
        lines = format_html_join(
            "",
            '<tr><th scope="row">{}</th><td class="desk-mono">{}</td></tr>',
            ((printable(name), printable(str(value))) for name, value in sorted(row.headers.items())),
        )
        return format_html('<table class="desk-table">{}</table>', lines)
