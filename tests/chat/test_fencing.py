"""A worker that stood still has outdated state: it stores, acknowledges and delivers nothing by it.

Workers are stopped (SIGSTOP) as a machine that is moved stops them: clients go on sending, the store and the other
workers go on deciding.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from animochat.chat.stall import StallDetector
from animochat.chat.worker import LEASE
from animochat.store.embedded import EmbeddedStore
from tests.helpers.people import RawClient, running, say, texts, wait_until_empty
from tests.helpers.servers import PATIENCE, PythonClient, Server, eventually


@pytest.fixture(scope="module")
def store() -> Iterator[str]:
    embedded = EmbeddedStore.start()
    yield embedded.url
    embedded.stop()


@pytest.fixture(scope="module")
def servers(store: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Server]]:
    with running(tmp_path_factory.mktemp("fencing"), 2, store, RECONNECT_GRACE_MS="60000") as servers:
        yield servers


@contextlib.contextmanager
def stopped(server: Server, seconds: float = 0) -> Iterator[None]:
    """Stop the server's worker within the block, for at least that many seconds."""
    (pid,) = server.worker_pids()
    begun = time.monotonic()
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
        time.sleep(max(0.0, begun + seconds - time.monotonic()))  # that is the fault
    finally:
        os.kill(pid, signal.SIGCONT)


def admitted(server: Server) -> RawClient | None:
    """Connect a client; return None if the worker, after a stall, makes it try again."""
    with contextlib.suppress(AssertionError):
        return RawClient(server)
    return None


class Talk:
    """Anna, a raw client at the first server, and Bert, a stock client at the second, in a room."""

    def __init__(self, servers: list[Server]) -> None:
        self.one, self.two = servers
        self.anna = eventually(lambda: admitted(self.one), what="a worker that admits people")
        self.bert = PythonClient(self.two.url)
        self.bert.connect()
        assert self.anna.call("find-match")["ok"]
        assert self.bert.call("find-match")["ok"]
        self.anna.wait_event("matched")
        self.room = self.bert.wait("matched")["roomId"]
        self._sent = 100

    def send(self, event: str, *arguments: Any) -> int:
        """Send from Anna's client without waiting; return the id of the acknowledgement."""
        self._sent += 1
        self.anna.send(f"42{self._sent}{json.dumps([event, *arguments])}")
        return self._sent

    def answers(self) -> dict[int, Any]:
        """Return the answers to Anna's client, once all have come or its connection has ended."""
        answers: dict[int, Any] = {}
        while len(answers) < self._sent - 100 and (frame := self.anna.receive()):
            if frame.startswith("43"):
                number, _, payload = frame[2:].partition("[")
                answers[int(number)] = json.loads("[" + payload)[0]
        return answers

    def close(self) -> None:
        self.anna.drop()
        self.bert.close()


@pytest.fixture
def talk(servers: list[Server]) -> Iterator[Talk]:
    talk = Talk(servers)
    yield talk
    talk.close()
    again = PythonClient(servers[1].url)
    again.connect(token=talk.anna.session["token"])
    again.disconnect()
    again.close()
    wait_until_empty(servers[1])


@pytest.mark.parametrize("seconds", [0, LEASE + 1], ids=["within its lease", "longer than its lease"])
def test_a_replaced_connection_stores_and_delivers_nothing(talk: Talk, seconds: float) -> None:
    assert talk.anna.call("send-message", "before")["ok"]
    talk.bert.wait("message", where=lambda message: message["content"] == "before")
    with stopped(talk.one, seconds):
        for number in range(5):
            talk.send("send-message", f"late {number}")
        anna = PythonClient(talk.two.url)
        anna.connect(token=talk.anna.session["token"])
        assert anna.wait("session")["state"] == "chatting"
        say(anna, talk.bert, "since")
    answers = talk.answers()
    assert not any(answer["ok"] for answer in answers.values())
    say(anna, talk.bert, "and since")
    assert texts(talk.bert) == ["before", "since", "and since"]
    anna.disconnect()
    anna.close()


@pytest.mark.parametrize("seconds", [0, LEASE + 1], ids=["within its lease", "longer than its lease"])
def test_nothing_is_acknowledged_for_a_room_that_is_over(talk: Talk, seconds: float, store: str) -> None:
    assert talk.anna.call("send-message", "before")["ok"]
    with stopped(talk.one, seconds):
        assert talk.bert.call("leave-room")["ok"]
        for number in range(5):
            talk.send("send-message", {"content": f"late {number}", "clientId": str(number)})
        if seconds:
            talk.send("typing", True)
    answers = talk.answers()
    assert not any(answer["ok"] for answer in answers.values()), answers
    with redis.Redis.from_url(store) as client:
        assert client.xlen(f"{{room:{talk.room}}}:log") == 1


def test_leaving_is_acknowledged_once_the_room_accepts_no_messages(talk: Talk, store: str) -> None:
    assert talk.bert.call("leave-room")["ok"]
    with redis.Redis.from_url(store) as client:
        assert client.hget(f"{{room:{talk.room}}}:meta", "va") == b"inf"


def test_nothing_is_acknowledged_for_a_room_that_the_store_has_lost(talk: Talk, store: str) -> None:
    """The store has lost everything, and no worker has noticed. That includes first messages."""
    with redis.Redis.from_url(store) as client:
        client.flushall()
        talk.send("send-message", "first words")
        assert talk.bert.call("send-message", "first words")["ok"] is False
        assert [answer["ok"] for answer in talk.answers().values()] == [False]
        assert client.keys(f"{{room:{talk.room}}}:log") == []
    talk.bert.wait("partner-disconnected")


def test_a_connect_that_waited_for_a_stopped_worker_replaces_no_one(talk: Talk) -> None:
    """Its client gave up and is elsewhere: the newest connection wins, and a late CONNECT is not the newest."""
    token = talk.anna.session["token"]
    with stopped(talk.one, LEASE + 1):
        late = socket.create_connection(("127.0.0.1", talk.one.port))
        late.sendall(
            b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
            + masked(f'40{{"token":"{token}"}}')
        )
        anna = PythonClient(talk.two.url)
        anna.connect(token=token)
        assert anna.wait("session")["state"] == "chatting"
    late.settimeout(PATIENCE)
    while late.recv(65_536):  # until the server closes it
        pass
    late.close()
    say(anna, talk.bert, "still here")
    assert anna.received("error") == []
    anna.disconnect()
    anna.close()


def masked(text: str) -> bytes:
    """A client's text frame of up to 125 bytes, with a mask of zeros."""
    return bytes([0x81, 0x80 | len(text), 0, 0, 0, 0]) + text.encode()


def test_a_worker_that_stood_still_logs_it_and_goes_on(talk: Talk) -> None:
    with stopped(talk.one, LEASE + 1):
        pass
    eventually(lambda: "stood still for" in talk.one.log(), what="a worker that noticed")
    for number in range(3):
        answer = eventually(
            lambda number=number: (said := talk.anna.call("send-message", f"back {number}"))["ok"] and said,
            what="a message that is stored",
        )
        assert answer["seq"] == number + 1
    talk.bert.wait("message", where=lambda message: message["content"] == "back 2")


# The stall detector


def test_a_stall_is_reported_once_to_the_first_check() -> None:
    now, stalls = [100.0], []
    detector = StallDetector(5.0, stalls.append, clock=lambda: now[0])
    for passed in (1.0, 5.0, 5.5, 0.0, 4.0, 60.0):
        now[0] += passed
        detector.check()
    assert stalls == [5.5, 60.0]
