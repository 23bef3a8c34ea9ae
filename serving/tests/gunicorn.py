"""A real gunicorn for the tests, seen by the log lines and metrics of `observability`, which stands above `serving`."""

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

CONF = Path(__file__).with_name("gunicorn.conf.py")


class Gunicorn:
    """A running server. End it with `stop`."""

    def __init__(self, *, settings: str, **environment: str) -> None:
        self.lines: list[str] = []
        """What it has written so far, standard output and error together."""
        self._news = threading.Condition()
        self._ended = False
        self._process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "-c", CONF, "django.core.wsgi:get_wsgi_application()"],
            env={**os.environ, "DJANGO_SETTINGS_MODULE": settings, **environment},
            cwd=Path(__file__).parents[2],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._news:
                self.lines.append(line)
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    def wait_for(self, text: str, times: int = 1) -> list[dict[str, Any]]:
        """The log lines whose message has the text, once there are as many. Fails when the server ends before."""

        def matching() -> list[dict[str, Any]]:
            return [line for line in map(json.loads, self.lines) if text in line["message"]]

        with self._news:
            self._news.wait_for(lambda: self._ended or len(matching()) >= times, timeout=60)
            found = matching()
        assert len(found) >= times, f"{text!r} not logged {times} times: {self.lines}"
        return found

    @property
    def url(self) -> str:
        (line, *_) = self.wait_for("Listening at")
        words: list[str] = line["message"].split()
        return next(word for word in words if word.startswith("http://"))

    def begin_to_stop(self) -> None:
        """Asks it to end, as an operator would. Returns once it has heard that."""
        self._process.terminate()
        self.wait_for("Handling signal: term")

    def stop(self) -> int:
        """Ends it as an operator would, and returns its exit code."""
        self._process.terminate()
        try:
            return self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise


@contextmanager
def gunicorn(*, settings: str, **environment: str) -> Iterator[Gunicorn]:
    """A gunicorn with two workers, both up, whose temporary files are in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="gunicorn-") as folder:
        server = Gunicorn(settings=settings, **{"TMPDIR": folder, **environment})
        try:
            server.wait_for("Booting worker", times=2)
            yield server
        finally:
            server.stop()


def get(server: Gunicorn, path: str, **headers: str) -> httpx.Response:
    # A connection of its own each time, so that either worker may take it.
    return httpx.get(server.url + path, headers=headers, timeout=30)


def ask_both_workers(server: Gunicorn) -> tuple[int, set[int]]:
    """Sends requests until both workers have answered. Returns how many it took, and the workers' pids."""
    pids: set[int] = set()
    for sent in range(1, 501):
        pids.add(get(server, f"/pids/{sent}").json()["pid"])
        if len(pids) == 2:
            return sent, pids
    raise AssertionError("one worker took 500 requests")


def count(server: Gunicorn, name: str, **labels: str) -> float | None:
    samples = [
        sample
        for family in text_string_to_metric_families(get(server, "/metrics").text)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    ]
    assert len(samples) <= 1, f"one series, not one per worker: {samples}"
    return samples[0].value if samples else None
