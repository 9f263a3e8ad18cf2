"""The room that a connection's person is in, as this worker knows it."""

from __future__ import annotations

from animochat.protocol import offset
from animochat.protocol.offset import Offset
from animochat.protocol.room_record import RoomRecord
from animochat.rooms.log import LoggedMessage, LogPart


class Room:
    """A room with one of its members. Read by anyone; changed by its own methods only.

    `last_seq` is the highest place in the room's order that is known here, `said` the highest of this member's own,
    `received` the highest of the partner's that was sent to this connection; `version` that by which the log knows
    this member's connection; `partner_away`: whether the client was sent that; `behind`: the log is about to be read
    for what was not sent; `missed`: what the partner said up to there can't be read any more, and the client knows;
    `late`: some of it came all the same and has to be shown.
    """

    __slots__ = (
        "behind", "last_seq", "late", "missed", "partner", "partner_away", "partner_user_id", "partner_worker",
        "received", "room_id", "said", "slot", "user_id", "version",
    )  # fmt: skip

    def __init__(self, record: RoomRecord, version: int = 0) -> None:
        self.room_id = record.room_id
        self.slot = record.slot
        self.user_id = record.user_id
        self.partner_user_id = record.partner_user_id
        self.partner = record.partner
        self.partner_worker = record.partner_worker
        self.version = version
        self.last_seq = 0
        self.received = 0
        self.said = 0
        self.partner_away = record.grace_ms is not None
        self.behind = False
        self.missed = 0
        self.late = False

    def offset(self, received: int) -> str:
        """Return the offset of a member who has got the partner's messages up to the one with that seq."""
        return offset.chatting(self.room_id, self.slot, received, self.partner_away)

    def known(self) -> Offset:
        """Return what the client knows of the room."""
        return Offset("chatting", self.room_id, self.slot, self.received, self.partner_away)

    def continue_from(self, before: Room) -> None:
        """Copy this worker's state of the same room."""
        self.last_seq, self.said, self.missed = before.last_seq, before.said, before.missed

    def attach(self, log: LogPart, after: int) -> None:
        """Apply the log's answer: the messages behind `after`, which the client gets next."""
        self.last_seq = max(self.last_seq, log.last_seq)
        self.received = min(after, self.last_seq)
        self.show(log.messages)
        if not log.complete:
            self.missed = log.last_seq
            self.received = max(self.received, log.gone)

    def show(self, messages: list[LoggedMessage]) -> None:
        """Record that the client gets these messages next, own ones included."""
        for entry in messages:
            if entry.slot == self.slot:
                self.said = max(self.said, entry.seq)
            else:
                self.received = max(self.received, entry.seq)

    def store(self, seq: int) -> None:
        """Record the place of this member's message."""
        if seq > self.last_seq:
            self.last_seq = seq
        if seq > self.said:
            self.said = seq

    def receive(self, seq: int) -> None:
        """Record that the client gets the partner's message in that place."""
        self.received = seq
        if seq > self.last_seq:
            self.last_seq = seq

    def lose_partner(self) -> None:
        """Record that the partner is away."""
        self.partner_away = True

    def regain_partner(self, worker: str) -> None:
        """Record that the partner is back, at that worker."""
        self.partner_away, self.partner_worker = False, worker
