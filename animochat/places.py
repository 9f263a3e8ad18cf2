"""Where temporary files and sockets can be made. Only the standard library is imported here."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

#: Bytes of the longest path that every system takes for a Unix socket, with the end mark.
MAX_SOCKET_PATH = 104

#: In memory, and writable where the rest of a container is not.
MEMORY = Path("/dev/shm")


def writable_places() -> list[Path]:
    """Return where files can be made, the best place first: systemd's for the service, TMPDIR, /tmp, in memory."""
    places = [Path(entry) for entry in os.environ.get("RUNTIME_DIRECTORY", "").split(":") if entry]
    with contextlib.suppress(FileNotFoundError):  # it tries several, and the working directory at last
        places.append(Path(tempfile.gettempdir()))
    places += [Path("/tmp"), MEMORY]
    return [place for place in dict.fromkeys(places) if os.access(place, os.W_OK | os.X_OK)]


def socket_places(ours: int) -> list[Path]:
    """Return those in which a socket can be made of whose path `ours` bytes are added."""
    return [place for place in writable_places() if len(os.fsencode(place)) <= MAX_SOCKET_PATH - ours]


def advice(ours: int) -> str:
    """Return what to do where there is none."""
    return (
        f"no directory to make sockets in: set TMPDIR to one of at most {MAX_SOCKET_PATH - ours} bytes that can be"
        " written to and has space left"
    )
