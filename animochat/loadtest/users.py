"""The behaviour of simulated users: they connect, search, chat with pauses, and skip, leave, or drop the connection.

All times are seconds, exponentially distributed around the means below: people have no rhythm, and no schedule.
"""

from __future__ import annotations

import contextlib
import random
import time
from dataclasses import dataclass
from functools import partial
from typing import Any

import gevent
from gevent.event import Event

from animochat.loadtest.client import Client, Refused
from animochat.loadtest.run_stats import RunStats

WORDS = ["the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog", "while", "everybody", "talks", "on"]

#: Refusals of a request that crossed the partner's end of the room: they are no errors.
CROSSED = ("not-in-room", "already-in-room")

#: Seconds between a user's end and its return as a new person; also after a refusal.
AWAY = 5.0

#: Seconds to wait for the server's first event before it counts as unavailable.
PATIENCE = 20.0


@dataclass(frozen=True)
class Behavior:
    """Means in seconds: `think` between two messages of one person, `chat` until a person ends a conversation, `search`
    until a person without a match gives up.

    `skip`, `leave`, `vanish`: shares of the people who end a conversation by skipping, by leaving the room for a while,
    or by dropping the connection. All others disconnect.
    """

    think: float = 6.0
    chat: float = 90.0
    search: float = 60.0
    skip: float = 0.7
    leave: float = 0.05
    vanish: float = 0.05


class SimulatedUser:
    """One simulated user. `live` never returns; the code that spawned it kills it."""

    def __init__(self, url: str, habits: Behavior, tally: RunStats, seed: int, lobby: str | None = None) -> None:
        self._url = url
        self._lobby = lobby
        self._habits = habits
        self._tally = tally
        self._chance = random.Random(seed)
        self._seed = seed
        self._visits = 0
        #: the name during this visit: each visit is a new person
        self.name = ""
        self._client: Client
        self._ready, self._matched, self._alone = Event(), Event(), Event()
        self._room = ""
        self._eligible_at = 0.0
        #: "connecting", "idle", "waiting", "chatting" or "away"
        self.state = "away"

    def live(self) -> None:
        """Connect again and again, each time as a new person."""
        while True:
            try:
                self._visit()
            except Refused as refused:
                self._tally.refusals[str(refused)] += 1
            self.state = "away"
            gevent.sleep(self._about(AWAY))

    def quit(self) -> None:
        """Disconnect, if connected."""
        if self.state not in ("away", "connecting"):
            self._client.goodbye()

    def _visit(self) -> None:
        self._ready.clear()
        self._visits += 1
        self.name = f"{self._seed}-{self._visits}"
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
        if event:  # the user should continue, but can't
            self._tally.refusals["connection lost"] += 1

    def _search(self, event: str) -> None:
        self._matched.clear()
        self._alone.clear()
        before, self._room = self._room, ""
        self.state = "waiting"
        self._eligible_at = time.monotonic()
        self._tally.counts["searches"] += 1
        self._client.emit(event, answered=partial(self._left, before))

    def _talk(self) -> str:
        """Chat with a partner. Return the event to continue with, or "" to stop."""
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
        room = self._room
        choice = self._chance.random()
        self._note("leaving" if choice < 1 - habits.vanish else "gone", room)
        if choice < habits.skip:
            self._tally.counts["skipped"] += 1
            return "next-match"
        self._room = ""
        if choice < habits.skip + habits.leave:
            self._tally.counts["left"] += 1
            self._client.emit("leave-room", answered=partial(self._left, room))
            gevent.sleep(self._about(AWAY))
            return "find-match"
        if choice < 1 - habits.vanish:
            self._tally.counts["disconnected"] += 1
            self._client.goodbye()
        else:
            self._tally.counts["connection cut"] += 1
            self._client.close()
        return ""

    def _say(self) -> None:
        name, room = self.name, self._room
        if not room:
            return
        started = time.monotonic()
        # The text contains the time of sending: all users have the same clock.
        text = " ".join((*self._chance.choices(WORDS, k=self._chance.randint(1, 15)), f"{started:.6f}"))
        self._tally.said(name, room, text)

        def answered(answer: Any) -> None:
            if answer["ok"]:
                self._tally.stored(name, room, text, answer, time.monotonic() - started)
            else:
                self._refused(answer)

        self._client.emit("send-message", text, answered=answered)

    def _note(self, note: str, room: str) -> None:
        if room:
            self._tally.note(self.name, note, room, time.monotonic())

    def _left(self, room: str, answer: Any) -> None:
        """Handle the answer to leaving a room, or to searching ("" for no room)."""
        if answer["ok"]:
            self._note("left", room)
        self._refused(answer)

    def _refused(self, answer: Any) -> None:
        if not answer["ok"]:
            self._count(answer["error"]["code"])

    def _count(self, code: str) -> None:
        if code not in CROSSED:
            self._tally.refusals[code] += 1

    def _lost(self) -> None:
        self._note("gone", self._room)
        self._room = ""  # the next visit is someone else's
        for event in (self._ready, self._matched, self._alone):
            event.set()

    def _hear(self, event: str, argument: Any) -> None:
        if event == "session":
            self._ready.set()
        elif event == "waiting":
            self._eligible_at = time.monotonic() + argument["cooldownMs"] / 1000
        elif event == "matched":
            self._room = argument["roomId"]
            self.state = "chatting"
            self._tally.waiting.add(max(0.0, time.monotonic() - self._eligible_at))
            self._tally.matched(self.name, argument)
            self._matched.set()
        elif event == "message" and argument["type"] == "text":
            self._listen(argument)
        elif event == "partner-disconnected":
            if self.state != "chatting":
                return  # it crossed our leave
            self._tally.ended(self.name, argument["reason"], time.monotonic())
            self._room = ""
            self.state = "idle"
            self._alone.set()
        elif event == "error":
            self._count(argument["code"])

    def _listen(self, message: Any) -> None:
        seconds: float | None = None
        with contextlib.suppress(ValueError):
            seconds = time.monotonic() - float(message["content"].rpartition(" ")[2])
        self._tally.got(self.name, message, seconds)

    def _about(self, mean: float) -> float:
        return self._chance.expovariate(1 / mean)
