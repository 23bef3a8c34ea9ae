import json

import pytest
from django.db import connections
from django.test import Client

from httpapi.problems import title_of

PEOPLE = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


def test_an_unknown_url_is_a_problem(client, problem):
    body = problem(client.get("/no/such/thing"), 404)
    assert body["type"] == "about:blank"
    assert body["title"] == "Not Found"
    assert body["errors"] == []


def test_an_unknown_url_is_a_problem_in_development_too(client, problem, settings):
    settings.DEBUG = True
    problem(client.get("/no/such/thing"), 404)
    assert b"URLconf" in client.get("/no/such/thing", headers=PEOPLE).content


def test_an_unknown_url_is_a_page_for_people(client):
    response = client.get("/no/such/<script>", headers=PEOPLE)
    assert response.status_code == 404
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    assert b"<h1>404 Not Found</h1>" in response.content
    assert b"<script>" not in response.content


def test_a_wrong_method_names_the_right_ones(client, problem):
    response = client.delete("/things")
    problem(response, 405)
    assert response.headers["Allow"] == "GET, POST, HEAD, OPTIONS"


def test_options_leaves_it_to_the_document_what_is_taken(client):
    said = client.options("/things").json()
    assert said["parses"] == ["application/json"]
    assert "actions" not in said


@pytest.mark.parametrize("path", ["/", "/health", "/health/live", "/metrics"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "BREW"])
def test_a_wrong_method_is_a_problem_beside_the_api_too(problem, path, method):
    response = Client(enforce_csrf_checks=True).generic(method, path)
    assert method in problem(response, 405)["detail"]
    assert response.headers["Allow"] == "GET, HEAD"


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
@pytest.mark.parametrize("method", ["POST", "OPTIONS"])
def test_a_wrong_method_on_a_page_is_a_page(client, path, method):
    response = client.generic(method, path)
    assert response.status_code == 405
    assert b"<h1>405 Method Not Allowed</h1>" in response.content


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "a" * 300],
)
def test_another_media_type_is_refused(post, problem, content_type):
    problem(post("/things", b"{}", content_type=content_type), 415)


@pytest.mark.parametrize(
    "accept",
    ["application/xml", "garbage", "text/*;q=x", ";;;,,,", "*", "a/b/c", "application/json/x", "\x00", "é", "x" * 9000],
)
def test_no_accept_header_makes_it_fail(client, problem, accept):
    response = client.get("/things", headers={"Accept": accept})
    if response.status_code != 200:
        problem(response, 406)


@pytest.mark.parametrize("accept", ["", "*/*", "application/*", "application/json", "application/problem+json"])
@pytest.mark.parametrize("path", ["/things", "/things?page_size=1", "/things?format="])
def test_programs_get_json(client, accept, path):
    response = client.get(path, headers={"Accept": accept})
    assert response.headers["Content-Type"] == "application/json"
    assert response.content == b'{"owner":"ann","price":46.0}'


def test_json_is_indented_for_who_asks(client):
    response = client.get("/things", headers={"Accept": "application/json; indent=4"})
    assert response.content == b'{\n  "owner": "ann",\n  "price": 46.0\n}'


def test_an_unknown_format_is_a_problem(client, problem):
    problem(client.get("/things?format=xml"), 404)


def test_each_error_of_a_body_points_to_its_place(post, problem):
    body = problem(
        post(
            "/things", b'{"parts": [{"name": "a", "count": 1, "price": 1}, {"name": "bb", "count": 0, "price": "1"}]}'
        ),
        422,
    )
    assert body["title"] == "Unprocessable Content"
    assert body["errors"] == [
        {"pointer": "/owner", "detail": "This field is required."},
        {"pointer": "/parts/1/count", "detail": "Ensure this value is greater than or equal to 1."},
        {"pointer": "/parts/1/price", "detail": "A JSON number is required."},
    ]
    assert body["detail"] == "/owner: This field is required. And 2 more."


@pytest.mark.parametrize(
    ("sent", "pointer", "detail"),
    [
        (b"[]", "", "Invalid data. Expected a dictionary, but got list."),
        (b"7", "", "Invalid data. Expected a dictionary, but got int."),
        (b'{"owner": "a", "parts": {}}', "/parts", 'Expected a list of items but got type "dict".'),
        (b'{"owner": "a", "parts": []}', "/parts", "This list may not be empty."),
        (b'{"owner": "a", "parts": [[]]}', "/parts/0", "Invalid data. Expected a dictionary, but got list."),
        (b'{"owner": "a", "parts": [1]}', "/parts/0", "Invalid data. Expected a dictionary, but got int."),
        (b'{"owner": "a", "parts": null}', "/parts", "This field may not be null."),
        (b'{"owner": "nobody", "parts": [{"name": "a", "count": 1, "price": 1}]}', "", "Nobody owns nothing."),
    ],
)
def test_an_error_about_a_whole_points_to_the_whole(post, problem, sent, pointer, detail):
    body = problem(post("/things", sent), 422)
    assert body["errors"] == [{"pointer": pointer, "detail": detail}]
    assert body["detail"] == (f"{pointer}: {detail}" if pointer else detail)


def test_too_many_parts_is_one_error_that_names_the_limit(post, problem):
    sent = {"owner": "a", "parts": [{"name": "a", "count": 1, "price": 1}] * 4}
    (error,) = problem(post("/things", json.dumps(sent).encode()), 422)["errors"]
    assert error["pointer"] == "/parts"
    assert "3" in error["detail"]


def test_an_empty_body_lacks_what_is_required(post, problem):
    assert problem(post("/things", b""), 422)["errors"][0] == {"pointer": "/owner", "detail": "This field is required."}


def test_a_service_raises_problems_of_its_own(client, problem):
    response = client.get("/failing/teapot")
    assert problem(response, 418)["detail"] == "Short and stout."
    assert response.headers["X-Spout"] == "1"

    body = problem(client.get("/failing/conflict"), 409)
    assert (body["type"], body["title"]) == ("https://example.com/twice", "Twice")


@pytest.mark.parametrize(("how", "status", "detail"), [("404", 404, "No such thing."), ("403", 403, "Not yours.")])
def test_what_a_view_says_is_the_detail(client, problem, how, status, detail):
    assert problem(client.get(f"/failing/{how}"), status)["detail"] == detail


def test_who_is_throttled_learns_for_how_long(client, problem):
    response = client.get("/failing/429")
    problem(response, 429)
    assert response.headers["Retry-After"] == "7"


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/failing/database", "/plain/database"])
def test_without_a_database_it_asks_to_come_again_and_tells_clients_nothing(client, problem, path, monkeypatch):
    connections["default"].close()
    monkeypatch.setitem(connections["default"].settings_dict, "PORT", 1)
    response = client.get(path)
    body = problem(response, 503)
    assert response.headers["Retry-After"] == "5"
    assert "10.0.0.7" not in body["detail"]
    assert "secret" not in body["detail"]


@pytest.mark.parametrize("path", ["/failing/standby", "/plain/standby"])
def test_a_database_that_takes_no_writes_is_none_that_is_there(client, problem, path):
    response = client.get(path)
    problem(response, 503)
    assert response.headers["Retry-After"] == "5"


@pytest.mark.parametrize("path", ["/failing/standby", "/plain/standby"])
def test_operators_read_in_one_line_what_clients_are_not_told_of_the_database(client, path, caplog):
    told = client.get(path).json()["detail"]
    (record,) = [record for record in caplog.records if record.name == "httpapi.problems"]
    assert (record.levelname, record.message) == ("WARNING", "database unavailable")
    assert record.error
    assert record.error not in told
    assert "\n" not in record.error


@pytest.mark.parametrize("path", ["/failing/otherwise", "/plain/otherwise"])
def test_a_fault_of_ours_is_logged_and_not_shown(client, problem, path, caplog):
    response = client.get(path, headers={"X-Request-ID": "abc"})
    body = problem(response, 500)
    assert "secret" not in str(body)
    assert "a secret of ours" in caplog.text
    assert response.headers["X-Request-ID"] == "abc"


def test_a_fault_of_ours_is_a_page_for_people(client):
    response = client.get("/failing/otherwise", headers=PEOPLE)
    assert response.status_code == 500
    assert b"<h1>500 Internal Server Error</h1>" in response.content
    assert b"secret" not in response.content


def test_a_view_beside_the_api_answers_in_the_same_way(client, problem):
    problem(client.get("/plain/404"), 404)


def test_a_form_without_its_token_is_a_page_that_says_to_load_it_again(problem):
    client = Client(enforce_csrf_checks=True)
    body = problem(client.post("/admin/login/", {"username": "ann"}), 403)
    assert "load the page again" in body["detail"]

    response = client.post("/admin/login/", {"username": "ann"}, headers=PEOPLE)
    assert response.status_code == 403
    assert b"<h1>403 Forbidden</h1>" in response.content
    assert body["detail"].encode() in response.content
    assert b'<a href="/">Front page</a>' in response.content


def test_a_query_of_too_many_parameters_is_a_problem(client, problem):
    problem(client.get("/things?" + "&".join(f"a{number}=1" for number in range(1001))), 400)


@pytest.mark.parametrize("path", ["/things?a=%ff&b=%00", "/%ff", "/%00", "/things%0d%0aX: y", "//things", "/../things"])
def test_no_url_makes_it_fail(client, path):
    assert client.get(path).status_code in (200, 404)


@pytest.mark.parametrize("host", ["evil.example.com", "bad host", "\x00"])
def test_a_foreign_host_is_a_problem(client, problem, host):
    problem(client.get("/things", headers={"Host": host}), 400)


@pytest.mark.parametrize("status", [*range(400, 418), 422, 429, 500, 503])
def test_every_status_has_a_title(status):
    assert title_of(status)
