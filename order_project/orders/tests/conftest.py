"""A stand-in for the other service, and files to import."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, cast

import pytest
from pytest_django.fixtures import Settings

HEADER = "order,customer_id,product_id,quantity,price"


class Processor(HTTPServer):
    """The other service: answers what a test tells it to."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status = 200
        self.body: bytes | None = None
        self.half: dict[str, Any] = {
            "service": "processor",
            "status": "pending",
            "waits_for": None,
            "notes": [],
            "events": [],
        }
        self.asked: list[tuple[str, dict[str, str]]] = []

    def tells(self, *events: dict[str, Any], **changes: Any) -> None:
        self.half |= {"events": list(events)} | changes


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        processor = cast(Processor, self.server)
        processor.asked.append((self.path, dict(self.headers)))
        body = json.dumps(processor.half).encode() if processor.body is None else processor.body
        self.send_response(processor.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def processor(settings: Settings) -> Iterator[Processor]:
    server = Processor()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    settings.LEDGER = settings.LEDGER | {"PEER_URL": f"http://127.0.0.1:{server.server_port}/", "PEER_TOKEN": "t"}
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def no_processor(settings: Settings) -> None:
    settings.LEDGER = settings.LEDGER | {"PEER_URL": "http://127.0.0.1:1/"}


@pytest.fixture
def ndjson(tmp_path: Path) -> Callable[..., Path]:
    def write(*lines: Any, name: str = "orders.ndjson") -> Path:
        """A file with these lines, each an order or a text that is written as it is."""
        path = tmp_path / name
        path.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))
        return path

    return write


@pytest.fixture
def csv(tmp_path: Path) -> Callable[..., Path]:
    def write(*rows: str, header: str = HEADER, name: str = "orders.csv") -> Path:
        path = tmp_path / name
        path.write_text("".join(f"{row}\n" for row in (header, *rows)), encoding="utf-8", errors="surrogateescape")
        return path

    return write
