"""Which server loads the application, and whether it can run it."""

from __future__ import annotations

import inspect
import os
import sys
from typing import Any

from gevent import monkey

#: The refusal where it is no worker of gunicorn's.
NO_WORKER = (
    "no other server can run it: start it with `animochat serve`, or with gunicorn, its worker class"
    " animochat.server.process.worker.Worker, and without --preload"
)

NOT_PATCHED = "gevent has to patch the standard library first: from gevent import monkey; monkey.patch_all()"


def is_patched() -> bool:
    """Return whether sockets wait in greenlets. Without that, the first wait for the store holds up everyone."""
    return bool(monkey.is_module_patched("socket"))


def is_about_to_serve() -> bool:
    """Return whether `flask run` or gunicorn loads the application, and not a test or a script."""
    flask = os.environ.get("FLASK_RUN_FROM_CLI") == "true" and "run" in sys.argv
    return flask or os.environ.get("SERVER_SOFTWARE", "").startswith("gunicorn/")


def loading_worker() -> Any:
    """Return the gunicorn worker that loads the application at this moment; None where none does."""
    base = sys.modules.get("gunicorn.workers.base")
    frame = inspect.currentframe()
    while base is not None and frame is not None:
        worker = frame.f_locals.get("self")
        if isinstance(worker, base.Worker):
            return worker
        frame = frame.f_back
    return None
