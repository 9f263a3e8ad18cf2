"""Record everything that happened to a crowd, in one order, and check it.

Each client records what it sent, what was acknowledged and what it received. `History.violations()` checks that

- the partner received each acknowledged message exactly once, in its sender's order, under the `id` and `seq` that the
  sender received,
- a place in a room's order (`seq`) belongs to one message, for both people,
- nothing was stored or shown late, after a later message of its sender,
- no message was acknowledged that was sent to a room that some client knew to be over by then: it had received the end,
  or an acknowledgement of leaving,
- every received message was sent by the partner, in a room of the receiver,
- no client was in two rooms, no two clients met twice (or although they must not), and each room had two people,
- at the end, partners agree that they are partners.

It identifies clients by names that stay the same for a person, and rooms by `matched` and `session`. `Excuse` lists all
exceptions, which are counted (`History.excused`).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

#: The word before a violation's colon -> its name in reports.
KINDS = {
    "lost": "lost", "twice": "duplicated", "order": "misordered", "place": "misordered", "two rooms": "in two rooms",
    "crowd": "in two rooms", "late": "late", "over": "acknowledged in a room that was over",
    "invented": "not from the partner", "wrong room": "from another room", "names": "different partners",
    "alone": "in a room without a partner", "no room": "an end of no room", "again": "met again",
    "forbidden": "met someone forbidden",
}  # fmt: skip


class Excuse(Enum):
    """Reasons why something is no violation. The value is the text for reports."""

    ON_ITS_WAY = "the check was made while messages could still arrive"
    RECEIVER_LEFT = "the receiver left, or was gone for ever, and received nothing of its sender's afterwards"
    GRACE_TIME = "the partner is gone for ever, and its grace time may still run"
    RECEIVER_UNAWARE = "the receiver never knew of the room, which ended before its connection came back"
    ROOM_LOST = "the receiver came back, or the store lost the room, and a new session was without the room"
    CROSSED = "the message was sent before anyone knew that the room was over, and acknowledged after that"
    OLDER_THAN_SHOWN = "a new session shows the newest messages, and these are older than all that it shows"
    MET_AGAIN = "the store lost the history of matches"


@dataclass
class Stay:
    """A client's time in one room. `ended`: it received the end, or left; `left_behind`: it was there when it received
    the end; `lost`: no member chose that end; `gone`: it never comes back; `received` in order of arrival, by `seq`.
    """

    client: str
    room: str
    user: str
    partner_user: str
    ended: bool = False
    leaving: bool = False
    left_behind: bool = False
    lost: bool = False
    gone: bool = False
    received: list[dict[str, Any]] = field(default_factory=list)

    @property
    def over(self) -> bool:
        return self.ended or self.leaving

    def seqs(self) -> list[int]:
        return [message["seq"] for message in self.received]


@dataclass(frozen=True)
class Acknowledged:
    """A message that its sender knows to be stored."""

    client: str
    content: str
    id: str
    seq: int

    @property
    def room(self) -> str:
        return self.id.rpartition("-")[0]


class History:
    """`may_meet_again`: the store loses its match history, so that people may meet more than once."""

    def __init__(self, may_meet_again: bool = False, forbidden: list[tuple[str, str]] | None = None) -> None:
        self.may_meet_again = may_meet_again
        self.forbidden = [frozenset(pair) for pair in forbidden or []]
        self.sent: dict[str, list[str]] = defaultdict(list)
        self.acknowledged: list[Acknowledged] = []
        #: Rooms that someone knows to be over, and, by sender and content, where and whether that was so at the last
        #: attempt to say it.
        self.over: set[str] = set()
        self._attempts: dict[tuple[str, str], tuple[str, bool]] = {}
        self.stays: list[Stay] = []
        self.present: dict[str, Stay | None] = {}
        self.happened: Counter[str] = Counter()
        self._violations: list[str] = []
        #: Excuses of recorded events, and of the last check.
        self._excused: Counter[Excuse] = Counter()
        self._excused_by_check: Counter[Excuse] = Counter()

    @property
    def excused(self) -> Counter[Excuse]:
        """Return how often each excuse was used, up to the last check."""
        return self._excused + self._excused_by_check

    # Recording

    def event(self, client: str, name: str, argument: Any) -> None:
        """Record an event that the client received. "connect" with {recovered} and "disconnect" count as events."""
        self.happened[name] += 1
        if name == "connect" and argument["recovered"]:
            self.happened["recovered"] += 1
        elif name == "matched":
            self._enter(client, argument["roomId"], argument["userId"], argument["partnerId"])
        elif name == "session":
            self._session(client, argument.get("room"))
        elif name == "partner-disconnected":
            self._end(client, argument["reason"])
        elif name == "message" and argument["type"] == "text":
            self._receive(client, argument)

    def note(self, client: str, note: str, **details: Any) -> None:
        """Record an action of the client: "sent", or "repeated" for a message sent before, "acknowledged", "refused",
        "leaving" (it asked to leave), "stayed" (that was refused), "left" (acknowledged) or "gone" (for ever).
        """
        self.happened[note] += 1
        stay = self.present.get(client)
        if note in ("sent", "repeated"):
            if note == "sent":
                self.sent[client].append(details["content"])
            self._attempts[client, details["content"]] = details["room"], details["room"] in self.over
        elif note == "acknowledged":
            self._acknowledge(Acknowledged(client, details["content"], details["id"], details["seq"]))
        elif note == "left":
            self.over.add(details["room"])
        elif note == "leaving" and stay is not None and stay.room == details["room"]:
            stay.leaving = True
        elif note == "gone" and stay is not None and stay.room == details["room"]:
            stay.gone = True
        elif note == "stayed" and stay is not None and stay.room == details["room"]:
            stay.leaving = False

    def _acknowledge(self, message: Acknowledged) -> None:
        self.acknowledged.append(message)
        room, was_over = self._attempts.get((message.client, message.content), ("", False))
        if was_over:
            self._violations.append(
                f"over: {message.client}'s {message.content!r} was acknowledged in {room}, over when it was sent"
            )
        elif message.room in self.over:
            self._excused[Excuse.CROSSED] += 1

    def _enter(self, client: str, room: str, user: str, partner_user: str) -> Stay:
        before = self.present.get(client)
        if before is not None and not before.over:
            self._violations.append(f"two rooms: {client} came into {room} while in {before.room}")
        if any(stay.client == client and stay.room == room for stay in self.stays):
            self._violations.append(f"again: {client} came into {room} for the second time")
        if before is not None:
            before.ended = True
        stay = self.present[client] = Stay(client, room, user, partner_user)
        self.stays.append(stay)
        return stay

    def _end(self, client: str, reason: str) -> None:
        stay = self.present.get(client)
        if stay is None or stay.ended:
            self._violations.append(f"no room: {client} received the end of a partner, and had none")
        else:
            stay.ended = True
            self.over.add(stay.room)
            stay.left_behind = not stay.leaving
            stay.lost = reason == "disconnected"

    def _session(self, client: str, room: dict[str, Any] | None) -> None:
        """Replace the client's state by that of a new session."""
        stay = self.present.get(client)
        if stay is not None and (room is None or room["roomId"] != stay.room):
            stay.ended = True
            stay.left_behind = stay.left_behind and not stay.lost  # the store does not know the room any more
            self.over.add(stay.room)
        if room is None:
            return
        if stay is None or stay.room != room["roomId"]:
            stay = self._enter(client, room["roomId"], room["userId"], room["partnerId"])
        texts = [message for message in room["messages"] if message["type"] == "text"]
        if [m["seq"] for m in texts] != sorted({m["seq"] for m in texts}):
            self._violations.append(f"order: {client} was shown {room['roomId']} in another order")
        theirs = [message for message in texts if message["senderId"] == stay.partner_user]
        shown = {message["seq"] for message in theirs}
        missing = [m for m in stay.received if m["seq"] not in shown]
        if newer := [m for m in missing if m["seq"] >= min(shown, default=0)]:
            self._violations.append(f"lost: {client} was no longer shown {newer[0]['content']!r} by a new session")
        self._excused[Excuse.OLDER_THAN_SHOWN] += len(missing) - len(newer)
        stay.received = [m for m in stay.received if m["seq"] not in shown] + theirs

    def _receive(self, client: str, message: dict[str, Any]) -> None:
        stay = self.present.get(client)
        if stay is None or stay.ended or stay.room != message["roomId"]:
            self._violations.append(f"wrong room: {client} got {message['content']!r} of {message['roomId']}")
            return
        if stay.received and message["seq"] < stay.received[-1]["seq"]:
            self._violations.append(
                f"order: {client} got {message['content']!r} ({message['seq']}) after seq {stay.received[-1]['seq']}"
            )
        if message["seq"] in stay.seqs():
            self._violations.append(f"twice: {client} got {message['content']!r} ({message['id']}) again")
        else:
            stay.received.append(message)

    # Checking

    def counts(self) -> dict[str, int]:
        """Return the number of each kind of event."""
        return dict(self.happened) | {
            "rooms": len({stay.room for stay in self.stays}),
            "received": sum(len(stay.received) for stay in self.stays),
        }

    def violations(self, settled: bool = True) -> list[str]:
        """Return each violation in words. `settled`: everything is over, so no message is under way."""
        self._excused_by_check.clear()
        found = list(self._violations)
        rooms: dict[str, list[Stay]] = defaultdict(list)
        for stay in self.stays:
            rooms[stay.room].append(stay)
        found += self._check_pairs(rooms, settled)
        found += self._check_received(rooms)
        found += self._check_places()
        found += self._check_order_of_storing()
        found += self._check_delivery(rooms, settled)
        return found

    def _check_pairs(self, rooms: dict[str, list[Stay]], settled: bool) -> list[str]:
        found = []
        meetings: Counter[frozenset[str]] = Counter()
        for room, stays in rooms.items():
            people = {stay.client for stay in stays}
            if len(people) > 2:
                found.append(f"crowd: {sorted(people)} were in {room}")
            if len(people) == 2:
                meetings[frozenset(people)] += 1
                one, other = stays[:2]
                if (one.user, one.partner_user) != (other.partner_user, other.user):
                    found.append(f"names: the two in {room} don't have each other as partners")
                if settled and one.over != other.over and (one.gone or other.gone):
                    self._excused_by_check[Excuse.GRACE_TIME] += 1
                elif settled and one.over != other.over:
                    staying = other if one.over else one
                    found.append(f"alone: {staying.client} is in {room}, which its partner knows to be over")
            elif settled and len(people) == 1 and not (stays[0].over or stays[0].gone):
                found.append(f"alone: {stays[0].client} is in {room} without a partner")
        for pair, times in meetings.items():
            if times > 1 and self.may_meet_again:
                self._excused_by_check[Excuse.MET_AGAIN] += times - 1
            elif times > 1:
                found.append(f"again: {sorted(pair)} met {times} times")
            if pair in self.forbidden:
                found.append(f"forbidden: {sorted(pair)} met")
        return found

    def _check_received(self, rooms: dict[str, list[Stay]]) -> list[str]:
        """Check that the partner sent every received message once, in this order."""
        found = []
        place_of = {name: {text: i for i, text in enumerate(texts)} for name, texts in self.sent.items()}
        for stay in self.stays:
            partner = next((other.client for other in rooms[stay.room] if other.client != stay.client), None)
            places = []
            for message in stay.received:
                place = place_of.get(partner or "", {}).get(message["content"])
                if place is None or message["senderId"] != stay.partner_user:
                    found.append(f"invented: {stay.client} got {message['content']!r}, which {partner} didn't say")
                else:
                    places.append(place)
            if len(set(places)) < len(places):
                found.append(f"twice: {stay.client} got one thing under two ids in {stay.room}")
            elif places != sorted(places):
                late = next(i for i, place in enumerate(places) if place < max(places[: i + 1]))
                what = stay.received[late]["content"]
                found.append(f"late: {stay.client} got {partner}'s {what!r} behind what was said later in {stay.room}")
        return found

    def _check_order_of_storing(self) -> list[str]:
        """Check that a room has each person's messages in the order of sending."""
        found = []
        place_of = {name: {text: i for i, text in enumerate(texts)} for name, texts in self.sent.items()}
        stored: dict[tuple[str, str], list[tuple[int, int, str]]] = defaultdict(list)
        for message in self.acknowledged:
            place = place_of.get(message.client, {}).get(message.content, -1)
            stored[message.client, message.room].append((place, message.seq, message.content))
        for (client, room), messages in stored.items():
            newest = 0
            for _, seq, content in sorted(messages):
                if seq < newest:
                    found.append(
                        f"late: {client}'s {content!r} ({seq}) was stored ahead of what was said earlier in {room}"
                    )
                newest = max(newest, seq)
        return found

    def _check_places(self) -> list[str]:
        """Check that each `seq` of a room is one message, for sender and receiver."""
        found = []
        said: dict[tuple[str, int], set[str]] = defaultdict(set)
        for message in self.acknowledged:
            said[message.room, message.seq].add(message.content)
            if message.id != f"{message.room}-{message.seq}":
                found.append(f"place: {message.id} was acknowledged as {message.seq}")
        for stay in self.stays:
            for received in stay.received:
                said[stay.room, received["seq"]].add(received["content"])
                if received["id"] != f"{stay.room}-{received['seq']}":
                    found.append(f"place: {received['id']} arrived as {received['seq']}")
        for (room, seq), contents in said.items():
            if len(contents) > 1:
                found.append(f"place: {seq} in {room} is {sorted(contents)}")
        times = Counter((message.client, message.content) for message in self.acknowledged)
        found += [f"twice: {client}'s {content!r} was stored twice" for (client, content), n in times.items() if n > 1]
        return found

    def _check_delivery(self, rooms: dict[str, list[Stay]], settled: bool) -> list[str]:
        """Check that every acknowledged message arrived, or is excused."""
        found = []
        stays = {(stay.client, stay.room): stay for stay in self.stays}
        for message in self.acknowledged:
            sender = stays.get((message.client, message.room))
            if sender is None:
                found.append(f"wrong room: {message.client}'s {message.content!r} was stored in {message.room}")
                continue
            receiver = next((stay for stay in rooms[message.room] if stay.client != message.client), None)
            if receiver is not None and message.seq in receiver.seqs():
                continue
            excuse = self._excuse(message, sender, receiver) if settled else Excuse.ON_ITS_WAY
            if excuse is None:
                found.append(f"lost: {message.client}'s {message.content!r} ({message.id}) never arrived")
            else:
                self._excused_by_check[excuse] += 1
        return found

    def _excuse(self, message: Acknowledged, sender: Stay, receiver: Stay | None) -> Excuse | None:
        """Return why an acknowledged message need not have arrived, or None."""
        if receiver is None:
            return Excuse.RECEIVER_UNAWARE if sender.over else None
        if any(seq > message.seq for seq in receiver.seqs()):
            return None  # a later message arrived
        if receiver.left_behind:
            return None  # last messages come before the end
        if receiver.leaving or receiver.gone:
            return Excuse.RECEIVER_LEFT
        return Excuse.ROOM_LOST if receiver.ended else None
