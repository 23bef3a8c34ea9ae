"""How gunicorn serves: its worker, requests that wait without a thread, plain requests that bypass its parser.

And the garbage collector, also for processes without gunicorn.
"""
