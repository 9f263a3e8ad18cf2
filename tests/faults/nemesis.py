"""Random faults, in a random order, while people talk."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import redis

from tests.faults.network import Network
from tests.helpers.servers import RedisServer, Server

#: Seconds that a stopped worker stands still: longer than its lease.
STOPPED = 15.0

#: Seconds after which the clients of a stopped worker lose it, so that they come back elsewhere while it stands still.
LOST_AFTER = (0.5, 2.0)

#: Seconds after which every second one loses its subscription too, so it gets no notices of people who moved.
UNHEARD_AFTER = 5.0

#: Milliseconds for which the store does not answer.
PAUSES = (200, 1000, 3000)


class Nemesis:
    """Causes faults of `servers` (each with the network in front of it) and their store. `seed`: of its choices."""

    def __init__(self, servers: Sequence[tuple[Server, Network]], store: RedisServer, seed: int) -> None:
        self._servers = servers
        self._store = store
        self._chance = random.Random(seed)
        self._stopped: dict[int, threading.Timer] = {}
        self._timers: list[threading.Timer] = []
        self._faults: dict[str, Callable[[], bool]] = {
            "workers killed": self._kill,
            "workers stopped": self._stop,
            "networks cut": self._cut,
            "networks lost": self._lose,
            "connections killed by the store": self._client_kill,
            "pauses of the store": self._client_pause,
        }

    def rage(self, seconds: float, every: float) -> Counter[str]:
        """Cause faults at intervals, each kind equally often; return the faults.

        All workers run again at the end.
        """
        done = Counter[str]()
        begun = time.monotonic()
        try:
            for number, name in enumerate(self._in_turn()):
                time.sleep(max(0.0, begun + number * every - time.monotonic()))
                if time.monotonic() - begun >= seconds:
                    return done
                done[name] += self._faults[name]()
        finally:
            for timer in self._timers:
                timer.cancel()
            for pid in list(self._stopped):
                self._go_on(pid)
        raise AssertionError("there is always something to do")

    def _in_turn(self) -> Iterator[str]:
        yield "workers killed"  # while all of them run: later there may be none that another one can replace
        while True:
            # a stop first: it takes longest
            yield from ["workers stopped", *self._chance.sample(sorted(self._faults), len(self._faults))]

    def _running(self) -> list[tuple[Network, list[int]]]:
        """Return the running workers that another one can replace, with the network in front."""
        found = []
        for server, network in self._servers:
            pids = [pid for pid in server.worker_pids() if pid not in self._stopped]
            if len(pids) > 1:
                found.append((network, pids))
        return found

    def _kill(self) -> bool:
        running = self._running()
        if running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._chance.choice(self._chance.choice(running)[1]), signal.SIGKILL)
        return bool(running)

    def _stop(self) -> bool:
        running = self._running()
        if not running:
            return False
        network, pids = self._chance.choice(running)
        pid = self._chance.choice(pids)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
        self._stopped[pid] = self._later(STOPPED, lambda: self._go_on(pid))
        self._later(self._chance.uniform(*LOST_AFTER), network.lose)
        if self._chance.random() < 0.5:
            self._later(UNHEARD_AFTER, lambda: self._kill_clients(["pubsub"]))
        return True

    def _go_on(self, pid: int) -> None:
        self._stopped.pop(pid, None)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)

    def _later(self, seconds: float, action: Callable[[], None]) -> threading.Timer:
        timer = threading.Timer(seconds, action)
        timer.daemon = True
        timer.start()
        self._timers.append(timer)
        return timer

    def _cut(self) -> bool:
        self._chance.choice(self._servers)[1].cut()
        return True

    def _lose(self) -> bool:
        self._chance.choice(self._servers)[1].lose()
        return True

    def _client_kill(self) -> bool:
        self._kill_clients(self._chance.choice((["normal"], ["pubsub"], ["normal", "pubsub"])))
        return True

    def _kill_clients(self, kinds: list[str]) -> None:
        with contextlib.suppress(redis.ConnectionError), self._store.client() as client:
            for kind in kinds:
                client.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")

    def _client_pause(self) -> bool:
        with self._store.client() as client:
            client.execute_command("CLIENT", "PAUSE", self._chance.choice(PAUSES), "ALL")
        return True
