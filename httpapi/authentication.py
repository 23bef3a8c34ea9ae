"""Who a program is: REST framework's tokens, looked up in one prepared statement."""

from functools import cache
from typing import LiteralString

from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractBaseUser
from django.db.models import Model
from rest_framework import authentication
from rest_framework.authtoken.models import Token
from rest_framework.exceptions import AuthenticationFailed

from database.statements import execute_prepared


class TokenAuthentication(authentication.TokenAuthentication):
    """`Authorization: Token <key>`. The database is asked each time, so that a deleted token is useless at once.

    REST framework asks through the ORM, which takes more CPU time than all the rest of a POST that places an order.
    """

    def authenticate_credentials(self, key: str) -> tuple[AbstractBaseUser, Token]:
        """The user and the token. Raises AuthenticationFailed."""
        rows = execute_prepared(_statement(), [key])
        if not rows:
            raise AuthenticationFailed("Invalid token.")
        of_token, of_user = _attributes(Token), _attributes(get_user_model())
        token = Token.from_db(None, of_token, rows[0][: len(of_token)])
        user = get_user_model().from_db(None, of_user, rows[0][len(of_token) :])
        if not user.is_active:
            raise AuthenticationFailed("User inactive or deleted.")
        token.user = user
        return user, token


@cache
def _statement() -> LiteralString:
    token, owner = Token._meta, get_user_model()._meta
    columns = [f"token.{field.column}" for field in token.concrete_fields]
    columns += [f"owner.{field.column}" for field in owner.concrete_fields]
    return (
        f"SELECT {', '.join(columns)} FROM {token.db_table} AS token"
        f" JOIN {owner.db_table} AS owner ON owner.{owner.pk.column} = token.user_id WHERE token.key = %s::text"
    )


@cache
def _attributes(model: type[Model]) -> list[str]:
    return [field.attname for field in model._meta.concrete_fields]
