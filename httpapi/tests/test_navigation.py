"""The sidebar of the admin, and its search."""

import html
import re
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, Permission, User
from django.db import connection
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext

from httpapi.navigation import find_by_id, sidebar

pytestmark = pytest.mark.django_db


def staff(*permissions: str, superuser: bool = False) -> User:
    user = User.objects.create_user("anna", is_staff=True, is_superuser=superuser)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    return user


def groups(user: User, **changes: Any) -> dict[str, list[str]]:
    request = RequestFactory().get("/admin/")
    request.user = user
    shown = sidebar(request, **{"pipeline": [], "elsewhere": {"Others": "https://others.invalid/admin/"}} | changes)
    return {group["title"]: [item["title"] for item in group["items"]] for group in shown}


def found(user: User, term: str) -> list[str]:
    request = RequestFactory().get("/admin/search/")
    request.user = user
    return [result.title for result in find_by_id(request, term)]


def test_it_has_what_there_is_in_the_order_of_an_operators_needs() -> None:
    shown = groups(staff(superuser=True))
    assert list(shown) == ["Pipeline", "Failures", "Messages", "People", "Elsewhere"]
    assert shown["Pipeline"][0] == "Overview"
    assert "Dead letters" in shown["Failures"]
    assert shown["Elsewhere"] == ["Others", "API and its documentation"]


def test_it_leaves_out_what_this_person_may_not_see() -> None:
    shown = groups(staff("view_group"))
    assert shown["People"] == ["Groups"]
    assert "Failures" not in shown
    assert "Messages" not in shown


def test_it_leaves_out_what_this_service_does_not_have() -> None:
    shown = groups(staff(superuser=True), pipeline=["shop.order", "auth.nonsense"])
    assert not {"Orders", "Nonsenses"} & set(shown["Pipeline"])


def test_every_page_has_it_with_links_that_work(admin_client: Client) -> None:
    page = html.unescape(admin_client.get("/admin/auth/user/").content.decode())
    navigation = page.split('id="nav-sidebar-apps"')[1].split("</nav>")[0]
    links = [link for link in re.findall(r'href="([^"]+)"', navigation) if link.startswith("/")]
    assert {"/admin/", "/admin/auth/user/", "/admin/messaging/deadletter/"} <= set(links)
    assert {admin_client.get(link).status_code for link in links} == {200}


def test_who_is_not_logged_in_sees_none_of_it(client: Client) -> None:
    assert "nav-sidebar" not in client.get("/admin/login/").content.decode()


def test_the_search_finds_pages_by_name_and_never_looks_through_rows(admin_client: Client) -> None:
    with CaptureQueriesContext(connection) as queries:
        answer = admin_client.get("/admin/search/?s=users")
    assert 'href="/admin/auth/user/"' in answer.content.decode()
    assert not [query["sql"] for query in queries if "LIKE" in query["sql"].upper()]


class TestFindById:
    @pytest.fixture(autouse=True)
    def _groups_are_found_by_name(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(admin.site.get_model_admin(Group), "found_by", ("id", "name"), raising=False)

    def test_it_finds_exactly_this_one_and_leads_to_it(self) -> None:
        group, _ = Group.objects.create(name="night"), Group.objects.create(name="night shift")
        assert found(staff(superuser=True), " night ") == [f"Group {group.pk}"]

    def test_a_row_that_is_found_twice_is_shown_once(self) -> None:
        group = Group.objects.create(name="temporary")
        Group.objects.update(name=str(group.pk))
        assert found(staff(superuser=True), str(group.pk)) == [f"Group {group.pk}"]

    def test_it_finds_nothing_that_this_person_may_not_see(self) -> None:
        Group.objects.create(name="night")
        assert found(staff("view_user"), "night") == []

    @pytest.mark.parametrize("term", ["nobody", "9" * 40, "\x00", "0" * 10_000, "-1", "é"])
    def test_what_is_no_id_finds_nothing(self, term: str) -> None:
        Group.objects.create(name="night")
        assert found(staff(superuser=True), term) == []
