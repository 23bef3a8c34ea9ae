import re
from datetime import UTC, datetime, timedelta
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
@pytest.mark.parametrize("page_of_scripts", ["/docs", "/redoc"])
def test_without_javascript_the_documents_lead_to_the_schema(page, page_of_scripts):
    (said,) = re.findall("<noscript>(.*?)</noscript>", page(page_of_scripts))
    assert "needs JavaScript" in said
    assert 'href="/schema"' in said


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


def test_the_form_offers_examples_and_headers_and_the_command_that_does_the_same(page):
    html = page("/things")
    assert "<h2>Make a thing</h2>" in html
    assert "A good one</button>" in html
    assert "Without an owner</button>" in html
    assert 'data-header="X-Colour"' in html
    assert "curl -i http://testserver/things" in html


def test_after_a_post_the_form_holds_what_was_sent_and_the_headers(post):
    sent = '{"owner": "bob", "parts": [{"name": "bell", "count": 1, "price": 5}]}'
    html = post("/things", sent.encode(), Accept="text/html", **{"X-Colour": "red"}).content.decode()
    assert posted_from(html) == sent
    assert re.search(r'data-header="X-Colour" value="red"', html)
    assert 'href="/elsewhere"' in html


def test_what_is_wrong_with_a_body_is_shown_with_its_place(post):
    sent = '{\n"owner": "ann",\n"parts": [\n{"name": "wheel", "price": 1,\n"count": 0}]}'
    html = post("/things", sent.encode(), Accept="text/html").content.decode()
    assert "parts › 1st › count" in html
    assert 'data-line="5"' in html
    assert 'aria-invalid="true"' in html


def test_what_is_shown_cannot_become_part_of_the_page(post):
    evil = "</script></textarea><img src=x onerror=alert(1)>"
    sent = f'{{"owner": "{evil}", "parts": [{{"name": "<i>", "count": 1, "price": 5}}]}}'
    html = post("/things", sent.encode(), Accept="text/html", **{"X-Colour": '"><img>'}).content.decode()
    assert "<img" not in html
    assert "<i>" not in html
    assert "&lt;img src=x" in html


def test_filters_are_controls_that_hold_what_was_asked_for(page):
    html = page("/search?colour=red&name=%22%3E%3Cb%3E&since=2026-11-22T12:00")
    assert '<option value="red" selected>' in html
    assert 'value="2026-11-22T12:00:00"' in html
    assert 'value="&quot;&gt;&lt;b&gt;"' in html
    assert 'href="/search">Clear</a>' in html
    assert ">Clear</a>" not in page("/search")


def test_a_filter_that_is_wrong_says_so_itself(page):
    html = page("/search?colour=green&since=yesterday", 422)
    assert 'href="#filter-colour"' in html
    assert html.count('aria-invalid="true"') == 2
    assert '<strong class="error">&quot;green&quot; is not a valid choice.</strong>' in html
    assert 'value="yesterday"' in html


def test_what_nobody_filled_in_filters_nothing_on_a_page_but_is_refused_from_a_program(page, client):
    page("/search?colour=&since=&name=")
    assert client.get("/search?colour=&since=&name=").status_code == 422


@pytest.mark.django_db
def test_the_browsable_list_pages(page):
    User.objects.bulk_create(User(username=f"user{number}") for number in range(3))
    first = page("/users?page_size=1")
    assert "user2" in first
    assert "user1" not in first
    assert 'rel="next"' in first
    assert 'rel="prev"' not in first
    following, *_ = re.findall(r'rel="next" href="([^"]+)"', first)
    second = page(unescape(following))
    assert "user1" in second
    assert 'rel="prev"' in second
    assert 'href="/users?page_size=1">Begin</a>' in second
    assert "?page_size" in page("/users?page_size=x", 422)
    assert "user0" in page("/users?page_size=")


@pytest.mark.django_db
def test_a_list_by_time_says_from_when_to_when_it_reaches(page):
    at = datetime(2026, 11, 22, 12, tzinfo=UTC)
    User.objects.bulk_create(User(username=f"user{n}", date_joined=at + timedelta(minutes=n)) for n in range(3))
    html = page("/users-by-date?page_size=2")
    assert '<h2 id="results-title">Newest first</h2>' in html
    text = " ".join(re.sub("<[^>]+>", "", html).split())
    assert "2 on this page, from 2026-11-22 12:02:00 back to 2026-11-22 12:01:00. The newest are here" in text
    assert "Older ›" in text
    assert "‹ Newer" not in text


@pytest.mark.django_db
def test_an_empty_list_says_so(page):
    assert "There is nothing here yet." in page("/users")


@pytest.mark.django_db
def test_health_is_a_page_for_people_and_json_for_programs(client, page, settings):
    settings.HEALTH_CHECKS = {"database": "observability.health.database"}
    html = page("/health")
    assert "healthy</span>" in html
    assert "database" in html
    assert client.get("/health").json()["status"] == "healthy"
    assert client.get("/health", headers={"Accept": "*/*"}).headers["Content-Type"] == "application/json"


@pytest.mark.django_db
def test_health_is_an_unhealthy_page_when_something_is_missing(page, settings):
    settings.HEALTH_CHECKS = {"broken": "observability.health.no_such_check"}
    html = page("/health", 503)
    assert "unhealthy</span>" in html
    assert "failed</span>" in html


def dead_letters():
    return {"status": "warning", "detail": "Messages could not be handled; see the admin.", "waiting": 52}


@pytest.mark.django_db
def test_the_sentence_of_a_check_ends_without_a_full_stop_before_its_figures(page, settings):
    settings.HEALTH_CHECKS, settings.HEALTH_REPORTS = {}, {"dead letters": f"{__name__}.dead_letters"}
    assert "Messages could not be handled; see the admin, waiting 52" in page("/health")


def test_a_page_that_is_not_there_leads_to_what_is(page):
    html = page("/no/such/page", 404)
    assert "There is nothing at /no/such/page" in html
    assert links(html) >= {"/", "/things", "/docs"}


@pytest.mark.django_db
def test_who_is_signed_in_can_sign_out_of_the_page(client, page):
    assert 'href="/admin/login/?next=/things"' in page("/things")
    client.force_login(User.objects.create_user("ann"))
    html = page("/things")
    assert "ann<form" in html
    assert "Authorization: Token YOUR-TOKEN" in html


@pytest.mark.django_db
def test_the_admin_names_the_service_and_leads_to_the_front_page(client, page):
    client.force_login(User.objects.create_superuser("ann"))
    html = page("/admin/")
    assert "Things" in html
    assert "Django administration" not in html
    assert "/" in links(html)


def test_who_may_not_see_a_page_is_told_how_to_sign_in(page):
    html = page("/private", 401)
    assert "401 Unauthorized" in html
    assert '<a href="/admin/login/?next=/private">Log in</a>, or send' in html
    assert "<textarea" not in html
