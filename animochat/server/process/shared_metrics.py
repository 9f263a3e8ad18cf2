"""The metrics of all workers of one machine: each has a file of numbers in the run directory, and any can add them up.

A worker holds a lock on its file as long as it lives; the kernel releases it however the worker ends. Counts of dead
workers are kept: the next worker that starts adds them to a common file, so that no counter goes back while a gunicorn
master lives. If the files are removed, living workers make theirs again.

The numbers, 8 bytes each, are written in place: a reader sees an older or a newer one, never half of both. They are
written, not mapped to memory: on a full disk a write fails, but a mapped page kills the process.
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

#: Files with another layout, from another version's workers, are ignored.
_LAYOUT = hashlib.sha256(repr(TABLE).encode()).hexdigest()[:12]

# The dot: names that begin with one are not treated as a worker's socket (run_directory.py).
_PREFIX = f".metrics-{_LAYOUT}-"
_DEAD = f".metrics-of-the-dead-{_LAYOUT}"

#: The numbers, followed by the number of workers that they include.
_NUMBERS = struct.Struct(f"{SIZE + 1}d")

#: Seconds that a reader waits for a worker that is adding up the dead ones; this takes a millisecond.
_PATIENCE = 0.5

_IS_GAUGE = [metric.kind == GAUGE for metric in TABLE for _ in range(metric.size)]


class Totals(NamedTuple):
    """Numbers in the order of TABLE; how many workers live, and how many have ended."""

    numbers: list[float]
    workers: int
    ended: int


class SharedMetrics:
    """This worker's end, made by :meth:`join`. Without a run directory there is only this worker."""

    def __init__(self, directory: RunDirectory | None) -> None:
        self._run_directory = directory
        self._directory = None if directory is None else directory.path
        self._descriptor: int | None = None
        self._numbers = [0.0] * SIZE
        self._failed = False

    @classmethod
    def join(cls, directory: RunDirectory | None = None) -> SharedMetrics:
        """Begin to share, and add up the counts of dead workers. `directory`: by default the master's."""
        shared = cls(directory or RunDirectory.inherited())
        shared.write(shared._numbers)
        return shared

    def write(self, numbers: list[float]) -> None:
        """Write this worker's numbers for the others. Takes some microseconds; after a failure only it has them."""
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
        """Return the totals of all workers, with this one's last written numbers. Dead workers only add counts."""
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
        """Release the file; the counts stay."""
        self._run_directory = None
        self._forget()

    def _forget(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def _open(self, directory: RunDirectory) -> None:
        """Make our file, at first or after it was removed."""
        directory.ensure()
        self._forget()
        self._add_up_the_dead(directory.path)
        if self._descriptor is not None:
            return  # another greenlet has done it meanwhile
        unready = directory.path / f".metrics-unready-{os.getpid()}"
        descriptor = os.open(unready, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.pwrite(descriptor, _NUMBERS.pack(*self._numbers, 1), 0)
            # Lock it before it gets its final name.
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            unready.rename(directory.path / f"{_PREFIX}{os.getpid()}-{secrets.token_hex(4)}")
        except OSError:
            os.close(descriptor)
            raise
        self._descriptor = descriptor

    def _add_up_the_dead(self, directory: Path) -> None:
        with _locked(directory / _DEAD, fcntl.LOCK_EX) as descriptor:
            if descriptor is None:
                return  # another worker does it
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
    """Return a file's numbers, and whether it is locked. Zeros if it is missing or incomplete."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        lives = False
        try:
            # A shared lock, so that two readers don't take each other for the owner. It is tested before reading: so a
            # dead worker's numbers are its last ones.
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            lives = True
        data = file.read()
        if len(data) == _NUMBERS.size:
            return list(_NUMBERS.unpack(data)), lives
    return [0.0] * (SIZE + 1), False


@contextlib.contextmanager
def _locked(path: Path, kind: int) -> Iterator[int | None]:
    """Yield the locked file, made if necessary; None if the lock can't be had.

    Never blocks the event loop: another worker may be stopped while it has the lock.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        yield descriptor if _lock(descriptor, kind) else None
    finally:
        fcntl.flock(descriptor, fcntl.LOCK_UN)  # at once; gevent closes with the next turn of the loop
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
