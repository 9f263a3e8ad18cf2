"""The texts between workers: decoding returns what the encoder, or a script, was given."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from animochat.matchmaking.service import SCRIPTS as MATCHMAKING
from animochat.moderation.lobby_moderation import SCRIPTS as MODERATION
from animochat.moderation.lobby_moderation import Origin
from animochat.presence.service import SCRIPTS as PRESENCE
from animochat.protocol import channel
from animochat.protocol.channel import Look, RelayedEvent, RelayedMessage
from animochat.rooms.service import SCRIPTS as ROOMS
from animochat.rooms.service import NewMessage
from animochat.store import keys
from tests.helpers.store import GRACE_MS, HOUR_MS, START, Lobby, Person

#: Publishes an empty text on its own channel, without subscribers.
SILENT = {"presence/check"}

#: The scripts that publish, by their sources; so a new one needs a row in PUBLICATIONS.
PUBLISHING = {s.name for s in PRESENCE + MATCHMAKING + ROOMS + MODERATION if "'PUBLISH'" in s.source} - SILENT


class Scene:
    """Two people, each on a worker of their own, and the texts that one script publishes on the workers' channels."""

    def __init__(self, lobby: Lobby) -> None:
        self.lobby = lobby
        self.other = lobby.add_worker()
        (self.anna,) = lobby.people("anna")
        (self.bert,) = lobby.people("bert", worker=self.other)
        lobby.ear.subscribe(keys.everybody())

    def in_room(self) -> Scene:
        self.anna.find("tea")
        assert self.bert.find("TEA").state == "matched"
        self.lobby.ear.messages()
        return self

    def published(self, action: Callable[[], object]) -> list[Any]:
        """Return what `action` published, decoded."""
        self.lobby.ear.messages()
        action()
        return [item for _, data in self.lobby.ear.messages() for item in channel.decode(data)]

    def slot(self, person: Person) -> str:
        return "a" if self.lobby.members(person.room or "")[0] == person.name else "b"


@pytest.fixture
def scene(redis_url: str) -> Iterator[Scene]:
    with contextlib.closing(Lobby(redis_url)) as lobby:
        lobby.load_scripts(*ROOMS)
        yield Scene(lobby)


def find_match(scene: Scene) -> None:
    scene.anna.find("tea")
    found = scene.published(lambda: scene.bert.find("TEA"))
    assert {type(notice) for notice in found} == {channel.Matched}
    assert {notice.person for notice in found} == {"anna", "bert"}
    anna, bert = sorted(found, key=lambda notice: str(notice.person))
    record = anna.record()
    assert (anna.partner, bert.partner) == ("bert", "anna")
    assert (anna.user_id, anna.partner_user_id) == (bert.partner_user_id, bert.user_id)
    assert (record.room_id, record.slot, record.since) == (scene.anna.room, scene.slot(scene.anna), START)
    assert (record.partner_worker, record.interests, record.grace_ms) == (scene.other.name, ("tea",), None)
    assert anna.version == int(scene.anna.record["v"])


def next_match(scene: Scene) -> None:
    room = scene.in_room().anna.room
    (notice,) = scene.published(lambda: scene.anna.next())
    assert notice == channel.Ended(person="bert", version=notice.version, room_id=room or "", reason="skipped")
    assert notice.version == int(scene.bert.record["v"])


def tick(scene: Scene) -> None:
    scene.in_room().anna.drop()
    scene.lobby.pass_time(GRACE_MS)
    (notice,) = scene.published(lambda: scene.lobby.tick())
    assert (type(notice), notice.reason) == (channel.Ended, "disconnected")


def leave_room(scene: Scene) -> None:
    (notice,) = scene.in_room().published(lambda: scene.anna.leave())
    assert (type(notice), notice.person, notice.reason) == (channel.Ended, "bert", "left")


def block_partner(scene: Scene) -> None:
    (notice,) = scene.in_room().published(lambda: scene.anna.block())
    assert (type(notice), notice.person, notice.reason) == (channel.Ended, "bert", "left")


def report_partner(scene: Scene) -> None:
    (notice,) = scene.in_room().published(lambda: scene.anna.report())
    assert (type(notice), notice.person, notice.reason) == (channel.Ended, "bert", "left")


def end_rooms(scene: Scene) -> None:
    room = scene.in_room().anna.room or ""
    found = scene.published(lambda: scene.lobby.worker.rooms.end_again([room]))
    assert {(type(n), n.person, n.room_id, n.reason) for n in found} == {
        (channel.Ended, name, room, "disconnected") for name in ("anna", "bert")
    }


def connect(scene: Scene) -> None:
    room, before = scene.in_room().anna.room or "", scene.anna.conn
    replaced, back = scene.published(lambda: scene.anna.connect(scene.other))
    assert replaced == channel.Replaced(person="anna", connection_id=before)
    version = int(scene.bert.record["v"])
    expected = {"person": "bert", "version": version, "room_id": room, "worker": scene.other.name}
    assert back == channel.Reconnected(**expected, quiet=True)


def disconnect(scene: Scene) -> None:
    room = scene.in_room().anna.room or ""
    (notice,) = scene.published(lambda: scene.anna.drop())
    version = int(scene.bert.record["v"])
    assert notice == channel.Reconnecting(person="bert", version=version, room_id=room, grace_ms=GRACE_MS)


def reap_worker(scene: Scene) -> None:
    scene.in_room()
    (notice,) = scene.published(lambda: scene.lobby.worker.presence.reap(scene.lobby.worker.name, 4000))
    assert (type(notice), notice.grace_ms) == (channel.Reconnecting, 4000)


def release(scene: Scene) -> None:
    scene.in_room()
    (notice,) = scene.published(lambda: scene.lobby.worker.presence.release(["anna"], 4000))
    assert (type(notice), notice.grace_ms) == (channel.Reconnecting, 4000)


def ban_person(scene: Scene) -> None:
    banned, address = scene.published(lambda: scene.lobby.moderation.ban("anna", HOUR_MS, Origin("hidden"), ""))
    assert banned == channel.Banned(person="anna", connection_id=scene.anna.conn, ms=HOUR_MS)
    assert address == channel.Banned(person="", address="hidden", ms=HOUR_MS)


def ban_elsewhere(scene: Scene) -> None:
    moderation, origin = scene.lobby.moderation, Origin("hidden", "device")
    notices = scene.published(lambda: moderation.ban_elsewhere(origin, "anna", "cebu", None, "", ""))
    assert notices == [channel.Banned(person="", address="hidden"), channel.Banned(person="", device="device")]


def append_messages(scene: Scene) -> None:
    room, slot = scene.in_room().anna.room or "", scene.slot(scene.anna)
    version = int(scene.anna.record["v"])
    rooms = scene.lobby.worker.rooms
    rooms.attach(room, "anna", slot, version)
    body = '"content":"a b\\nc"'
    entry = NewMessage(room, slot, "bert", scene.other.name, 0, version, "", body, lambda *stored: None)
    found = scene.published(lambda: rooms.append(entry))
    assert found == [RelayedMessage(receiver="bert", room_id=room, seq=1, timestamp=START, body=body)]


PUBLICATIONS = [
    find_match, next_match, tick, leave_room, block_partner, report_partner, end_rooms, connect, disconnect,
    reap_worker, release, ban_person, ban_elsewhere, append_messages,
]  # fmt: skip


@pytest.mark.parametrize("publication", PUBLICATIONS, ids=lambda publication: str(publication.__name__))
def test_a_script_s_publication_is_decoded_into_named_fields(
    scene: Scene, publication: Callable[[Scene], None]
) -> None:
    publication(scene)


def test_every_publishing_script_is_decoded() -> None:
    assert {name.partition("/")[2] for name in PUBLISHING} == {publication.__name__ for publication in PUBLICATIONS}


@pytest.mark.parametrize("body", ['"content":"a b"', '"content":"a\\nb","type":"text"', '"content":"\\u2028 é 0 1"'])
def test_a_worker_s_own_texts_are_decoded_as_they_were_encoded(body: str) -> None:
    message = RelayedMessage(receiver="anna", room_id="r", seq=2, timestamp=START, body=body, previous=1)
    deliveries = [message, msgspec.structs.replace(message, seq=3, previous=2)]
    assert channel.decode(channel.encode_chain(deliveries).encode()) == deliveries
    looks = [Look(person="anna", room_id="r"), Look(person="bert", room_id="s")]
    assert channel.decode(channel.encode_looks(looks).encode()) == looks
    event = RelayedEvent(receiver="anna", room_id="r", packet=f"2[{body}]")
    assert channel.decode(channel.encode_event(event).encode()) == [event]


@pytest.mark.parametrize(
    "text", [b"", b"shout\na", b"messages\na b", b"look\na", b"event a", b"typing a", b'[{"e":"new","p":"a"}]']
)
def test_an_unknown_text_is_refused(text: bytes) -> None:
    with pytest.raises((ValueError, msgspec.DecodeError)):
        channel.decode(text)
