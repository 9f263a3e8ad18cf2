"""The store's clock is set, back or forward: people who wait for a time wait as long as ever."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from animochat.matchmaking.service import TICK_GAP_MS
from animochat.moderation.lobby_moderation import NOTHING
from animochat.rooms import service as rooms
from tests.helpers.store import COOLDOWN_MS, GRACE_MS, HOUR_MS, INTEREST_WAIT_MS, TICK_MS, Lobby

DAY_MS = 24 * HOUR_MS


@pytest.fixture
def lobby(redis_url: str) -> Iterator[Lobby]:
    """A lobby that has been ticking."""
    lobby = Lobby(redis_url)
    lobby.load_scripts(*rooms.SCRIPTS)
    lobby.run(TICK_MS)
    yield lobby
    lobby.close()


Wait = Callable[[Lobby], Callable[[], bool]]


def cooldown(lobby: Lobby) -> Callable[[], bool]:
    anna, _ = lobby.pair("anna", "bert")
    assert anna.next().cooldown_ms == COOLDOWN_MS
    return lambda: "anna" in lobby.sorted_set(":resting")


def interest_wait(lobby: Lobby) -> Callable[[], bool]:
    (anna,) = lobby.people("anna")
    anna.find("tea")
    return lambda: "anna" in lobby.sorted_set(":selective")


def grace_time(lobby: Lobby) -> Callable[[], bool]:
    anna, bert = lobby.pair("anna", "bert")
    anna.drop()
    return lambda: bert.room is not None


def ban(lobby: Lobby) -> Callable[[], bool]:
    (anna,) = lobby.people("anna")
    lobby.moderation.ban("anna", GRACE_MS, NOTHING, "")
    return lambda: anna.connect().state == "banned"


WAITS: dict[Wait, int] = {
    cooldown: COOLDOWN_MS, interest_wait: INTEREST_WAIT_MS, grace_time: GRACE_MS, ban: GRACE_MS,
}  # fmt: skip


@pytest.mark.parametrize("ms", [-HOUR_MS, HOUR_MS])
@pytest.mark.parametrize(("wait", "duration"), WAITS.items(), ids=[wait.__name__ for wait in WAITS])
@pytest.mark.parametrize("when", ["before", "after a tick", "meanwhile"])
def test_a_wait_takes_as_long_as_ever(lobby: Lobby, wait: Wait, duration: int, ms: int, when: str) -> None:
    """Set the clock just before the wait begins, or a tick earlier, or in the middle of it."""
    if when != "meanwhile":
        lobby.set_clock(ms)
    if when == "after a tick":
        lobby.tick()
    waits = wait(lobby)
    lobby.run(duration // 2)
    if when == "meanwhile":
        lobby.set_clock(ms)
    lobby.run(duration - duration // 2 - 2 * TICK_MS)
    assert waits()
    lobby.run(4 * TICK_MS)
    assert not waits()


@pytest.mark.parametrize("ms", [-HOUR_MS, HOUR_MS])
def test_no_worker_is_dead_because_the_clock_is_set(lobby: Lobby, ms: int) -> None:
    other = lobby.add_worker()
    lobby.set_clock(ms)
    beat = lobby.worker.heartbeat()
    assert (beat.known, beat.dead, beat.workers) == (True, [], 2)
    lobby.tick()
    other.kill()
    lobby.run(6000)
    assert lobby.worker.heartbeat().dead == [other.name]


@pytest.mark.parametrize("ms", [-HOUR_MS, HOUR_MS])
def test_people_are_shown_the_stores_own_time(lobby: Lobby, ms: int) -> None:
    lobby.set_clock(ms)
    lobby.tick()
    anna, _ = lobby.pair("anna", "bert")
    assert lobby.hash(f":room:{anna.room}")["since"] == str(lobby.now)


@pytest.mark.parametrize("ms", [-HOUR_MS, 6000, HOUR_MS])
def test_time_goes_on_once_workers_tick_again(lobby: Lobby, ms: int) -> None:
    """The clock was set, or no worker ticked for a while. Ticks as workers send them, which may have nothing to do."""
    anna, _ = lobby.pair("anna", "bert")
    lobby.matchmaking.tick(TICK_GAP_MS)
    lobby.set_clock(ms)
    assert anna.next().cooldown_ms == COOLDOWN_MS
    for _ in range(COOLDOWN_MS // TICK_MS + 2):
        lobby.worker.heartbeat()
        lobby.matchmaking.tick(TICK_GAP_MS)
        lobby.now += TICK_MS
    assert "anna" not in lobby.sorted_set(":resting")


def test_no_time_passes_without_ticks(lobby: Lobby) -> None:
    """The store or all workers were away: anyone who was cut off has the whole grace time to come back."""
    _, bert = lobby.pair("anna", "bert")
    bert.drop()
    lobby.set_clock(DAY_MS)
    lobby.tick()
    assert bert.room is not None
    lobby.run(GRACE_MS + TICK_MS)
    assert bert.room is None
