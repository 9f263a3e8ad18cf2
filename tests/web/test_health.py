"""`GET /health` reports whether people can join here, and the store's connections prove that they still carry data."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from animochat.presence.service import Presence
from tests.faults.network import Network
from tests.helpers.people import Connect, RawClient, meet, running, say, status
from tests.helpers.servers import RedisServer, Server, eventually, find_redis_server
from tests.helpers.store import DirectPipeline

#: Kind of refusal -> the commands that cause it and undo it, and a pattern of the store's error.
REFUSALS: dict[str, tuple[list[list[str]], list[list[str]], str]] = {
    "OOM": ([["CONFIG", "SET", "maxmemory", "1"]], [["CONFIG", "SET", "maxmemory", "0"]], "maxmemory"),
    "READONLY": ([["REPLICAOF", "127.0.0.1", "1"]], [["REPLICAOF", "NO", "ONE"]], "read only replica"),
    "NOREPLICAS": (
        [["CONFIG", "SET", "min-replicas-to-write", "1"]],
        [["CONFIG", "SET", "min-replicas-to-write", "0"]],
        "Not enough good replicas",
    ),
    "NOPERM": (
        [["ACL", "SETUSER", "chat", "-zadd"]],
        [["ACL", "SETUSER", "chat", "+zadd"]],
        "no permissions to run|can't run",
    ),
    "NOPERM on channels": (
        [["ACL", "SETUSER", "chat", "resetchannels"]],
        [["ACL", "SETUSER", "chat", "allchannels"]],
        "permissions to access a channel|can't publish",
    ),
}


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_store_that_refuses_a_joins_writes_is_detected_and_nothing_is_left_behind(
    redis_url: str, refusal: str
) -> None:
    begin, end, said = REFUSALS[refusal]
    with redis.Redis.from_url(redis_url) as admin:
        admin.execute_command("ACL", "SETUSER", "chat", "on", "nopass", "~*", "&*", "+@all")
        pipeline = DirectPipeline(redis_url)
        pipeline.execute("AUTH", "chat", "any")
        presence = Presence(pipeline, "worker")
        presence.check()
        try:
            for command in begin:
                admin.execute_command(*command)
            with pytest.raises(redis.RedisError) as refused:
                presence.check()
            assert re.search(said, str(refused.value))
        finally:
            for command in end:
                admin.execute_command(*command)
            admin.execute_command("ACL", "SETUSER", "chat", "+@all", "allchannels")
        assert admin.keys("*probe*") == []
        presence.check()
        assert admin.dbsize() == 0


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    store = RedisServer(tmp_path_factory.mktemp("store"), find_redis_server()).start()
    with store.client() as admin:
        admin.execute_command("ACL", "SETUSER", "chat", "on", "nopass", "~*", "&*", "+@all")
    yield store
    store.stop(signal.SIGKILL)


@pytest.fixture(scope="module")
def server(store: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    url = store.url.replace("//", "//chat:any@")
    with running(tmp_path_factory.mktemp("server"), 1, url) as (server,):
        server.expect_errors()  # that the store's user may not do something is one
        yield server


@pytest.mark.parametrize("refusal", [*REFUSALS, "MISCONF"])
def test_health_is_503_exactly_while_no_one_can_join(store: RedisServer, server: Server, refusal: str) -> None:
    begin, end, _ = REFUSALS.get(refusal, ([["CONFIG", "SET", "save", "3600 1"]], [["CONFIG", "SET", "save", ""]], ""))
    eventually(lambda: status(server, "/health") == 200)
    with store.client() as admin:
        if refusal == "MISCONF":
            fail_to_save(store, admin)
        try:
            for command in begin:
                admin.execute_command(*command)
            eventually(lambda: status(server, "/health") == 503)
            answer = server.get("/health")
            assert (answer.json()["status"], answer.json()["redis"]) == ("unavailable", "unavailable")
            client = RawClient(server, connected=False)
            client.send("40")
            # someone alone needs no channel, but would never be matched
            told = "session" if "channels" in refusal else "error"
            assert client.wait_event(told).get("code", "unavailable") == "unavailable"
        finally:
            for command in end:
                admin.execute_command(*command)
    eventually(lambda: status(server, "/health") == 200)
    if told == "error":
        assert client.wait_event("session")["state"] == "idle"
    client.drop()


def fail_to_save(store: RedisServer, admin: redis.Redis) -> None:
    """Make the store's snapshot fail: something else has its name."""
    (store.directory / "dump.rdb" / "in the way").mkdir(parents=True, exist_ok=True)
    admin.execute_command("BGSAVE")
    eventually(lambda: admin.info("persistence")["rdb_last_bgsave_status"] == "err")


# Open and silent

Hold = Callable[[Network], None]
HOLDS: dict[str, tuple[Hold, Hold]] = {
    "requests": (Network.hold_requests, Network.release_requests),
    "answers": (Network.hold_answers, Network.release_answers),
}


@pytest.mark.parametrize("connection", [b"$9\r\nSUBSCRIBE", b"EVALSHA"], ids=["subscription", "commands"])
@pytest.mark.parametrize("way", HOLDS)
def test_a_connection_that_is_open_and_silent_is_noticed_and_made_again(
    tmp_path: Path, connect: Connect, way: str, connection: bytes
) -> None:
    hold, release = HOLDS[way]
    store = RedisServer(tmp_path).start()
    try:
        with Network(store.url) as to_store:
            to_store.held = connection
            with running(tmp_path, 2, to_store.url, WEB_CONCURRENCY="1") as servers:
                anna, bert = connect(servers[0]), connect(servers[1])
                meet(anna, bert)
                say(anna, bert, "before")
                hold(to_store)
                for server in servers:
                    eventually(lambda server=server: status(server, "/health") == 503, what="health says so")
                release(to_store)
                for server in servers:
                    eventually(lambda server=server: status(server, "/health") == 200, what="it is made again")
                eventually(lambda: anna.call("typing", True)["ok"])
                say(anna, bert, "after")
                say(bert, anna, "good")
                assert "partner-disconnected" not in anna.events() + bert.events()
    finally:
        store.stop(signal.SIGKILL)
