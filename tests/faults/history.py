"""What happened to everybody, in one order, and the proof that it was right.

Each client records what it sent, what was acknowledged and what it received. `History.violations()` checks that

- each acknowledged message was received by the partner exactly once (or the room had ended before it could be, which
  somebody who left or skipped is no excuse for: its last words come before it), in its sender's order, under the `id`
  and `seq` that the sender was told,
- a place in a room's order (`seq`) is one message's, whoever looks,
- nothing was stored or shown late, behind what its sender said after it,
- nothing was acknowledged that was sent to a room which somebody knew to be over by then: it had been told so, or its
  leaving had been acknowledged,
- nothing was received that the partner didn't say, nor in a room where the receiver wasn't,
- nobody was in two rooms, nobody met somebody twice (or whom else they may not meet), and rooms are two people's,
- in the end, partners agree that they are partners.

It knows clients by names that stay the same for a person, and rooms by `matched` and `session`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Stay:
    """A client's time in one room. `ended`: it was told so, or left; `left_behind`: it stayed until the partner went on
    purpose; `received` in the order of arrival, by `seq`.
    """

    client: str
    room: str
    user: str
    partner_user: str
    ended: bool = False
    leaving: bool = False
    left_behind: bool = False
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
    """`may_meet_again`: no history of matches is kept, so that people may meet more than once."""

    def __init__(self, may_meet_again: bool = False, forbidden: list[tuple[str, str]] | None = None) -> None:
        self.may_meet_again = may_meet_again
        self.forbidden = [frozenset(pair) for pair in forbidden or []]
        self.sent: dict[str, list[str]] = defaultdict(list)
        self.acknowledged: list[Acknowledged] = []
        #: Rooms that somebody knows to be over, and, by sender and content, where and whether that was so at the last
        #: attempt to say it.
        self.over: set[str] = set()
        self._attempts: dict[tuple[str, str], tuple[str, bool]] = {}
        self.stays: list[Stay] = []
        self.present: dict[str, Stay | None] = {}
        self.happened: Counter[str] = Counter()
        self._violations: list[str] = []

    # Recording

    def event(self, client: str, name: str, argument: Any) -> None:
        """The client received an event. "connect" with {recovered} and "disconnect" count as events."""
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
        """The client did something (see js/crowd.mjs): "sent", or "repeated" what it had sent, "acknowledged",
        "refused", "leaving", "stayed" or "left".
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
        elif note == "stayed" and stay is not None and stay.room == details["room"]:
            stay.leaving = False

    def _acknowledge(self, message: Acknowledged) -> None:
        self.acknowledged.append(message)
        room, was_over = self._attempts.get((message.client, message.content), ("", False))
        if was_over:
            self._violations.append(
                f"over: {message.client}'s {message.content!r} was acknowledged in {room}, over when it was sent"
            )

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
            self._violations.append(f"no room: {client} was told that its partner is gone, and had none")
        else:
            stay.ended = True
            self.over.add(stay.room)
            stay.left_behind = reason != "disconnected" and not stay.leaving

    def _session(self, client: str, room: dict[str, Any] | None) -> None:
        """A new session says all that the client has to know; what it knew before no longer counts."""
        stay = self.present.get(client)
        if stay is not None and (room is None or room["roomId"] != stay.room):
            stay.ended = True
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
        if missing := [m for m in stay.received if m["seq"] not in shown and m["seq"] >= min(shown, default=0)]:
            self._violations.append(f"lost: {client} was no longer shown {missing[0]['content']!r} by a new session")
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
        """How much happened."""
        return dict(self.happened) | {
            "rooms": len({stay.room for stay in self.stays}),
            "received": sum(len(stay.received) for stay in self.stays),
        }

    def violations(self, settled: bool = True) -> list[str]:
        """What was wrong, in words; empty if nothing was. `settled`: everything is over, so nothing is on its way."""
        found = list(self._violations)
        rooms: dict[str, list[Stay]] = defaultdict(list)
        for stay in self.stays:
            rooms[stay.room].append(stay)
        found += self._check_pairs(rooms, settled)
        found += self._check_received(rooms)
        found += self._check_places()
        found += self._check_order_of_storing()
        if settled:
            found += self._check_delivery(rooms)
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
                if settled and one.over != other.over:
                    staying = other if one.over else one
                    found.append(f"alone: {staying.client} is in {room}, which its partner knows to be over")
            elif settled and len(people) == 1 and not stays[0].over:
                found.append(f"alone: {stays[0].client} is in {room} with nobody")
        for pair, times in meetings.items():
            if times > 1 and not self.may_meet_again:
                found.append(f"again: {sorted(pair)} met {times} times")
            if pair in self.forbidden:
                found.append(f"forbidden: {sorted(pair)} met")
        return found

    def _check_received(self, rooms: dict[str, list[Stay]]) -> list[str]:
        """What was received was said by the partner, once, in this order."""
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
        """What somebody has said in a room stands there in the order in which it was said."""
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
        """One `seq` of a room is one message, for sender and receiver."""
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

    def _check_delivery(self, rooms: dict[str, list[Stay]]) -> list[str]:
        """Every acknowledged message arrived, but for the last of a room that ended otherwise than by its sender."""
        found = []
        stays = {(stay.client, stay.room): stay for stay in self.stays}
        for message in self.acknowledged:
            sender = stays.get((message.client, message.room))
            if sender is None:
                found.append(f"wrong room: {message.client}'s {message.content!r} was stored in {message.room}")
                continue
            receiver = next((stay for stay in rooms[message.room] if stay.client != message.client), None)
            got = set(receiver.seqs()) if receiver is not None else set()
            if message.seq in got:
                continue
            over = sender.over or (receiver is not None and receiver.over)
            owed = not over or (receiver is not None and receiver.left_behind)
            if owed or any(seq > message.seq for seq in got):
                found.append(f"lost: {message.client}'s {message.content!r} ({message.id}) never arrived")
        return found
