"""Servers and the store die, stop and come back: no one is left in a room that doesn't exist, or with a ghost."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from tests.faults.network import Network
from tests.helpers.people import NO_RATES, Connect, RawClient, goodbye, meet, running, say, stats, status, texts
from tests.helpers.servers import Client, PythonClient, RedisServer, Server, alive, eventually

#: Seconds within which partners must be notified.
GONE_WITHIN, WORKS_WITHIN = 20.0, 10.0

GRACE_MS = 2_000
ENV = {**NO_RATES, "RECONNECT_GRACE_MS": str(GRACE_MS), "MATCH_HISTORY_HOURS": "0"}

Servers = Callable[..., list[Server]]


@pytest.fixture
def servers(tmp_path: Path, store_url: str) -> Iterator[Servers]:
    """Start servers, all at once, on an empty store; after the test, end them and check their logs."""
    with contextlib.ExitStack() as stack:

        def start(count: int, store: str = store_url, ready: str = "/health", **env: str) -> list[Server]:
            return stack.enter_context(running(tmp_path, count, store, ready, **{**ENV, **env}))

        yield start


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A store whose data are gone once it has stopped."""
    server = RedisServer(tmp_path).start()
    yield server
    server.stop(signal.SIGKILL)


@pytest.fixture
def lasting_redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A store that keeps its data, whatever happens to it."""
    server = RedisServer(tmp_path, persistent=True).start()
    yield server
    server.stop(signal.SIGKILL)


def token_of(client: Client) -> str:
    return client.received("session")[0]["token"]  # type: ignore[no-any-return]


def kill(server: Server) -> None:
    """Send SIGKILL; return when the kernel has ended the workers and the store has dropped their subscriptions, which
    takes a moment on a busy machine.
    """
    workers = server.worker_pids()
    with redis.Redis.from_url(server.redis_url) as store:
        channels = len(store.pubsub_channels("{lobby:main}:channel:*"))
        server.kill()
        eventually(lambda: not any(alive(pid) for pid in workers))
        eventually(lambda: len(store.pubsub_channels("{lobby:main}:channel:*")) == channels - len(workers))


class LoadBalancer:
    """A TCP relay: each new connection goes to the first of the servers that takes it."""

    def __init__(self, *servers: Server) -> None:
        self._ports = [server.port for server in servers]
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            for port in self._ports:
                try:
                    upstream = socket.create_connection(("127.0.0.1", port), 5)
                except OSError:
                    continue
                threading.Thread(target=self._relay, args=(client, upstream), daemon=True).start()
                break
            else:
                client.close()

    @staticmethod
    def _relay(client: socket.socket, upstream: socket.socket) -> None:
        other = {client: upstream, upstream: client}
        with client, upstream:
            while True:
                for ready in select.select([client, upstream], [], [])[0]:
                    try:
                        data = ready.recv(65_536)
                        if not data:
                            return
                        other[ready].sendall(data)
                    except OSError:
                        return


# A server dies


def test_a_killed_server_leaves_nothing_behind_and_partners_are_notified(servers: Servers, connect: Connect) -> None:
    """Use the default grace time."""
    doomed, other = servers(2, RECONNECT_GRACE_MS="")
    anna, bert, carla, dora = connect(doomed), connect(other), connect(doomed), connect(other)
    meet(anna, bert)
    carla.call("find-match")
    now = stats(other)
    assert (now["onlineUsers"], now["waitingUsers"], now["activeRooms"], now["workers"]) == (4, 1, 1, 2)
    kill(doomed)
    killed_at = time.monotonic()

    # no one is matched with a ghost
    assert dora.call("find-match")["state"] == "waiting"
    erik = connect(other)
    erik.call("find-match")
    assert erik.wait("matched")["roomId"] == dora.wait("matched")["roomId"]
    say(erik, dora, "alive")

    def left() -> float:
        return killed_at + GONE_WITHIN - time.monotonic()

    assert bert.wait("partner-reconnecting", timeout=left())["graceMs"] <= 10_000
    assert bert.wait("partner-disconnected", timeout=left()) == {"reason": "disconnected"}

    def clean() -> bool:
        now = stats(other)
        return (now["onlineUsers"], now["waitingUsers"], now["activeRooms"], now["workers"]) == (3, 0, 1, 1)

    eventually(clean, timeout=left(), what="pool, counts and rooms without the dead server's people")
    bert.wait("online-count", where=lambda count: count == 3)
    assert bert.call("find-match")["state"] == "waiting"


def test_people_of_a_killed_server_return_to_their_rooms(servers: Servers, connect: Connect) -> None:
    doomed, other = servers(2)
    anna, bert = connect(doomed), connect(other)
    meet(anna, bert)
    say(anna, bert, "before")
    kill(doomed)
    again = connect(other, token=token_of(anna))
    session = again.wait("session")
    assert session["state"] == "chatting"
    assert [message["content"] for message in session["room"]["messages"]][1:] == ["before"]
    say(again, bert, "after")
    say(bert, again, "good")
    eventually(lambda: stats(other)["workers"] == 1, timeout=GONE_WITHIN)
    say(again, bert, "still here when the dead server's people were cleared away")
    assert "partner-disconnected" not in bert.events()


def test_when_all_servers_were_killed_the_next_one_clears_up(servers: Servers, connect: Connect) -> None:
    (server,) = servers(1)
    anna, bert, carla = connect(server), connect(server), connect(server)
    meet(anna, bert)
    carla.call("find-match")
    kill(server)
    server.start()

    def clean() -> bool:
        now = stats(server)
        return (now["onlineUsers"], now["waitingUsers"], now["activeRooms"], now["workers"]) == (0, 0, 0, 1)

    eventually(clean, timeout=GONE_WITHIN)
    assert connect(server, token=token_of(anna)).wait("session")["state"] == "idle"


def test_a_killed_worker_is_replaced_and_its_people_come_back(servers: Servers, connect: Connect) -> None:
    (server,) = servers(1)
    server.expect_errors()  # gunicorn's master says that it lost a worker
    anna, bert = connect(server), connect(server)
    meet(anna, bert)
    (worker,) = server.worker_pids()
    os.kill(worker, signal.SIGKILL)
    anna.wait("disconnect")
    bert.wait("disconnect")
    eventually(lambda: server.worker_pids() not in ([], [worker]) and status(server, "/health") == 200, 30)
    anna, bert = connect(server, token=token_of(anna)), connect(server, token=token_of(bert))
    assert anna.wait("session")["state"] == "chatting"
    assert bert.wait("session")["state"] == "chatting"
    say(anna, bert, "we are back")
    say(bert, anna, "both")


# A server stops


def test_a_graceful_stop_moves_people_with_their_rooms(servers: Servers, connect: Connect, stock_client: str) -> None:
    """Stock clients, left to themselves, come back on another server."""
    stopping, staying = servers(2)
    front = LoadBalancer(stopping, staying)
    options = {"transports": ["websocket"], "reconnect": True}
    anna, bert = connect(stopping, stock_client), connect(staying, stock_client)
    waiting = connect(stopping, stock_client)
    tokens = [client.wait("session")["token"] for client in (anna, waiting)]
    for client in (anna, waiting):
        client.close()
    eventually(lambda: stats(staying)["onlineUsers"] == 1)
    anna, waiting = (connect(front.url, stock_client, token=token, **options) for token in tokens)
    for client in (anna, waiting):
        client.wait("connect")
        client.wait("session")
    told, _ = meet(anna, bert)
    say(anna, bert, "before")
    waiting.call("find-match")

    stopping.stop()

    assert bert.wait("partner-reconnecting")["graceMs"] <= GRACE_MS
    for client in (anna, waiting):
        client.wait("disconnect")
        client.wait("connect")
    # a client that can recover its session gets no new one
    if isinstance(anna, PythonClient):
        assert anna.wait("session")["room"]["roomId"] == told["roomId"]
        assert waiting.wait("session")["state"] == "waiting"
    assert bert.wait("partner-reconnected") is None
    assert say(anna, bert, "after")["roomId"] == told["roomId"]
    assert say(bert, anna, "welcome")["seq"] == 3
    assert "partner-disconnected" not in bert.events() + anna.events()
    eventually(lambda: stats(staying)["waitingUsers"] == 1)
    eventually(lambda: stats(staying)["workers"] == 1)
    front.close()


def test_both_partners_move_when_their_server_stops(servers: Servers, connect: Connect) -> None:
    stopping, staying = servers(2)
    anna, bert = connect(stopping), connect(stopping)
    meet(anna, bert)
    say(anna, bert, "before")
    stopping.send_signal(signal.SIGTERM)
    for client in (anna, bert):
        client.wait("disconnect")
    anna, bert = connect(staying, token=token_of(anna)), connect(staying, token=token_of(bert))
    for client in (anna, bert):
        session = client.wait("session")
        assert session["state"] == "chatting"
        assert session["room"]["messages"][-1]["content"] == "before"
    say(anna, bert, "after")
    say(bert, anna, "good")
    stopping.stop()


def test_without_a_return_after_a_stop_the_place_expires_with_the_grace_time(
    servers: Servers, connect: Connect
) -> None:
    stopping, staying = servers(2)
    anna, bert = connect(stopping), connect(staying)
    meet(anna, bert)
    stopping.stop()
    bert.wait("partner-reconnecting")
    assert bert.wait("partner-disconnected") == {"reason": "disconnected"}
    now = stats(staying)
    assert (now["onlineUsers"], now["activeRooms"], now["workers"]) == (1, 0, 1)


# The store


def test_a_store_that_restarts_empty_leaves_no_one_in_a_lost_room(
    servers: Servers, connect: Connect, redis_server: RedisServer
) -> None:
    one, two = servers(2, redis_server.url)
    anna, bert = connect(one), connect(two)
    carla, idle = connect(one), connect(two)
    meet(anna, bert)
    say(anna, bert, "before")
    carla.call("find-match", {"interests": ["Tea"]})

    redis_server.stop(signal.SIGKILL)
    redis_server.start()
    back_at = time.monotonic()

    def left() -> float:
        return back_at + WORKS_WITHIN - time.monotonic()

    for client in (anna, bert):
        assert client.wait("partner-disconnected", timeout=left()) == {"reason": "disconnected"}
        client.wait("session")
        assert client.wait("session", timeout=left())["state"] == "idle"
        assert client.call("send-message", "hello?")["error"]["code"] == "not-in-room"
    # it works again, without a restart: for those who waited, those who chatted and those who come
    assert idle.call("find-match", {"interests": ["tea"]})["ok"] is True
    told = carla.wait("matched", timeout=left())
    assert told["interests"] == ["Tea"], "who waited still wants what it wanted"
    assert idle.wait("matched", timeout=left())["roomId"] == told["roomId"]
    say(carla, idle, "a new room")
    say(idle, carla, "indeed")
    assert anna.call("find-match")["ok"] is True
    assert bert.call("find-match")["ok"] is True
    anna.wait("matched", timeout=left(), where=lambda told: told != anna.received("matched")[0])
    new = connect(two)
    new.wait("session")
    again = connect(one, token=token_of(anna))
    assert again.wait("session")["state"] == "chatting", "the token still holds"
    assert status(one, "/health") == status(two, "/health") == 200
    eventually(lambda: stats(one)["onlineUsers"] == 5, timeout=WORKS_WITHIN)


def test_a_store_that_restarts_with_its_data_leaves_the_rooms(
    servers: Servers, connect: Connect, lasting_redis_server: RedisServer
) -> None:
    store = lasting_redis_server
    one, two = servers(2, store.url)
    anna, bert = connect(one), connect(two)
    meet(anna, bert)
    say(anna, bert, "before")
    store.stop(signal.SIGKILL)

    # while it is away: refused, and nothing is changed
    assert anna.call("send-message", {"content": "lost?", "clientId": "1"})["error"]["code"] == "unavailable"
    assert anna.call("find-match")["error"]["code"] == "unavailable"
    assert bert.call("leave-room")["error"]["code"] == "unavailable"
    anna.emit("send-message", "lost!")
    assert anna.wait("error", where=lambda error: error.get("event") == "send-message")["code"] == "unavailable"
    assert status(one, "/health") == 503
    assert one.get("/health").json()["status"] == "unavailable"
    assert status(one, "/health/live") == 200
    late = RawClient(one, connected=False)
    late.send("40")
    assert late.wait_event("error")["code"] == "unavailable"
    assert texts(bert) == ["before"]

    store.start()
    back_at = time.monotonic()
    eventually(lambda: status(one, "/health") == status(two, "/health") == 200, WORKS_WITHIN)
    # clients that connected meanwhile are registered without reconnecting
    assert late.wait_event("session")["state"] == "idle"

    def said() -> bool:
        return bool(anna.call("send-message", {"content": "lost?", "clientId": "1"})["ok"])

    eventually(said, back_at + WORKS_WITHIN - time.monotonic())
    bert.wait("message", where=lambda message: message["content"] == "lost?")
    eventually(lambda: bert.call("typing", True)["ok"])
    say(bert, anna, "there you are")
    assert texts(bert) == ["before", "lost?"]
    assert not {"partner-disconnected", "disconnect"} & set(anna.events() + bert.events())
    late.drop()


def test_going_during_a_store_outage_takes_effect_when_it_is_back(
    servers: Servers, connect: Connect, lasting_redis_server: RedisServer
) -> None:
    (server,) = servers(1, lasting_redis_server.url)
    anna, bert = connect(server), connect(server)
    meet(anna, bert)
    lasting_redis_server.stop(signal.SIGKILL)
    anna.drop()
    eventually(lambda: status(server, "/health") == 503)
    lasting_redis_server.start()
    assert bert.wait("partner-disconnected", timeout=WORKS_WITHIN + GRACE_MS / 1000) == {"reason": "disconnected"}
    eventually(lambda: stats(server)["onlineUsers"] == 1)


def test_a_store_that_hangs_is_unavailable_and_works_again_afterwards(
    servers: Servers, connect: Connect, redis_server: RedisServer
) -> None:
    (server,) = servers(1, redis_server.url)
    anna, bert = connect(server), connect(server)
    meet(anna, bert)
    redis_server.send_signal(signal.SIGSTOP)
    assert anna.call("send-message", "anybody?")["error"]["code"] == "unavailable"
    assert anna.call("leave-room")["error"]["code"] == "unavailable"
    assert status(server, "/health") == 503
    assert anna.call("send-message", [])["error"]["code"] == "invalid-payload", "what needs no store goes on"
    redis_server.send_signal(signal.SIGCONT)
    eventually(lambda: status(server, "/health") == 200, WORKS_WITHIN)

    def works() -> bool:
        answer = anna.call("send-message", "back")
        return bool(answer["ok"]) or answer["error"]["code"] == "not-in-room"

    eventually(works, WORKS_WITHIN)
    if "partner-disconnected" not in bert.events():
        bert.wait("message", where=lambda message: message["content"] == "back")


@pytest.mark.parametrize("storing", ["1", "0"])
@pytest.mark.parametrize("event", ["leave-room", "next-match", "goodbye"])
def test_last_words_arrive_although_the_end_overtakes_them_on_the_way_from_the_store(
    servers: Servers, connect: Connect, redis_server: RedisServer, storing: str, event: str
) -> None:
    """Both are on one worker: messages come with a command's answer, the end over the worker's channel."""
    with Network(redis_server.url) as to_store:
        to_store.prompt = b"SUBSCRIBE"
        (server,) = servers(1, to_store.url, STORE_MESSAGES=storing)
        anna, bert = connect(server), connect(server)
        meet(anna, bert)
        to_store.delay = 0.05
        anna.emit("send-message", "last words 0")
        anna.call("typing", True)  # by then that one is under way, and the others go together, with the end
        for number in range(1, 5):
            anna.emit("send-message", f"last words {number}")
        goodbye(anna) if event == "goodbye" else anna.emit(event)
        bert.wait("partner-disconnected")
        assert texts(bert) == [f"last words {number}" for number in range(5)]


def test_last_words_arrive_when_the_end_comes_while_the_store_hangs(
    tmp_path: Path, connect: Connect, redis_server: RedisServer
) -> None:
    """While a connection is stale, messages wait in the log, and the end waits with them."""
    with Network(redis_server.url) as to_store, contextlib.ExitStack() as stack:
        to_store.prompt = b"SUBSCRIBE"
        places = []
        for name, url in (("near", redis_server.url), ("far", to_store.url)):
            (tmp_path / name).mkdir()
            env = {**ENV, "RECONNECT_GRACE_MS": "60000"}  # as long as the log is there
            places += stack.enter_context(running(tmp_path / name, 1, url, **env))
        anna, bert = (connect(server) for server in places)
        meet(anna, bert)
        to_store.hold_answers()
        assert bert.call("find-match")["error"]["code"] == "unavailable"
        anna.emit("send-message", "last words")
        anna.call("leave-room")
        # answered behind the attempt to find out how things stand
        assert bert.call("find-match")["error"]["code"] == "unavailable"
        to_store.release_answers()
        assert bert.wait("partner-disconnected") == {"reason": "left"}
        assert texts(bert) == ["last words"]


def test_a_server_starts_in_production_without_its_store_and_recovers(
    servers: Servers, connect: Connect, redis_server: RedisServer
) -> None:
    redis_server.stop(signal.SIGKILL)
    (server,) = servers(1, redis_server.url, ready="/health/live", APP_ENV="production")
    answer = server.get("/health")
    assert (answer.status_code, answer.json()["status"]) == (503, "unavailable")
    assert server.get("/health/live").status_code == 200
    early = RawClient(server, connected=False)
    early.send("40")
    assert early.wait_event("error")["code"] == "unavailable"
    assert early.call("find-match")["error"]["code"] == "unavailable"
    redis_server.start()
    eventually(lambda: status(server, "/health") == 200, WORKS_WITHIN)
    assert early.wait_event("session")["state"] == "idle"
    assert early.call("find-match")["ok"] is True
    bert = connect(server)
    assert bert.call("find-match")["state"] == "matched"
    bert.wait("matched")
    early.drop()
