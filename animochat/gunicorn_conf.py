"""How gunicorn runs the server; used by gunicorn.conf.py (`gunicorn wsgi:app`) and by `animochat serve`.

Lower-case names are gunicorn's settings (its documentation, "Settings"). Checking the environment happens here, in
gunicorn's master and before any worker exists, so that a mistake stops the start instead of one worker after the other.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from animochat.cli.configuration import settings_or_exit
from animochat.environment import masked_url
from animochat.places import MEMORY, writable_places
from animochat.store.embedded import EmbeddedStore, EmbeddedStoreError
from animochat.telemetry import logs

if TYPE_CHECKING:
    from gunicorn.arbiter import Arbiter

_settings = settings_or_exit()
_store: EmbeddedStore | None = None

logs.configure(_settings.log_level, _settings.production)
logger_class = "animochat.telemetry.logs.GunicornLogger"
loglevel = _settings.log_level
proc_name = "animochat"
bind = f"[{_settings.host}]:{_settings.port}" if ":" in _settings.host else f"{_settings.host}:{_settings.port}"
workers = _settings.web_concurrency
worker_class = "animochat.server.process.worker.Worker"
#: Open connections of one worker. The bound that matters is the machine's memory and `ulimit -n`.
worker_connections = 100_000
#: Connections that wait to be accepted: after a restart everybody comes back at once.
backlog = 4_096
#: Seconds without a sign of life after which the master kills a worker; workers give one every second.
timeout = 60
#: Seconds to stop in, below the 30 after which Heroku and Kubernetes kill. A worker sends its people elsewhere in the
#: first 8 of them at most, and is gone as soon as they are.
graceful_timeout = 25
#: Seconds that a connection may idle between two requests: longer than the 60 of usual proxies, who then close first.
keepalive = 75
#: gunicorn 25 and later opens a control socket in the home directory; we leave nothing in the file system.
control_socket_disable = True
# Each worker loads the application for itself: it has to be patched for gevent first, and the master is not.
preload_app = False
# A worker's sign of life: in memory where there is such a place, since on a disk it can be delayed for seconds.
worker_tmp_dir = next((str(place) for place in sorted(writable_places(), key=lambda place: place != MEMORY)), None)


def on_starting(server: Arbiter) -> None:
    """In the master, once, before it listens (not upon SIGHUP): refuse what can't work, start the embedded store."""
    global _store
    from animochat.server.process.worker import (
        unsupported,  # late: as gunicorn itself does, behind the workers' settings
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
        # The workers inherit it.
        os.environ["REDIS_URL"] = _store.url


def when_ready(server: Arbiter) -> None:
    """In the master, once it listens: the one line that somebody who has just typed `make run` looks for."""
    store = f"an embedded store at {_store.url}" if _store else f"its store at {masked_url(_settings.redis_url or '')}"
    server.log.info("AniMoChat is at %s, with %s", _page_address(server), store)
    if _settings.production and _settings.admin_token is None:
        server.log.warning("ADMIN_TOKEN is unset: people can file reports, and only `animochat reports` shows them")


def pre_exec(server: Arbiter) -> None:
    """In a new process that SIGUSR2 has asked for, before it becomes the next master."""
    if _store is not None:
        server.log.error("SIGUSR2 needs REDIS_URL: an embedded store ends with its master")
        os._exit(1)
    command = server.START_CTX["args"]
    if command[1].endswith("/gunicorn/__main__.py"):
        # `python -m gunicorn` runs this file by its path, next to which are modules with names of Python's own.
        command[1:2] = ["-m", "gunicorn"]


def on_exit(server: Arbiter) -> None:
    """In the master, when the workers are gone."""
    if _store is not None:
        _store.stop()


def _page_address(server: Arbiter) -> str:
    # with --reuse-port each worker has listeners of its own, and the master none
    address = server.LISTENERS[0].getsockname() if server.LISTENERS else server.cfg.address[0]
    if not isinstance(address, tuple):
        return str(address)
    host, port = address[:2]
    if host in ("0.0.0.0", "::"):
        host = "localhost"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
