"""Databases made for a test session, on the PostgreSQL that it has."""

from urllib.parse import urlsplit

import psycopg
from psycopg import sql


def create(server_url: str, name: str) -> str:
    """A new, empty database; returns its URL."""
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    return urlsplit(server_url)._replace(path=f"/{name}").geturl()


def drop(server_url: str, name: str) -> None:
    """Drops it, even while somebody is connected to it."""
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
