"""The private directory in which the workers of one gunicorn master find each other's sockets.

The master makes it before the first worker and removes it at its end. Workers learn of it through the environment, and
the last one removes it should the master be killed. Whatever remains when all of them are killed at once is removed by
the next master that starts.
"""

from __future__ import annotations

import atexit
import errno
import os
import shutil
import socket
import stat
import tempfile
from pathlib import Path

_VARIABLE = "ANIMOCHAT_RUN_DIRECTORY"
_PREFIX = "animochat-run-"

#: Bytes of the longest path that every system takes for a Unix socket, with the end mark.
_MAX_PATH = 104


class RunDirectory:
    """One such directory; its mode is 0700."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)

    @classmethod
    def create(cls, uid: int, gid: int) -> RunDirectory:
        """In the master: make it for workers that run as `uid`, and name it in the environment.

        A master that was started to replace another one (SIGUSR2) shares that one's: each has sessions that requests
        accepted by the other's workers are for.
        """
        base = Path(tempfile.gettempdir())
        if len(os.fsencode(base)) > _MAX_PATH - 60:
            base = Path("/tmp")
        _remove_abandoned(base)
        predecessor = os.environ.get("GUNICORN_PID", "")
        shared = [path for path in base.glob(f"{_PREFIX}{predecessor}-*") if _is_private(path)] if predecessor else []
        path = shared[0] if shared else Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=base))
        if uid != os.geteuid() or gid != os.getegid():
            os.chown(path, uid, gid)
        os.environ[_VARIABLE] = str(path)
        directory = cls(str(path))
        atexit.register(directory._remove_at_exit, os.getpid())
        return directory

    @classmethod
    def inherited(cls) -> RunDirectory | None:
        """In a worker: the master's, if it has made one and it is still private."""
        path = os.environ.get(_VARIABLE)
        return cls(path) if path and _is_private(Path(path)) else None

    def path_of(self, name: str) -> str:
        """Where the socket of that name is, or will be."""
        return str(self._path / name)

    def remove_dead(self) -> None:
        """Remove the sockets of processes that no longer exist."""
        for path in _sockets(self._path):
            if _refuses(path):
                path.unlink(missing_ok=True)

    def remove_if_orphaned(self) -> None:
        """In a worker that ends: with the master gone, the last one removes the directory."""
        if not _process_exists(_master_of(self._path)):
            _remove(self._path)

    def _remove_at_exit(self, master: int) -> None:
        if os.getpid() == master:  # forked workers have inherited the registration
            _remove(self._path)


def _master_of(path: Path) -> int:
    """The process id in a run directory's name, 0 if there is none."""
    number = path.name.removeprefix(_PREFIX).partition("-")[0]
    return int(number) if number.isascii() and number.isdigit() else 0


def _process_exists(pid: int) -> bool:
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except OSError as error:
        return error.errno == errno.EPERM
    return True


def _is_private(path: Path) -> bool:
    """Whether it is a directory of ours that nobody else can enter."""
    try:
        status = path.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o077


def _sockets(path: Path) -> list[Path]:
    try:
        return [entry for entry in path.iterdir() if not entry.name.startswith(".")]
    except OSError:
        return []


def _refuses(path: Path) -> bool:
    """Whether nobody listens on a socket any more."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
    return False


def _remove(path: Path) -> None:
    """Remove the directory, unless somebody listens in it."""
    if all(_refuses(entry) for entry in _sockets(path)):
        shutil.rmtree(path, ignore_errors=True)


def _remove_abandoned(base: Path) -> None:
    """Remove what masters have left that were killed together with all their workers."""
    for path in base.glob(f"{_PREFIX}*"):
        if _is_private(path) and not _process_exists(_master_of(path)):
            _remove(path)
