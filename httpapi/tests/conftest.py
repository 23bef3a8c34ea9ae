import pytest
from django.test import Client


@pytest.fixture(autouse=True)
def service(settings):
    settings.ROOT_URLCONF = "httpapi.tests.urls"
    settings.SERVICE_DESCRIPTION = "Keeps things."
    settings.API_RESOURCES = {"Things": "/things"}
    settings.STATIC_URL = "/static/"
    settings.WHITENOISE_USE_FINDERS = True
    settings.WHITENOISE_AUTOREFRESH = True


@pytest.fixture
def client():
    # A view that fails is answered with 500, as by a server.
    return Client(raise_request_exception=False)


@pytest.fixture
def post(client):
    """Posts a body as it is."""

    def send(path, body, content_type="application/json", **headers):
        return client.generic("POST", path, body, content_type=content_type, headers=headers)

    return send


@pytest.fixture
def problem():
    """The body of an answer that must be a problem of this status."""

    def read(response, status):
        assert response.status_code == status, response.content
        assert response.headers["Content-Type"] == "application/problem+json"
        body = response.json()
        assert body.keys() == {"type", "title", "status", "detail", "errors"}
        assert body["status"] == status
        assert body["title"]
        assert body["detail"]
        return body

    return read
