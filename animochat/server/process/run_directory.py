"""The private directory with the sockets and metrics of all workers of one gunicorn master.

The master makes it before the first worker and names it in the environment. Master and workers each hold a shared lock
on it, which the kernel releases however they end: the last one removes the directory; if all were killed together, the
next master that starts does. systemd's cleaner of temporary files skips locked directories. If something else removes
it, workers notice with their next heartbeat and make it again.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import fcntl
import os
import shutil
import socket
import stat
import tempfile
from pathlib import Path

from animochat.places import advice, socket_places, writable_places

#: Names the directory for the workers, and for a master that replaces this one.
VARIABLE = "ANIMOCHAT_RUN_DIRECTORY"
_PREFIX = "animochat-run-"

#: Bytes that we need in a socket's path: the directory's name, a slash, a worker's id.
_OUR_PART = 60

#: The bit of a socket's mode, without another meaning there, that shows that its owner listens, or did. Between bind()
#: and listen() a socket refuses connections like one whose owner is dead.
LISTENS = stat.S_ISVTX

#: This process's own directory, or the master's in a worker that has just been forked.
_current: tuple[int, RunDirectory] | None = None


class RunDirectoryError(Exception):
    """There is no place for the directory; the message says how to fix that."""


class RunDirectory:
    """A run directory; its mode is 0700."""

    def __init__(self, path: str) -> None:
        self.path = Path(path)
        self._lock: int | None = None

    @classmethod
    def create(cls, uid: int, gid: int) -> RunDirectory:
        """In the master: make it for workers that run as `uid`, and name it in the environment.

        A master that was started to replace another one (SIGUSR2) shares that one's directory: the workers of each may
        accept requests for sessions of the other's.

        Raises:
            RunDirectoryError: none can be made.
        """
        global _current
        directory = cls(str(_shared_with_predecessor(uid) or _make(uid)))
        if uid != os.geteuid() or gid != os.getegid():
            os.chown(directory.path, uid, gid)
        directory._hold()
        os.environ[VARIABLE] = str(directory.path)
        _current = os.getpid(), directory
        atexit.register(directory._leave_at_exit, os.getpid())
        return directory

    @classmethod
    def inherited(cls) -> RunDirectory | None:
        """In a worker: return the master's directory, if there is one. Call :meth:`ensure` before using it."""
        global _current
        if _current is not None and _current[0] == os.getpid():
            return _current[1]
        if _current is not None:
            _current[1]._drop_copy()
        path = os.environ.get(VARIABLE)
        _current = (os.getpid(), cls(path)) if path else None
        return _current[1] if _current is not None else None

    def ensure(self) -> bool:
        """Make the directory again if it was removed; return whether it was.

        Raises:
            OSError: it can't be made, or others can enter the one that is there.
        """
        if self._lock is not None and _same_file(self.path, self._lock):
            return False
        was_held = self._lock is not None
        self.release()
        with contextlib.suppress(FileExistsError):
            self.path.mkdir(mode=0o700)
            was_held = True
        if not _is_private(self.path, os.geteuid()):
            raise PermissionError(errno.EPERM, "not ours alone", str(self.path))
        self._hold()
        return was_held

    def path_of(self, name: str) -> str:
        """Return the path of the file or socket with that name, existing or not."""
        return str(self.path / name)

    def remove_dead(self) -> None:
        """Remove the sockets of processes that no longer exist."""
        for path in _sockets(self.path):
            with contextlib.suppress(OSError):
                if path.lstat().st_mode & LISTENS and _refuses(path):
                    path.unlink()

    def leave(self) -> None:
        """In a process that ends: release the lock; the last process removes the directory."""
        self.release()
        _remove_unless_held(self.path)

    def release(self) -> None:
        """Release the lock."""
        lock, self._lock = self._lock, None
        if lock is not None:
            _unlock(lock)

    def _drop_copy(self) -> None:
        """In a worker: close the inherited descriptor of the master's lock, which would outlive the master here."""
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)  # without unlocking: the lock is shared with the master

    def _hold(self) -> None:
        lock = _open(self.path)
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)  # fails during removal
        except OSError:
            os.close(lock)
            raise
        self._lock = lock

    def _leave_at_exit(self, master: int) -> None:
        if os.getpid() == master:  # forked workers have inherited the registration
            self.leave()


def _make(uid: int) -> Path:
    for place in writable_places():
        _remove_abandoned(place, uid)
    for place in socket_places(_OUR_PART):
        with contextlib.suppress(OSError):
            return Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=place))
    raise RunDirectoryError(advice(_OUR_PART))


def _shared_with_predecessor(uid: int) -> Path | None:
    """Return the directory of the master that this one replaces."""
    path = os.environ.get(VARIABLE) if "GUNICORN_PID" in os.environ else None
    return Path(path) if path and _is_private(Path(path), uid) else None


def _is_private(path: Path, uid: int) -> bool:
    """Return whether `path` is a directory that belongs to `uid` and that no other user can enter."""
    try:
        status = path.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == uid and not status.st_mode & 0o077


def _open(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)


def _unlock(descriptor: int) -> None:
    fcntl.flock(descriptor, fcntl.LOCK_UN)  # at once; gevent closes with the next turn of the loop
    os.close(descriptor)


def _same_file(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except OSError:
        return False


def _sockets(path: Path) -> list[Path]:
    try:
        return [entry for entry in path.iterdir() if not entry.name.startswith(".")]
    except OSError:
        return []


def _refuses(path: Path) -> bool:
    """Return whether a socket has no listener any more."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
    return False


def _remove_unless_held(path: Path) -> None:
    try:
        lock = _open(path)
    except OSError:
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # An older version of this software holds no lock, but listens.
        if all(_refuses(entry) for entry in _sockets(path)):
            shutil.rmtree(path, ignore_errors=True)
    except OSError:
        pass  # another process holds it
    finally:
        _unlock(lock)


def _remove_abandoned(place: Path, uid: int) -> None:
    """Remove directories of masters that were killed together with all their workers."""
    for path in place.glob(f"{_PREFIX}*"):
        if _is_private(path, uid):
            _remove_unless_held(path)
