import re
from html import unescape

import pytest
from django.contrib.auth.models import User
from django.contrib.staticfiles import finders

PEOPLE = {"Accept": "text/html"}
DOORS = ["/things", "/docs", "/redoc", "/schema", "/admin/", "/health", "/metrics"]


@pytest.fixture
def page(client):
    def get(path, status=200):
        response = client.get(path, headers=PEOPLE)
        assert response.status_code == status
        assert response.headers["Content-Type"].startswith("text/html")
        return response.content.decode()

    return get


def links(html: str) -> set[str]:
    return set(re.findall(r'href="([^"]+)"', html))


def sources(html: str) -> list[str]:
    """What a browser loads by itself for this page."""
    return re.findall(r'<(?:script|img|link)\b[^>]*\s(?:src|href)="([^"]+)"', html)


def test_the_front_page_says_what_this_is_and_where_its_doors_are(page):
    html = page("/")
    assert "<h1>Things</h1>" in html
    assert "Keeps things." in html
    assert links(html) >= set(DOORS)


def test_the_front_page_is_json_for_programs(client):
    body = client.get("/").json()
    assert (body["service"], body["description"]) == ("Things", "Keeps things.")
    assert body["links"]["Docs"] == "http://testserver/docs"
    assert body["links"]["Things"] == "http://testserver/things"


@pytest.mark.django_db
@pytest.mark.parametrize("door", ["/things", "/docs", "/redoc", "/schema", "/admin/", "/metrics"])
def test_every_door_opens(client, door):
    assert client.get(door, headers={"Accept": "text/html, */*"}, follow=True).status_code == 200


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/", "/docs", "/redoc", "/things", "/admin/login/", "/no/such/page"])
def test_every_page_comes_from_this_service_alone(client, path):
    html = client.get(path, headers=PEOPLE).content.decode()
    loaded = sources(html)
    assert loaded
    for url in loaded:
        assert url.startswith(("/static/", "data:,")), url
        if url.startswith("/static/"):
            assert finders.find(url.removeprefix("/static/")), f"{url} is not there"
    assert "https://" not in re.sub(r'<a [^>]*>|xmlns="[^"]*"', "", html)


def test_static_files_come_from_the_service_itself(client):
    response = client.get("/static/httpapi/browsable.css")
    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith("text/css")


def test_the_browsable_api_names_the_service_and_leads_everywhere(page):
    html = page("/things")
    assert "<title>Things – Things</title>" in html
    assert links(html) >= {"/", *DOORS}


def posted_from(html: str) -> str:
    """The content of the form as a browser would send it."""
    (content,) = re.findall(r'<textarea name="_content"[^>]*>\s*(.*?)</textarea>', html, re.DOTALL)
    return unescape(content)


def test_the_browsable_form_works_when_sent_as_it_stands(page, post):
    example = posted_from(page("/things"))
    response = post("/things", example.encode(), Accept="text/html")
    assert response.status_code == 201
    assert b"HTTP 201 Created" in response.content


def test_the_browsable_api_shows_what_is_wrong_and_keeps_what_was_sent(post):
    sent = '{"owner": "<b>ann</b>", "parts": []}'
    response = post("/things", sent.encode(), Accept="text/html")
    html = response.content.decode()
    assert response.status_code == 422
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "HTTP 422 Unprocessable Content" in html
    assert "application/problem+json" in html
    assert "This list may not be empty." in html
    assert "<b>ann</b>" not in html
    assert posted_from(html) == sent


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"{", "application/json", 400),
        (b"\xff\xfe", "application/json", 400),
        (b"[" * 1000, "application/json", 400),
        (rb'{"owner": "\ud800"}', "application/json", 422),
        (b"x", "text/plain", 415),
        (b"x" * 2_000_000, "application/json", 413),
        (b"", "application/json", 422),
    ],
)
def test_the_browsable_api_survives_every_body(post, body, content_type, status):
    response = post("/things", body, content_type=content_type, Accept="text/html")
    assert response.status_code == status
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"


@pytest.mark.parametrize(("how", "status"), [("teapot", 418), ("404", 404), ("403", 403), ("429", 429)])
def test_the_browsable_api_shows_every_problem(page, how, status):
    assert f"HTTP {status}" in page(f"/failing/{how}", status)


@pytest.mark.django_db
def test_the_browsable_list_pages(page):
    User.objects.bulk_create(User(username=f"user{number}") for number in range(3))
    assert "user2" in page("/users?page_size=1")
    assert "?page_size" in page("/users?page_size=x", 422)


@pytest.mark.django_db
def test_the_admin_names_the_service_and_leads_everywhere(client, page):
    client.force_login(User.objects.create_superuser("ann"))
    html = page("/admin/")
    assert "Things" in html
    assert "Django administration" not in html
    assert links(html) >= {"/things", "/docs", "/health"}
