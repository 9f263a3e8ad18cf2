"""Several servers on one Redis are one chat: everything reaches a partner elsewhere too, for one publish."""

from __future__ import annotations

import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
import redis

from animochat.store import keys
from tests.helpers.people import Connect, RawClient, goodbye, meet, running, say, stats, texts, wait_until_empty
from tests.helpers.servers import Client, PythonClient, Server, eventually

GRACE_MS = 2_000
COOLDOWN_MS = 1_500


@pytest.fixture(scope="module")
def several_url(store_processes: Callable[[str], str]) -> str:
    """The machine's Redis, where there is one (the other modules' tests run on the embedded store); emptied once."""
    url = store_processes("redis" if shutil.which("redis-server") else "valkey")
    with redis.Redis.from_url(url) as client:
        client.flushall()
    return url


@pytest.fixture(scope="module")
def all_servers(several_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Server]]:
    env = {"SKIP_COOLDOWN_MS": str(COOLDOWN_MS), "RECONNECT_GRACE_MS": str(GRACE_MS)}
    with running(tmp_path_factory.mktemp("several"), 3, store=several_url, **env) as servers:
        yield servers


@pytest.fixture
def store(several_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(several_url, decode_responses=True) as client:
        yield client


@pytest.fixture
def three(all_servers: list[Server]) -> list[Server]:
    wait_until_empty(all_servers[0])
    return all_servers


@pytest.fixture
def pair(three: list[Server], connect: Connect) -> tuple[Client, Client]:
    """Return two people who chat, each on their own server."""
    anna, bert = connect(three[0]), connect(three[1])
    meet(anna, bert)
    return anna, bert


def worker_of(client: Client) -> str:
    """Return the worker of a client's session: Engine.IO session ids begin with its id."""
    assert isinstance(client, PythonClient)
    return str(client.sio.eio.sid).split("-")[0]


class Monitor:
    """Every PUBLISH that the store runs, scripts' ones included, as (channel, data)."""

    def __init__(self, store: redis.Redis) -> None:
        self._store = store
        self._published: list[tuple[str, str]] = []
        self._seen = threading.Condition()
        self._marks: set[str] = set()
        self._ready = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()
        assert self._ready.wait(10)

    def _run(self) -> None:
        with self._store.monitor() as monitor:
            self._ready.set()
            for line in monitor.listen():
                words = line["command"].split(" ", 2)
                if words[0].upper() == "ECHO":
                    with self._seen:
                        self._marks.add(words[1])
                        self._seen.notify_all()
                    if words[1] == "end":
                        return
                if words[0].upper() == "PUBLISH":
                    self._published.append((words[1], words[2]))

    def published(self) -> list[tuple[str, str]]:
        """Return all publications until now. Call it once."""
        self._store.echo("end")
        with self._seen:
            assert self._seen.wait_for(lambda: "end" in self._marks, 10)
        return self._published


def chats(anna: Client, bert: Client) -> None:
    """Run a conversation with every event."""
    for number in range(20):
        say(anna, bert, f"a{number}")
        say(bert, anna, f"b{number}")
    assert texts(bert) == [f"a{number}" for number in range(20)]
    assert texts(anna) == [f"b{number}" for number in range(20)]
    messages = [m for client in (anna, bert) for m in client.received("message")]
    assert sorted(m["seq"] for m in messages if m["type"] == "text") == list(range(1, 41))
    for argument in (True, False):
        anna.emit("typing", argument)
        assert bert.wait("partner-typing") == {"isTyping": argument}


# The same for everyone


def test_partners_on_different_servers_get_everything(three: list[Server], connect: Connect, stock_client: str) -> None:
    anna, bert = connect(three[0], stock_client), connect(three[1], stock_client)
    a, b = meet(anna, bert)
    assert (a["roomId"], a["userId"], a["partnerId"]) == (b["roomId"], b["partnerId"], b["userId"])
    assert anna.received("message") == bert.received("message"), "the greeting"
    chats(anna, bert)
    anna.call("leave-room")
    assert bert.wait("partner-disconnected") == {"reason": "left"}


def test_skipping_reaches_the_other_server(pair: tuple[Client, Client]) -> None:
    anna, bert = pair
    anna.call("next-match")
    assert bert.wait("partner-disconnected") == {"reason": "skipped"}


def test_a_goodbye_reaches_the_other_server(pair: tuple[Client, Client]) -> None:
    anna, bert = pair
    goodbye(anna)
    assert bert.wait("partner-disconnected") == {"reason": "disconnected"}


def test_vanishing_reaches_the_other_server(pair: tuple[Client, Client]) -> None:
    anna, bert = pair
    anna.drop()
    assert bert.wait("partner-reconnecting") == {"graceMs": GRACE_MS}
    assert bert.wait("partner-disconnected") == {"reason": "disconnected"}


def test_a_message_stands_before_the_goodbye_of_its_sender(pair: tuple[Client, Client]) -> None:
    anna, bert = pair
    anna.emit("send-message", "one")
    anna.emit("send-message", "two")
    anna.emit("leave-room")
    bert.wait("partner-disconnected")
    assert texts(bert) == ["one", "two"]


def test_messages_in_both_directions_at_once_have_one_order(pair: tuple[Client, Client]) -> None:
    anna, bert = pair
    for number in range(60):
        anna.emit("send-message", f"a{number}")
        bert.emit("send-message", f"b{number}")
    anna.wait("message", where=lambda message: message["content"] == "b59")
    bert.wait("message", where=lambda message: message["content"] == "a59")
    assert texts(bert) == [f"a{number}" for number in range(60)]
    assert texts(anna) == [f"b{number}" for number in range(60)]
    messages = [m for client in pair for m in client.received("message") if m["type"] == "text"]
    assert sorted(m["seq"] for m in messages) == list(range(1, 121))


def test_a_third_server_takes_part(three: list[Server], pair: tuple[Client, Client], connect: Connect) -> None:
    anna, bert = pair
    carla = connect(three[2])
    assert carla.call("find-match")["state"] == "waiting"
    anna.call("next-match")
    assert bert.wait("partner-disconnected") == {"reason": "skipped"}
    assert anna.wait("matched")["roomId"] == carla.wait("matched")["roomId"]
    chats(anna, carla)
    again = connect(three[2], token=anna.received("session")[0]["token"])
    assert again.wait("session")["room"]["messages"][-1]["content"] == "b19"
    say(carla, again, "welcome on my server")
    say(again, carla, "thanks")


def test_the_history_holds_on_every_server(three: list[Server], pair: tuple[Client, Client], connect: Connect) -> None:
    anna, bert = pair
    anna.call("leave-room")
    bert.wait("partner-disconnected")
    assert anna.call("find-match")["state"] == "waiting"
    assert bert.call("find-match")["state"] == "waiting"
    goodbye(bert)
    bert = connect(three[2], token=bert.received("session")[0]["token"])
    assert bert.call("find-match")["state"] == "waiting"
    carla = connect(three[2])
    assert carla.call("find-match")["state"] == "matched"


def test_the_skip_cooldown_holds_on_every_server(
    three: list[Server], pair: tuple[Client, Client], connect: Connect
) -> None:
    anna, _ = pair
    rest = anna.call("next-match")["cooldownMs"]
    again = connect(three[2], token=anna.received("session")[0]["token"])
    assert again.wait("session")["state"] == "waiting"
    assert again.wait("waiting")["cooldownMs"] <= rest
    carla = connect(three[1])
    assert carla.call("find-match")["state"] == "waiting"
    again.wait("matched", timeout=rest / 1000 + 1)
    carla.wait("matched")


def test_everyone_online_is_counted_on_every_server(
    three: list[Server], pair: tuple[Client, Client], connect: Connect
) -> None:
    carla = connect(three[2])
    carla.call("find-match")
    for client in (*pair, carla):
        client.wait("online-count", where=lambda count: count == 3)
    eventually(lambda: stats(three[0])["activeRooms"] == 1, what="the end of the test before")
    now = stats(three[0])
    assert (now["onlineUsers"], now["waitingUsers"], now["workers"]) == (3, 1, 3)
    for name in ("onlineUsers", "waitingUsers", "activeRooms", "workers", "matchesTotal"):
        assert {stats(server)[name] for server in three} == {now[name]}


def test_a_crowd_over_three_servers_is_matched_each_exactly_once(three: list[Server]) -> None:
    crowd = [RawClient(three[number % 3]) for number in range(60)]
    try:
        for client in crowd:
            client.send('42["find-match"]')
        matched = [client.wait_event("matched") for client in crowd]
        rooms = Counter(told["roomId"] for told in matched)
        assert len(rooms) == 30
        assert set(rooms.values()) == {2}
        assert len({told["userId"] for told in matched}) == 60
        assert {told["userId"] for told in matched} == {told["partnerId"] for told in matched}
        for client in crowd:
            assert client.call("find-match")["error"]["code"] == "already-in-room"
            assert sum(frame.startswith('42["matched"') for frame in client.frames) == 1
    finally:
        for client in crowd:
            client.send("41")
            client.drop()


# Publications


def test_between_two_on_one_worker_nothing_is_published(
    three: list[Server], store: redis.Redis, connect: Connect
) -> None:
    anna, bert = connect(three[0]), connect(three[0])
    meet(anna, bert)
    monitor = Monitor(store)
    for number in range(20):
        say(anna, bert, f"message {number}")
        anna.emit("typing", number % 2 == 0)
        bert.wait("partner-typing")
    assert monitor.published() == []


def test_between_two_workers_a_message_is_published_once_to_the_partners_channel(
    store: redis.Redis, pair: tuple[Client, Client]
) -> None:
    anna, bert = pair
    assert worker_of(anna) != worker_of(bert)
    monitor = Monitor(store)
    say(anna, bert, "from-anna")
    say(bert, anna, "from-bert")
    anna.emit("typing", True)
    bert.wait("partner-typing")
    published = monitor.published()
    assert [channel for channel, _ in published] == [
        keys.worker_channel(worker_of(client)) for client in (bert, anna, bert)
    ]
    assert "from-anna" in published[0][1]
    assert "from-bert" in published[1][1]


def test_notices_of_a_person_reach_only_their_worker(
    three: list[Server], store: redis.Redis, pair: tuple[Client, Client], connect: Connect
) -> None:
    carla = connect(three[2])
    channels = {keys.worker_channel(worker_of(client)) for client in (*pair, carla)}
    assert channels <= set(store.pubsub_channels("{lobby:main}:channel:*"))
    assert all(listeners == 1 for _, listeners in store.pubsub_numsub(*channels))
    monitor = Monitor(store)
    anna, bert = pair
    anna.call("leave-room")
    bert.wait("partner-disconnected")
    assert {channel for channel, _ in monitor.published()} == {keys.worker_channel(worker_of(bert))}


def test_a_moved_partner_is_reached_where_it_is_now(
    three: list[Server], store: redis.Redis, pair: tuple[Client, Client], connect: Connect
) -> None:
    anna, bert = pair
    moved = connect(three[0], token=bert.received("session")[0]["token"])
    moved.wait("session")
    bert.wait("disconnect")
    monitor = Monitor(store)
    say(anna, moved, "now on one worker")
    say(moved, anna, "indeed")
    assert monitor.published() == []
    assert "partner-reconnecting" not in anna.events()
