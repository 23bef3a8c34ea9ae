import pytest
from django.contrib.auth.models import User
from django.forms import model_to_dict
from django.test import Client
from rest_framework.authtoken.models import Token

from httpapi.authentication import TokenAuthentication
from httpapi.settings import rest_framework_settings

pytestmark = pytest.mark.django_db


@pytest.fixture
def user():
    return User.objects.create_user("ann", password="secret")


def test_it_is_open_or_closed_as_the_setting_says():
    for required, permission in ((False, "AllowAny"), (True, "IsAuthenticated")):
        settings = rest_framework_settings(required)
        assert settings["DEFAULT_PERMISSION_CLASSES"] == [f"rest_framework.permissions.{permission}"]


def test_without_credentials_it_asks_for_a_token(client, problem):
    response = client.get("/private")
    problem(response, 401)
    assert response.headers["WWW-Authenticate"] == "Token"


@pytest.mark.parametrize("header", ["Token wrong", "Token", "Token a b", "Token \xff", "Token " + "a" * 5000])
def test_a_wrong_token_opens_nothing(client, problem, user, header):
    problem(client.get("/private", headers={"Authorization": header}), 401)


def test_a_token_opens(client, user):
    token = Token.objects.create(user=user)
    response = client.get("/private", headers={"Authorization": f"Token {token.key}"})
    assert response.json() == {"user": "ann"}


def test_whose_token_it_is_comes_back_whole(user):
    kept = Token.objects.create(user=user)
    found, token = TokenAuthentication().authenticate_credentials(kept.key)
    assert model_to_dict(found) == model_to_dict(user)
    assert (found, token, token.user, token.created) == (user, kept, user, kept.created)
    assert isinstance(found, User)
    found.first_name = "Ann"
    found.save()
    user.refresh_from_db()
    assert user.first_name == "Ann"


def test_a_token_that_is_taken_away_opens_nothing_more(client, problem, user):
    token = Token.objects.create(user=user)
    headers = {"Authorization": f"Token {token.key}"}
    assert client.get("/private", headers=headers).status_code == 200
    token.delete()
    assert problem(client.get("/private", headers=headers), 401)["detail"] == "Invalid token."


def test_a_user_who_may_no_longer_sign_in_is_let_in_by_nothing(client, problem, user):
    token = Token.objects.create(user=user)
    user.is_active = False
    user.save()
    problem(client.get("/private", headers={"Authorization": f"Token {token.key}"}), 401)


def test_a_session_opens_for_reading(client, user):
    client.force_login(user)
    assert client.get("/private").json() == {"user": "ann"}


def test_a_session_does_not_write_for_another_site(user, problem):
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(user)
    response = browser.post("/private", {}, content_type="application/json")
    assert "CSRF" in problem(response, 403)["detail"]


def test_a_request_without_credentials_asks_the_database_nothing(client, django_assert_num_queries):
    with django_assert_num_queries(0):
        client.get("/things")
        client.get("/private")
