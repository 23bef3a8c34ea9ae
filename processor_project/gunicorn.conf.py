"""How gunicorn serves this service. PORT comes from the environment, all else from the settings."""

from observability.metrics import gunicorn_child_exit as child_exit  # noqa: F401
from observability.metrics import gunicorn_on_starting as on_starting  # noqa: F401
from processor_project import settings  # first of all: a missing setting ends the master, with one sentence
from serving.gunicorn import Logger, Worker
from serving.gunicorn import load_all as post_worker_init  # noqa: F401 - gunicorn finds its hooks by name

bind = f"0.0.0.0:{settings.env.between('PORT', 0, 65535, default=8001)}"
workers = settings.WEB_CONCURRENCY
worker_class = Worker
threads = settings.WEB_THREADS
# Longer than a load balancer keeps its connections, so that it never sends into one that is being closed.
keepalive = 75
# sendfile would wait for ever for a client that reads nothing (serving.gunicorn.PATIENCE).
sendfile = False
# Requests under way may finish; the whole process ends within ten seconds.
graceful_timeout = 8
logger_class = Logger
logconfig_dict = settings.LOGGING
# The socket would lie in the user's home: a container may not write there, and two services would share it.
control_socket_disable = True
