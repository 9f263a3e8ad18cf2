"""The store comes back a few seconds older: a replica that was behind is promoted, a snapshot is loaded after a crash.

Everything that clients were sent stays true. Each test takes a snapshot of every key and restores all of them later.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest

from animochat.chat import ended_rooms
from animochat.chat.ended_rooms import EndedRooms
from tests.helpers.old_store import OldStore
from tests.helpers.people import Connect, goodbye, meet, running, say, stats, status, texts, wait_until_empty
from tests.helpers.servers import Client, RedisServer, Server, eventually
from tests.helpers.store import Lobby


@pytest.fixture(scope="module")
def module_places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[list[Server], RedisServer]]:
    directory = tmp_path_factory.mktemp("older")
    store = RedisServer(directory).start()
    env = {"MATCH_HISTORY_HOURS": "0", "RECONNECT_GRACE_MS": "1000", "SKIP_COOLDOWN_MS": "0"}
    try:
        with running(directory, 2, store.url, **env) as servers:
            yield servers, store
    finally:
        store.stop()


@pytest.fixture
def servers(module_places: tuple[list[Server], RedisServer]) -> list[Server]:
    servers, _ = module_places
    for server in servers:
        eventually(lambda server=server: status(server, "/health") == 200, what="a store that is there")
    wait_until_empty(servers[0])
    return servers


@pytest.fixture
def store(module_places: tuple[list[Server], RedisServer]) -> Iterator[OldStore]:
    store = OldStore(module_places[1])
    yield store
    store.client.close()


def token_of(client: Client) -> str:
    return client.received("session")[0]["token"]  # type: ignore[no-any-return]


def settled(servers: list[Server], store: OldStore, *clients: Client) -> None:
    """Return when both workers have checked everything: each has sent a heartbeat, and answered every client."""
    beats = dict(store.client.zrange("{lobby:main}:workers", 0, -1, withscores=True))

    def later() -> bool:
        now = dict(store.client.zrange("{lobby:main}:workers", 0, -1, withscores=True))
        return len(now) >= 2 and all(beat >= beats.get(name, 0) + 2000 for name, beat in now.items())

    eventually(later, what="two heartbeats of each worker")
    for client in clients:
        client.settle()


ENDS: dict[str, Callable[[Client], object]] = {
    "leave-room": lambda client: client.call("leave-room"),
    "next-match": lambda client: client.call("next-match"),
    "block-partner": lambda client: client.call("block-partner"),
    "report-partner": lambda client: client.call("report-partner", {"reason": "spam"}),
    "goodbye": goodbye,
}


@pytest.mark.parametrize("end", ENDS)
def test_an_older_store_puts_no_one_back_into_a_left_room(
    servers: list[Server], store: OldStore, connect: Connect, end: str
) -> None:
    anna, bert = connect(servers[0]), connect(servers[1])
    meet(anna, bert)
    say(anna, bert, "before")
    restore = store.snapshot()
    ENDS[end](anna)
    bert.wait("partner-disconnected")
    restore()
    there = [bert] if end == "goodbye" else [anna, bert]
    settled(servers, store, *there)
    assert stats(servers[0])["activeRooms"] == 0
    for client in there:
        assert client.events().count("session") == client.events().count("matched") == 1
        assert client.call("send-message", "hello?")["error"]["code"] == "not-in-room"
    assert bert.events().count("partner-disconnected") == 1
    again = connect(servers[1], token=token_of(anna))
    assert again.wait("session")["state"] == ("waiting" if end == "next-match" else "idle")


def test_an_older_store_puts_no_one_back_on_another_server(
    servers: list[Server], store: OldStore, connect: Connect
) -> None:
    """No one of the room is connected any more: the worker that saw it end ends it again."""
    anna, bert = connect(servers[0]), connect(servers[0])
    meet(anna, bert)
    restore = store.snapshot()
    anna.call("block-partner")
    bert.wait("partner-disconnected")
    for client in (anna, bert):
        goodbye(client)
    restore()
    eventually(lambda: stats(servers[1]).get("activeRooms") == 0, what="the end of the room")
    eventually(lambda: stats(servers[1]).get("onlineUsers") == 0, what="that those who have gone are not there")
    assert connect(servers[1], token=token_of(anna)).wait("session")["state"] == "idle"


def test_a_cancelled_search_does_not_return(servers: list[Server], store: OldStore, connect: Connect) -> None:
    anna = connect(servers[0])
    anna.call("find-match")
    restore = store.snapshot()
    assert anna.call("cancel-match")["ok"] is True
    restore()
    settled(servers, store, anna)
    assert anna.events().count("waiting") == 1
    assert connect(servers[1]).call("find-match")["state"] == "waiting"
    anna.settle()
    assert "matched" not in anna.events()


def test_a_search_goes_on_although_the_store_has_the_earlier_room(
    servers: list[Server], store: OldStore, connect: Connect
) -> None:
    anna, bert = connect(servers[0]), connect(servers[1])
    meet(anna, bert)
    restore = store.snapshot()
    assert anna.call("next-match")["state"] == "waiting"
    bert.wait("partner-disconnected")
    goodbye(bert)
    restore()
    settled(servers, store, anna)
    assert anna.events().count("session") == 1
    carla = connect(servers[1])
    carla.call("find-match")
    room = carla.wait("matched")["roomId"]
    assert anna.wait("matched", where=lambda told: told["roomId"] == room)
    say(carla, anna, "hello")


def test_a_room_lost_by_the_store_ends_and_no_one_changes_rooms(
    servers: list[Server], store: OldStore, connect: Connect
) -> None:
    """A message under way goes to the room in which it was sent, or is refused."""
    people = [connect(servers[number % 2]) for number in range(4)]
    anna, bert, carla, dora = people
    meet(anna, bert)
    meet(carla, dora)
    restore = store.snapshot()
    for one, other in ((anna, bert), (carla, dora)):
        one.call("leave-room")
        other.wait("partner-disconnected")
    rooms = {told["roomId"] for pair in ((anna, carla), (bert, dora)) for told in rematch(*pair)}
    assert len(rooms) == 2
    restore()
    partners = {"anna": carla, "carla": anna, "bert": dora, "dora": bert}
    names = dict(zip(("anna", "bert", "carla", "dora"), people, strict=True))
    for number in range(30):
        for name, client in names.items():
            client.emit("send-message", f"{name} {number}")
    for client in people:
        client.wait("partner-disconnected")
    settled(servers, store, *people)
    assert stats(servers[0])["activeRooms"] == 0
    for name, client in names.items():
        assert client.received("session")[-1]["state"] == "idle"
        assert client.call("send-message", "hello?")["error"]["code"] == "not-in-room"
        heard = {text.split()[0] for text in texts(partners[name]) if text.split()[0] in names}
        assert heard <= {name}, "only one's last partner hears"
    for client in people:
        seqs = [message["id"] for message in client.received("message")]
        assert len(seqs) == len(set(seqs))


def rematch(one: Client, other: Client) -> list[dict[str, str]]:
    """Match two people who have met others before."""
    told = len(one.received("matched"))
    for client in (one, other):
        client.call("find-match")
    eventually(lambda: all(len(client.received("matched")) > told for client in (one, other)), what="a match")
    return [client.received("matched")[-1] for client in (one, other)]


def test_no_one_meets_a_person_who_has_gone(servers: list[Server], store: OldStore, connect: Connect) -> None:
    anna = connect(servers[0])
    anna.call("find-match")
    restore = store.snapshot()
    goodbye(anna)
    eventually(lambda: stats(servers[1]).get("onlineUsers") == 0, what="a goodbye that has arrived")
    restore()
    eventually(lambda: stats(servers[1]).get("waitingUsers") == 0, timeout=30, what="that no one waits")
    bert, carla = connect(servers[1]), connect(servers[0])
    assert bert.call("find-match")["state"] == "waiting"
    assert carla.call("find-match")["state"] == "matched"
    say(carla, bert, "hello")
    assert stats(servers[0])["onlineUsers"] == 2


@pytest.mark.parametrize("elsewhere", [False, True], ids=["here", "elsewhere"])
def test_an_earlier_connection_does_not_replace_a_later_one(
    servers: list[Server], store: OldStore, connect: Connect, elsewhere: bool
) -> None:
    first, bert = connect(servers[0]), connect(servers[1])
    meet(first, bert)
    restore = store.snapshot()
    second = connect(servers[1 if elsewhere else 0], token=token_of(first))
    second.wait("session")
    first.wait("disconnect")
    restore()
    settled(servers, store, second, bert)
    assert not {"error", "disconnect", "partner-disconnected"} & set(second.events())
    say(second, bert, "still here")
    say(bert, second, "so am I")


def test_new_messages_do_not_reuse_places(servers: list[Server], store: OldStore, connect: Connect) -> None:
    anna, bert = connect(servers[0]), connect(servers[1])
    meet(anna, bert)
    say(anna, bert, "1")
    restore = store.snapshot()
    for number in range(2, 6):
        say(*((anna, bert) if number % 2 else (bert, anna)), str(number))
    restore()
    settled(servers, store, anna, bert)
    for number in range(6, 9):
        say(*((anna, bert) if number % 2 else (bert, anna)), str(number))
    messages = [m for client in (anna, bert) for m in client.received("message") if m["type"] == "text"]
    assert sorted((m["seq"], m["content"]) for m in messages) == [(number, str(number)) for number in range(1, 9)]
    assert not {"partner-disconnected", "partner-reconnecting"} & set(anna.events() + bert.events())


# A worker's memory


def test_the_ends_of_rooms_are_remembered_for_a_time() -> None:
    now = [1000.0]
    ended = EndedRooms(lambda: now[0])
    ended.add("first")
    now[0] += ended_rooms.KEPT_SECONDS - 1
    ended.add("second")
    assert ended.latest() == ["first", "second"]
    ended.add("first")
    assert ended.latest() == ["second", "first"], "the latest are kept"
    now[0] += 2
    assert ended.latest() == ["second", "first"]
    now[0] += ended_rooms.KEPT_SECONDS
    assert ended.latest() == []
    assert "first" not in ended


def test_remembered_ends_of_rooms_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ended_rooms, "KEPT_ROOMS", 3)
    ended = EndedRooms()
    for number in range(5):
        ended.add(str(number))
    assert ended.latest() == ["2", "3", "4"]
    assert "1" not in ended


# The scripts


@pytest.fixture
def lobby(redis_url: str) -> Iterator[Lobby]:
    with contextlib.closing(Lobby(redis_url)) as lobby:
        yield lobby


def test_a_room_that_is_ended_again_is_over_for_both_and_others_go_on(lobby: Lobby) -> None:
    anna, bert = lobby.pair("anna", "bert")
    carla, dora = lobby.pair("carla", "dora")
    assert lobby.worker.rooms.end_again([anna.room or "", "unknown"]) == 1
    assert lobby.rooms() == [{"carla", "dora"}]
    assert (anna.room, bert.room, carla.room) == (None, None, dora.room)
    assert {notice["p"] for notice in lobby.worker.notices() if notice["e"] == "ended"} == {"anna", "bert"}
    assert lobby.worker.rooms.end_again([]) == 0


def test_a_person_without_a_connection_at_their_worker_has_vanished(lobby: Lobby) -> None:
    anna, bert = lobby.pair("anna", "bert")
    (carla,) = lobby.people("carla")
    carla.find()
    assert sorted(lobby.worker.presence.listed()) == ["anna", "bert", "carla"]
    lobby.worker.presence.release(["anna", "carla", "unknown"], 1000)
    assert lobby.worker.presence.listed() == ["bert"]
    assert lobby.worker.presence.stats()["onlineUsers"] == 1
    assert list(lobby.sorted_set(":pool")) == []
    assert [notice["e"] for notice in bert.worker.notices() if notice["p"] == "bert"][-1] == "reconnecting"
    lobby.pass_time(1000)
    lobby.tick()
    assert lobby.rooms() == []
    assert anna.room is None


def test_an_unregistered_connection_is_newer_than_the_registered_one(lobby: Lobby) -> None:
    (anna,) = lobby.people("anna")
    version = int(anna.record["v"])
    presence = lobby.worker.presence
    assert presence.connect("anna", "later", again=True, version=version + 1).state == "idle"
    assert anna.record["conn"] == "later"
    assert presence.connect("anna", anna.conn, again=True, version=version).state == "replaced"
