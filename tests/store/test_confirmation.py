"""STORE_WAIT: acknowledged messages survive the loss of the primary, or of its memory; others get `unavailable`.

A worker's chat runs in this process, on a primary with a replica. The replica takes over while the primary continues,
as if the network between the two were cut.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from animochat.chat.worker import Chat
from animochat.cli.doctor.check_result import CheckResult, Level
from animochat.cli.doctor.store_checks import store_findings
from animochat.settings import Settings
from tests.helpers.local_chat import LocalClient, pair, start_chat
from tests.helpers.servers import RedisServer, eventually
from tests.helpers.store import cooperative, soon

Stores = tuple[RedisServer, RedisServer]


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[Stores]:
    """Return a primary and its replica, in sync."""
    both = []
    for name in ("primary", "replica"):
        (tmp_path / name).mkdir()
        both.append(RedisServer(tmp_path / name))
    try:
        for store in both:
            store.start()
        with both[0].client() as client:
            client.config_set("repl-diskless-sync-delay", 0)
        follow(both[1], both[0])
        yield both[0], both[1]
    finally:
        for store in both:
            store.stop(signal.SIGKILL)


def follow(replica: RedisServer, primary: RedisServer) -> None:
    with replica.client() as client:
        client.execute_command("REPLICAOF", "127.0.0.1", primary.port)
        eventually(lambda: client.info("replication")["master_link_status"] == "up", what="a replica")


def take_over(replica: RedisServer) -> None:
    """Make the replica a primary; its own primary does not know about it."""
    with replica.client() as client:
        client.execute_command("REPLICAOF", "NO", "ONE")


def room_of(client: LocalClient) -> str:
    assert client.connection.room is not None
    return client.connection.room.room_id


def stored(store: RedisServer, room: str) -> str:
    """Return the room's log there."""
    with store.client() as client:
        return repr(client.xrange(f"{{room:{room}}}:log"))


@cooperative
@pytest.mark.parametrize("wait", ["0", "replica"])
def test_a_replica_that_takes_over_has_every_acknowledged_message(stores: Stores, wait: str) -> None:
    primary, replica = stores
    chat = start_chat(primary.url, STORE_WAIT=wait)
    try:
        anna, bert = pair(chat)
        acknowledged = []
        for number in range(6):
            if number == 3:
                take_over(replica)
            text = f"message {number}"
            if anna.call("send-message", text)["ok"]:
                acknowledged.append(text)
        log = stored(replica, room_of(bert))
        missing = [text for text in acknowledged if text not in log]
        if wait == "replica":
            assert (acknowledged, missing) == ([f"message {number}" for number in range(3)], [])
        else:
            assert set(missing) >= {f"message {number}" for number in range(3, 6)}
    finally:
        chat.stop(2)


@cooperative
def test_a_message_that_no_replica_confirms_may_be_stored_and_its_repetition_says_so(stores: Stores) -> None:
    primary, replica = stores
    chat = start_chat(primary.url, STORE_WAIT="replica")
    try:
        anna, bert = pair(chat)
        take_over(replica)
        message = {"content": "hello", "clientId": "one"}
        assert anna.call("send-message", message)["error"]["code"] == "unavailable"
        soon(lambda: bert.texts() == ["hello"], "the message, from the log")
        soon(lambda: not anna.connection.busy and not bert.connection.busy, "everything else goes on")
        assert anna.call("typing", True) == {"ok": True}
        # Another worker does not treat it as confirmed either: it waits for the others' writes.
        other = start_chat(primary.url, STORE_WAIT="replica")
        try:
            moved = LocalClient(other, {"token": anna.payload("session")["token"]}).joined()
            assert moved.call("send-message", message)["error"]["code"] == "unavailable"
            follow(replica, primary)
            soon(lambda: moved.call("send-message", message)["ok"], "a replica that confirms")
            answer = moved.call("send-message", message)
            assert (answer["seq"], bert.texts()) == (1, ["hello"])
            assert "hello" in stored(replica, room_of(bert))
        finally:
            other.stop(2)
    finally:
        chat.stop(2)


@cooperative
@pytest.mark.parametrize("persistent", [True, False])
def test_a_message_waits_for_the_disk_where_there_is_one(tmp_path: Path, persistent: bool) -> None:
    store = RedisServer(tmp_path, persistent=persistent).start()
    chat: Chat | None = None
    try:
        chat = start_chat(store.url, STORE_WAIT="aof")
        anna, bert = pair(chat)
        answer = anna.call("send-message", "hello")
        assert answer["ok"] == persistent
        if not persistent:
            assert answer["error"]["code"] == "unavailable"
        soon(lambda: bert.texts() == ["hello"], "the message")
    finally:
        if chat is not None:
            chat.stop(2)
        store.stop()


def finding(store: RedisServer, wait: str, user: str = "") -> CheckResult:
    """Return the doctor's result."""
    url = store.url.replace("redis://", f"redis://{user}@") if user else store.url
    settings = Settings.from_environ({"REDIS_URL": url, "STORE_WAIT": wait})
    (found,) = [finding for finding in store_findings(url, settings) if finding.check == "confirmation"]
    return found


def test_the_doctor_knows_whether_messages_can_be_confirmed(stores: Stores) -> None:
    primary, replica = stores
    assert finding(primary, "replica").level == Level.OK
    take_over(replica)
    assert "no replica is connected" in finding(replica, "replica").text
    assert "no append-only file" in finding(primary, "aof").text
    with primary.client() as client:
        client.config_set("appendonly", "yes")
        assert finding(primary, "aof").level == Level.OK
        client.execute_command("ACL", "SETUSER", "clerk", "on", ">secret", "~*", "&*", "+@all", "-wait")
    refused = finding(primary, "replica", "clerk:secret")
    assert refused.level == Level.ERROR
    assert "every message will be answered" in refused.text


@cooperative
def test_a_script_that_the_store_has_forgotten_is_confirmed_after_it_ran(stores: Stores) -> None:
    primary, replica = stores
    chat = start_chat(primary.url, STORE_WAIT="replica")
    try:
        anna, bert = pair(chat)
        for taken_over in (False, True):
            if taken_over:
                take_over(replica)
            with primary.client() as client:
                client.script_flush()
            assert anna.call("send-message", "hello")["ok"] != taken_over
        soon(lambda: bert.texts() == ["hello", "hello"], "both messages")
    finally:
        chat.stop(2)
