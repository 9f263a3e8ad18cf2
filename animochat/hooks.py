"""Signals of the chat, for extensions. No signal carries the text of a message.

    from animochat.hooks import matched

    @matched.connect
    def count(lobby, room_id, **details):
        ...

Receivers run in a greenlet of their own and hold up nothing; a failure is logged. Without a receiver a signal costs
nothing. More details may be added: take `**details`.
"""

from __future__ import annotations

import logging
from typing import Any

import gevent
from blinker import Signal

log = logging.getLogger(__name__)

#: Two people were matched. Sender: the lobby's name. `room_id`; `interests`: those in common; `since`: Unix ms.
matched = Signal()

#: A room has ended, for whatever reason. Sender: the lobby's name. `room_id`. Sent by one worker, within a second.
room_ended = Signal()

#: A report was filed. Sender: the lobby's name. `room_id`; `reason`.
reported = Signal()


def notify(signal: Signal, lobby: str, **details: Any) -> None:
    """Send a signal, if anyone listens. Does not wait."""
    if signal.receivers:
        gevent.spawn(_send, signal, lobby, details)


def _send(signal: Signal, lobby: str, details: dict[str, Any]) -> None:
    for receiver in list(signal.receivers_for(lobby)):
        try:
            receiver(lobby, **details)
        except Exception:  # an extension's mistake; the others are called all the same
            log.exception("A receiver of a signal failed")
