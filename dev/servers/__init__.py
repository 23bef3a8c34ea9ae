"""A PostgreSQL and a RabbitMQ of the project's own: private data, private ports, 127.0.0.1 only.

Both run as children of the calling process, leave nothing behind when stopped, and end with it when it is killed. The
data in their folder outlives them. Under root they run as an unprivileged user, because PostgreSQL refuses root.
"""

from dev.servers.base import PASSWORD, USER, Server, ServerError, temporary_folder
from dev.servers.cluster import Cluster
from dev.servers.postgresql import PostgreSQL
from dev.servers.rabbitmq import RabbitMQ

__all__ = ["PASSWORD", "USER", "Cluster", "PostgreSQL", "RabbitMQ", "Server", "ServerError", "temporary_folder"]
