"""Read by gunicorn by itself; `animochat serve` uses the same module, wherever the package is installed."""

from animochat.gunicorn_conf import *  # noqa: F403
