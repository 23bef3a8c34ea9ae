"""The first page of the admin."""

import html
import re
from datetime import datetime, timedelta
from urllib.parse import unquote_plus
from uuid import uuid4

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from dashboard import rollup
from messaging.depth import QueueDepth
from messaging.models import DeadLetter, FailureGroup, Replay
from messaging.tests.letters import stored

INDEX, FRAGMENT = "/admin/", "/admin/overview/fragment"

pytestmark = pytest.mark.django_db


@pytest.fixture
def admin(client, django_user_model):
    """A browser in which somebody who may do everything has logged in."""
    client.force_login(django_user_model.objects.create_superuser("operator", password="not-a-secret"))
    return client


def page(client: Client, url: str = INDEX) -> str:
    answer = client.get(url)
    assert answer.status_code == 200, answer
    return html.unescape(answer.content.decode())


def text(shown: str) -> str:
    return re.sub(r"\s+", " ", re.sub("<[^>]*>", " ", shown))


def test_the_first_page_is_the_overview_and_the_fragment_is_its_content(admin, make, broker, processes):
    make()

    index, fragment = page(admin), page(admin, FRAGMENT)

    assert "All is well." in index
    assert "All is well." in fragment
    assert f'data-url="{FRAGMENT}"' in index
    assert "<html" not in fragment
    assert admin.get(FRAGMENT).headers["X-Overview"] == "1"
    assert "no-store" in admin.get(FRAGMENT).headers["Cache-Control"]


def test_without_javascript_it_loads_itself_again_and_says_so(admin, make, broker):
    shown = page(admin)

    assert '<noscript><meta http-equiv="refresh" content="30"></noscript>' in shown
    assert "This page loads itself again every 30 seconds." in shown


def test_only_staff_sees_it(client, django_user_model, make, broker):
    for url in (INDEX, FRAGMENT):
        assert client.get(url).status_code == 302
    client.force_login(django_user_model.objects.create_user("customer", password="not-a-secret"))
    for url in (INDEX, FRAGMENT):
        assert client.get(url).status_code == 302
    assert "X-Overview" not in client.get(FRAGMENT).headers


def test_figures_lead_to_the_rows_behind_them(admin, make, broker, processes):
    make("broken", number=3)
    make("waiting", at=timezone.now() - timedelta(seconds=1))

    shown = page(admin, FRAGMENT)

    things = reverse("admin:messaging_inboxmessage_changelist")
    links = re.findall(r'<dd><a href="([^"]*)" aria-label="([^"]*)"', shown)
    assert any(url.startswith(f"{things}?type__exact=broken&processed_at__gte=") for url, _ in links)
    assert ("3 broken") in [name for _, name in links]
    assert (f"{things}?type__exact=waiting", "1 waiting things") in links
    for model in ("outboxmessage", "deadletter", "process"):
        assert any(url.startswith(reverse(f"admin:messaging_{model}_changelist")) for url, _ in links), model


def test_the_times_of_five_minutes_lead_to_the_rows_of_five_minutes(admin, make, broker, processes):
    make(took=1)

    shown = page(admin, FRAGMENT)

    things = re.escape(reverse("admin:messaging_inboxmessage_changelist"))
    query = rf'href="{things}\?processed_at__gte=([^&"]*)&processed_at__lt=([^"]*)" aria-label="[^"]* p95, last '
    for label, minutes in (("hour", 60), ("5 min", 5)):
        ((start, end),) = re.findall(query + label, shown)
        start, end = (datetime.fromisoformat(unquote_plus(time)) for time in (start, end))
        assert end - start == timedelta(minutes=minutes), label
        assert start < timezone.now() <= end, label


def test_the_links_show_those_rows_and_no_error(admin, make, broker, processes):
    make()

    shown = page(admin, FRAGMENT)

    urls = set(re.findall(r'href="(/admin/[^"]*)"', shown))
    assert len(urls) > 5
    for url in urls:
        assert admin.get(url).status_code == 200, url


def test_who_may_not_see_the_rows_sees_the_figures_without_links(client, django_user_model, make, broker, processes):
    user = django_user_model.objects.create_user("clerk", password="not-a-secret", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_process"))
    client.force_login(user)
    make("broken", number=3)

    shown = page(client, FRAGMENT)

    assert re.search(r"<dt>broken</dt>\s*<dd>3\b", shown)
    links = {url.partition("?")[0] for url in re.findall(r'href="(/admin/[^"]*)"', shown)}
    assert links == {reverse("admin:messaging_process_changelist")}


def test_what_rows_say_is_for_those_who_may_see_them(client, admin, django_user_model, make, broker, processes):
    now = timezone.now()
    group = FailureGroup.objects.create(
        fingerprint=uuid4(), error_type="BrokenThing", place="things.break", owner="ottilie", state="taken",
        first_seen_at=now, last_seen_at=now,
    )  # fmt: skip
    DeadLetter.objects.create(
        fingerprint=uuid4(), message_id=uuid4(), body=b"", group=group, first_failed_at=now, last_failed_at=now
    )
    Replay.objects.create(state="stopped", state_reason="It said: card 4711.", total=3, created_by="jane", reason="")
    said = ("BrokenThing", "things.break", "ottilie", "jane", "card 4711")
    shown = page(admin, FRAGMENT)
    assert [one for one in said if one not in shown] == []

    user = django_user_model.objects.create_user("clerk", password="not-a-secret", is_staff=True)
    client.force_login(user)

    for url in (INDEX, FRAGMENT):
        shown = page(client, url)
        assert [one for one in said if one in shown] == []
        assert "1 message could not be handled" in shown
        assert "has stopped by itself." in shown
        assert "Look at its outcomes, then resume or cancel it." in shown

    user.user_permissions.add(*Permission.objects.filter(codename__in=("view_failuregroup", "view_replay")))
    shown = page(client, FRAGMENT)
    assert [one for one in said if one not in shown] == []


def test_the_plots_have_a_title_a_description_and_a_table_with_the_same_figures(admin, make, broker, processes):
    make("done", number=7, took=0.2)
    make("broken", number=2)

    shown = page(admin, FRAGMENT)

    assert shown.count("<svg") == shown.count("<desc") == 2
    assert "The most were 9 at" in shown
    assert re.search(r"<title>\d\d:\d\d: 7 done, 2 broken</title>", shown)
    assert re.search(r"<title>\d\d:\d\d: p50 (19|20)\d ms, p95 (19|20)\d ms</title>", shown)
    (row,) = re.findall(r"<tr><th scope=\"row\">\d\d:\d\d</th>.*?</tr>", shown, re.DOTALL)
    assert re.search(r"\d\d:\d\d 7 2 0 (19|20)\d ms (19|20)\d ms", text(row))


def test_while_nothing_was_made_it_says_how_to_make_something(admin, make, broker, processes):
    shown = page(admin, FRAGMENT)

    assert "No thing yet." in shown
    assert "make thing" in shown
    assert 'href="/things"' in shown

    make()
    assert "No thing yet." not in page(admin, FRAGMENT)


def test_a_broker_that_is_away_leaves_the_rest_of_the_page(admin, make, broker, processes):
    make("done", number=4)
    broker.is_away()

    shown = text(page(admin, FRAGMENT))

    assert "RabbitMQ does not answer." in shown
    assert "things made 4" in shown
    assert "consumers" in shown


def test_queues_are_shown_with_what_waits_in_each(admin, make, broker, processes):
    broker.says(
        QueueDepth("things.events.v1", 1200, 2),
        QueueDepth("things.events.v1.retry.5s", 30, 0),
        QueueDepth("things.events.v1.dlq", 0, 1),
    )

    shown = text(page(admin, FRAGMENT))

    assert "work things.events.v1 1,200 2" in shown
    assert "retry in 5s things.events.v1.retry.5s 30 0" in shown
    assert "30 messages failed, and are to be tried again." in shown


def test_it_says_when_the_hour_is_not_counted_to_its_end(admin, make, broker, processes, monkeypatch):
    monkeypatch.setattr(rollup, "BUDGET", 0.0000001)
    make()

    shown = page(admin, FRAGMENT)

    assert 'data-counted="no"' in shown
    assert "The last hour is still being counted" in shown


def test_a_service_without_a_pipeline_has_an_overview_of_its_messages(admin, broker, processes, settings):
    settings.DASHBOARD = {}

    shown = page(admin, FRAGMENT)

    assert "All is well." in shown
    assert "<svg" not in shown
    assert "wait to be published" in shown


def test_groups_that_differ_only_in_the_type_are_told_apart(admin, broker, processes):
    for type_ in ("thing.happened", "other"):
        stored(type=type_, error_type="KeyError", place="things.handle")

    shown = text(page(admin, FRAGMENT))

    for type_ in ("thing.happened", "other, not taken by this service"):
        assert f"KeyError things.handle {type_} 1 open" in shown


def test_what_others_wrote_is_escaped(admin, make, broker, processes):
    now, evil = timezone.now(), "<script>alert(1)</script>"
    group = FailureGroup.objects.create(
        fingerprint=uuid4(), error_type=evil, place=evil, type=evil, owner=evil, state="taken", first_seen_at=now,
        last_seen_at=now,
    )  # fmt: skip
    DeadLetter.objects.create(
        fingerprint=uuid4(), message_id=uuid4(), body=b"", type=evil, error_type=evil, group=group, first_failed_at=now,
        last_failed_at=now,
    )  # fmt: skip

    shown = admin.get(FRAGMENT).content.decode()

    assert "<script>alert" not in shown
    assert shown.count("&lt;script&gt;alert(1)") == 4
