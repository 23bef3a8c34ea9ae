"""What an operator does in the admin."""

import re
from html import unescape
from typing import Any
from uuid import uuid4

from django.contrib.auth.models import Permission, User
from django.test import Client

from messaging.models import DeadLetter

LETTERS = "/admin/messaging/deadletter/"


def staff_with(*permissions: str) -> Client:
    user = User.objects.create_user(f"staff{uuid4()}", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


def text(client: Client, path: str) -> str:
    answer = client.get(path)
    assert answer.status_code == 200
    return answer.content.decode()


def listed(client: Client, path: str) -> list[int]:
    return [
        int(pk)
        for pk in re.findall(r'class="field-id [^"]*"><a href="/admin/messaging/\w+/(\d+)/change/', text(client, path))
    ]


def ask(client: Client, verb: str, *rows: DeadLetter, path: str = LETTERS, **more: Any) -> Any:
    data = {"action": f"{verb}_selected", "_selected_action": [row.pk for row in rows], **more}
    return client.post(path, data, follow=True)


def hidden(page: Any) -> dict[str, str]:
    """The hidden fields of the page's form."""
    return dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', page.content.decode()))


def confirm(client: Client, question: Any, **filled: Any) -> str:
    """Sends the form of the confirmation page, filled in."""
    fields = hidden(question)
    answer: str = client.post(LETTERS, {"rate": 50, **fields, **filled}, follow=True).content.decode()
    return answer


def way_back(question: Any) -> str:
    (url,) = re.findall(r'href="([^"]*)">No, take me back<', question.content.decode())
    return unescape(url)
