"""The timer wheel: each deadline is called once and in time, unless it was cleared."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import gevent
import pytest
from gevent.event import Event

from animochat.server.timers import TimerWheel

TICK, SPAN = 0.01, 0.1


class Entry:
    """Records when it is called."""

    def __init__(self, called: list[str], name: str, then: Callable[[Entry], object] = lambda entry: None) -> None:
        self.timer_slot = -1
        self._called = called
        self._name = name
        self._then = then

    def on_timer(self) -> None:
        self._called.append(self._name)
        self._then(self)


@pytest.fixture
def wheel() -> Iterator[TimerWheel]:
    wheel = TimerWheel(TICK, SPAN)
    yield wheel
    wheel.stop()


@pytest.fixture
def called() -> list[str]:
    return []


def wait(wheel: TimerWheel, called: list[str], delay: float) -> None:
    """Wait until an entry that is set now with this delay is called."""
    over = Event()
    wheel.add(Entry(called, "over", lambda _: over.set()), delay)
    assert over.wait(10)


@pytest.mark.parametrize(
    ("delay", "ticks"),
    [(0, 1), (TICK / 2, 1), (TICK, 1), (1.5 * TICK, 2), (SPAN - TICK / 2, 10), (SPAN, 10), (100 * SPAN, 11)],
)
def test_a_deadline_falls_on_the_first_tick_that_is_not_early(
    wheel: TimerWheel, called: list[str], delay: float, ticks: int
) -> None:
    """A deadline beyond the span is as late as the wheel can represent, and not immediate."""
    wheel.add(entry := Entry(called, "entry"), delay)
    assert entry.timer_slot == ticks
    wheel.add(entry, 0)
    assert entry.timer_slot == 1


def test_setting_a_deadline_again_replaces_it(wheel: TimerWheel, called: list[str]) -> None:
    wheel.add(entry := Entry(called, "entry"), TICK)
    wheel.add(entry, 2 * TICK)
    wait(wheel, called, 4 * TICK)
    assert called == ["entry", "over"]


def test_a_cleared_deadline_is_not_called(wheel: TimerWheel, called: list[str]) -> None:
    wheel.add(entry := Entry(called, "entry"), TICK)
    wheel.remove(entry)
    wheel.remove(entry)
    wait(wheel, called, 2 * TICK)
    assert called == ["over"]
    assert entry.timer_slot == -1


def test_a_callback_may_set_itself_again_and_clear_others(wheel: TimerWheel, called: list[str]) -> None:
    other = Entry(called, "other")

    def again(entry: Entry) -> None:
        assert entry.timer_slot == -1
        wheel.remove(other)
        if len(called) < 3:
            wheel.add(entry, TICK)

    wheel.add(other, 2 * TICK)
    wheel.add(Entry(called, "entry", again), TICK)
    wait(wheel, called, 6 * TICK)
    assert called == ["entry"] * 3 + ["over"]


def test_a_blocked_loop_misses_no_deadline(wheel: TimerWheel, called: list[str]) -> None:
    for ticks in range(1, 9):
        wheel.add(Entry(called, f"{ticks}"), (ticks - 0.5) * TICK)
    gevent.sleep(0)
    time.sleep(10 * TICK)  # nothing else runs
    wait(wheel, called, SPAN)
    assert called == [*"12345678", "over"]


def test_a_blocked_loop_catches_up(wheel: TimerWheel, called: list[str]) -> None:
    wheel.add(Entry(called, "over", lambda _: over.set()), SPAN)
    over = Event()
    gevent.sleep(0)
    time.sleep(SPAN + TICK)  # nothing else runs
    assert over.wait(SPAN / 2), "the missed ticks were not made up for"


def test_a_stopped_wheel_calls_nothing_and_can_start_again(wheel: TimerWheel, called: list[str]) -> None:
    wheel.add(entry := Entry(called, "entry"), 2 * TICK)
    gevent.sleep(0)
    wheel.stop()
    gevent.sleep(5 * TICK)
    assert called == []
    wheel.remove(entry)
    wait(wheel, called, TICK)
    assert called == ["over"]
