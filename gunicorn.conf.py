"""How gunicorn serves the app: threads, because requests wait for the database and for Stripe."""

import os

wsgi_app = "app:create_app()"
bind = os.environ.get("WEB_BIND", "127.0.0.1:5000")
worker_class = "gthread"
workers = int(os.environ.get("WEB_CONCURRENCY", "1"))
threads = int(os.environ.get("WEB_THREADS", "8"))
# Longer than the slowest call to Stripe (10 s, with two retries), so that no worker is killed in the middle of one.
timeout = 60
graceful_timeout = 20
keepalive = 5
accesslog = None
# The control socket would be one more thing in the home directory, and nothing uses it.
control_socket_disable = True
