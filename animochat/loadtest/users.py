"""How people behave: they come, search, talk with pauses to think, and skip, leave, or are gone at once.

All times are seconds with an exponential distribution around the means below: people have no rhythm, and no schedule.
"""

from __future__ import annotations

import contextlib
import random
import time
from dataclasses import dataclass
from typing import Any

import gevent
from gevent.event import Event

from animochat.loadtest.client import Client, Refused
from animochat.loadtest.run_stats import RunStats

WORDS = ["the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog", "while", "everybody", "talks", "on"]

#: Refusals where our request and the partner's end crossed: nothing is wrong then.
CROSSED = ("not-in-room", "already-in-room")

#: Seconds that somebody is away before coming back, as somebody new; also after being refused.
AWAY = 5.0

#: Seconds to wait for the server's first event before it counts as unavailable.
PATIENCE = 20.0


@dataclass(frozen=True)
class Behavior:
    """Means in seconds: `think` between two messages of one person, `chat` of a conversation until one has enough,
    `search` until somebody who finds nobody gives up.

    `skip`, `leave`, `vanish`: the shares of people who, when they have enough, take the next one, stay without a
    partner for a while, or are gone without a goodbye. All others say goodbye.
    """

    think: float = 6.0
    chat: float = 90.0
    search: float = 60.0
    skip: float = 0.7
    leave: float = 0.05
    vanish: float = 0.05


class SimulatedUser:
    """One of the crowd. `live` never returns; whoever spawned it kills it."""

    def __init__(self, url: str, habits: Behavior, tally: RunStats, seed: int, lobby: str | None = None) -> None:
        self._url = url
        self._lobby = lobby
        self._habits = habits
        self._tally = tally
        self._chance = random.Random(seed)
        self._client: Client
        self._ready, self._matched, self._alone = Event(), Event(), Event()
        self._room: tuple[str, str] | None = None
        self._eligible_at = 0.0
        #: "connecting", "idle", "waiting", "chatting" or "away"
        self.state = "away"

    def live(self) -> None:
        """Visit after visit, each as somebody new."""
        while True:
            try:
                self._visit()
            except Refused as refused:
                self._tally.refusals[str(refused)] += 1
            self.state = "away"
            gevent.sleep(self._about(AWAY))

    def quit(self) -> None:
        """Say goodbye, if there is a connection. Whatever the partner was answered for has arrived by now."""
        if self._room is not None and self._client.open:  # else nothing reached it any more
            self._tally.left_behind(*self._room, time.monotonic())
        if self.state not in ("away", "connecting"):
            self._client.goodbye()

    def _visit(self) -> None:
        self._ready.clear()
        self._client = Client(self._url, self._hear, self._lobby)
        self.state = "connecting"
        started = time.monotonic()
        self._client.connect()
        reader = gevent.spawn(self._client.run)
        reader.link(lambda _: self._lost())
        if not self._ready.wait(PATIENCE) or not self._client.open:
            self._client.close()
            raise Refused("no session")
        self._tally.connecting.add(time.monotonic() - started)
        self._tally.counts["connected"] += 1
        self.state = "idle"
        event = "find-match"
        while self._client.open and event:
            self._search(event)
            if not self._matched.wait(self._about(self._habits.search)):
                self._tally.counts["gave up"] += 1
                self._client.goodbye()
                return
            if not self._client.open:
                break
            event = self._talk()
        if event:  # it should go on, and can't
            self._tally.refusals["connection lost"] += 1

    def _search(self, event: str) -> None:
        self._matched.clear()
        self._alone.clear()
        self._room = None
        self.state = "waiting"
        self._eligible_at = time.monotonic()
        self._tally.counts["searches"] += 1
        self._client.emit(event, answered=self._refused)

    def _talk(self) -> str:
        """A conversation. Returns by which event it goes on: "" for not at all."""
        habits = self._habits
        enough = time.monotonic() + self._about(habits.chat)
        while self._client.open:
            if self._alone.wait(min(self._about(habits.think), max(0.0, enough - time.monotonic()))):
                gevent.sleep(self._about(1.0))
                return "find-match"
            if time.monotonic() >= enough:
                break
            self._client.emit("typing", True)
            self._say()
        if not self._client.open:
            return "find-match"
        self.state = "idle"
        self._room = None
        choice = self._chance.random()
        if choice < habits.skip:
            self._tally.counts["skipped"] += 1
            return "next-match"
        if choice < habits.skip + habits.leave:
            self._tally.counts["left"] += 1
            self._client.emit("leave-room", answered=self._refused)
            gevent.sleep(self._about(AWAY))
            return "find-match"
        if choice < habits.skip + habits.leave + habits.vanish:
            self._tally.counts["connection cut"] += 1
            self._client.close()
        else:
            self._tally.counts["disconnected"] += 1
            self._client.goodbye()
        return ""

    def _say(self) -> None:
        room = self._room
        if room is None:
            return
        started = time.monotonic()
        text = " ".join(self._chance.choices(WORDS, k=self._chance.randint(1, 15)))
        self._tally.counts["sent"] += 1

        def answered(answer: Any) -> None:
            if answer["ok"]:
                self._tally.stored(*room, answer["seq"], time.monotonic() - started)
            else:
                self._refused(answer)

        # When it was said goes along: all of the crowd have one clock.
        self._client.emit("send-message", f"{text} {started:.6f}", answered=answered)

    def _refused(self, answer: Any) -> None:
        if not answer["ok"]:
            self._count(answer["error"]["code"])

    def _count(self, code: str) -> None:
        if code not in CROSSED:
            self._tally.refusals[code] += 1

    def _lost(self) -> None:
        for event in (self._ready, self._matched, self._alone):
            event.set()

    def _hear(self, event: str, argument: Any) -> None:
        if event == "session":
            self._ready.set()
        elif event == "waiting":
            self._eligible_at = time.monotonic() + argument["cooldownMs"] / 1000
        elif event == "matched":
            self._room = argument["roomId"], argument["userId"]
            self.state = "chatting"
            self._tally.waiting.add(max(0.0, time.monotonic() - self._eligible_at))
            self._tally.matched(*self._room, argument["partnerId"])
            self._matched.set()
        elif event == "message" and argument["type"] == "text":
            self._listen(argument)
        elif event == "partner-disconnected" and self._room is not None:
            self._tally.left_behind(*self._room, time.monotonic())
            self._room = None
            self.state = "idle"
            self._alone.set()
        elif event == "error":
            self._count(argument["code"])

    def _listen(self, message: Any) -> None:
        if self._room is None:
            # Ours has left, and the server may not know yet; the promise is the server's from its answer on.
            return
        seconds: float | None = None
        with contextlib.suppress(ValueError):
            seconds = time.monotonic() - float(message["content"].rpartition(" ")[2])
        room_id, user_id = self._room
        if message["roomId"] != room_id:
            user_id = ""  # in that room we are nobody
        self._tally.got(message["roomId"], user_id, message["senderId"], message["seq"], seconds)

    def _about(self, mean: float) -> float:
        return self._chance.expovariate(1 / mean)
