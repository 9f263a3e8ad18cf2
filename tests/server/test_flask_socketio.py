"""Flask-SocketIO's API: each use in its documentation, on this server and on a stock server.

The stock server proves that a test is right. The application is `stock_app.py`.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import socketio

from animochat.store.embedded import EmbeddedStore
from tests.helpers.servers import PATIENCE, ROOT, EventLog, Server, eventually, free_port

HERE = Path(__file__).parent

WSGI = """
from gevent import monkey

monkey.patch_all()

from animochat.app import create_app, socketio
from tests.server.stock_app import register

app = create_app()
socketio.app_name = app.name
register(app, socketio)
"""


class OrderedClient(socketio.Client):  # type: ignore[misc]
    """python-socketio's client, with handlers in the order of the events."""

    def _handle_event(self, namespace: str, number: Any, data: Any) -> None:
        answer = self._trigger_event(data[0], namespace or "/", *data[1:])
        if number is not None:
            packet = socketio.packet.Packet(socketio.packet.ACK, namespace=namespace, id=number, data=[answer])
            self._send_packet(packet)


class OwnLog(EventLog):
    """A log of an application's own events, which no document describes."""

    def add(self, event: str, arguments: list[Any]) -> None:
        with self._changed:
            self._entries.append((event, arguments))
            self._changed.notify_all()


class User:
    """A stock client in one namespace, with a log of its events."""

    def __init__(self, url: str, namespace: str, auth: Any = None, transports: Any = None, path: str = "") -> None:
        self.namespace = namespace
        self.log = OwnLog()
        self.client = OrderedClient(reconnection=False, handle_sigint=False)
        self.client.on("*", self._received, namespace=namespace)
        self.client.on("connect_error", lambda data: self.log.add("connect_error", [data]), namespace=namespace)
        self.client.on("disconnect", lambda *reason: self.log.add("disconnect", list(reason)), namespace=namespace)
        self.client.connect(
            url + path,
            headers={"X-Flavour": "vanilla"},
            auth=auth,
            transports=transports,
            namespaces=[namespace],
            wait_timeout=PATIENCE,
        )

    def _received(self, event: str, *arguments: Any) -> Any:
        self.log.add(event, list(arguments))
        if event == "question":
            return arguments[0]["n"] * 7
        return None

    @property
    def sid(self) -> str:
        return str(self.client.get_sid(self.namespace))

    def emit(self, event: str, *arguments: Any) -> None:
        self.client.emit(event, arguments, namespace=self.namespace)

    def call(self, event: str, *arguments: Any) -> Any:
        return self.client.call(event, arguments, namespace=self.namespace, timeout=PATIENCE)

    def wait(self, event: str) -> list[Any]:
        """The arguments of the next such event."""
        return list(self.log.take(event, PATIENCE, lambda _: True))

    def count(self, event: str) -> int:
        """How many such events there were, once everything that was sent before has been handled."""
        self.call("nothing")
        return [name for name, _ in self.log.all()].count(event)


@pytest.fixture(scope="module")
def stock_url() -> Iterator[str]:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, str(HERE / "stock_app.py"), str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    url = f"http://127.0.0.1:{port}"
    try:
        eventually(lambda: answers(url), 30, "a stock server")
        yield url
    finally:
        process.kill()
        process.wait()


def answers(url: str) -> bool:
    try:
        return requests.get(url + "/socket.io/?EIO=4&transport=polling", timeout=PATIENCE).status_code == 200
    except requests.ConnectionError:
        return False


@pytest.fixture(scope="module")
def our_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    directory = tmp_path_factory.mktemp("ours")
    (directory / "wsgi.py").write_text(WSGI)
    store = EmbeddedStore.start()
    server = Server(
        directory,
        command="gunicorn",
        env={"REDIS_URL": store.url, "PYTHONPATH": str(ROOT), "CLIENT_URL": "*", "RATE_REFUSALS": "0"},
    )
    try:
        yield server.start().url
        server.stop()
        server.check_log()
    finally:
        server.kill()
        store.stop()


@pytest.fixture(params=["stock", "ours"])
def url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(f"{request.param[:5].replace('ours', 'our')}_url"))


@pytest.fixture(params=["/", "/own"])
def namespace(request: pytest.FixtureRequest) -> str:
    return str(request.param)


Connect = Callable[..., User]


@pytest.fixture
def connect(url: str, namespace: str) -> Iterator[Connect]:
    """A factory of users of that server, in that namespace unless another is given."""
    users: list[User] = []

    def make(**options: Any) -> User:
        users.append(User(url, **{"namespace": namespace, **options}))
        return users[-1]

    yield make
    for user in users:
        user.client.shutdown()


def test_an_event_is_answered_by_an_event(connect: Connect) -> None:
    user = connect()
    user.emit("my event", {"data": "hello", "list": [1, None]})
    assert user.wait("my response") == [{"data": "hello", "list": [1, None]}]


def test_unnamed_events(connect: Connect) -> None:
    user = connect()
    user.client.send("hello", namespace=user.namespace)
    assert user.wait("message") == [{"got": "hello"}]
    user.emit("json", {"a": 1})
    assert user.wait("json") == [{"a": 1}]


def test_a_handler_s_return_value_is_the_acknowledgement(connect: Connect) -> None:
    user = connect()
    assert user.call("two arguments", 1, "two") == ("two", 1)
    assert user.call("nothing") is None
    assert user.call("by on_event", 5) == {"handled": 5}


def test_a_broadcast_reaches_everyone_once(connect: Connect) -> None:
    anna, bert = connect(transports=["polling"]), connect(transports=["websocket"])
    anna.emit("broadcast", {"n": 1})
    assert [anna.wait("news"), bert.wait("news")] == [[{"n": 1}]] * 2
    anna.emit("broadcast", {"n": 2}, False)
    assert bert.wait("news") == [{"n": 2}]
    assert [anna.count("news"), bert.count("news")] == [1, 2]


def test_rooms(connect: Connect) -> None:
    anna, bert, carl = connect(), connect(), connect()
    assert anna.call("join", "red") == ["red"]
    assert bert.call("join", "red") == ["red"]
    assert bert.call("join", "blue") == ["blue", "red"]
    carl.call("to", "red", {"n": 1})
    carl.call("to", ["red", "blue"], {"n": 2})
    carl.call("to", "red", {"n": 3}, bert.sid)
    carl.call("to", bert.sid, {"n": 4})
    assert [anna.wait("news")[0]["n"] for _ in range(3)] == [1, 2, 3]
    assert [bert.wait("news")[0]["n"] for _ in range(3)] == [1, 2, 4]
    assert anna.call("leave", "red") is True
    carl.call("to", "red", {"n": 5})
    assert bert.wait("news") == [{"n": 5}]
    carl.call("close", "red")
    carl.call("to", "red", {"n": 6})
    assert [anna.count("news"), bert.count("news"), carl.count("news")] == [3, 4, 0]


def test_a_client_acknowledges_an_event_of_the_server(connect: Connect) -> None:
    user = connect()
    user.emit("ask me")
    assert user.wait("you said") == [{"answer": [42]}]


def test_a_handler_waits_for_a_client(connect: Connect) -> None:
    assert connect().call("call me") == 49


def test_a_server_disconnects_a_client(connect: Connect) -> None:
    anna, bert = connect(), connect()
    sid = anna.sid
    anna.emit("goodbye")
    anna.wait("disconnect")
    assert bert.wait("someone left") == [{"sid": sid, "reason": "server disconnect"}]


def test_the_disconnect_handler_is_called(connect: Connect) -> None:
    anna, bert = connect(), connect()
    sid = anna.sid
    anna.client.disconnect()
    (left,) = bert.wait("someone left")
    assert left["sid"] == sid
    assert left["reason"] in ("client disconnect", "transport close")


def test_a_handler_has_its_client_s_request(connect: Connect, url: str) -> None:
    user = connect(path="?flavour=sweet", auth={"token": "none"}, transports=["websocket"])
    assert user.call("who am i") == {
        "sid": user.sid,
        "namespace": user.namespace,
        "query": "sweet",
        "header": "vanilla",
        "address": "127.0.0.1",
        "app": True,
        "auth": {"token": "none"},
        "transport": "websocket",
    }


def test_a_client_has_a_session_of_its_own(connect: Connect) -> None:
    anna, bert = connect(), connect()
    assert [anna.call("visit"), anna.call("visit"), bert.call("visit")] == [1, 2, 1]


def test_a_failure_calls_the_error_handler(connect: Connect, namespace: str) -> None:
    which = "own" if namespace == "/own" else "default"
    assert connect().call("fail", "no!") == {which: "no!", "event": "fail"}


def test_bytes_go_both_ways(connect: Connect) -> None:
    for transport in ("polling", "websocket"):
        user = connect(transports=[transport])
        assert user.call("bytes", {"data": b"\x00\x01\xff"}) == b"\x00\x01\xff" * 2
        assert user.wait("bytes") == [{"back": b"\xff\x01\x00", "more": [b"\x00\x01\xff"]}]


def test_a_background_task_emits(connect: Connect) -> None:
    user = connect()
    user.emit("work")
    assert user.wait("done") == [{"work": 1}]


def test_a_route_emits(connect: Connect, url: str, namespace: str) -> None:
    anna, bert = connect(), connect()
    answer = requests.get(f"{url}/own/emit/{anna.sid}", {"namespace": namespace}, timeout=PATIENCE)
    assert answer.text == "done"
    assert anna.wait("from route") == [{"to": anna.sid}]
    assert [anna.count("from route"), bert.count("from route")] == [1, 0]


@pytest.mark.parametrize("namespace", ["/class"], indirect=True)
def test_a_namespace_as_a_class(connect: Connect) -> None:
    user = connect()
    assert user.wait("welcome") == [{"namespace": "/class"}]
    user.emit("my_event", {"n": 1})
    assert user.wait("my_response") == [{"n": 1}]


@pytest.mark.parametrize("namespace", ["/catch-all"], indirect=True)
def test_one_handler_for_all_events(connect: Connect) -> None:
    user = connect()
    user.emit("anything", 1, 2)
    assert user.wait("caught") == [{"event": "anything", "args": [1, 2]}]


@pytest.mark.parametrize("namespace", ["/never", "/unknown"], indirect=True)
def test_a_connection_is_refused(connect: Connect) -> None:
    with pytest.raises(socketio.exceptions.ConnectionError):
        connect()


@pytest.mark.parametrize("namespace", ["/secret"], indirect=True)
def test_a_connection_is_refused_with_a_reason(connect: Connect, url: str, namespace: str) -> None:
    assert connect(auth={"password": "right"}).sid
    client = OrderedClient(reconnection=False, handle_sigint=False)
    log = OwnLog()
    client.on("connect_error", lambda data: log.add("refused", [data]), namespace=namespace)
    with pytest.raises(socketio.exceptions.ConnectionError):
        client.connect(url, auth={"password": "wrong"}, namespaces=[namespace], wait_timeout=PATIENCE)
    assert log.take("refused", PATIENCE, lambda _: True) == [{"message": "unauthorized!", "data": {"code": 7}}]
    client.shutdown()


def test_an_offset_follows_only_events_that_end_in_a_string(our_url: str) -> None:
    """Stock clients that recover take a string at the end of any event for the offset."""
    user = User(our_url, "/")
    user.wait("session")
    user.emit("to", user.sid, "text")
    assert user.wait("news") == ["text"]
    assert user.wait("offset") == ["i"]
    user.emit("to", user.sid, {"text": "text"})
    assert user.wait("news") == [{"text": "text"}]
    assert user.count("offset") == 1
    user.client.shutdown()
