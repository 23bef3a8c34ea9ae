"""Those who may see little are led to no page that refuses them."""

import re

import pytest
from django.test import Client

from messaging import replays
from messaging.models import OperatorAction
from messaging.tests.desk import staff_with, text
from messaging.tests.letters import stored
from messaging.tests.test_admin_attempts import attempt

pytestmark = pytest.mark.django_db

ROWS = ["deadletter", "failuregroup", "replay", "failedattempt", "operatoraction"]


def pages_of(client: Client, model: str) -> dict[str, list[str]]:
    """The list of a model and the page of its newest row, each with the rows of the admin that it links to."""
    path = f"/admin/messaging/{model}/"
    pk = max(map(int, re.findall(rf"{path}(\d+)/change/", text(client, path))))
    return {
        page: re.findall(r'href="(/admin/messaging/[^"]+/[^"]*)"', text(client, page))
        for page in (path, f"{path}{pk}/change/")
    }


@pytest.fixture(autouse=True)
def _rows() -> None:
    letter = stored()
    assert letter.group is not None
    attempt(fingerprint=letter.group.fingerprint)
    replay = replays.start(dead_letters=type(letter).objects.all(), by="anna")
    for about in ({"dead_letter_id": letter.pk}, {"group_id": letter.group.pk}, {"replay_id": replay.pk}):
        OperatorAction.objects.create(by="anna", action="replay", **about)
    OperatorAction.objects.create(
        by="anna", action="replay", dead_letter_id=letter.pk, group_id=letter.group.pk, replay_id=replay.pk
    )


@pytest.mark.parametrize("model", ROWS)
def test_who_may_see_rows_of_one_kind_is_led_to_no_others(model: str) -> None:
    for page, links in pages_of(staff_with(f"view_{model}"), model).items():
        assert [link for link in links if f"/{model}/" not in link] == [], page


@pytest.mark.parametrize("model", ROWS)
def test_who_may_see_all_is_led_to_the_others(model: str, client: Client) -> None:
    others = set(ROWS) - {model}
    links = [link for links in pages_of(client, model).values() for link in links]
    assert any(f"/{other}/" in link and "change" in link for other in others for link in links)


def test_what_may_not_be_followed_is_still_said() -> None:
    letter = OperatorAction.objects.latest("pk").dead_letter_id

    page = text(staff_with("view_operatoraction"), "/admin/messaging/operatoraction/")

    assert f"Dead letter {letter}<br>Failure group " in page


def test_who_may_change_rows_may_see_them(client: Client) -> None:
    page = pages_of(staff_with("view_operatoraction", "change_failuregroup"), "operatoraction")
    assert any("/failuregroup/" in link for links in page.values() for link in links)
