"""A rolling deploy under traffic: stop and start the servers behind one URL, one after the other.

people = People(crowd, url, rooms=200)
roll(servers, people)
report = people.end()
"""

from __future__ import annotations

import contextlib
import signal
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import requests

from animochat.loadtest.history import History
from tests.faults.crowd import Crowd, Member
from tests.helpers.balancers import ADDRESS_HEADER
from tests.helpers.people import status
from tests.helpers.servers import Server, eventually

#: Seconds to recover, on a busy machine.
PATIENCE = 60.0


class TimedHistory(History):
    """A history with the times without a connection and of each return (both in seconds, monotonic)."""

    def __init__(self) -> None:
        super().__init__()
        self.gaps: list[float] = []
        self.returned_at: list[float] = []
        self._gone_at: dict[str, float] = {}

    def event(self, client: str, name: str, argument: Any) -> None:
        super().event(client, name, argument)
        now = time.monotonic()
        if name == "disconnect":
            self._gone_at[client] = now
        elif name == "connect" and client in self._gone_at:
            self.gaps.append(now - self._gone_at.pop(client))
            self.returned_at.append(now)

    def most_returns_within(self, seconds: float) -> int:
        """Return the number of clients that came back in the busiest period of that length."""
        times = sorted(self.returned_at)
        return max((bisect_right(times, begin + seconds) - i for i, begin in enumerate(times)), default=0)


class People:
    """Stock clients that talk in `rooms` rooms; each has its own address, and half of them begin with polling.

    The first four leave their partners now and then, so that there are always matches, too.
    """

    def __init__(self, crowd: Crowd, url: str, rooms: int, interval_ms: int) -> None:
        self.crowd = crowd
        self.history = crowd.history = TimedHistory()
        self.members: list[Member] = []
        for number in range(2 * rooms):
            transports = ["polling", "websocket"] if number % 2 else ["websocket"]
            headers = {ADDRESS_HEADER: f"192.0.{2 + number // 250}.{number % 250}"}
            self.members.append(crowd.join(url, wait=False, transports=transports, extraHeaders=headers))
        for number, member in enumerate(self.members):
            member.talk(interval_ms, skip_after=10 if number < 4 and number % 2 == 0 else 0)
        self.talk_on()

    def talk_on(self, times: int = 2) -> None:
        """Return when everyone with a partner has sent and received more messages."""
        begin = len(self.history.acknowledged)
        before = self._heard()

        def done() -> bool:
            said = Counter(message.client for message in self.history.acknowledged[begin:])
            now = self._heard()
            talking = [n for n in now if (stay := self.history.present.get(n)) is not None and not stay.over]
            return len(talking) >= len(self.members) - 4 and all(
                said[name] >= times and now[name] - before[name] >= times for name in talking
            )

        eventually(done, PATIENCE, "conversations that go on")

    def _heard(self) -> Counter[str]:
        heard = Counter({member.name: 0 for member in self.members})
        for stay in list(self.history.stays):
            heard[stay.client] += len(stay.received)
        return heard

    def end(self) -> dict[str, Any]:
        """Stop all traffic, wait for messages under way, and return the numbers and the violations."""
        for member in self.members:
            member._ask("hush", PATIENCE)
        with contextlib.suppress(pytest.fail.Exception):
            self.crowd.until(lambda history: not history.violations(), 10)
        for member in self.members:
            member.settle()  # duplicates have arrived by then
        counts = self.history.counts()
        gaps = sorted(self.history.gaps)
        return {
            "violations": self.history.violations(),
            "excused": {excuse.value: number for excuse, number in self.history.excused.items()},
            "acknowledged": counts["acknowledged"],
            "received": counts["received"],
            "disconnects": counts.get("disconnect", 0),
            "recovered": counts.get("recovered", 0),
            "new_sessions": counts["session"] - len(self.members),
            "gap_median_s": gaps[len(gaps) // 2] if gaps else 0.0,
            "gap_longest_s": gaps[-1] if gaps else 0.0,
            "most_returns_in_100_ms": self.history.most_returns_within(0.1),
        }


def roll(servers: Sequence[Server], people: People, url: str, tell: Callable[[str], object] = lambda _: None) -> None:
    """Stop each server and start it again, the next one when the balancer at `url` sends people to this one again."""
    for number, server in enumerate(servers, 1):
        begun = time.monotonic()
        server.send_signal(signal.SIGTERM)
        eventually(lambda server=server: server.exit_status() is not None, PATIENCE, "the end of a server")
        tell(f"server {number} has stopped after {time.monotonic() - begun:.1f} s")
        people.talk_on()
        server.start(wait=False)
        eventually(lambda server=server: status(server, "/health") == 200, PATIENCE, "a server that is ready")
        addresses = (f"198.51.100.{n % 256}" for n in range(10_000))
        eventually(lambda server=server, addresses=addresses: _leads_to(url, server, next(addresses)), PATIENCE, "use")
        tell(f"server {number} is in use again after {time.monotonic() - begun:.1f} s")


def _leads_to(url: str, server: Server, address: str) -> bool:
    """Return whether the balancer sends a new client from `address` to that server, with the fewest connections."""
    target = "/socket.io/?EIO=4&transport=polling"
    answer = requests.get(url + target, headers={ADDRESS_HEADER: address}, timeout=PATIENCE)
    if answer.status_code != 200:
        return False
    sid = answer.text.partition('"sid":"')[2].partition('"')[0]
    # asked directly, only the server that has the session takes a packet for it
    return requests.post(f"{server.url}{target}&sid={sid}", data="1", timeout=PATIENCE).ok
