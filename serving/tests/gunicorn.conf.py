import os

from observability.metrics import gunicorn_child_exit as child_exit  # noqa: F401
from observability.metrics import gunicorn_on_starting as on_starting  # noqa: F401
from observability.tests.settings import LOGGING
from serving import gunicorn
from serving.gunicorn import load_all as post_worker_init  # noqa: F401 - gunicorn finds its hooks by name

gunicorn.PATIENCE = float(os.environ.get("PATIENCE", gunicorn.PATIENCE))
bind = "127.0.0.1:0"
workers = 2
sendfile = False
worker_class = "serving.gunicorn.Worker"
threads = 2
logconfig_dict = LOGGING
logger_class = "serving.gunicorn.Logger"
control_socket_disable = True  # its place is one per user, and two servers would fight for it
