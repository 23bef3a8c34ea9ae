"""Bodies that only a real server can bring: chunked, endless, broken off."""

import socket
from http.client import HTTPResponse
from urllib.parse import urlsplit

import httpx
import pytest

from serving.tests.gunicorn import Gunicorn, gunicorn

THING = b'{"owner": "ann", "parts": [{"name": "wheel", "count": 4, "price": 39.95}]}'


@pytest.fixture(scope="module")
def server():
    with gunicorn(settings="httpapi.tests.settings") as server:
        yield server


def send(server: Gunicorn, *parts: bytes, and_no_more: bool = False) -> tuple[int, str | None, bytes]:
    """Sends these bytes and waits for the answer: its status, media type and body."""
    where = urlsplit(server.url)
    assert where.hostname
    assert where.port
    with socket.create_connection((where.hostname, where.port), timeout=30) as connection:
        head = b"POST /things HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        connection.sendall(head + b"".join(parts))
        if and_no_more:
            connection.shutdown(socket.SHUT_WR)
        response = HTTPResponse(connection, method="POST")
        response.begin()
        return response.status, response.headers["Content-Type"], response.read()


def chunks(*bodies: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(body), body) for body in (*bodies, b""))


def test_a_body_of_a_known_length_is_taken(server):
    status, media_type, _ = send(server, b"Content-Length: %d\r\n\r\n" % len(THING), THING)
    assert (status, media_type) == (201, "application/json")


def test_a_body_that_is_cut_off_is_refused_although_it_could_be_read(server):
    status, media_type, body = send(server, b"Content-Length: 500\r\n\r\n", THING, and_no_more=True)
    assert (status, media_type) == (400, "application/problem+json")
    assert b"to its end" in body


def test_a_chunked_body_is_taken(server):
    status, _, body = send(server, b"Transfer-Encoding: chunked\r\n\r\n", chunks(THING[:10], THING[10:]))
    assert status == 201, body


def test_a_huge_body_is_refused_while_none_of_it_has_come(server):
    status, media_type, body = send(server, b"Content-Length: 1000000000000\r\n\r\n")
    assert (status, media_type) == (413, "application/problem+json")
    assert b"1000 bytes" in body


def test_a_chunked_body_is_refused_before_its_end_has_come(server):
    # The last chunk never comes: a server that reads to the end would wait for it.
    status, media_type, _ = send(server, b"Transfer-Encoding: chunked\r\n\r\n", b"7d0\r\n", b" " * 2000)
    assert (status, media_type) == (413, "application/problem+json")


def test_chunks_that_are_none_are_refused(server):
    status, media_type, _ = send(server, b"Transfer-Encoding: chunked\r\n\r\n", b"zz\r\n{}\r\n0\r\n\r\n")
    assert (status, media_type) == (400, "application/problem+json")


@pytest.mark.parametrize("charset", ["zlib", "undefined", "utf-16"])
def test_a_charset_that_breaks_django_is_refused(server, charset):
    headers = {"Content-Type": f"application/json; charset={charset}"}
    response = httpx.post(f"{server.url}/things?a=%ff", content=THING, headers=headers)
    assert (response.status_code, response.headers["Content-Type"]) == (415, "application/problem+json")
