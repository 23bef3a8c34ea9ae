"""A RabbitMQ of our own."""

import base64
import http.client
import json
import signal
import socket
import subprocess
import time
import urllib.request
from pathlib import Path
from tempfile import TemporaryFile
from urllib.parse import quote, urlsplit

from dev import programs
from dev.processes import end, free_port, spawn
from dev.servers.base import PASSWORD, USER, NotReadyError, Server, ServerError

_NOT_INSTALLED = "RabbitMQ's server programs are not installed: `python -m dev.packages servers`"

CONFIGURATION = """\
listeners.tcp.1 = 127.0.0.1:{port}
management.tcp.ip = 127.0.0.1
management.tcp.port = {management_port}
default_user = {user}
default_pass = {password}
vm_memory_high_watermark.absolute = 1GB
disk_free_limit.absolute = 200MB
log.console = true
log.file = false
"""


class RabbitMQ(Server):
    """With the management plugin. The user `dev` may do everything. Costs next to nothing when idle."""

    name = "RabbitMQ"
    stop_signal = signal.SIGTERM

    node = "dev@localhost"
    """A name that needs no resolver. The node has its own port mapper, so it meets no other node of that name."""

    def __init__(self, folder: Path, *, port: int | None = None, management_port: int | None = None) -> None:
        super().__init__(folder, port=port)
        self.management_port = management_port or free_port()
        self._node_port = free_port()
        self.epmd: Epmd | None = None

    @property
    def url(self) -> str:
        return self.vhost_url("/")

    def vhost_url(self, vhost: str) -> str:
        return f"amqp://{USER}:{PASSWORD}@127.0.0.1:{self.port}/{quote(vhost, safe='')}"

    @property
    def management_url(self) -> str:
        """The HTTP API of the management plugin, with credentials."""
        return f"http://{USER}:{PASSWORD}@127.0.0.1:{self.management_port}"

    def launch(self) -> None:
        server = programs.find_rabbitmq()
        if server is None:
            raise ServerError(_NOT_INSTALLED)
        self._prepare_folder()
        self._write_configuration()
        self.epmd = self._map_ports()
        self._spawn([server], self._node_environment())

    def probe(self) -> None:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 5) as connection:
                connection.sendall(b"AMQP\x00\x00\x09\x01")
                if not connection.recv(1):
                    raise NotReadyError
            manage(self.management_url, "GET", "/api/overview")
        except (OSError, http.client.HTTPException) as error:
            raise NotReadyError from error

    def stop(self) -> None:
        super().stop()
        self._end_epmd()

    def kill(self) -> None:
        super().kill()
        self._end_epmd()

    def create_vhost(self, name: str) -> str:
        """Makes a virtual host, whose exchanges and queues nobody else sees, and returns its AMQP URL."""
        create_vhost(self.management_url, name)
        return self.vhost_url(name)

    def delete_vhost(self, name: str) -> None:
        delete_vhost(self.management_url, name)

    def ask_node(self, *command: str) -> str:
        """What `rabbitmqctl` answers about this node. Raises ServerError when it fails."""
        server = programs.find_rabbitmq()
        assert server is not None
        with TemporaryFile() as answer:
            process = spawn(
                [server.with_name("rabbitmqctl"), "--quiet", *command],
                cwd=self.folder,
                env=self._node_environment(),
                output=answer,
                user=self.user,
            )
            code = process.wait()
            answer.seek(0)
            said = answer.read().decode(errors="replace")
        if code:
            raise ServerError(f"rabbitmqctl {' '.join(command)} failed: {said}")
        return said

    def _map_ports(self) -> "Epmd":
        """The running port mapper that this node registers with."""
        epmd = Epmd(self.folder, self.user)
        epmd.start()
        return epmd

    def _end_epmd(self) -> None:
        if self.epmd is not None:
            self.epmd.stop()
            self.epmd = None

    def _configuration(self) -> str:
        ports = {"port": self.port, "management_port": self.management_port}
        return CONFIGURATION.format(**ports, user=USER, password=PASSWORD)

    def _write_configuration(self) -> None:
        files = {
            "rabbitmq.conf": self._configuration(),
            "advanced.config": "[].\n",
            "rabbitmq-env.conf": "",
            "enabled_plugins": "[rabbitmq_management].\n",
        }
        for name, content in files.items():
            (self.folder / name).write_text(content)

    def _node_environment(self) -> dict[str, str]:
        assert self.epmd is not None
        return self._environment() | {
            "ERL_EPMD_PORT": str(self.epmd.port),
            "RABBITMQ_NODENAME": self.node,
            "RABBITMQ_DIST_PORT": str(self._node_port),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "data"),
            "RABBITMQ_LOG_BASE": str(self.folder),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_PID_FILE": str(self.folder / "node.pid"),
            # All of these, or the machine's own files in /etc/rabbitmq would be read.
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"),
            "RABBITMQ_CONFIG_FILES": str(self.folder / "conf.d"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self.folder / "advanced.config"),
            "RABBITMQ_CONF_ENV_FILE": str(self.folder / "rabbitmq-env.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "enabled_plugins"),
            # Two schedulers that sleep when there is nothing to do, instead of one spinning per core.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none "
            "-kernel inet_dist_use_interface {127,0,0,1}",
            # The script becomes the node instead of watching over it, so our signals reach the node itself.
            "RUNNING_UNDER_SYSTEMD": "true",
        }


class Epmd:
    """Erlang's port mapper, in the foreground: without one, a node would start its own, which never ends."""

    def __init__(self, folder: Path, user: str | None) -> None:
        self.port = free_port()
        self._folder = folder
        self._user = user
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it. Does nothing while it runs."""
        if self._process is not None and self._process.poll() is None:
            return
        program = programs.find_epmd()
        if program is None:
            raise ServerError(_NOT_INSTALLED)
        self._process = spawn(
            [program, "-port", str(self.port), "-address", "127.0.0.1"],
            cwd=self._folder,
            env={},
            output=subprocess.DEVNULL,
            user=self._user,
        )
        _wait_for_port(self.port, self._process)

    def stop(self) -> None:
        if self._process is not None:
            end(self._process)
            self._process = None


def create_vhost(management_url: str, name: str) -> None:
    """Make the virtual host `name` and let the user of `management_url` do everything in it."""
    user = urlsplit(management_url).username or ""
    manage(management_url, "PUT", f"/api/vhosts/{quote(name, safe='')}")
    everything = {"configure": ".*", "write": ".*", "read": ".*"}
    manage(management_url, "PUT", f"/api/permissions/{quote(name, safe='')}/{quote(user, safe='')}", everything)


def delete_vhost(management_url: str, name: str) -> None:
    """Remove the virtual host `name` with its queues. Clients that are connected to it lose their connection."""
    manage(management_url, "DELETE", f"/api/vhosts/{quote(name, safe='')}")


DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""For this machine's own servers: ignores the proxies of the environment, which do not know them."""


def manage(management_url: str, method: str, path: str, body: object = None) -> bytes:
    """One call of the management plugin's HTTP API. Raises OSError when it fails (urllib's HTTPError is one)."""
    parts = urlsplit(management_url)
    request = urllib.request.Request(
        f"{parts.scheme}://{parts.hostname}:{parts.port}{path}",
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    credentials = base64.b64encode(f"{parts.username}:{parts.password}".encode()).decode()
    request.add_header("Authorization", f"Basic {credentials}")
    with DIRECT.open(request, timeout=30) as answer:
        content: bytes = answer.read()
    return content


def _wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None:
        try:
            return socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.02)
    raise ServerError("Erlang's port mapper (epmd) did not start.")
