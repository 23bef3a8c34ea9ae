"""What bypasses gunicorn's parser is read as gunicorn reads it, or left to it."""

import socket
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.config import Config  # type: ignore[import-untyped]
from gunicorn.http.message import Request  # type: ignore[import-untyped]
from gunicorn.http.parser import RequestParser  # type: ignore[import-untyped]
from gunicorn.http.unreader import IterUnreader  # type: ignore[import-untyped]
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.plain_http import PlainHTTP, Written, read, write

BODY = b'{"customer_id": "c"}'
POST = (
    b"POST /orders HTTP/1.1\r\nHost: shop.example:8000\r\nUser-Agent: curl/8\r\nAccept: */*\r\n"
    b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
)
GET = b"GET /orders/1 HTTP/1.1\r\nHost:shop\r\nX-Request-ID: a\r\nConnection: Keep-Alive\r\n\r\n"


def as_gunicorn_reads(data: bytes) -> dict[str, Any]:
    """Raises what gunicorn raises for what it refuses."""
    unreader = IterUnreader(iter([data]))
    request = Request(Config(), unreader, ("192.0.2.1", 1))
    assert (request.version, request.should_close(), request._expected_100_continue) == ((1, 1), False, False)
    headers = {f"HTTP_{name.replace('-', '_')}": value for name, value in request.headers}
    assert len(headers) == len(request.headers)
    length = headers.pop("HTTP_CONTENT_LENGTH", None)
    body = request.body.read() if length else b""
    assert len(body) == int(length or 0)
    return {
        "method": request.method,
        "path": request.path,
        "query": request.query,
        "type": headers.pop("HTTP_CONTENT_TYPE", None),
        "headers": headers,
        "body": body,
        "rest": unreader.read(),
    }


def as_we_read(data: bytes) -> dict[str, Any] | None:
    plain = read(data)
    if plain is None:
        return None
    environ = plain.environ
    assert int(environ.get("CONTENT_LENGTH", 0)) == len(environ["wsgi.input"].getvalue())
    return {
        "method": environ["REQUEST_METHOD"],
        "path": environ["PATH_INFO"],
        "query": environ["QUERY_STRING"],
        "type": environ.get("CONTENT_TYPE"),
        "headers": {name: value for name, value in environ.items() if name.startswith("HTTP_")},
        "body": environ["wsgi.input"].read(),
        "rest": plain.rest,
    }


@pytest.mark.parametrize("data", [POST, GET, POST + GET, POST + b"\0", GET.replace(b"GET", b"POST")])
def test_a_plain_request_is_read_as_gunicorn_reads_it(data):
    assert as_we_read(data) == as_gunicorn_reads(data)


@pytest.mark.parametrize(
    "header",
    [
        b"Transfer-Encoding: chunked",
        b"transfer-encoding: identity",
        b"Expect: 100-continue",
        b"Upgrade: h2c",
        b"Connection: close",
        b"Connection: upgrade",
        b"Connection: keep-alive, close",
        b"Host: other",
        b"host: shop.example:8000",
        b"Content-Length: 20",
        b"Content-Length: +20",
        b"Content-Length : 20",
        b"Content_Length: 20",
        b"X-Folded: a\r\n b",
        b"X-Empty:",
        b"X-Bare: a\nb",
        b"X-Control: a\x01b",
        b"X-High: a\xe9b",
        b"X-Two-Spaces:  a",
        b"X-Tab:\ta",
        b"X-Trailing: a ",
        b" X-Indented: a",
        b"No colon",
    ],
)
def test_what_is_not_plain_is_left_to_gunicorn(header):
    assert read(POST.replace(b"Accept: */*", header)) is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"POST ", b"PUT "),
        (b"POST ", b"post "),
        (b"/orders", b"/orders?wait=1"),
        (b"/orders", b"/orders%20"),
        (b"/orders", b"http://shop.example/orders"),
        (b"/orders", b"*"),
        (b"HTTP/1.1", b"HTTP/1.0"),
        (b"HTTP/1.1", b"HTTP/2.0"),
        (b"POST", b"\r\nPOST"),
        (b"\r\n", b"\n"),
        (b"Host: shop.example:8000\r\n", b""),
        (b"Length: 20", b"Length: 21"),
        (b"Length: 20", b"Length: 99999999"),
        (b"POST", b"GET"),
        (BODY, BODY[:-1]),
        (b"*/*", b"x" * 4000),
        (b"Accept: */*", b"\r\n".join(b"X-%d: a" % number for number in range(100))),
    ],
)
def test_other_forms_are_left_to_gunicorn(old, new):
    assert read(POST.replace(old, new)) is None


def test_a_request_that_has_not_come_as_a_whole_is_left_to_gunicorn():
    assert all(read(POST[:length]) is None for length in range(len(POST)))


@settings(max_examples=2000, deadline=None, derandomize=True)
@given(st.randoms(use_true_random=False), st.sampled_from([POST, GET, POST + GET]), st.integers(1, 5))
def test_whatever_is_taken_gunicorn_would_have_read_the_same(source, data, changes):
    raw = bytearray(data)
    for _ in range(changes):
        at = source.randrange(len(raw))
        match source.randrange(4):
            case 0:
                del raw[at]
            case 1:
                raw[at] = source.choice(b"\r\n\t :,_-0123456789azAZ\x00\x7f\xff/%?#")
            case 2:
                raw[at:at] = source.choice(
                    [b"\r\n", b"\n", b"\r", b" ", b": ", b"0", b"\r\n\r\n", b"Content-Length: 3\r\n"]
                )
            case _:
                start, end = sorted((source.randrange(len(raw)), source.randrange(len(raw))))
                raw[at:at] = raw[start : min(end, start + 40)]
    taken = as_we_read(bytes(raw))

    assert taken is None or taken == as_gunicorn_reads(bytes(raw))


# --- On a connection


class Worker:
    """As much of gunicorn's worker as is asked for."""

    def __init__(self) -> None:
        self.cfg = Config()
        self.alive = True
        self.nr = 1
        self.max_requests = 1000
        self.max_keepalived = 10
        self.keepalived_conns: list[Any] = []
        self.failed: list[Exception] = []

    def handle_error(self, req: Any, client: Any, addr: Any, error: Exception) -> None:
        self.failed.append(error)


class Echo:
    """Answers POSTs with what was sent, and leaves all else."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []

    def answer(self, environ: dict[str, Any]) -> Written | None:
        self.seen.append(environ)
        if environ["REQUEST_METHOD"] != "POST":
            return None
        body = environ["wsgi.input"].read()
        return Written("201 Created", [("Content-Length", str(len(body))), ("X-Echo", "yes")], body)


@pytest.fixture
def worker():
    return Worker()


@pytest.fixture
def echo():
    return Echo()


@pytest.fixture
def plain(worker, echo):
    return PlainHTTP(worker, echo)


@pytest.fixture
def connection():
    """gunicorn's side of a connection that has been served before, and the client's."""
    ours, client = socket.socketpair()
    client.settimeout(5)
    parser = RequestParser(Config(), ours, ("127.0.0.1", 50000))
    parser.mesg = Request(Config(), IterUnreader(iter([GET])), ("127.0.0.1", 50000))
    conn = SimpleNamespace(
        sock=ours,
        parser=parser,
        initialized=True,
        is_http2=False,
        client=("127.0.0.1", 50000),
        server=("127.0.0.1", 8000),
    )
    yield conn, client
    ours.close()
    client.close()


def test_a_request_is_answered_and_the_connection_kept(plain, worker, echo, connection):
    conn, client = connection
    client.sendall(POST)

    assert plain.handle(conn) is True
    head, _, body = client.recv(4096).partition(b"\r\n\r\n")
    first, *headers = head.split(b"\r\n")
    assert first == b"HTTP/1.1 201 Created"
    assert [header.partition(b":")[0] for header in headers] == [
        b"Server",
        b"Date",
        b"Connection",
        b"Content-Length",
        b"X-Echo",
    ]
    assert b"Connection: keep-alive" in headers
    assert body == BODY
    assert worker.nr == 2
    environ = echo.seen[0]
    assert (environ["REMOTE_ADDR"], environ["SERVER_PORT"]) == ("127.0.0.1", "8000")


def test_two_requests_that_come_together_are_answered_one_after_the_other(plain, connection):
    conn, client = connection
    client.sendall(POST + POST)

    assert plain.handle(conn) is True
    assert conn.parser.unreader.buf.getvalue() == POST
    assert plain.handle(conn) is True
    assert client.recv(4096).count(b"201 Created") == 2


@pytest.mark.parametrize("data", [GET, POST[:-1], POST.replace(b"1.1", b"1.0"), b"\x16\x03\x01"])
def test_what_is_left_to_gunicorn_is_there_for_it(plain, connection, data):
    conn, client = connection
    client.sendall(data)

    assert plain.handle(conn) is None
    assert conn.parser.unreader.buf.getvalue() == data


def test_a_client_that_has_left_ends_the_connection(plain, connection):
    conn, client = connection
    client.close()

    assert plain.handle(conn) is False


def test_a_client_that_has_left_with_an_answer_unread_ends_the_connection(plain, connection):
    conn, client = connection
    conn.sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    client.close()  # the next read fails

    assert plain.handle(conn) is False


def test_a_client_that_leaves_before_its_answer_ends_the_connection(plain, worker, connection):
    conn, client = connection
    client.sendall(POST)
    client.close()

    assert plain.handle(conn) is False
    assert worker.failed == []


def test_an_answer_that_does_not_go_out_at_once_goes_out_as_a_whole(plain, echo, connection):
    conn, client = connection
    conn.sock.setblocking(False)  # as the main thread leaves it
    body = b"x" * 5_000_000
    echo.answer = lambda environ: Written("200 OK", [], body)
    client.sendall(POST)
    with ThreadPoolExecutor() as pool:
        handled = pool.submit(plain.handle, conn)
        received = b""
        while not received.endswith(b"\r\n\r\n" + body):
            part = client.recv(65536)
            assert part, "it was cut off"
            received += part

        assert handled.result() is True


def test_each_answer_has_the_time_of_its_own(monkeypatch):
    times = iter([784111777, 784111777, 784111778])
    monkeypatch.setattr("serving.plain_http.time.time", lambda: next(times))
    answers = [write(Written("200 OK", [], b""), keep=True) for _ in range(3)]

    for answer, second in zip(answers, (37, 37, 38), strict=True):
        assert b"\r\nDate: Sun, 06 Nov 1994 08:49:%d GMT\r\n" % second in answer


@pytest.mark.parametrize("changes", [{"alive": False}, {"max_keepalived": 0}])
def test_a_worker_that_leaves_or_keeps_as_many_as_it_may_says_so(plain, worker, connection, changes):
    vars(worker).update(changes)
    conn, client = connection
    client.sendall(POST)

    assert plain.handle(conn) is False
    assert b"\r\nConnection: close\r\n" in client.recv(4096)


@pytest.mark.parametrize(
    ("limits", "is_within"),
    [
        ({"limit_request_line": 20}, False),
        ({"limit_request_field_size": 30}, False),
        ({"limit_request_fields": 4}, False),
        ({"limit_request_fields": 5}, True),
        ({"limit_request_line": 0, "limit_request_field_size": 0}, True),
    ],
)
def test_what_is_beyond_the_limits_it_was_given_is_gunicorns_to_refuse(worker, echo, connection, limits, is_within):
    for name, limit in limits.items():
        worker.cfg.set(name, limit)
    conn, client = connection
    client.sendall(POST)

    assert PlainHTTP(worker, echo).handle(conn) is (True if is_within else None)


@pytest.mark.parametrize("changes", [{"initialized": False}, {"is_http2": True}])
def test_the_first_request_and_http2_are_gunicorns(plain, connection, changes):
    conn, client = connection
    vars(conn).update(changes)
    client.sendall(POST)

    assert plain.handle(conn) is None


def test_the_last_request_of_a_worker_is_gunicorns(plain, worker, connection):
    worker.nr, worker.max_requests = 9, 10
    conn, client = connection
    client.sendall(POST)

    assert plain.handle(conn) is None


@pytest.mark.parametrize(
    ("peer", "headers", "scheme"),
    [
        ("127.0.0.1", b"X-Forwarded-Proto: https", "https"),
        ("127.0.0.1", b"X-Forwarded-Proto: http", "http"),
        ("127.0.0.1", b"X-Forwarded-Ssl: on", "https"),
        ("192.0.2.1", b"X-Forwarded-Proto: https", "http"),
        ("127.0.0.1", b"X-Other: https", "http"),
    ],
)
def test_the_scheme_is_what_a_trusted_proxy_says(plain, echo, connection, peer, headers, scheme):
    conn, client = connection
    conn.parser.mesg.peer_addr = (peer, 50000)
    client.sendall(POST.replace(b"Accept: */*", headers))

    assert plain.handle(conn) is True
    assert echo.seen[0]["wsgi.url_scheme"] == scheme


def test_a_proxy_that_contradicts_itself_is_gunicorns(plain, connection):
    conn, client = connection
    client.sendall(POST.replace(b"Accept: */*", b"X-Forwarded-Proto: https\r\nX-Forwarded-Ssl: off"))

    assert plain.handle(conn) is None


@pytest.mark.parametrize("fault", [ValueError("a bug"), OSError("a bug")])
def test_a_fault_of_the_application_is_gunicorns_to_report(plain, worker, echo, connection, fault):
    def fail(environ: Any) -> Written:
        raise fault

    echo.answer = fail
    conn, client = connection
    client.sendall(POST)

    assert plain.handle(conn) is False
    assert [str(error) for error in worker.failed] == ["a bug"]
