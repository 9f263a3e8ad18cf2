"""The texts that workers send each other over their channels: encoder and decoder of each, side by side.

A text is a JSON list of notices, or a kind followed by fields in this order, divided by spaces:

    messages  a line each: receiver, room, seq, time, body             written by append_messages.lua
    chain     a line each: receiver, room, seq, time, previous, body   the same in a cluster, written by a worker
    look      a line each: person, room                                in a cluster
    event     on the same line: receiver, room, packet; neither stored nor repeated

Notices are written by scripts, with short names (presence/scripts/include/notify.lua).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec
from msgspec import Struct, field

from animochat.protocol.room_record import RoomRecord

# Notices


class Notice(Struct, kw_only=True, tag_field="e"):
    """A change that concerns a person, with the person's version after it. `person`: "" where it concerns everyone."""

    person: str = field(name="p")
    version: int = field(name="v", default=0)


class RoomNotice(Notice, kw_only=True):
    """A change of the person's room."""

    room_id: str = field(name="room")


class Matched(RoomNotice, kw_only=True, tag="matched"):
    """The person is in a new room. `user_id` is the person's name there, `since` when it began (Unix ms)."""

    slot: str
    user_id: str = field(name="user")
    partner_user_id: str = field(name="partner")
    partner: str = field(name="mate")
    partner_worker: str = field(name="worker")
    since: int
    interests: tuple[str, ...] = ()

    def record(self) -> RoomRecord:
        """Return the room as the answer to a search has it."""
        return RoomRecord(
            room_id=self.room_id,
            slot=self.slot,
            user_id=self.user_id,
            partner_user_id=self.partner_user_id,
            partner=self.partner,
            partner_worker=self.partner_worker,
            since=self.since,
            interests=self.interests,
        )


class Ended(RoomNotice, kw_only=True, tag="ended"):
    """The partner, or the store, has ended the room."""

    reason: str


class Reconnecting(RoomNotice, kw_only=True, tag="reconnecting"):
    """The partner's connection is gone; its place is kept for `grace_ms`."""

    grace_ms: int = field(name="graceMs")


class Reconnected(RoomNotice, kw_only=True, tag="reconnected"):
    """The partner has a connection at `worker`. `quiet`: it was never away."""

    worker: str
    quiet: bool = False


class Replaced(Notice, kw_only=True, tag="replaced"):
    """The person has connected elsewhere; that connection ends."""

    connection_id: str = field(name="conn")


class Banned(Notice, kw_only=True, tag="banned"):
    """The person's connection, or everyone from an address (a keyed hash) or a device, is banned; `ms` None: no end.

    `reason`: one of payloads.REASONS, or "".
    """

    connection_id: str = field(name="conn", default="")
    address: str = ""
    device: str = ""
    ms: int | None = None
    reason: str = ""


_decode_notices = msgspec.json.Decoder(list[Matched | Ended | Reconnecting | Reconnected | Replaced | Banned]).decode

# Messages


class RelayedMessage(Struct, kw_only=True, frozen=True, gc=False):
    """A stored message on its way to its receiver. `timestamp`: Unix ms. `body`: see payloads.message_body.

    `previous`: the seq of the sender's message that the receiver must get first, where it may be missing (in a
    cluster); 0 for none.
    """

    receiver: str
    room_id: str
    seq: int
    timestamp: int
    body: str
    previous: int = 0

    @property
    def look(self) -> Look:
        """Return the hint on which the receiver's worker fetches this message."""
        return Look(person=self.receiver, room_id=self.room_id)


def _decode_message(line: str) -> RelayedMessage:
    receiver, room_id, seq, timestamp, body = line.split(" ", 4)
    return RelayedMessage(receiver=receiver, room_id=room_id, seq=int(seq), timestamp=int(timestamp), body=body)


def encode_chain(messages: Iterable[RelayedMessage]) -> str:
    """Return the text that sends messages to a worker in a cluster."""
    lines = (f"{m.receiver} {m.room_id} {m.seq} {m.timestamp} {m.previous} {m.body}" for m in messages)
    return "\n".join(("chain", *lines))


def _decode_chained(line: str) -> RelayedMessage:
    receiver, room_id, seq, timestamp, previous, body = line.split(" ", 5)
    return RelayedMessage(
        receiver=receiver,
        room_id=room_id,
        seq=int(seq),
        timestamp=int(timestamp),
        body=body,
        previous=int(previous),
    )


# Hints


class Look(Struct, kw_only=True, frozen=True):
    """Someone who may have missed a message in a room."""

    person: str
    room_id: str


def encode_looks(looks: Iterable[Look]) -> str:
    """Return the text on which a worker fetches people's missed messages from their rooms' logs."""
    return "\n".join(("look", *(f"{look.person} {look.room_id}" for look in looks)))


def _decode_look(line: str) -> Look:
    person, room_id = line.split(" ")
    return Look(person=person, room_id=room_id)


class RelayedEvent(Struct, kw_only=True, frozen=True, gc=False):
    """An event for the partner in a room: a Socket.IO packet, as it goes to the client."""

    receiver: str
    room_id: str
    packet: str


def encode_event(event: RelayedEvent) -> str:
    """Return the text that relays the event."""
    return f"event {event.receiver} {event.room_id} {event.packet}"


def _decode_event(text: str) -> RelayedEvent:
    _, receiver, room_id, packet = text.split(" ", 3)
    return RelayedEvent(receiver=receiver, room_id=room_id, packet=packet)


# All of them

_DECODERS: dict[str, Callable[[str], Any]] = {
    "messages": _decode_message,
    "chain": _decode_chained,
    "look": _decode_look,
}


def decode(data: bytes) -> list[Any]:
    """Return the parts of a text in order: notices, RelayedMessage, Look or RelayedEvent.

    Raises ValueError or msgspec.DecodeError.
    """
    if data.startswith(b"["):
        return _decode_notices(data)
    if data.startswith(b"event "):
        return [_decode_event(data.decode())]
    kind, *lines = data.decode().split("\n")
    decoder = _DECODERS.get(kind)
    if decoder is None:
        raise ValueError("a text of an unknown kind on the channel")
    return [decoder(line) for line in lines]
