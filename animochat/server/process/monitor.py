"""A worker's monitor: the event loop's lag, the garbage collector's pauses, and samples of the metrics.

Dead workers are found by `Lobby.beat` (chat/lobby.py).
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable

import gevent
from gevent import Greenlet

from animochat.server.process.shared_metrics import SharedMetrics, Totals
from animochat.telemetry.metrics import METRICS

log = logging.getLogger(__name__)

#: Seconds between two measurements of the event loop's lag.
LAG_INTERVAL = 0.1

#: Seconds between two samples, and so the maximal age of the other workers' numbers.
SAMPLE_INTERVAL = 1.0

_PAGE = os.sysconf("SC_PAGE_SIZE")


class Monitor:
    """Call :meth:`start` once the worker serves, :meth:`stop` before it ends.

    `sample` updates the METRICS that show a state; it may yield to other greenlets.
    """

    def __init__(self, sample: Callable[[], None]) -> None:
        self._sample = sample
        self._shared = SharedMetrics(None)
        self._greenlets: list[Greenlet] = []

    def start(self) -> None:
        self._shared = SharedMetrics.join()
        self._greenlets = [gevent.spawn(self._watch_loop), gevent.spawn(self._watch)]

    def stop(self) -> None:
        gevent.killall(self._greenlets)
        self.write()
        self._shared.close()

    def write(self) -> None:
        """Write the counters for the other workers."""
        METRICS.cpu = time.process_time()
        METRICS.resident = _resident()
        self._shared.write(METRICS.numbers())

    def totals(self) -> Totals:
        """Return the numbers of all workers of this machine: this one's now, the others' at most a second old."""
        # Write before returning: any worker that is asked next returns at least these numbers.
        self.write()
        return self._shared.totals()

    def _watch_loop(self) -> None:
        METRICS.watch_garbage_collector()  # here: the worker's start, with its one long collection, is over
        while True:
            due = time.monotonic() + LAG_INTERVAL
            gevent.sleep(LAG_INTERVAL)
            METRICS.loop_lag.observe(max(0.0, time.monotonic() - due))

    def _watch(self) -> None:
        while True:
            try:
                self._sample()
                self.write()
            except Exception:  # the outermost loop: without it the other workers would read old numbers
                log.exception("The metrics could not be sampled")
            gevent.sleep(SAMPLE_INTERVAL)


def _resident() -> int:
    """Return the bytes of memory that this process occupies; 0 if the system doesn't show them."""
    with contextlib.suppress(OSError), open("/proc/self/statm", "rb") as statm:
        return int(statm.read().split()[1]) * _PAGE
    return 0
