"""The rules under thousands of interleavings: a real store beside a plain Python model of the protocol.

Hypothesis generates actions of people, workers and time. After each script the test compares all data in the store,
and all texts that the workers received, with the model. Where the rules leave the choice to chance, as in matching,
the model only has the allowed outcomes.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from animochat.matchmaking.interests import by_name
from animochat.moderation.lobby_moderation import BLOCK_MS
from animochat.presence.service import Registration
from animochat.store.scripts import Script, load
from tests.helpers.store import (
    COOLDOWN_MS,
    GRACE_MS,
    HISTORY_MS,
    HOUR_MS,
    INTEREST_WAIT_MS,
    LOST_GRACE_MS,
    TAG,
    TICK_MS,
    Lobby,
    Notice,
    Worker,
)

T = TypeVar("T")

LEASE_MS = 5000

PEOPLE = [f"p{i}" for i in range(5)]
SLOTS = range(3)

#: Actions of people, the frequent ones more often, and events meanwhile.
MOVES = ["find"] * 6 + ["next"] * 4 + ["connect"] * 4 + ["leave", "cancel", "goodbye", "drop", "drop", "resync"]
MOVES += ["block"]
MOVES += ["tick", "tick", "time", "trouble"]

#: Interests of searches, in different spellings.
INTERESTS = [(), ("tea",), ("Tea", "CATS"), ("cats", "tea", "Chess"), ("chess",), ()]

#: Faults of workers.
TROUBLES = ["stall", "cut", "kill", "stop"]

#: Milliseconds that pass at once: around each of the rules' numbers.
TIMES = [
    250,
    1,
    1000,
    4999,
    5000,
    9999,
    10_000,
    HISTORY_MS,
    HISTORY_MS - 10_000,
    HOUR_MS,
    HISTORY_MS,
    BLOCK_MS - HOUR_MS,
]

#: Everything that the lobby holds, in one reply.
DUMP = """
local function hash(key)
  local flat, map = redis.call('HGETALL', key), {}
  for i = 1, #flat, 2 do map[flat[i]] = flat[i + 1] end
  return map
end
local function scores(key)
  local flat, map = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES'), {}
  for i = 1, #flat, 2 do map[flat[i]] = flat[i + 1] end
  return map
end
local tag = KEYS[1]
local dump = {person = {}, met = {}, room = {}, worker = {}, interest = {}, counters = hash(tag .. ':counters')}
dump.online = tonumber(redis.call('GET', tag .. ':online') or 0)
for _, name in ipairs({'pool', 'resting', 'selective', 'searching', 'away', 'rooms', 'workers'}) do
  dump[name] = scores(tag .. ':' .. name)
end
for _, person in ipairs(ARGV) do
  dump.person[person] = hash(tag .. ':person:' .. person)
  dump.met[person] = scores(tag .. ':met:' .. person)
end
for _, key in ipairs(redis.call('KEYS', tag .. ':room:*')) do dump.room[string.sub(key, #tag + 7)] = hash(key) end
for _, key in ipairs(redis.call('KEYS', tag .. ':worker:*')) do
  dump.worker[string.sub(key, #tag + 9)] = redis.call('SMEMBERS', key)
end
for _, key in ipairs(redis.call('KEYS', tag .. ':interest:*')) do
  dump.interest[string.sub(key, #tag + 11)] = scores(key)
end
return cjson.encode(dump)
"""


@dataclass
class ModelPerson:
    """A person by the rules. `rest`, `away`: the end of that time, in ms; 0 and None without one.

    `interests`: as the person spelled them when it began to wait. `open`: when it begins to meet anyone.
    """

    worker: str | None = None
    conn: str | None = None
    room: str | None = None
    waiting: bool = False
    interests: tuple[str, ...] = ()
    open: int = 0
    rest: int = 0
    version: int = 0
    away: int | None = None


@dataclass
class ModelWorker:
    """A worker by the rules. `listed`: no one has taken it for dead (and finished with its people).

    `beat`: its last heartbeat; with a half if it was listed again because someone connected there.
    """

    beat: float
    listed: bool = True
    listening: bool = True
    people: set[str] = field(default_factory=set)


@dataclass
class Held:
    """A connection that a worker's process holds, whatever the store thinks of it."""

    person: str
    conn: str
    worker: Worker


class World(RuleBasedStateMachine):
    """One lobby. Subclasses set `url`."""

    url: str

    def __init__(self) -> None:
        super().__init__()
        self.lobby = Lobby(self.url)
        self.lobby.pipeline.execute("FLUSHALL")
        dump = Script("dump", DUMP, "")
        self.dump_sha = self.lobby.pipeline.execute("SCRIPT", "LOAD", dump.source)
        self.people = {name: ModelPerson() for name in PEOPLE}
        self.met: dict[frozenset[str], int] = {}
        self.rooms: dict[str, tuple[str, str]] = {}
        self.matches = 0
        self.slots: list[Worker | None] = [self.lobby.worker, self.lobby.add_worker(), self.lobby.add_worker()]
        for worker in self.lobby.workers:
            worker.heartbeat()
        self.workers = {worker.name: ModelWorker(self.lobby.now) for worker in self.lobby.workers}
        self.held: list[Held] = []
        self.expected: list[tuple[str, Notice]] = []
        #: Of the last search: how many interests one could have in common with the partner.
        self.most_shared = 0
        self.read: dict[str, int] = {}
        self.store = self.dump()

    def teardown(self) -> None:
        self.lobby.close()

    # The store's side

    def dump(self) -> dict[str, Any]:
        dump: dict[str, Any] = json.loads(
            self.lobby.pipeline.execute("EVALSHA", self.dump_sha, 1, TAG, *PEOPLE),
            object_pairs_hook=dict,
        )
        return dump

    def listen(self) -> list[tuple[str, Notice]]:
        """Return the texts that the workers have received since the last call."""
        return [(worker.name, notice) for worker, data in self.lobby.listen() for notice in json.loads(data)]

    # The model's side: the protocol in Python

    def notify(self, person: str, event: str, **details: Any) -> None:
        record = self.people[person]
        record.version += 1
        if record.worker is not None and self.workers[record.worker].listening:
            self.expected.append((record.worker, {"p": person, "e": event, "v": record.version, **details}))

    def partner(self, person: str) -> str | None:
        room = self.people[person].room
        return None if room is None else next(member for member in self.rooms[room] if member != person)

    def is_alive(self, worker: str | None) -> bool:
        record = self.workers.get(worker or "")
        return record is not None and record.listed and record.listening and record.beat > self.lobby.now - LEASE_MS

    def may_meet(self, a: str, b: str) -> bool:
        return a != b and self.met.get(frozenset((a, b)), 0) <= self.lobby.now

    def shared(self, a: str, b: str) -> list[str]:
        """Return the interests that `a` shares with `b`, in the spelling of `a`."""
        theirs = {interest.casefold() for interest in self.people[b].interests}
        return [interest for interest in self.people[a].interests if interest.casefold() in theirs]

    def suit(self, a: str, b: str) -> bool:
        """Return whether their interests and their interest wait allow these two to meet."""
        return bool(self.shared(a, b)) or all(self.people[person].open <= self.lobby.now for person in (a, b))

    def is_available(self, person: str) -> bool:
        """Return whether others may find this person now."""
        record = self.people[person]
        return (
            record.conn is not None
            and record.waiting
            and record.room is None
            and record.rest <= self.lobby.now
            and self.is_alive(record.worker)
        )

    def end_room(self, room: str, leaver: str, reason: str) -> None:
        members = self.rooms.pop(room)
        for member in members:
            self.people[member].room = None
        for member in members:
            if member != leaver:
                self.notify(member, "ended", room=room, reason=reason)

    def vanish(self, person: str, grace_ms: int) -> None:
        record = self.people[person]
        self.workers[record.worker or ""].people.discard(person)
        record.worker = record.conn = None
        if record.room or record.waiting:
            record.away = self.lobby.now + grace_ms
        partner = self.partner(person)
        if partner:
            self.notify(partner, "reconnecting", room=record.room, graceMs=grace_ms)

    def meet(self, room: str, seeker: str | None) -> None:
        """Check a room that the store has made. `seeker`: the person who searched, who need not be findable."""
        record = self.store["room"][room]
        a, b = record["a"], record["b"]
        assert self.may_meet(a, b), f"{a} and {b} may not meet"
        assert self.suit(a, b), f"{a} and {b} share nothing, and not both meet anyone"
        for person in (a, b):
            assert self.is_available(person) or person == seeker, f"{person} isn't there to be matched"
        self.rooms[room] = (a, b)
        self.met[frozenset((a, b))] = self.lobby.now + HISTORY_MS
        self.matches += 1
        assert record["ua"] != record["ub"]
        assert int(record["since"]) == self.lobby.now
        for person in (a, b):
            assert self.people[person].room is None, f"{person} is in two rooms"
            self.people[person].room, self.people[person].waiting = room, False
        if seeker is not None and self.people[seeker].interests:
            assert len(self.shared(seeker, b if seeker == a else a)) == self.most_shared, "others share more"
        for slot, person, mate in (("a", a, b), ("b", b, a)):
            shared = self.shared(person, mate)
            assert json.loads(record.get("i" + slot, "[]")) == shared
            self.notify(
                person, "matched", room=room, slot=slot, user=record["u" + slot], mate=mate, since=self.lobby.now,
                partner=record["ub" if slot == "a" else "ua"], worker=self.people[mate].worker,
                **({"interests": shared} if shared else {}),
            )  # fmt: skip

    # A step: a script runs, the model does the same, and nothing may differ

    def step(self, call: Callable[[], T], model: Callable[[T], None], seeker: str | None = None) -> T:
        reply = call()
        before = set(self.rooms)
        self.store = self.dump()
        self.heard = self.listen()
        model(reply)
        for room in self.store["rooms"]:
            if room not in before:
                self.meet(room, seeker)
        self.check()
        return reply

    def check(self) -> None:
        store, now = self.store, self.lobby.now
        for name, person in self.people.items():
            record = store["person"][name]
            assert record.get("conn") == person.conn
            assert record.get("worker") == person.worker
            assert record.get("room") == person.room
            assert ("waiting" in record) == person.waiting
            assert int(record.get("v", 0)) == person.version
            assert max(now, int(record.get("rest", 0))) == max(now, person.rest)
            assert json.loads(record.get("spelled", "[]")) == list(person.interests if person.waiting else ())
            assert int(record.get("open", 0)) == (person.open if person.waiting else 0)
        # Everyone is in at most one room, with someone who is in the same.
        assert {room: (r["a"], r["b"]) for room, r in store["room"].items()} == self.rooms
        assert set(store["rooms"]) == set(self.rooms)
        members = [member for pair in self.rooms.values() for member in pair]
        assert len(members) == len(set(members))
        assert int(store["counters"].get("matches", 0)) == self.matches
        # History holds both ways, for each pair's own time.
        for a, b in combinations(PEOPLE, 2):
            until = self.met.get(frozenset((a, b)), 0)
            for one, other in ((a, b), (b, a)):
                assert max(now, int(store["met"][one].get(other, 0))) == max(now, until)
        # Anyone who waits is listed where someone or something will find them; no one else is listed.
        for name, person in self.people.items():
            places = [place for place in ("pool", "resting", "selective", "searching") if name in store[place]]
            assert bool(places) == (person.waiting and person.conn is not None), f"{name}: {places}"
            found = [place for place in ("pool", "selective") if place in places]
            assert len(found) <= 1
            assert not (person.rest > now and found), f"{name} rests, and can be found"
            assert not (person.open > now and "pool" in found), f"{name} still wants only people who share an interest"
            if "selective" in found:
                assert int(store["selective"][name]) == person.open > 0
            by_interest = {interest for interest, people in store["interest"].items() if name in people}
            assert by_interest == (set(by_name(person.interests)) if found else set())
        for a, b in combinations({**store["pool"], **store["selective"]}, 2):
            side_by_side = self.shared(a, b) or (a in store["pool"] and b in store["pool"])
            if side_by_side and self.may_meet(a, b) and self.is_available(a) and self.is_available(b):
                due = min(int(store["searching"].get(person, now + HISTORY_MS)) for person in (a, b))
                assert due <= now + 1000, f"{a} and {b} both wait, and no search is due"
        assert {name: int(at) for name, at in store["away"].items()} == {
            name: person.away for name, person in self.people.items() if person.away is not None
        }
        assert {name: set(people) for name, people in store["worker"].items()} == {
            name: worker.people for name, worker in self.workers.items() if worker.people
        }
        assert {name: float(at) for name, at in store["workers"].items()} == {
            name: worker.beat for name, worker in self.workers.items() if worker.listed
        }
        assert store["online"] == sum(len(people) for people in store["worker"].values())
        # Everyone concerned receives exactly the notices of what happened, once.
        expected, self.expected = self.expected, []
        assert sorted(map(_text, self.heard)) == sorted(map(_text, expected))

    def online(self) -> int:
        return sum(len(worker.people) for worker in self.workers.values())

    # People

    @initialize()
    def everybody_comes(self) -> None:
        for i, name in enumerate(PEOPLE):
            self.do_connect(name, self.slots[i % len(self.slots)], self.lobby.new_connection(), again=False)

    def running(self) -> list[Worker]:
        """Return the workers whose processes run: not dead, not stalled."""
        return [worker for worker in self.slots if worker is not None and worker.beating]

    # Everyone at once

    @rule(moves=st.lists(st.tuples(st.sampled_from(MOVES), st.integers(0, 59)), min_size=4, max_size=16))
    def a_few_act(self, moves: list[tuple[str, int]]) -> None:
        self.people_act(moves)

    def people_act(self, moves: list[tuple[str, int]]) -> None:
        """Let everyone act at once, on any worker: the store runs the actions in some order, and this is it."""
        for move, choice in moves:
            if move == "connect":
                self.connect(choice)
            elif move == "tick":
                self.tick()
            elif move == "time":
                self.pass_time(TIMES[choice % len(TIMES)])
            elif move == "trouble":
                self.trouble(choice % len(SLOTS), TROUBLES[choice % len(TROUBLES)])
            else:
                held = [held for held in self.held if held.worker.beating]
                if choice % 5:  # mostly a connection that the store knows, sometimes one that was replaced or forgotten
                    held = [known for known in held if self.people[known.person].conn == known.conn] or held
                if not held:
                    continue
                wanted = (INTERESTS[choice // 10],) if move in ("find", "next") else ()
                getattr(self, move)(held[choice % len(held)], *wanted)

    @rule(seed=st.integers(0, 2**32))
    def busy_time(self, seed: int) -> None:
        """Make many random moves: Hypothesis by itself prefers few and similar ones."""
        chance = random.Random(seed)
        moves = [(chance.choice(MOVES), chance.randrange(60)) for _ in range(30)]
        note(f"people_act({moves})")
        self.people_act(moves)

    def connect(self, choice: int) -> None:
        """Connect someone new, someone who returns, or someone with a second window."""
        absent = [name for name in PEOPLE if self.people[name].conn is None]
        person = (absent or PEOPLE)[choice % len(absent or PEOPLE)] if choice % 3 else PEOPLE[choice % len(PEOPLE)]
        running = self.running()
        if running:
            self.do_connect(person, running[choice % len(running)], self.lobby.new_connection(), again=False)

    def do_connect(self, person: str, worker: Worker, conn: str, again: bool) -> None:
        def model(reply: Registration) -> None:
            record = self.people[person]
            if record.conn and record.conn != conn:
                if again:
                    assert reply == Registration("replaced")
                    return
                self.workers[record.worker].people.discard(person)
                if self.workers[record.worker].listening:
                    self.expected.append((record.worker, {"p": person, "e": "replaced", "conn": record.conn}))
            was_away, record.away = record.away is not None, None
            record.worker, record.conn = worker.name, conn
            self.workers[worker.name].people.add(person)
            if not self.workers[worker.name].listed:
                self.workers[worker.name].listed, self.workers[worker.name].beat = True, self.lobby.now + 0.5
            record.version = max(record.version + 1, self.lobby.now)
            assert (reply.version, reply.online) == (record.version, self.online())
            partner = self.partner(person)
            if partner is not None:
                self.notify(partner, "reconnected", room=record.room, worker=worker.name, quiet=not was_away)
                room, other = self.store["room"][record.room], self.people[partner]
                slot = "a" if room["a"] == person else "b"
                assert reply.state == "chatting"
                assert reply.room is not None
                assert (reply.room.room_id, reply.room.slot, reply.room.partner) == (record.room, slot, partner)
                assert reply.room.user_id == room["u" + slot]
                assert reply.room.partner_user_id == room["ub" if slot == "a" else "ua"]
                assert reply.room.partner_worker == (other.worker or "")
                grace = None if other.away is None else max(0, other.away - self.lobby.now)
                assert reply.room.grace_ms == grace
                assert list(reply.room.interests) == self.shared(person, partner)
            elif record.waiting:
                assert (reply.state, reply.cooldown_ms) == ("waiting", max(0, record.rest - self.lobby.now))
                assert reply.interests == record.interests
            else:
                assert reply.state == "idle"

        reply = self.step(lambda: worker.presence.connect(person, conn, again), model)
        if reply.state == "replaced":
            self.held = [held for held in self.held if held.conn != conn]
        elif not again:
            self.held.append(Held(person, conn, worker))

    def resync(self, held: Held) -> None:
        self.do_connect(held.person, held.worker, held.conn, again=True)

    def resync_all(self, worker: Worker) -> None:
        for held in list(self.held):
            if held.worker is worker:
                self.do_connect(held.person, worker, held.conn, again=True)

    def candidates(self, person: str, wanted: tuple[str, ...]) -> set[str]:
        """Return the people that a new search can find."""
        there = self.store["pool"]
        if wanted:
            there = {other for name in by_name(wanted) for other in self.store["interest"].get(name, ())}
        return {other for other in there if self.may_meet(person, other) and self.is_available(other)}

    def seek(self, person: str, wanted: tuple[str, ...], reply: Any, candidates: set[str]) -> None:
        """Check the result of a search against the people that it could find when it began."""
        record = self.people[person]
        record.waiting, record.interests = True, wanted
        record.open = max(self.lobby.now, record.rest) + INTEREST_WAIT_MS if wanted else 0
        # a match counts as one change more, and the answer has it already
        assert reply.version == record.version + (reply.state == "matched")
        rest = max(0, record.rest - self.lobby.now)
        if rest:
            assert (reply.state, reply.cooldown_ms) == ("waiting", rest)
        else:
            record.rest = 0
            assert reply.state == ("matched" if candidates else "waiting")
            if candidates:
                self.most_shared = max(len(self.shared(person, other)) for other in candidates)

    def find(self, held: Held, wanted: tuple[str, ...]) -> None:
        self.search(held, wanted, next_match=False)

    def next(self, held: Held, wanted: tuple[str, ...]) -> None:
        self.search(held, wanted, next_match=True)

    def search(self, held: Held, wanted: tuple[str, ...], next_match: bool) -> None:
        person, record, candidates = held.person, self.people[held.person], self.candidates(held.person, wanted)
        room, partner = record.room, self.partner(person)
        away = partner is not None and self.people[partner].away is not None

        def model(reply: Any) -> None:
            if record.conn != held.conn:
                assert reply.state == "unknown"
            elif record.waiting:
                assert (reply.state, reply.version) == ("waiting", record.version)
                assert reply.cooldown_ms == max(0, record.rest - self.lobby.now)
            elif room is not None and not next_match:
                assert reply.state == "in-room"
            else:
                record.version += 1
                assert reply.room_left == (room or "")
                if room is not None:
                    self.end_room(room, person, "skipped")
                    if not away:
                        record.rest = self.lobby.now + COOLDOWN_MS
                self.seek(person, wanted, reply, candidates)

        call = self.lobby.matchmaking.next_match if next_match else self.lobby.matchmaking.find_match
        self.step(lambda: call(person, held.conn, wanted), model, seeker=person)

    def cancel(self, held: Held) -> None:
        record = self.people[held.person]

        def model(reply: Any) -> None:
            if record.conn != held.conn:
                assert reply.state == "unknown"
            elif record.room is not None:
                assert reply.state == "in-room"
            else:
                record.waiting = False
                record.version += 1
                assert (reply.state, reply.version) == ("cancelled", record.version)

        self.step(lambda: self.lobby.matchmaking.cancel_match(held.person, held.conn), model)

    def leave(self, held: Held) -> None:
        self.part(held, lambda: held.worker.rooms.leave(held.person, held.conn), 0)

    def block(self, held: Held) -> None:
        self.part(held, lambda: self.lobby.moderation.block_partner(held.person, held.conn), BLOCK_MS)

    def part(self, held: Held, call: Callable[[], tuple[str, int, str]], apart: int) -> None:
        """`apart`: milliseconds for which the two may not meet again, whatever was said before."""
        record = self.people[held.person]

        def model(reply: tuple[str, int, str]) -> None:
            if record.conn != held.conn:
                assert reply == ("unknown", 0, "")
            elif record.room is None:
                assert reply == ("not-in-room", 0, "")
            else:
                record.version += 1
                assert reply == ("left", record.version, record.room)
                pair = frozenset(self.rooms[record.room])
                self.met[pair] = max(self.met[pair], self.lobby.now + apart)
                self.end_room(record.room, held.person, "left")

        self.step(call, model)

    def goodbye(self, held: Held) -> None:
        self.disconnect(held, None)

    def drop(self, held: Held) -> None:
        self.disconnect(held, GRACE_MS)

    def disconnect(self, held: Held, grace_ms: int | None) -> None:
        record = self.people[held.person]

        def model(known: bool) -> None:
            assert known == (record.conn == held.conn)
            if not known:
                return
            if grace_ms is not None:
                self.vanish(held.person, grace_ms)
                return
            self.workers[held.worker.name].people.discard(held.person)
            record.worker = record.conn = None
            record.waiting = False
            if record.room is not None:
                self.end_room(record.room, held.person, "disconnected")

        self.step(lambda: held.worker.presence.disconnect(held.person, held.conn, grace_ms), model)
        self.held.remove(held)

    # Time

    @rule(ms=st.sampled_from(TIMES))
    def pass_time(self, ms: int) -> None:
        self.lobby.advance(ms)
        running = self.running()
        for worker in running:
            self.beat(worker, look=worker is running[-1])

    @rule()
    def tick(self) -> None:
        def model(_more: bool) -> None:
            now = self.lobby.now
            # Of two partners whose time is over, the second one receives the notice of the first one's end.
            due = [(person.away, name) for name, person in self.people.items() if person.away is not None]
            for away, name in sorted(due):
                person = self.people[name]
                if away <= now:
                    person.away = None
                    person.waiting = False
                    if person.room is not None:
                        self.end_room(person.room, name, "disconnected")

        while self.step(self.lobby.matchmaking.tick, model):
            pass
        for place in ("resting", "selective", "searching"):
            assert all(int(due) > self.lobby.now for due in self.store[place].values()), f"still due: {place}"

    @rule(recover=st.booleans())
    def settle(self, recover: bool) -> None:
        """Let time pass as in a server. A ghost may need a second look, a second later."""
        if recover:
            for slot in SLOTS:
                self.recover(slot)
        for _ in range(6):
            self.pass_time(TICK_MS)
            self.tick()
        waiting = [name for name in PEOPLE if self.is_available(name)]
        left = [(a, b) for a, b in combinations(waiting, 2) if self.may_meet(a, b) and self.suit(a, b)]
        assert not left, "two who may meet are both left waiting"
        stats = self.lobby.worker.presence.stats()
        assert stats["onlineUsers"] == self.online()
        places = ("pool", "resting", "selective")
        assert stats["waitingUsers"] == len(set().union(*(self.store[place] for place in places)))
        assert stats["activeRooms"] == len(self.rooms)
        assert stats["matchesTotal"] == self.matches

    # Workers

    def beat(self, worker: Worker, look: bool = True) -> None:
        """Do a worker's work of each second (animochat/chat/worker.py), without reaping dead workers."""
        beats = []

        def model(beat: Any) -> None:
            record = self.workers[worker.name]
            lapsed = record.beat <= self.lobby.now - LEASE_MS
            # A lapsed worker may have lost people to an unfinished reaper, so either answer is right.
            assert beat.known == (record.listed and record.beat % 1 == 0) or (lapsed and not beat.known)
            record.beat, record.listed = self.lobby.now, True
            assert beat.online == self.online()
            assert beat.listeners == int(record.listening)
            assert sorted(beat.dead) == sorted(self.dead())
            beats.append(beat)

        if look:
            self.step(worker.heartbeat, model)
        else:
            model(worker.heartbeat())
        if not beats[0].known:
            self.resync_all(worker)

    def dead(self) -> list[str]:
        limit = self.lobby.now - LEASE_MS
        return [name for name, worker in self.workers.items() if worker.listed and worker.beat <= limit]

    @rule(choice=st.integers(0, 2), victim=st.integers(0, 20))
    @precondition(lambda self: self.running())
    def reap(self, choice: int, victim: int) -> None:
        """Let a worker take another for dead, rightly or by mistake."""
        running = self.running()
        names = self.dead() or list(self.workers)
        self.do_reap(running[choice % len(running)], names[victim % len(names)])

    def do_reap(self, reaper: Worker, name: str) -> None:
        worker = self.workers[name]

        def model(_reply: None) -> None:
            if reaper.name != name and worker.listed and worker.beat > self.lobby.now - LEASE_MS:
                return
            # The people go in random order. Of two partners, the second one receives the notice of the first.
            told = {notice["p"] for _, notice in self.heard if notice["e"] == "reconnecting"}
            for person in sorted(worker.people, key=lambda person: self.partner(person) not in told):
                self.vanish(person, LOST_GRACE_MS)
            worker.listed = False

        self.step(lambda: reaper.presence.reap(name, LOST_GRACE_MS), model)

    @rule(slot=st.sampled_from(SLOTS), what=st.sampled_from(TROUBLES))
    def trouble(self, slot: int, what: str) -> None:
        """A slot's worker is killed, stops, does nothing for a while, or loses its subscription; or recovers."""
        worker = self.slots[slot]
        if self.recover(slot):
            return
        assert worker is not None
        if what == "stall":
            worker.beating = False
        elif what == "cut":
            self.silence(worker)
        else:
            if what == "stop":
                self.do_reap(worker, worker.name)
            self.silence(worker)
            worker.beating = False
            self.held = [held for held in self.held if held.worker is not worker]
            self.slots[slot] = None

    def recover(self, slot: int) -> bool:
        """Return whether there was something to recover from."""
        worker = self.slots[slot]
        if worker is None:
            worker = self.slots[slot] = self.lobby.add_worker()
            self.workers[worker.name] = ModelWorker(self.lobby.now)
            self.step(lambda: None, lambda _: None)
        elif not worker.beating:
            worker.beating = True
            self.beat(worker)
        elif not worker.listening:
            worker.subscribe()
            self.workers[worker.name].listening = True
            self.resync_all(worker)
        else:
            return False
        return True

    def silence(self, worker: Worker) -> None:
        worker.unsubscribe()
        self.workers[worker.name].listening = False


def _text(item: tuple[str, Notice]) -> str:
    return json.dumps(item, sort_keys=True)


def profile(examples: int) -> settings:
    """Generate the same interleavings each time, so that a failure comes from a change."""
    return settings(
        max_examples=examples,
        stateful_step_count=50,
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )


@pytest.mark.timeout(240)
@pytest.mark.parametrize(("store", "examples"), [("valkey", 30), ("redis", 10)])
def test_store_and_rules_agree_in_every_interleaving(
    store_processes: Callable[[str], str], store: str, examples: int
) -> None:
    machine = type("Machine", (World,), {"url": store_processes(store)})
    run_state_machine_as_test(machine, settings=profile(examples))  # type: ignore[no-untyped-call]


def test_the_machine_runs_every_script() -> None:
    """The machine calls the services, which load their scripts from files: it must cover every script."""
    names = ["matchmaking/find_match", "matchmaking/cancel_match", "matchmaking/next_match", "matchmaking/tick"]
    names += ["presence/connect", "presence/disconnect", "presence/heartbeat", "presence/reap_worker", "presence/stats"]
    assert all(load(name).source for name in [*names, "rooms/leave_room", "moderation/block_partner"])
