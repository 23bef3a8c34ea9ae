"""The cluster for injecting faults does what it says, so that surviving its faults means something."""

from collections.abc import Iterator

import pika.exceptions
import pytest

from dev.servers import Cluster, temporary_folder
from dev.servers.cluster import Node
from tests.broker import Broker

QUEUE = "a-queue"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with temporary_folder() as folder:
        cluster = Cluster(folder / "cluster")
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.discard()


def client_of(node: Node) -> Broker:
    return Broker(node.url, node.management_url)


def publish(node: Node, body: bytes) -> None:
    """Returns when the queue has confirmed it."""
    with client_of(node).channel() as channel:
        channel.queue_declare(QUEUE, durable=True, arguments={"x-queue-type": "quorum"})
    client_of(node).publish(body, routing_key=QUEUE)


def bodies(node: Node) -> list[bytes]:
    """Takes all messages out of the queue."""
    found = []
    with client_of(node).channel() as channel:
        while (message := channel.basic_get(QUEUE, auto_ack=True))[0] is not None:
            found.append(message[2])
    return found


def test_a_leader_that_is_cut_off_lets_nobody_work_and_the_others_go_on_without_it(cluster: Cluster) -> None:
    publish(cluster.nodes[0], b"before")
    leader = cluster.leader_of(QUEUE)
    first, second = (node for node in cluster.nodes if node is not leader)

    cluster.cut_off(leader)

    assert leader.is_running()
    assert cluster.working_nodes() == [first, second]
    assert cluster.leader_of(QUEUE) in (first, second)
    publish(first, b"meanwhile")
    with pytest.raises(pika.exceptions.AMQPConnectionError):
        publish(leader, b"never")

    cluster.reconnect(leader)

    assert cluster.working_nodes() == cluster.nodes
    publish(leader, b"after")
    assert bodies(second) == [b"before", b"meanwhile", b"after"]


def test_a_leader_that_is_killed_comes_back_as_a_member(cluster: Cluster) -> None:
    publish(cluster.nodes[0], b"before")
    leader = cluster.leader_of(QUEUE)

    leader.kill()

    others = cluster.working_nodes()
    assert leader not in others
    assert cluster.leader_of(QUEUE) in others
    publish(others[0], b"meanwhile")

    cluster.start()

    assert cluster.working_nodes() == cluster.nodes
    assert bodies(leader) == [b"before", b"meanwhile"]
