"""The metrics of all workers of one machine: each has a file of numbers in the run directory, and any can add them up.

A worker holds a lock on its file for as long as it lives, which the kernel lets go of however it ends. What the dead
have counted goes on counting: the next worker that starts adds it to a file of theirs, so that no counter goes
backwards while a gunicorn master lives. Where somebody removes the files, the living make theirs again.

The numbers are written in place, each of 8 bytes: a reader sees an older or a newer one, never half of both. They are
written, not mapped to memory: where the disk is full, a write fails, but a mapped page kills the process.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import os
import secrets
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import gevent

from animochat.server.process.run_directory import RunDirectory
from animochat.telemetry.metrics import GAUGE, SIZE, TABLE

log = logging.getLogger(__name__)

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

    def __init__(self, directory: RunDirectory | None) -> None:
        self._run_directory = directory
        self._directory = None if directory is None else directory.path
        self._descriptor: int | None = None
        self._numbers = [0.0] * SIZE
        self._failed = False

    @classmethod
    def join(cls, directory: RunDirectory | None = None) -> SharedMetrics:
        """Begin to share, and take over what the dead have counted. `directory`: the master's where it is not given."""
        shared = cls(directory or RunDirectory.inherited())
        shared.write(shared._numbers)
        return shared

    def write(self, numbers: list[float]) -> None:
        """Show the others how this worker stands. Some microseconds; what can't be written is shown here alone."""
        self._numbers = numbers
        if self._run_directory is None:
            return
        try:
            if self._descriptor is None or not os.fstat(self._descriptor).st_nlink:
                self._open(self._run_directory)
            assert self._descriptor is not None
            os.pwrite(self._descriptor, _NUMBERS.pack(*numbers, 1), 0)
        except OSError as error:
            if not self._failed:
                log.error("The workers' metrics can't be shared: %s", error.strerror)
            self._failed = True
        else:
            self._failed = False

    def totals(self) -> Totals:
        """Those of all workers, this one as it was last written. Of the dead, only what they have counted."""
        if self._directory is not None and self._descriptor is not None and not self._failed:
            with contextlib.suppress(OSError):
                return self._totals(self._directory)
        return Totals(list(self._numbers), 1, 0)

    def _totals(self, directory: Path) -> Totals:
        numbers, workers, ended = [0.0] * SIZE, 0, 0
        with _locked(directory / _DEAD, fcntl.LOCK_SH):
            for path in directory.glob(f"{_PREFIX}*"):
                theirs, lives = _read(path)
                numbers = _added(numbers, theirs, lives)
                workers += lives
                ended += not lives
            theirs, _ = _read(directory / _DEAD)
            return Totals(_added(numbers, theirs, False), workers, ended + int(theirs[-1]))

    def close(self) -> None:
        """Live no more: what was counted stays."""
        self._run_directory = None
        self._forget()

    def _forget(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def _open(self, directory: RunDirectory) -> None:
        """Make our file, at first or where somebody has removed it."""
        directory.ensure()
        self._forget()
        self._add_up_the_dead(directory.path)
        if self._descriptor is not None:
            return  # another greenlet has done it meanwhile
        unready = directory.path / f".metrics-unready-{os.getpid()}"
        descriptor = os.open(unready, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.pwrite(descriptor, _NUMBERS.pack(*self._numbers, 1), 0)
            # Locked before it has the name that others look for.
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            unready.rename(directory.path / f"{_PREFIX}{os.getpid()}-{secrets.token_hex(4)}")
        except OSError:
            os.close(descriptor)
            raise
        self._descriptor = descriptor

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
    """The file, made if need be, with a lock on it; None where it can't be had.

    Never blocks the event loop: another worker may be stopped while it has the lock.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        yield descriptor if _lock(descriptor, kind) else None
    finally:
        fcntl.flock(descriptor, fcntl.LOCK_UN)  # at once, where gevent closes with the next turn of the loop
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
