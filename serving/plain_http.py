"""HTTP for the fast path: requests that can be read in one way only, read and answered in one go.

gunicorn's parser, environ and response are written in Python and ready for everything, which takes longer than placing
an order. This module reads a request of a kept connection that has come as a whole and in the plainest form there is,
and hands it to an application that offers to answer it (`Application.answer`). All else is left to gunicorn, and so is
every word about what is wrong: it finds the bytes as if nobody had read them. This takes a quarter off the CPU time of
a `POST`.
"""

import re
import time
from collections.abc import Iterable
from contextlib import suppress
from email.utils import formatdate
from io import BytesIO
from typing import Any, NamedTuple, Protocol

_MOST_BYTES = 65536
_LONGEST_HEAD = 4000

# No folded lines, no white space where it could be read in two ways, and no underscore in a name, which a WSGI environ
# could not tell from a hyphen.
_HEAD = re.compile(
    rb"(GET|POST) (/[A-Za-z0-9/_-]*) HTTP/1\.1\r\n"
    rb"((?:[A-Za-z][A-Za-z0-9-]*: ?[!-~](?:[\t -~]*[!-~])?\r\n)+)\r\n"
)
_NOT_PLAIN = frozenset({"HTTP_TRANSFER_ENCODING", "HTTP_EXPECT", "HTTP_UPGRADE"})


class Written(NamedTuple):
    """An answer: `201 Created`, its headers with the length, its body."""

    status: str
    headers: Iterable[tuple[str, str]]
    body: bytes


class Application(Protocol):
    """A WSGI application that may answer a request by itself."""

    def answer(self, environ: dict[str, Any]) -> Written | None:
        """None, before anything has happened, for a request that is to take the usual way."""


class Plain(NamedTuple):
    """A whole request."""

    environ: dict[str, Any]
    rest: bytes
    """What has come after it."""


def read(data: bytes, *, longest_head: int = _LONGEST_HEAD, most_fields: int = 100) -> Plain | None:
    """The request that these bytes begin with; None unless it is whole and plain."""
    head = _HEAD.match(data, 0, longest_head)
    if head is None:
        return None
    method, path, lines = head.groups()
    fields = lines.decode("ascii").split("\r\n")
    fields.pop()
    environ: dict[str, Any] = {}
    for field in fields:
        name, _, value = field.partition(":")
        environ["HTTP_" + name.upper().replace("-", "_")] = value.strip(" \t")
    if (
        len(environ) != len(fields)  # one was there twice
        or len(fields) > most_fields
        or "HTTP_HOST" not in environ
        or not _NOT_PLAIN.isdisjoint(environ)
        or environ.get("HTTP_CONNECTION", "keep-alive").lower() != "keep-alive"
    ):
        return None
    start = end = head.end()
    if (length := environ.pop("HTTP_CONTENT_LENGTH", None)) is not None:
        if method != b"POST" or not length.isdecimal() or len(length) > 7:
            return None
        environ["CONTENT_LENGTH"] = length
        end += int(length)
    if end > len(data):
        return None
    if (content_type := environ.pop("HTTP_CONTENT_TYPE", None)) is not None:
        environ["CONTENT_TYPE"] = content_type
    environ |= {
        "REQUEST_METHOD": method.decode(),
        "PATH_INFO": path.decode(),
        "SCRIPT_NAME": "",
        "QUERY_STRING": "",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.input": BytesIO(data[start:end]),
    }
    return Plain(environ, data[end:])


def write(written: Written, *, keep: bool) -> bytes:
    """The answer as it goes out, as gunicorn would write it."""
    head = (
        f"HTTP/1.1 {written.status}\r\nServer: gunicorn\r\nDate: {_date()}\r\n"
        f"Connection: {'keep-alive' if keep else 'close'}\r\n"
    )
    head += "".join(f"{name}: {value}\r\n" for name, value in written.headers)
    return head.encode("latin-1") + b"\r\n" + written.body


_dated = (0, "")


def _date() -> str:
    global _dated
    now = int(time.time())
    if _dated[0] != now:
        _dated = (now, formatdate(now, usegmt=True))
    return _dated[1]


class PlainHTTP:
    """Answers plain requests on gunicorn's connections, for one worker."""

    def __init__(self, worker: Any, application: Application) -> None:
        self._worker = worker
        self._application = application
        cfg = worker.cfg
        # A limit of zero means no limit.
        limits = (cfg.limit_request_line, cfg.limit_request_field_size)
        self._longest_head = min([_LONGEST_HEAD, *(limit for limit in limits if limit > 0)])
        self._most_fields = cfg.limit_request_fields
        self._schemes = {f"HTTP_{name.replace('-', '_')}": value for name, value in cfg.secure_scheme_headers.items()}

    def handle(self, conn: Any) -> bool | None:
        """Answers the next request of a connection that has been served before, and says whether it may bring another.

        None when the request is for gunicorn to read.
        """
        worker = self._worker
        if not conn.initialized or conn.is_http2 or worker.nr + 1 >= worker.max_requests:
            return None
        unreader = conn.parser.unreader
        data = unreader.take_buffered()
        if not data:
            if conn.sock.gettimeout() is not None:
                conn.sock.setblocking(True)
            with suppress(OSError):
                data = conn.sock.recv(_MOST_BYTES)
            if not data:
                return False
        plain = read(data, longest_head=self._longest_head, most_fields=self._most_fields)
        if plain is None or not self._set_place(plain.environ, conn):
            unreader.unread(data)
            return None
        try:
            written = self._application.answer(plain.environ)
        except Exception as error:
            worker.handle_error(None, conn.sock, conn.client, error)
            return False
        if written is None:
            unreader.unread(data)
            return None
        if plain.rest:
            unreader.unread(plain.rest)
        worker.nr += 1
        keep = worker.alive and len(worker.keepalived_conns) < worker.max_keepalived
        try:
            conn.sock.sendall(write(written, keep=keep))
        except OSError:
            return False  # the client has left
        return bool(keep)

    def _set_place(self, environ: dict[str, Any], conn: Any) -> bool:
        """Completes the environ. False when several headers of a proxy name the scheme: gunicorn compares them."""
        scheme = "http"
        if said := environ.keys() & self._schemes.keys():
            if len(said) > 1:
                return False
            (name,) = said
            if environ[name] == self._schemes[name] and conn.parser.mesg._peer_is_trusted_proxy():
                scheme = "https"
        environ["wsgi.url_scheme"] = scheme
        # A socket in the file system has no address.
        environ["REMOTE_ADDR"] = conn.client[0] if isinstance(conn.client, tuple) else ""
        environ["SERVER_NAME"], environ["SERVER_PORT"] = environ["HTTP_HOST"], ""
        if isinstance(conn.server, tuple):
            environ["SERVER_NAME"], environ["SERVER_PORT"] = conn.server[0], str(conn.server[1])
        return True
