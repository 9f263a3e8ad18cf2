"""Several questions to the store at once, where one that isn't answered doesn't keep the others from being."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import gevent

from animochat.protocol.errors import Unavailable

T = TypeVar("T")


def gather(questions: Sequence[Callable[[], T]], timeout: float | None = None) -> list[T | Unavailable]:
    """What they return, in order, or the Unavailable that they raised, or that stands for no answer within `timeout`
    seconds. Waits for all."""
    if len(questions) == 1 and timeout is None:
        return [_answer(questions[0])]
    asked = [gevent.spawn(_answer, question) for question in questions]
    gevent.joinall(asked, timeout)
    answers = [greenlet.value if greenlet.ready() else Unavailable() for greenlet in asked]
    gevent.killall(asked, block=False)
    return answers


def _answer(question: Callable[[], T]) -> T | Unavailable:
    try:
        return question()
    except Unavailable as exc:
        return exc
