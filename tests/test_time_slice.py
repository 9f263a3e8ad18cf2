"""Long work lets those have their turn who talk meanwhile."""

from __future__ import annotations

import gevent
import gevent.socket
import pytest

from animochat import time_slice
from animochat.time_slice import TimeSlice


def test_in_between_it_is_heard_what_comes_over_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time_slice, "WORK", 0.0)
    here, there = gevent.socket.socketpair()
    happened: list[object] = []

    def listen() -> None:
        happened.append(there.recv(1))

    def work() -> None:
        piece = TimeSlice()
        here.send(b"x")
        for number in range(20):
            happened.append(number)
            piece.yield_if_due()

    with here, there:
        gevent.joinall([gevent.spawn(listen), gevent.spawn(work)], raise_error=True)
    assert happened[-1] == 19


def test_nobody_pauses_before_the_turn_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time_slice, "WORK", 60.0)
    happened = []
    piece = TimeSlice()
    gevent.spawn(happened.append, "somebody else")
    piece.yield_if_due()
    assert happened == []
