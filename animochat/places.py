"""Places for temporary files and sockets. This module imports only the standard library."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

#: Maximal bytes of a Unix socket's path on every system, including the end mark.
MAX_SOCKET_PATH = 104

#: A directory in memory, which is writable even in containers that are otherwise read-only.
MEMORY = Path("/dev/shm")


def writable_places() -> list[Path]:
    """Return directories for files, the best first: systemd's for the service, TMPDIR, /tmp, in memory."""
    places = [Path(entry) for entry in os.environ.get("RUNTIME_DIRECTORY", "").split(":") if entry]
    with contextlib.suppress(FileNotFoundError):  # it tries several, the working directory last
        places.append(Path(tempfile.gettempdir()))
    places += [Path("/tmp"), MEMORY]
    return [place for place in dict.fromkeys(places) if os.access(place, os.W_OK | os.X_OK)]


def socket_places(ours: int) -> list[Path]:
    """Return those in which a socket can be made whose path has `ours` more bytes."""
    return [place for place in writable_places() if len(os.fsencode(place)) <= MAX_SOCKET_PATH - ours]


def advice(ours: int) -> str:
    """Return the advice if there is no such place."""
    return (
        f"no directory to make sockets in: set TMPDIR to one of at most {MAX_SOCKET_PATH - ours} bytes that can be"
        " written to and has space left"
    )
