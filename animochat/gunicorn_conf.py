"""How gunicorn runs the server; used by gunicorn.conf.py (`gunicorn wsgi:app`) and by `animochat serve`.

Lower-case names are gunicorn's settings (its documentation, "Settings"). The environment is checked here, in gunicorn's
master and before any worker exists, so that a mistake stops the start instead of one worker after another.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from animochat.cli.configuration import settings_or_exit
from animochat.environment import masked_url
from animochat.places import MEMORY, writable_places
from animochat.store.embedded import EmbeddedStore, EmbeddedStoreError
from animochat.telemetry import logs

if TYPE_CHECKING:
    from gunicorn.arbiter import Arbiter

#: Seconds in which a worker of gunicorn's own classes tells the store that it ends.
STOP_TIMEOUT = 2.0

_settings = settings_or_exit()
_store: EmbeddedStore | None = None

logs.configure(_settings.log_level, _settings.production)
logger_class = "animochat.telemetry.logs.GunicornLogger"
loglevel = _settings.log_level
proc_name = "animochat"
bind = f"[{_settings.host}]:{_settings.port}" if ":" in _settings.host else f"{_settings.host}:{_settings.port}"
workers = _settings.web_concurrency
worker_class = "animochat.server.process.worker.Worker"
#: Open connections of one worker. The effective bound is the machine's memory and `ulimit -n`.
worker_connections = 100_000
#: Connections that wait to be accepted: after a restart all clients reconnect at once.
backlog = 4_096
#: Seconds without a heartbeat after which the master kills a worker; workers send one every second.
timeout = 60
#: Seconds for stopping, below the 30 after which Heroku and Kubernetes kill. A worker sends its clients elsewhere in
#: the first 8 of them at most, and ends as soon as they are gone.
graceful_timeout = 25
#: Seconds that a connection may idle between two requests: longer than the 60 of usual proxies, which then close first.
keepalive = 75
#: gunicorn 25 and later opens a control socket in the home directory; we leave nothing in the file system.
control_socket_disable = True
# Each worker loads the application itself: it has to be patched for gevent first, and the master is not.
preload_app = False
# The file for a worker's heartbeat: in memory if possible, since a disk may delay it for seconds.
worker_tmp_dir = next((str(place) for place in sorted(writable_places(), key=lambda place: place != MEMORY)), None)


def on_starting(server: Arbiter) -> None:
    """In the master, once, before it listens (not on SIGHUP): refuse what can't work, start the embedded store."""
    global _store
    from animochat.server.process.worker import (
        unsupported,  # late: after the workers' settings, as in gunicorn itself
    )

    problem = unsupported(server.cfg)
    if problem is not None:
        print(f"animochat: {problem}", file=sys.stderr)
        sys.exit(1)
    if _settings.redis_url is None:
        try:
            _store = EmbeddedStore.start(folder=Path.cwd())
        except EmbeddedStoreError as error:
            print(f"animochat: {error}", file=sys.stderr)
            sys.exit(1)
        # The workers inherit this variable.
        os.environ["REDIS_URL"] = _store.url


def when_ready(server: Arbiter) -> None:
    """In the master, once it listens: log the line that people look for after `make run`."""
    store = f"an embedded store at {_store.url}" if _store else f"its store at {masked_url(_settings.redis_url or '')}"
    server.log.info("AniMoChat is at %s, with %s", _page_address(server), store)
    if _settings.production and _settings.admin_token is None:
        server.log.warning("ADMIN_TOKEN is unset: people can file reports, and only `animochat reports` shows them")


def pre_exec(server: Arbiter) -> None:
    """In the new process that SIGUSR2 starts, before it becomes the next master."""
    if _store is not None:
        server.log.error("SIGUSR2 needs REDIS_URL: an embedded store ends with its master")
        os._exit(1)
    command = server.START_CTX["args"]
    if command[1].endswith("/gunicorn/__main__.py"):
        # `python -m gunicorn` runs this file by its path; modules next to it have names of Python's own.
        command[1:2] = ["-m", "gunicorn"]


def worker_exit(server: Arbiter, worker: Any) -> None:
    """In a worker that ends. One of gunicorn's own classes doesn't stop the chat by itself."""
    chat = getattr(getattr(worker, "wsgi", None), "extensions", {}).get("animochat")
    if chat is not None and not getattr(worker, "starts_chat", False):
        chat.stop(STOP_TIMEOUT)


def on_exit(server: Arbiter) -> None:
    """In the master, after the workers have ended."""
    if _store is not None:
        _store.stop()


def _page_address(server: Arbiter) -> str:
    # with --reuse-port each worker has its own listeners, and the master none
    address = server.LISTENERS[0].getsockname() if server.LISTENERS else server.cfg.address[0]
    if not isinstance(address, tuple):
        return str(address)
    host, port = address[:2]
    if host in ("0.0.0.0", "::"):
        host = "localhost"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
