"""A lobby on a real store, driven without a server, for the tests of the rules.

    lobby = Lobby(redis_url)
    anna, bert = lobby.people("anna", "bert")
    assert anna.find().state == "waiting"
    assert bert.find().state == "matched"
    assert anna.partner == "bert"
    lobby.pass_time(5000)

Time is the lobby's own clock, chance is a counted seed, and a worker is a real subscription with a heartbeat, so no
test waits. For the store's connections in gevent there are `cooperative` and `Relay`.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import gevent
import gevent.socket
import redis
from gevent.event import Event
from gevent.server import StreamServer

from animochat.matchmaking.service import Matchmaking, Search
from animochat.moderation.lobby_moderation import LobbyModeration, Said
from animochat.presence.service import Heartbeat, Presence, Registration
from animochat.protocol.errors import Unavailable
from animochat.protocol.room_record import Parting
from animochat.rooms.service import Rooms
from animochat.store import keys
from animochat.store.node import Command
from animochat.store.scripts import Script

#: Start of the lobby's clock: some Unix ms, with as many digits as real ones.
START = 1_900_000_000_000

HOUR_MS = 3_600_000

#: The rules' numbers, with the protocol's defaults.
HISTORY_MS = 24 * HOUR_MS
COOLDOWN_MS = 5000
INTEREST_WAIT_MS = 10_000
GRACE_MS = 10_000
LOST_GRACE_MS = 120_000

#: Milliseconds between two ticks of a worker (animochat/matchmaking/service.py).
TICK_MS = 250

TAG = keys.lobby()

Notice = dict[str, Any]

T = TypeVar("T")


def _connection(url: str) -> Any:
    pool = redis.ConnectionPool.from_url(url, socket_timeout=30, protocol=2, driver_info=None)
    connection: Any = pool.make_connection()
    connection.connect()
    return connection


class DirectPipeline:
    """The part of `store.pipeline.Pipeline` that services need, without gevent: each command goes out at once."""

    def __init__(self, url: str) -> None:
        self.connection = _connection(url)
        self._collectors: list[Callable[[], list[tuple[Command, Callable[[Any], None]]]]] = []
        self.in_cluster = False
        self.database = 0

    def execute(self, *command: Any) -> Any:
        self.connection.send_command(*command, check_health=False)
        return self.connection.read_response()

    def call(self, script: Script, keys: Sequence[str], args: Sequence[Any] = ()) -> Any:
        command = (script.sha, len(keys), *keys, *args)
        try:
            return self.execute("EVALSHA", *command)
        except redis.exceptions.NoScriptError:
            self.execute("SCRIPT", "LOAD", script.source)
            return self.execute("EVALSHA", *command)

    def submit(self, command: Command, callback: Callable[[Any], None]) -> None:
        callback(self.execute(*command))

    def by_topology(self, single: T, cluster: T) -> Callable[[], T]:
        return lambda: cluster if self.in_cluster else single

    def by_slot(self, items: Sequence[Any], key: Callable[[Any], str]) -> list[list[Any]]:
        return [list(items)] if items else []

    def add_collector(self, collect: Callable[[], list[tuple[Command, Callable[[Any], None]]]]) -> None:
        self._collectors.append(collect)

    def wake(self) -> None:
        for collect in self._collectors:
            for command, callback in collect():
                try:
                    reply = self.execute(*command)
                except redis.exceptions.NoScriptError:
                    raise AssertionError("load the script first: lobby.load_scripts()") from None
                callback(reply)

    def close(self) -> None:
        self.connection.disconnect()


class Ear:
    """Real subscriptions to the workers' channels. `messages()` returns the publications since the last call, and needs
    no pause: a publication from before a PING reaches the subscriber before the PONG."""

    def __init__(self, url: str) -> None:
        self.connection = _connection(url)
        self._unread: list[tuple[str, bytes]] = []

    def subscribe(self, channel: str) -> None:
        self._ask("SUBSCRIBE", channel)

    def unsubscribe(self, channel: str) -> None:
        self._ask("UNSUBSCRIBE", channel)

    def messages(self) -> list[tuple[str, bytes]]:
        """Return the received publications, each with its channel."""
        self._ask("PING")
        messages, self._unread = self._unread, []
        return messages

    def _ask(self, *command: str) -> None:
        self.connection.send_command(*command, check_health=False)
        while True:
            reply = self.connection.read_response()
            if reply[0] != b"message":
                return
            self._unread.append((reply[1].decode(), reply[2]))

    def close(self) -> None:
        # Unsubscribe before closing: the next test counts subscribers, and the store notices a closed socket later.
        self.connection.send_command("UNSUBSCRIBE", check_health=False)
        while (reply := self.connection.read_response())[0] == b"message" or reply[2] != 0:
            pass
        self.connection.disconnect()


class Worker:
    """A worker as the store sees it: a channel with a subscriber, heartbeats, people."""

    def __init__(self, lobby: Lobby, name: str) -> None:
        self.lobby = lobby
        self.name = name
        self.channel = keys.worker_channel(name)
        #: False: it sends no more heartbeats by itself.
        self.beating = True
        self.listening = False
        #: Everything received on its channel.
        self.heard: list[bytes] = []
        self.presence = Presence(lobby.pipeline, name, clock=lobby.clock)  # type: ignore[arg-type]
        self.rooms = Rooms(lobby.pipeline, name, clock=lobby.clock, storing=lobby.storing)  # type: ignore[arg-type]
        self.subscribe()
        self.heartbeat()

    def subscribe(self) -> None:
        self.lobby.ear.subscribe(self.channel)
        self.listening = True

    def unsubscribe(self) -> None:
        """Cut its subscription; the store notices."""
        self.lobby.ear.unsubscribe(self.channel)
        self.listening = False

    def heartbeat(self, messages: int = 0) -> Heartbeat:
        return self.presence.heartbeat(messages)

    def kill(self) -> None:
        """End it as `kill -9` does: no subscriber, no heartbeat, but the store still has its people as connected."""
        self.beating = False
        self.unsubscribe()

    def listen(self) -> list[bytes]:
        """Return everything received on its channel so far."""
        self.lobby.listen()
        return self.heard

    def notices(self) -> list[Notice]:
        """Return the received notices."""
        return [notice for data in self.listen() if data.startswith(b"[") for notice in json.loads(data)]


class Person:
    """A person with or without a connection, and the calls that the person's worker makes."""

    def __init__(self, lobby: Lobby, name: str) -> None:
        self.lobby = lobby
        self.name = name
        self.worker: Worker
        self.conn = ""

    def connect(self, worker: Worker | None = None, address: str = "", device: str = "") -> Registration:
        self.worker = worker or self.lobby.worker
        self.conn = self.lobby.new_connection()
        return self.worker.presence.connect(self.name, self.conn, address=address, device=device)

    def resync(self) -> Registration:
        return self.worker.presence.connect(self.name, self.conn, again=True)

    def find(self, *interests: str) -> Search:
        return self.lobby.matchmaking.find_match(self.name, self.conn, interests)

    def cancel(self) -> Search:
        return self.lobby.matchmaking.cancel_match(self.name, self.conn)

    def next(self, *interests: str) -> Search:
        return self.lobby.matchmaking.next_match(self.name, self.conn, interests)

    def leave(self) -> Parting:
        return self.worker.rooms.leave(self.name, self.conn)

    def block(self, room: str = "") -> Parting:
        return self.lobby.moderation.block_partner(self.name, self.conn, room)

    def report(
        self, reason: str = "spam", details: str = "", evidence: Sequence[Said] = (), room: str | None = None
    ) -> Parting:
        """Report the partner of the present room, or of `room`."""
        room = room if room is not None else self.room or ""
        return self.lobby.moderation.report_partner(room, reason, details, evidence, self.name, self.conn)

    def goodbye(self) -> bool:
        return self.worker.presence.disconnect(self.name, self.conn, None)

    def drop(self, grace_ms: int = GRACE_MS) -> bool:
        return self.worker.presence.disconnect(self.name, self.conn, grace_ms)

    @property
    def record(self) -> dict[str, str]:
        """Return the store's record of the person."""
        return self.lobby.hash(f":person:{self.name}")

    @property
    def room(self) -> str | None:
        return self.record.get("room")

    @property
    def partner(self) -> str | None:
        """Return the other member of the room, or None."""
        members = self.lobby.members(self.room) if self.room else ()
        return next((member for member in members if member != self.name), None)

    @property
    def waiting(self) -> bool:
        return "waiting" in self.record

    def heard(self, event: str | None = None) -> list[Notice]:
        """Return this person's notices that the present worker has received, of one kind or all."""
        return [n for n in self.worker.notices() if n["p"] == self.name and event in (None, n["e"])]


class Lobby:
    """A lobby with a clock, and one worker at the start. `storing`: whether messages may be stored."""

    def __init__(self, url: str, seed: str = "seed", storing: bool = True) -> None:
        self.url = url
        self.storing = storing
        self.now = START
        self.pipeline = DirectPipeline(url)
        self._connections = itertools.count(1)
        self._seeds = (f"{seed}{n}" for n in itertools.count())
        self.matchmaking = Matchmaking(
            self.pipeline,  # type: ignore[arg-type]
            HISTORY_MS,
            COOLDOWN_MS,
            INTEREST_WAIT_MS,
            clock=self.clock,
            seed=lambda: next(self._seeds),
        )
        self.moderation = LobbyModeration(self.pipeline, 3, 0, clock=self.clock)  # type: ignore[arg-type]
        self.ear = Ear(url)
        self.workers: list[Worker] = []
        self.worker = self.add_worker()

    def clock(self) -> int:
        return self.now

    def new_connection(self) -> str:
        return f"conn{next(self._connections)}"

    def add_worker(self) -> Worker:
        worker = Worker(self, f"worker{len(self.workers)}")
        self.workers.append(worker)
        return worker

    def listen(self) -> list[tuple[Worker, bytes]]:
        """Pass the publications on to the workers; return them, too."""
        by_channel = {worker.channel: worker for worker in self.workers}
        heard = [(by_channel[channel], data) for channel, data in self.ear.messages()]
        for worker, data in heard:
            worker.heard.append(data)
        return heard

    def people(self, *names: str, worker: Worker | None = None) -> list[Person]:
        """Return new people, connected."""
        people = [Person(self, name) for name in names]
        for person in people:
            person.connect(worker)
        return people

    def crowd(self, count: int, prefix: str = "p") -> list[Person]:
        return self.people(*(f"{prefix}{i}" for i in range(count)))

    def pair(self, first: str, second: str) -> tuple[Person, Person]:
        """Return two new people in a room."""
        a, b = self.people(first, second)
        a.find()
        assert b.find().state == "matched"
        assert a.partner == second
        return a, b

    def have_met(self, seeker: str, others: Sequence[str], until: int | None = None) -> None:
        """Write a match history, both ways, as `match` does: playing it would take thousands of rooms."""
        until = self.now + HISTORY_MS if until is None else until
        with self.batch() as batch:
            if others:
                batch.zadd(f"{TAG}:met:{seeker}", dict.fromkeys(others, until))
            for other in others:
                batch.zadd(f"{TAG}:met:{other}", {seeker: until})

    def all_have_met(self, people: Sequence[Person]) -> None:
        """Let everyone have met everyone, so that all of them can wait side by side."""
        self.have_all_met_until(people, self.now + HISTORY_MS)

    def have_all_met_until(self, people: Sequence[Person], until: int) -> None:
        """Do the same until another time; longer entries stay."""
        with self.batch() as batch:
            for person in people:
                others = {other.name: until for other in people if other is not person}
                batch.zadd(f"{TAG}:met:{person.name}", others, gt=True)

    def pass_time(self, ms: int) -> None:
        """Advance the clock; meanwhile living workers have sent heartbeats, and have ticked if any worker has."""
        self.advance(ms)
        for worker in self.workers:
            if worker.beating:
                worker.heartbeat()

    def advance(self, ms: int) -> None:
        """Advance the clock while workers tick with nothing due: in one step, not once per tick."""
        self.now += ms
        last = self.pipeline.execute("GET", f"{TAG}:clock")
        if last is not None:
            seen, ahead = map(int, last.split())
            self.pipeline.execute("SET", f"{TAG}:clock", f"{seen + ms} {ahead}", "KEEPTTL")

    def set_clock(self, ms: int) -> None:
        """Set the store's clock forward or back by `ms`: no time passes, and no worker has ticked since."""
        self.now += ms

    def tick(self, limit: int = 1000) -> int:
        """Do one worker's round of ticks: tick until no more is due now. Return how many scripts that took."""
        for count in range(1, limit + 1):
            if not self.matchmaking.tick():
                return count
        raise AssertionError(f"still more due after {limit} ticks at the same time")

    def run(self, ms: int) -> None:
        """Let time pass as for a worker: with a round of ticks each TICK_MS."""
        for _ in range(ms // TICK_MS):
            self.pass_time(TICK_MS)
            self.tick()

    def load_scripts(self, *scripts: Script) -> None:
        for script in scripts:
            self.pipeline.execute("SCRIPT", "LOAD", script.source)

    @contextlib.contextmanager
    def batch(self) -> Iterator[Any]:
        """Send several commands in one round trip."""
        with redis.Redis.from_url(self.url) as client, client.pipeline(transaction=False) as batch:
            yield batch
            batch.execute()

    # The store's contents

    def commands(self) -> int:
        """Return how many commands the store has executed, including those of scripts, but not this query."""
        statistics = self.pipeline.execute("INFO", "commandstats").decode()
        return sum(int(calls) for name, calls in re.findall(r"cmdstat_(\S+):calls=(\d+)", statistics) if name != "info")

    def hash(self, name: str) -> dict[str, str]:
        values = iter(self.pipeline.execute("HGETALL", TAG + name))
        return {key.decode(): value.decode() for key, value in zip(values, values, strict=True)}

    def sorted_set(self, name: str) -> dict[str, float]:
        values = iter(self.pipeline.execute("ZRANGE", TAG + name, 0, -1, "WITHSCORES"))
        return {key.decode(): float(score) for key, score in zip(values, values, strict=True)}

    def members(self, room: str) -> tuple[str, ...]:
        record = self.hash(f":room:{room}")
        return tuple(record[slot] for slot in ("a", "b") if slot in record)

    def rooms(self) -> list[set[str]]:
        return [set(self.members(room)) for room in self.sorted_set(":rooms")]

    def close(self) -> None:
        self.ear.close()
        self.pipeline.close()


# For the store's connections in gevent


def cooperative(test: Callable[..., None]) -> Callable[..., None]:
    """Run a test in its own thread with its own gevent hub, where redis-py uses gevent's sockets.

    A worker's process is patched as a whole; a test run must not be (Playwright and threads run in it). Only sockets
    have to yield for greenlets to run side by side, so only sockets are replaced, and only for this test.
    """

    @functools.wraps(test)
    def in_thread(*args: Any, **kwargs: Any) -> None:
        failed: list[BaseException] = []

        def run() -> None:
            try:
                # The traceback shows where a test hangs: pytest-timeout only interrupts the main thread.
                with gevent.Timeout(30):
                    test(*args, **kwargs)
            except BaseException as exc:  # noqa: BLE001 - it is raised again in the main thread
                failed.append(exc)
            finally:
                gevent.get_hub().destroy(destroy_loop=True)

        native, redis.connection.socket = redis.connection.socket, gevent.socket
        try:
            thread = threading.Thread(target=run)
            thread.start()
            thread.join()
        finally:
            redis.connection.socket = native
        if failed:
            raise failed[0]

    return in_thread


class Relay:
    """A proxy to the store that can be observed, paused and cut. Clients under test use `url`.

    `written`: the pieces from the client, one for each write of up to 64 KiB.
    """

    def __init__(self, store_url: str) -> None:
        assert store_url.startswith("unix://")
        self._path = store_url.removeprefix("unix://")
        self.written: list[bytes] = []
        self.accepted = 0
        self._ends: set[Any] = set()
        #: Set: requests pass; cleared: they wait.
        self.requests = Event()
        self.requests.set()
        #: Set: answers pass; cleared: they wait.
        self.answers = Event()
        self.answers.set()
        self._server = StreamServer(("127.0.0.1", 0), self._serve)
        self._server.start()
        self._port = self._server.server_port
        self.url = f"redis://127.0.0.1:{self._port}"

    def _serve(self, client: Any, _address: Any) -> None:
        self.accepted += 1
        store = gevent.socket.socket(gevent.socket.AF_UNIX)
        store.connect(self._path)
        self._ends |= {client, store}
        back = gevent.spawn(self._pump, store, client, self.answers, [])
        self._pump(client, store, self.requests, self.written)
        back.join()
        self._ends -= {client, store}

    def _pump(self, source: Any, sink: Any, gate: Event, seen: list[bytes]) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                seen.append(data)
                gate.wait()
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(gevent.socket.SHUT_RDWR)
            end.close()

    def cut(self) -> None:
        """Cut the existing connections."""
        for end in list(self._ends):
            with contextlib.suppress(OSError):
                end.shutdown(gevent.socket.SHUT_RDWR)

    def close(self) -> None:
        """Make the store unreachable: connections break, new ones are refused."""
        self._server.stop()
        self.cut()

    def reopen(self) -> None:
        """Make the store reachable again, at the same address."""
        self._server = StreamServer(("127.0.0.1", self._port), self._serve)
        self._server.start()


def soon(check: Callable[[], Any], what: str = "") -> Any:
    """Let the other greenlets run until `check` returns something true (within the test's own timeout)."""
    with gevent.Timeout(10, AssertionError(f"not within 10 s: {what or check}")):
        while not (result := check()):
            gevent.sleep(0.001)
    return result


def outcome(action: Callable[[], Any]) -> Any:
    """Return the result of a call, or the class of the refusal."""
    try:
        return action()
    except Unavailable:
        return Unavailable
