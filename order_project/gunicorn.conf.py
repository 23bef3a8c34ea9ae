"""How gunicorn serves this service. PORT comes from the environment, all else from the settings."""

from observability.metrics import gunicorn_child_exit as child_exit  # noqa: F401
from observability.metrics import gunicorn_on_starting as on_starting  # noqa: F401
from order_project import settings  # what is missing there ends the master, with one sentence
from serving.gunicorn import Logger, Worker
from serving.gunicorn import load_all as post_worker_init  # noqa: F401 - gunicorn finds its hooks by name

bind = f"0.0.0.0:{settings.env.between('PORT', 0, 65535, default=8000)}"
workers = settings.WEB_CONCURRENCY
worker_class = Worker
threads = settings.WEB_THREADS
# Those who wait have a connection each, and leave gunicorn's thousand to the others.
worker_connections = 1000 + settings.WAITING_MAX_CLIENTS
# Longer than a load balancer keeps its connections, so that it never sends into one that is being closed.
keepalive = 75
# It would wait for ever for a client that takes nothing (serving.gunicorn.PATIENCE).
sendfile = False
# Requests under way finish; the whole process leaves within ten seconds.
graceful_timeout = 8
logger_class = Logger
logconfig_dict = settings.LOGGING
# It would lie in the user's home, which a container may not write and two services would share.
control_socket_disable = True
