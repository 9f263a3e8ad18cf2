"""A worker that stops sends its clients elsewhere in slices: two workers' chats on a real store, time passed in."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import gevent
import pytest

from animochat.chat.connections import Connection
from animochat.chat.worker import DRAIN_INTERVAL, DRAIN_RATE, Chat, drain_slices
from tests.helpers.local_chat import HUNG_UP, LocalClient, start_chat
from tests.helpers.store import cooperative, soon

#: People of one slice.
SLICE = int(DRAIN_RATE * DRAIN_INTERVAL)


@pytest.fixture
def start(store_url: str) -> Callable[[], Chat]:
    return lambda: start_chat(store_url)


def join(chat: Chat, count: int) -> list[LocalClient]:
    people = [LocalClient(chat) for _ in range(count)]
    soon(lambda: all(person.payload("session") for person in people), "sessions")
    return people


# The order of leaving


def connection(number: int, room: str | None = None) -> Connection:
    return SimpleNamespace(number=number, room=None if room is None else SimpleNamespace(room_id=room))  # type: ignore[return-value]


@pytest.mark.parametrize("count", [0, 1, SLICE])
def test_a_few_leave_at_once(count: int) -> None:
    assert len(drain_slices([connection(number) for number in range(count)], 8)) <= 1


def test_thousands_leave_in_slices_and_no_one_is_forgotten() -> None:
    people = [connection(number) for number in range(20 * SLICE)]
    slices = drain_slices(people, 8)
    assert [len(leaving) for leaving in slices] == [SLICE] * 20
    assert sorted(person.number for leaving in slices for person in leaving) == list(range(20 * SLICE))  # type: ignore[attr-defined]


def test_more_leave_at_a_time_where_the_time_is_short() -> None:
    people = [connection(number) for number in range(1_000 * SLICE)]
    assert 70 <= len(drain_slices(people, 8)) <= 80
    assert len(drain_slices(people, 0.25)) == 2
    assert len(drain_slices(people, 0)) == 1


def test_partners_leave_together() -> None:
    people = [connection(number, f"room{number % (2 * SLICE)}") for number in range(4 * SLICE)]
    for leaving in drain_slices(people, 8):
        rooms = [person.room.room_id for person in leaving if person.room is not None]
        assert all(rooms.count(room) == 2 for room in rooms)


# The drain


@cooperative
def test_clients_still_here_are_served_and_the_others_keep_their_places(start: Callable[[], Chat]) -> None:
    leaving, staying = start(), start()
    people = join(leaving, 3 * SLICE)
    left: list[int] = []

    def pause(_seconds: float) -> None:
        gevent.sleep(0)
        here = [person for person in people if not person.gone and not person.paused]
        left.append(len(people) - len(here))
        if here:
            for person in here[:2]:
                person.ask("find-match")
            soon(lambda: all(person.payload("matched") for person in here[:2]), "a match")

    leaving.drain(8, pause)
    assert left[:2] == [SLICE, 2 * SLICE]
    assert all(person.packets[-1] == HUNG_UP for person in people), "after an Engine.IO CLOSE some stay away"
    now = staying.stats()
    assert (now["onlineUsers"], now["activeRooms"]) == (0, 2)
    leaving.stop(1)
    assert staying.stats()["workers"] == 1
    staying.stop(1)


@cooperative
def test_without_another_worker_all_leave_at_once(start: Callable[[], Chat]) -> None:
    """Both workers belong to the only server: the sooner they stop, the sooner the next ones start."""
    one, two = start(), start()
    assert two.lobbies["main"].presence.stopping() == 1
    people = join(one, 3 * SLICE)
    pauses: list[float] = []
    one.drain(8, lambda seconds: (pauses.append(seconds), gevent.sleep(0)))
    assert DRAIN_INTERVAL not in pauses
    assert all(person.packets[-1] == HUNG_UP for person in people), "after an Engine.IO CLOSE some stay away"
    for chat in (one, two):
        chat.stop(1)


@cooperative
def test_a_draining_worker_sends_new_clients_elsewhere(start: Callable[[], Chat]) -> None:
    chat = start()
    chat.lobbies["main"].arrivals.admit_nobody()
    late = LocalClient(chat)
    assert late.packets == [HUNG_UP]
    assert len(chat.lobbies["main"].connections) == 0
    chat.stop(1)


@cooperative
def test_earlier_requests_are_answered_before_the_client_is_sent_elsewhere(start: Callable[[], Chat]) -> None:
    chat = start()
    anna, bert = join(chat, 2)
    for person in (anna, bert):
        answer = person.ask("find-match")
        soon(lambda person=person, answer=answer: person.is_answered(answer))
    said = anna.ask("send-message", "hello")
    sought = bert.ask("next-match")
    chat.drain(8)
    assert anna.is_answered(said)
    assert bert.is_answered(sought)
    assert (anna.packets[-1], bert.packets[-1]) == (HUNG_UP, HUNG_UP)
    assert anna.paused
    assert bert.paused
    chat.stop(1)
