"""A worker's publications for room logs in a cluster, its memory of messages, and how it opens and closes logs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from animochat.protocol.channel import RelayedMessage
from animochat.protocol.errors import Unavailable
from animochat.rooms import life, service
from animochat.rooms.appending import NewMessage, Outcome
from animochat.rooms.life import LogLife
from animochat.rooms.memory import MemoryLog, RememberedMessage
from animochat.rooms.outbox import ATTEMPTS, Outbox
from animochat.rooms.service import SCRIPTS
from animochat.store import keys
from animochat.store.pipeline import Pipeline
from tests.helpers.store import TAG, DirectPipeline, Lobby, Relay, cooperative, outcome, soon

Commands = list[tuple[tuple[Any, ...], Callable[[Any], None]]]


@pytest.fixture
def lobby(store_url: str) -> Iterator[Lobby]:
    with contextlib.closing(Lobby(store_url)) as lobby:
        lobby.load_scripts(*SCRIPTS)
        yield lobby


def published(commands: Commands) -> list[tuple[str, str]]:
    """Return the channel and the text of each publication."""
    assert {command[0] for command, _ in commands} <= {"PUBLISH"}
    return [(command[1], command[2]) for command, _ in commands]


# The outbox


def message(receiver: str) -> RelayedMessage:
    return RelayedMessage(receiver=receiver, room_id="room", seq=1, timestamp=2, body="{}")


def test_each_worker_gets_one_publication_with_its_lines_in_order() -> None:
    outbox, told = Outbox(TAG), []  # type: ignore[var-annotated]
    for worker, line in [("one", "a"), ("two", "b"), ("one", "c")]:
        outbox.tell(worker, message(line), lambda success, line=line: told.append((line, success)))  # type: ignore[misc]
    commands = outbox.collect()
    one, two = keys.channel(TAG, "one"), keys.channel(TAG, "two")
    assert published(commands) == [(one, "chain\na room 1 2 0 {}\nc room 1 2 0 {}"), (two, "chain\nb room 1 2 0 {}")]
    assert outbox.collect() == [], "each message goes out once"
    for _, answered in commands:
        answered(1)
    assert told == [("a", True), ("c", True), ("b", True)]
    assert outbox.unheard() == []


def test_publication_without_subscriber_succeeds_and_its_receivers_get_hints() -> None:
    outbox, told = Outbox(TAG), []  # type: ignore[var-annotated]
    outbox.tell("one", message("anna"), told.append)
    ((_, answered),) = outbox.collect()
    answered(0)
    assert told == [True], "it is stored"
    commands = outbox.unheard()
    assert published(commands) == [(keys.channel(TAG, "one"), "look\nanna room")]
    assert outbox.unheard() == [], "while that is under way"
    commands[0][1](1)
    assert outbox.unheard() == []


def test_failed_publication_is_reported_and_its_receivers_get_hints() -> None:
    outbox, told = Outbox(TAG), []  # type: ignore[var-annotated]
    outbox.tell("one", message("anna"), told.append)
    ((_, answered),) = outbox.collect()
    answered(Unavailable())
    assert told == [False]
    assert published(outbox.unheard()) == [(keys.channel(TAG, "one"), "look\nanna room")]


def test_hints_to_a_worker_without_subscription_end_after_some_attempts() -> None:
    outbox = Outbox(TAG)
    outbox.tell_to_look("one", message("anna").look)
    times = 0
    while commands := outbox.unheard():
        times += 1
        for _, answered in commands:
            answered(0)
    assert times == ATTEMPTS + 1
    assert not outbox._unheard, "nothing is left of it"


def test_no_hint_for_a_person_without_a_worker() -> None:
    outbox = Outbox(TAG)
    outbox.tell_to_look("", message("anna").look)
    assert outbox.unheard() == []


def test_in_a_cluster_a_worker_publishes_a_stored_message_before_acknowledging_it(lobby: Lobby) -> None:
    other = lobby.add_worker()
    lobby.pipeline.in_cluster = True
    (anna,) = lobby.people("anna")
    (bert,) = lobby.people("bert", worker=other)
    anna.find()
    assert bert.find().state == "matched"
    room = anna.room or ""
    slot = "a" if lobby.members(room)[0] == "anna" else "b"
    rooms = lobby.worker.rooms
    version = int(anna.record["v"])
    rooms.attach(room, "anna", slot, version)
    other.rooms.attach(room, "bert", "b" if slot == "a" else "a", int(bert.record["v"]))
    done: list[Any] = []

    def say(client_id: str) -> None:
        entry = NewMessage(
            room, slot, "bert", other.name, 0, version, client_id, '"content":"hi"', lambda *a: done.append(a)
        )
        rooms.append(entry)

    say("one")
    say("two")
    assert [(answer[0], answer[2]) for answer in done] == [(1, Outcome.REMOTE), (2, Outcome.REMOTE)]
    lines = [data.decode() for data in other.listen() if data.startswith(b"chain")]
    assert [line.split(" ")[2:5:2] for line in lines] == [["1", "0"], ["2", "1"]], "each names the one before"
    assert rooms.stored == 2
    assert rooms.log_may_be_ahead
    say("one")
    assert done[-1][0] == 1
    assert done[-1][2] == Outcome.AGAIN
    assert [data for data in other.listen() if data.startswith(b"look")] == [f"look\nbert {room}".encode()]
    assert rooms.stored == 2
    other.unsubscribe()
    say("three")
    assert done[-1][2] == Outcome.REMOTE
    other.subscribe()
    rooms.repeat()
    assert other.listen()[-1] == f"look\nbert {room}".encode()


# The memory


def test_memory_returns_each_message_once_in_room_order() -> None:
    memory = MemoryLog(3)
    said = {seq: RememberedMessage("anna", seq, f"body{seq}") for seq in range(1, 6)}
    assert [memory.keep("room", seq, *said[seq]) for seq in (2, 1, 2, 3)] == [True, True, False, True]
    assert memory.after("room", 0) == [(1, said[1]), (2, said[2]), (3, said[3])]
    assert memory.after("room", 2) == [(3, said[3])]
    assert memory.after("room", 3) == memory.after("another", 0) == []
    assert memory.has_all("room", 0, 3)
    assert not memory.has_all("room", 0, 4)
    assert memory.has_all("another", 2, 2), "where nothing was said nothing is missing"
    memory.keep("room", 4, *said[4])
    assert [seq for seq, _ in memory.after("room", 0)] == [1, 3, 4], "the first one has been dropped"


# Opening and closing logs


def test_logs_are_opened_and_closed_in_portions_without_a_rest(lobby: Lobby, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(life, "PORTION", 2)
    monkeypatch.setattr(service, "ENDING", 2)
    rooms = [lobby.pair(f"a{number}", f"b{number}")[0].room or "" for number in range(5)]
    log = lobby.worker.rooms.life
    log._openings = [life._Opening(room, "a", 1) for room in rooms]
    commands = log.collect()
    assert [command[2] for command, _ in commands] == [2, 2, 1]
    assert sorted(tag for command, _ in commands for tag in command[3 : 3 + command[2]]) == sorted(
        map(keys.room, rooms)
    )
    assert log.collect() == []
    assert lobby.worker.rooms.end_again(rooms) == 5
    assert lobby.rooms() == []


def test_client_id_belongs_to_one_member(lobby: Lobby) -> None:
    anna, _ = lobby.pair("anna", "bert")
    room = anna.room or ""
    slot = "a" if lobby.members(room)[0] == "anna" else "b"
    rooms = lobby.worker.rooms
    rooms.attach(room, "anna", slot, int(anna.record["v"]))
    done: list[Any] = []
    entry = NewMessage(
        room, slot, "bert", "", 0, int(anna.record["v"]), "mine", '"content":"hi"', lambda *a: done.append(a)
    )
    rooms.append(entry)
    assert done[0][0] == 1
    assert rooms.is_stored(room, slot, "mine")
    assert not rooms.is_stored(room, "b" if slot == "a" else "a", "mine")
    assert not rooms.is_stored(room, slot, "other")


class WithoutNode(DirectPipeline):
    """A cluster in which the node that has the log of `missing` is gone."""

    missing = ""

    def execute(self, *command: Any) -> Any:
        if self.missing and keys.room(self.missing) in command:
            raise Unavailable
        return super().execute(*command)

    def by_slot(self, items: Any, key: Callable[[Any], str]) -> list[list[Any]]:
        return [[item] for item in items]


def test_room_stays_on_the_agenda_until_its_log_is_closed(lobby: Lobby) -> None:
    pairs = [lobby.pair(f"a{number}", f"b{number}")[0] for number in range(3)]
    rooms = [person.room or "" for person in pairs]
    for person in pairs:
        person.leave()
    with contextlib.closing(WithoutNode(lobby.url)) as pipeline:
        pipeline.missing = rooms[1]
        closing = LogLife(pipeline, TAG, lobby.clock, 1000)  # type: ignore[arg-type]
        closing.close_ended()
        assert list(lobby.sorted_set(":ended")) == [rooms[1]]
        pipeline.missing = ""
        lobby.pass_time(life.CLOSING_MS - 1)
        closing.close_ended()
        assert list(lobby.sorted_set(":ended")) == [rooms[1]], "another worker may be closing it"
        lobby.pass_time(1)
        closing.close_ended()
        assert list(lobby.sorted_set(":ended")) == []


@cooperative
def test_closing_a_log_without_a_store_does_not_block(store_url: str) -> None:
    relay = Relay(store_url)
    pipeline = Pipeline(relay.url, SCRIPTS)
    pipeline.start()
    assert pipeline.execute("PING") == b"PONG"
    relay.close()
    closing, closed = LogLife(pipeline, TAG, lambda: "", 1000), []  # type: ignore[var-annotated]
    assert outcome(lambda: closing.close("room")) is Unavailable
    closing.begin_to_close("room", lambda: closed.append(True))
    soon(lambda: closed)
    pipeline.stop()
