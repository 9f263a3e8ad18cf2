"""Long work yields to other work in between."""

from __future__ import annotations

import gevent
import gevent.socket
import pytest

from animochat import time_slice
from animochat.time_slice import TimeSlice


def test_network_data_is_handled_between_slices(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_there_is_no_pause_before_the_slice_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time_slice, "WORK", 60.0)
    happened = []
    piece = TimeSlice()
    gevent.spawn(happened.append, "other work")
    piece.yield_if_due()
    assert happened == []
