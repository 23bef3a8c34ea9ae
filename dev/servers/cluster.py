"""A cluster of three RabbitMQ nodes on this machine, which can be stopped, killed and cut off from each other."""

import http.client
import json
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from urllib.parse import quote

from dev.servers.base import READY_WITHIN, NotReadyError, ServerError, unprivileged_user
from dev.servers.rabbitmq import Epmd, RabbitMQ, manage

COOKIE = "of-this-cluster"
CONFIGURATION = """\
cluster_partition_handling = pause_minority
cluster_formation.peer_discovery_backend = classic_config
raft.wal_max_size_bytes = 32000000
"""

# Erlang nodes only talk to nodes with the same secret. So a node that expects another secret of the others is alone:
# its connections break now, and neither side can make new ones.
_FORGET = "[erlang:set_cookie(N, 'of-nobody') || N <- [{others}]], [erlang:disconnect_node(N) || N <- nodes()]."
_REMEMBER = "[erlang:set_cookie(N, erlang:get_cookie()) || N <- [{others}]]."


class Node(RabbitMQ):
    """One node of a running cluster. `start`, `stop` and `kill` are for this node only."""

    def __init__(self, folder: Path, cluster: "Cluster") -> None:
        super().__init__(folder)
        self.node = f"{folder.name}@localhost"
        self.name = f"RabbitMQ {self.node}"
        self._cluster = cluster

    def _prepare_folder(self) -> None:
        super()._prepare_folder()
        cookie = self.folder / ".erlang.cookie"
        if not cookie.exists():
            cookie.write_text(COOKIE)
            cookie.chmod(0o400)
            if self.user:
                shutil.chown(cookie, self.user)

    def _configuration(self) -> str:
        members = "".join(
            f"cluster_formation.classic_config.nodes.{number} = {node.node}\n"
            for number, node in enumerate(self._cluster.nodes, start=1)
        )
        return super()._configuration() + CONFIGURATION + members

    def _map_ports(self) -> Epmd:
        return self._cluster.epmd

    def _end_epmd(self) -> None:
        """Leaves epmd running: the other nodes are registered with it, too."""


class Cluster:
    """Three nodes. While two of them see each other, these two let clients work, and quorum queues work."""

    def __init__(self, folder: Path) -> None:
        """`folder` is made if it does not exist, where `unprivileged_user()` must be able to reach it."""
        self.folder = folder
        self.epmd = Epmd(folder, unprivileged_user())
        self.nodes: list[Node] = []
        self.nodes += [Node(folder / letter, self) for letter in "abc"]

    @property
    def url(self) -> str:
        """The URLs of all nodes, as RABBITMQ_URL takes them."""
        return ",".join(node.url for node in self.nodes)

    @property
    def management_url(self) -> str:
        """The URL of one node that lets clients work."""
        return self.working_nodes()[0].management_url

    def start(self) -> None:
        """Starts the nodes that do not run. Returns when all three see each other."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.epmd.start()
        stopped = [node for node in self.nodes if not node.is_running()]
        for node in stopped:
            node.launch()
        for node in stopped:
            node.wait()
        for node in self.nodes:
            self._wait(partial(_sees_all, node), f"{node.node} sees the other two")

    def stop(self) -> None:
        with ThreadPoolExecutor() as together:
            for node in self.nodes:
                together.submit(node.stop)
        self.epmd.stop()

    def discard(self) -> None:
        """End it at once, for when its data is thrown away too."""
        for node in self.nodes:
            node.discard()
        self.epmd.stop()

    def is_running(self) -> bool:
        """Whether all three nodes run."""
        return all(node.is_running() for node in self.nodes)

    def working_nodes(self) -> list[Node]:
        """The nodes that let clients work."""
        return [node for node in self.nodes if node.is_running() and _answers(node)]

    def leader_of(self, queue: str) -> Node:
        """The working node that leads a quorum queue, once there is one. Raises ServerError when there never is."""

        def leader() -> Node | None:
            path = f"/api/queues/%2F/{quote(queue, safe='')}"
            working = self.working_nodes()
            name = working and json.loads(manage(working[0].management_url, "GET", path)).get("leader")
            return next((node for node in working if node.node == name), None)

        return self._wait(leader, f"a working node leads {queue}")

    def cut_off(self, node: Node) -> None:
        """Parts a node from the other two, as a broken network between them would; clients still reach all three.

        Returns when the node has noticed, and lets no client work any more.
        """
        node.ask_node("eval", _FORGET.format(others=self._others(node)))
        self._wait(lambda: not _answers(node), f"{node.node} pauses")

    def reconnect(self, node: Node) -> None:
        """Undoes `cut_off`. Returns when the node works with the others again."""
        node.ask_node("eval", _REMEMBER.format(others=self._others(node)))
        self._wait(partial(_sees_all, node), f"{node.node} sees the other two")

    def _others(self, node: Node) -> str:
        return ", ".join(other.node for other in self.nodes if other is not node)

    def _wait[T](self, look: Callable[[], T | None], what: str) -> T:
        deadline = time.monotonic() + READY_WITHIN
        while time.monotonic() < deadline:
            with suppress(OSError, http.client.HTTPException):  # the node that is asked may be about to end
                if seen := look():
                    return seen
            time.sleep(0.1)
        raise ServerError(f"It did not come that {what}.")


def _answers(node: Node) -> bool:
    try:
        node.probe()
    except NotReadyError:
        return False
    return True


def _sees_all(node: Node) -> bool:
    """Whether the node lets clients work, and sees all three running."""
    seen = json.loads(manage(node.management_url, "GET", "/api/nodes")) if _answers(node) else []
    return [one["running"] for one in seen] == [True] * 3
