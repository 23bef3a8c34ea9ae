"""How gunicorn serves: its worker, requests that wait without a thread, plain requests beside its parser.

And the garbage collector, also of processes without gunicorn.
"""
