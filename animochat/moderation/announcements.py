"""Announcements: the event `announcement` for everyone who is connected, over the message queue of Socket.IO.

`SocketIO(message_queue=REDIS_URL).emit("announcement", {"text": text})` sends the same from any process. Nothing is
stored.
"""

from __future__ import annotations

import secrets

import msgspec

from animochat.protocol.payloads import Announcement
from animochat.store.cluster import PUBLISH_EVERYWHERE
from animochat.store.pipeline import Pipeline


def encode_emit(event: str, payload: object, room: str | None, database: int) -> bytes:
    """Return the text of an emit to everyone in a room (None: to everyone), as python-socketio's processes send it.

    `database`: of the store; see chat/manager.py.
    """
    message = {
        "method": "emit",
        "event": event,
        "data": [payload],
        "binary": False,
        "namespace": "/",
        "room": room,
        "skip_sid": None,
        "callback": None,
        "host_id": secrets.token_hex(16),
        "database": database,
    }
    return msgspec.json.encode(message)


class Announcements:
    """Sends announcements. `channel`: the message queue's name."""

    def __init__(self, pipeline: Pipeline, channel: str) -> None:
        self._pipeline = pipeline
        self._channel = channel

    def announce(self, text: str, lobby: str | None = None) -> None:
        """Send a text to everyone who is connected now, or to everyone in one lobby. Raise Unavailable."""
        room = None if lobby is None else f"lobby:{lobby}"
        message = encode_emit("announcement", Announcement(text), room, self._pipeline.database)
        self._pipeline.execute(PUBLISH_EVERYWHERE, self._channel, message)
