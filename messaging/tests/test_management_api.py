import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import urlsplit

import pytest

from messaging import conf, topology
from messaging.conf import MessagingConfig
from messaging.errors import BrokerUnavailableError, ConfigurationError
from messaging.management_api import ManagementApi


@pytest.fixture
def config() -> MessagingConfig:
    topology.apply(conf.config())
    return conf.config()


@pytest.fixture
def virtual_host(config: MessagingConfig) -> str:
    return urlsplit(config.url).path[1:]


@pytest.fixture
def stranger() -> Iterator[str]:
    """The URL of a web server that is no RabbitMQ."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(500 if "exchanges" in self.path else 200)
            self.end_headers()
            self.wfile.write(b'{"not": "a list"}' if "bindings" in self.path else b"<html>")

        def log_message(self, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://user:secret@127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("suffix", ["", "/", "/api", "/api/"])
def test_it_tells_what_is_there(config: MessagingConfig, virtual_host: str, suffix: str) -> None:
    api = ManagementApi(config.management_url + suffix, virtual_host=virtual_host)
    assert api.exchanges()["things"]["type"] == "topic"
    assert api.queues()[config.queue]["arguments"]["x-queue-type"] == "quorum"
    assert any(binding["routing_key"] == "thing.happened" for binding in api.bindings())


def test_a_wrong_password_is_a_matter_of_configuration_and_not_shown(
    config: MessagingConfig, virtual_host: str
) -> None:
    url = urlsplit(config.management_url)
    wrong = f"http://{url.username}:secret@{url.hostname}:{url.port}"
    with pytest.raises(ConfigurationError, match="refuses the credentials of RABBITMQ_MANAGEMENT_URL") as caught:
        ManagementApi(wrong, virtual_host=virtual_host).queues()
    assert "secret" not in str(caught.value)


def test_an_unknown_virtual_host_is_named(config: MessagingConfig) -> None:
    with pytest.raises(ConfigurationError, match="no virtual host 'nowhere'"):
        ManagementApi(config.management_url, virtual_host="nowhere").queues()


@pytest.mark.parametrize("url", ["", "localhost:15672", "file:///etc/passwd", "http://host:port", "http://[::1"])
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="RABBITMQ_MANAGEMENT_URL"):
        ManagementApi(url, virtual_host="/")


def test_a_password_that_makes_it_no_url_is_not_shown() -> None:
    with pytest.raises(ConfigurationError, match="RABBITMQ_MANAGEMENT_URL") as caught:
        ManagementApi("http://user:secret/password@host:15672", virtual_host="/")
    assert "secret" not in str(caught.value)


def test_nobody_there_is_unavailable() -> None:
    with pytest.raises(BrokerUnavailableError, match=r"cannot be reached at 127\.0\.0\.1:1:") as caught:
        ManagementApi("http://user:secret@127.0.0.1:1", virtual_host="/").queues()
    assert "secret" not in str(caught.value)


def test_somebody_else_there_is_unavailable(stranger: str) -> None:
    api = ManagementApi(stranger, virtual_host="/")
    with pytest.raises(BrokerUnavailableError, match="it answers 500") as caught:
        api.exchanges()
    assert "secret" not in str(caught.value)
    with pytest.raises(BrokerUnavailableError, match="no JSON"):
        api.queues()
    with pytest.raises(BrokerUnavailableError, match="no list of bindings"):
        api.bindings()
