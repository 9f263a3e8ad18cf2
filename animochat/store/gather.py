"""Run store calls concurrently; one failure doesn't cancel the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import gevent

from animochat.protocol.errors import Unavailable

T = TypeVar("T")


def gather(questions: Sequence[Callable[[], T]], timeout: float | None = None) -> list[T | Unavailable]:
    """Return the results in order. Unavailable stands for a call that raised it, or that took longer than `timeout`
    seconds. Waits for all calls."""
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
