import base64
import datetime

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

pytestmark = pytest.mark.django_db


@pytest.fixture
def users():
    now = timezone.now()
    return User.objects.bulk_create(
        User(username=f"user{number}", date_joined=now - datetime.timedelta(days=number)) for number in range(7)
    )


def follow(client: Client, url: str, direction: str = "next") -> list[list[str]]:
    """The usernames of all pages from here."""
    pages = []
    while url:
        body = client.get(url).json()
        assert body.keys() == {"next", "previous", "results"}
        pages.append([user["username"] for user in body["results"]])
        url = body[direction]
    return pages


def test_the_pages_have_everything_once_in_order(client, users):
    assert follow(client, "/users?page_size=3") == [
        ["user6", "user5", "user4"],
        ["user3", "user2", "user1"],
        ["user0"],
    ]


def test_one_can_go_back(client, users):
    second = client.get(client.get("/users?page_size=3").json()["next"]).json()
    assert follow(client, second["previous"], "previous") == [["user6", "user5", "user4"]]


def test_what_is_added_meanwhile_does_not_shift_the_pages(client, users):
    following = client.get("/users?page_size=3").json()["next"]
    User.objects.create(username="newer")
    assert follow(client, following)[0] == ["user3", "user2", "user1"]


@pytest.fixture
def one_moment(users):
    """All users with the same time, like the orders of a batch."""
    User.objects.update(date_joined=timezone.now() - datetime.timedelta(days=1))


def test_those_of_one_moment_are_on_the_pages_once_too_in_both_directions(client, one_moment):
    pages = [["user6", "user5", "user4"], ["user3", "user2", "user1"], ["user0"]]
    assert follow(client, "/users-by-date?page_size=3") == pages
    second = client.get(client.get("/users-by-date?page_size=3").json()["next"]).json()
    third = client.get(second["next"]).json()
    assert follow(client, third["previous"], "previous") == [pages[1], pages[0]]
    assert client.get(third["previous"]).json()["next"] == second["next"]


def test_what_is_added_meanwhile_does_not_shift_the_pages_of_one_moment(client, one_moment):
    following = client.get("/users-by-date?page_size=3").json()["next"]
    User.objects.bulk_create(User(username=f"newer{number}") for number in range(5))
    assert follow(client, following) == [["user3", "user2", "user1"], ["user0"]]


def test_an_empty_page_leads_to_the_last_one(client, one_moment):
    following = client.get("/users-by-date?page_size=5").json()["next"]
    User.objects.filter(username__in=("user0", "user1")).delete()
    empty = client.get(following).json()
    assert (empty["results"], empty["next"]) == ([], None)
    assert follow(client, empty["previous"], "previous") == [["user6", "user5", "user4", "user3", "user2"]]


def test_it_neither_counts_nor_skips(client, users, django_assert_num_queries):
    url = client.get("/users?page_size=3").json()["next"]
    with django_assert_num_queries(1) as captured:
        client.get(url)
    sql = captured[0]["sql"]
    assert "COUNT" not in sql
    assert "OFFSET" not in sql


def test_the_view_says_the_order(client, users):
    assert follow(client, "/users-by-date?page_size=7") == [[f"user{number}" for number in range(7)]]


def test_an_empty_list_is_one_page(client):
    assert client.get("/users").json() == {"next": None, "previous": None, "results": []}


def test_the_largest_page_is_allowed(client):
    assert client.get("/users?page_size=500").status_code == 200


@pytest.mark.parametrize("size", ["0", "-1", "501", "9" * 5000, "x", "", "1.0", "1_0", "٣", " 3", "%00", "+3"])
def test_a_page_size_beyond_the_limit_or_no_number_is_a_problem(client, problem, size):
    (error,) = problem(client.get(f"/users?page_size={size}"), 422)["errors"]
    assert error["pointer"] == "?page_size"
    assert "500" in error["detail"]


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize("path", ["/users", "/users-by-date"])
@pytest.mark.parametrize(
    "cursor",
    [
        "x",
        "é",
        "%00",
        "!" * 3000,
        encoded("p=nonsense"),
        encoded("[" * 5000),
        encoded("{}"),
        encoded("[false]"),
        encoded('[0, ["1"]]'),
        encoded("[false, [1]]"),
        encoded('[false, "1"]'),
        encoded('[false, ["1", "2", "3"]]'),
        *(
            cursor
            for value in (
                "nonsense",
                "\\u0000",
                "9" * 5000,
                "9999-99-99",
                "é",
                "\\ud800",
                "'; DROP TABLE auth_user; --",
            )
            for cursor in (encoded(f'[false, ["{value}"]]'), encoded(f'[true, ["{value}", "{value}"]]'))
        ),
    ],
)
def test_a_cursor_that_was_never_given_out_is_a_problem(client, problem, users, path, cursor):
    response = client.get(path, {"cursor": cursor})
    (error,) = problem(response, 404)["errors"]
    assert error["pointer"] == "?cursor"
    assert User.objects.count() == 7


@pytest.mark.parametrize("cursor", ['[false, ["%s"]]' % ("9" * 300), '[true, ["-5"]]', "[true, []]", ""])
def test_a_cursor_that_someone_made_up_well_costs_no_more_than_a_page(client, users, cursor):
    assert client.get("/users", {"cursor": encoded(cursor)}).status_code in (200, 404)
