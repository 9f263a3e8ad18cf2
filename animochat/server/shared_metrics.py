"""The metrics of all workers of one machine: each has a file of numbers in the run directory, and any can add them up.

A worker holds a lock on its file for as long as it lives, which the kernel lets go of however it ends. What the dead
have counted goes on counting: the next worker that starts adds it to a file of theirs, so that no counter goes
backwards while a gunicorn master lives.

The numbers are written in place, in memory that the file is mapped to, each of 8 bytes: a reader sees an older or a
newer one, never half of both.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import mmap
import os
import secrets
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import gevent

from animochat.metrics import GAUGE, SIZE, TABLE
from animochat.server.rundir import RunDirectory

#: Files with another layout, of another version's workers, are left alone.
_LAYOUT = hashlib.sha256(repr(TABLE).encode()).hexdigest()[:12]

# The dot: what begins with one is not taken for a worker's socket (rundir.py).
_PREFIX = f".metrics-{_LAYOUT}-"
_DEAD = f".metrics-of-the-dead-{_LAYOUT}"

#: The numbers, and behind them how many workers they are of.
_NUMBERS = struct.Struct(f"{SIZE + 1}d")

#: Seconds that a reader waits for a worker that is just adding up the dead; it takes a millisecond.
_PATIENCE = 0.5

_IS_GAUGE = [metric.kind == GAUGE for metric in TABLE for _ in range(metric.size)]


class Totals(NamedTuple):
    """Numbers in the order of TABLE; how many workers live, and how many have ended."""

    numbers: list[float]
    workers: int
    ended: int


class SharedMetrics:
    """This worker's end: :meth:`join` makes one. Without a run directory there is only this worker."""

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory
        self._path: Path | None = None
        self._descriptor = -1
        self._map: mmap.mmap | None = None
        self._numbers = [0.0] * SIZE

    @classmethod
    def join(cls, directory: RunDirectory | None = None) -> SharedMetrics:
        """Begin to share, and take over what the dead have counted. `directory`: the master's where it is not given."""
        directory = directory or RunDirectory.inherited()
        shared = cls(None if directory is None else Path(directory.path_of("")))
        if shared._directory is not None:
            shared._add_up_the_dead(shared._directory)
            shared._open(shared._directory)
        return shared

    def write(self, numbers: list[float]) -> None:
        """Show the others how this worker stands. A few microseconds."""
        self._numbers = numbers
        if self._map is not None:
            self._map[:] = _NUMBERS.pack(*numbers, 1)

    def totals(self) -> Totals:
        """Those of all workers, this one as it was last written. Of the dead, only what they have counted."""
        if self._directory is None:
            return Totals(list(self._numbers), 1, 0)
        numbers, workers, ended = [0.0] * SIZE, 0, 0
        with _locked(self._directory / _DEAD, fcntl.LOCK_SH):
            for path in self._directory.glob(f"{_PREFIX}*"):
                theirs, lives = _read(path)
                numbers = _added(numbers, theirs, lives)
                workers += lives
                ended += not lives
            theirs, _ = _read(self._directory / _DEAD)
            return Totals(_added(numbers, theirs, False), workers, ended + int(theirs[-1]))

    def close(self) -> None:
        """Live no more: what was counted stays."""
        if self._map is not None:
            self._map.close()
            os.close(self._descriptor)
            self._map = None

    def _open(self, directory: Path) -> None:
        unready = directory / f".metrics-unready-{os.getpid()}"
        self._descriptor = os.open(unready, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        os.ftruncate(self._descriptor, _NUMBERS.size)
        # Locked before it has the name that others look for.
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        self._map = mmap.mmap(self._descriptor, _NUMBERS.size)
        self.write(self._numbers)
        self._path = directory / f"{_PREFIX}{os.getpid()}-{secrets.token_hex(4)}"
        unready.rename(self._path)

    def _add_up_the_dead(self, directory: Path) -> None:
        with _locked(directory / _DEAD, fcntl.LOCK_EX) as descriptor:
            if descriptor is None:
                return  # another one does it
            for path in directory.glob(f"{_PREFIX}*"):
                theirs, lives = _read(path)
                if not lives:
                    sums, _ = _read(directory / _DEAD)
                    added = _added(sums[:-1], theirs, False)
                    os.pwrite(descriptor, _NUMBERS.pack(*added, sums[-1] + theirs[-1]), 0)
                    path.unlink(missing_ok=True)


def _added(numbers: list[float], theirs: list[float], lives: bool) -> list[float]:
    return [
        number if gauge and not lives else number + other
        for number, other, gauge in zip(numbers, theirs, _IS_GAUGE, strict=False)
    ]


def _read(path: Path) -> tuple[list[float], bool]:
    """A file's numbers, and whether somebody holds it. Zeros where it is not there (any more) or not whole (yet)."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        lives = False
        try:
            # Shared, so that two who look at once don't take each other for the owner. Before the numbers are read:
            # those of the dead are then their last ones.
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            lives = True
        data = file.read()
        if len(data) == _NUMBERS.size:
            return list(_NUMBERS.unpack(data)), lives
    return [0.0] * (SIZE + 1), False


@contextlib.contextmanager
def _locked(path: Path, kind: int) -> Iterator[int | None]:
    """The file, made if need be, with a lock on it; None where somebody else has it for longer than is to be waited.

    Never blocks the event loop: another worker may be stopped while it has the lock.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        yield descriptor if _lock(descriptor, kind) else None
    finally:
        os.close(descriptor)


def _lock(descriptor: int, kind: int) -> bool:
    step = 0.005
    for _ in range(int(_PATIENCE / step)):
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            gevent.sleep(step)
        else:
            return True
    return False
