"""What watches a worker from within: the event loop's lag, the collector's pauses, and how things stand."""

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

#: Seconds between two looks at how late the event loop is.
LAG_INTERVAL = 0.1

#: Seconds between two samples, and so how old what the other workers show may be.
SAMPLE_INTERVAL = 1.0

_PAGE = os.sysconf("SC_PAGE_SIZE")


class Monitor:
    """Call :meth:`start` once the worker serves, :meth:`stop` when it is to end.

    `sample` brings those METRICS up to date that say how things stand; it may yield to other greenlets.
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
        """Show the other workers what was counted."""
        METRICS.cpu = time.process_time()
        METRICS.resident = _resident()
        self._shared.write(METRICS.numbers())

    def totals(self) -> Totals:
        """The numbers of all workers of this machine: of this one as they are, of others at most a second old."""
        # Written before it is told: whichever worker is asked next, it shows no less.
        self.write()
        return self._shared.totals()

    def _watch_loop(self) -> None:
        METRICS.watch_garbage_collector()  # here: the worker's start, with the one long collection, is over by then
        while True:
            due = time.monotonic() + LAG_INTERVAL
            gevent.sleep(LAG_INTERVAL)
            METRICS.loop_lag.observe(max(0.0, time.monotonic() - due))

    def _watch(self) -> None:
        while True:
            try:
                self._sample()
                self.write()
            except Exception:  # the outermost loop: without it the other workers would show old numbers
                log.exception("The metrics could not be sampled")
            gevent.sleep(SAMPLE_INTERVAL)


def _resident() -> int:
    """Bytes of memory that this process occupies; 0 where the system doesn't say."""
    with contextlib.suppress(OSError), open("/proc/self/statm", "rb") as statm:
        return int(statm.read().split()[1]) * _PAGE
    return 0
