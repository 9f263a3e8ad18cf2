"""Helpers of the end-to-end tests: servers for a whole module, matches, and a client that can misbehave."""

from __future__ import annotations

import contextlib
import itertools
import json
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import websocket

from animochat.store.embedded import EmbeddedStore
from tests.helpers.servers import PATIENCE, Client, EventLog, NodeClient, PythonClient, Server, eventually

#: No rate limits: a test does in a second what a person does in an hour.
NO_RATES = {"RATE_SEARCHES": "0", "RATE_MESSAGES": "0", "RATE_TYPING": "0", "RATE_REFUSALS": "0", "RATE_EVENTS": "0"}


@contextlib.contextmanager
def running(
    directory: Path, count: int = 1, store: str | None = None, ready: str = "/health", **env: str
) -> Iterator[list[Server]]:
    """Run `count` servers on one store (their own, unless its URL is given), and stop them at the end.

    Yield them once the route `ready` answers 200. Fail if one of them has logged an error.
    """
    embedded = EmbeddedStore.start() if store is None else None
    url = store or embedded.url  # type: ignore[union-attr]
    servers = []
    try:
        for number in range(count):
            place = directory / f"server{number}"
            place.mkdir()
            servers.append(Server(place, env={"REDIS_URL": url, **NO_RATES, **env}).start(wait=False))
        for server in servers:
            eventually(lambda server=server: status(server, ready) == 200, 30, what="a server that is ready")
        yield servers
        for server in servers:
            if server.exit_status() is None:
                server.send_signal(signal.SIGTERM)
        for server in servers:
            eventually(lambda server=server: server.exit_status() is not None, 30, what="the end of a server")
    finally:
        for server in servers:
            server.kill()
        if embedded is not None:
            embedded.stop()
    for server in servers:
        server.check_log()


def stats(server: Server) -> dict[str, int]:
    return server.get("/stats").json()  # type: ignore[no-any-return]


def wait_until_empty(server: Server) -> None:
    """Wait until the server has noticed that all people of the test before are gone."""

    def is_empty() -> bool:
        now = stats(server)
        return now["onlineUsers"] == 0 and now["waitingUsers"] == 0

    eventually(is_empty, what="no one online")


def meet(anna: Client, bert: Client) -> tuple[dict[str, Any], dict[str, Any]]:
    """Match two idle people; no one else may be searching. Return their `matched` payloads."""
    assert anna.call("find-match")["state"] == "waiting"
    anna.wait("waiting")
    assert bert.call("find-match")["ok"] is True
    told = anna.wait("matched"), bert.wait("matched")
    for client in (anna, bert):
        assert client.wait("message")["type"] == "system"
    return told


def texts(client: Client) -> list[str]:
    """Return the partner's messages that have arrived."""
    return [message["content"] for message in client.received("message") if message["type"] == "text"]


def say(sender: Client, receiver: Client, text: str) -> dict[str, Any]:
    """Send a text that was not sent before; return the partner's payload once it has arrived.

    Everything sent to the partner before has arrived by then, too: order is kept.
    """
    assert sender.call("send-message", text)["ok"] is True
    return receiver.wait("message", where=lambda message: message["content"] == text)  # type: ignore[no-any-return]


def goodbye(client: Client) -> None:
    """Disconnect on purpose.

    python-socketio's client closes the socket in one thread, perhaps before another one has written the DISCONNECT;
    here it waits for that.
    """
    if isinstance(client, PythonClient):
        engine = client.sio.eio
        close = engine.disconnect

        def disconnect(*arguments: Any, **options: Any) -> None:
            engine.disconnect = close  # the client's reading thread calls it, too, if the server also disconnects
            engine.queue.join()
            close(*arguments, **options)

        engine.disconnect = disconnect
    client.disconnect()


class NodePool:
    """Node processes that one test after another uses: starting one takes longer than most tests."""

    def __init__(self) -> None:
        self._free: list[NodeClient] = []
        self._all: list[NodeClient] = []

    def take(self, url: str) -> NodeClient:
        """Return a client that isn't connected and has received nothing."""
        if self._free:
            client = self._free.pop()
            client.url, client.log = url, EventLog()
            return client
        self._all.append(NodeClient(url))
        return self._all[-1]

    def give_back(self, client: NodeClient) -> None:
        if not client.closed:  # by the test
            client.disconnect()  # once that is answered, everything before it has been read
            self._free.append(client)

    def close(self) -> None:
        for client in self._all:
            client.close()


class RawClient:
    """A WebSocket that breaks Engine.IO's rules as the test wants. `connected=False`: send no Socket.IO CONNECT."""

    def __init__(
        self,
        server: Server,
        connected: bool = True,
        auth: dict[str, Any] | None = None,
        receive_buffer: int | None = None,
        **headers: str,
    ) -> None:
        sockopt = [(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)] if receive_buffer is not None else []
        self.socket = websocket.create_connection(
            f"{server.url.replace('http', 'ws')}/socket.io/?EIO=4&transport=websocket",
            timeout=PATIENCE,
            header=headers,
            sockopt=sockopt,
        )
        #: Every received frame, as text.
        self.frames: list[str] = []
        self._waited = 0  # index of the first frame that was not waited for
        self._ack_ids = itertools.count(1)
        self.opened = json.loads(self.receive()[1:])
        if connected:
            self.send("40" + (json.dumps(auth) if auth is not None else ""))
            self.session = self.wait_event("session")

    def send(self, frame: str | bytes) -> None:
        """Send one frame: text, or binary for bytes."""
        (self.socket.send_binary if isinstance(frame, bytes) else self.socket.send)(frame)

    def receive(self) -> str:
        """Return the next frame, but answer pings; "" once the server has closed."""
        while True:
            try:
                frame = self.socket.recv()
            except (websocket.WebSocketConnectionClosedException, ConnectionError):
                return ""
            except websocket.WebSocketTimeoutException:
                pytest.fail(f"nothing came within {PATIENCE} s; received: {self.frames[-50:]}")
            text = frame if isinstance(frame, str) else frame.decode("latin-1")
            if text == "2":
                self.socket.send("3")
                continue
            self.frames.append(text)
            return text

    def wait_frame(self, begins: str) -> str:
        """Return the next frame with this beginning."""
        frame = self._wait(begins)
        self._waited = len(self.frames)
        return frame

    def _wait(self, begins: str) -> str:
        while True:
            frame = self.receive()
            assert frame, f"closed before {begins!r}; received: {self.frames}"
            if frame.startswith(begins):
                return frame

    def wait_event(self, name: str) -> Any:
        """Return the first argument of the next event of this name, including events before the last answer."""
        begins = f'42["{name}"'
        received = (i for i in range(self._waited, len(self.frames)) if self.frames[i].startswith(begins))
        place = next(received, None)
        if place is None:
            self._wait(begins)
            place = len(self.frames) - 1
        self._waited = place + 1
        arguments = json.loads(self.frames[place][2:])[1:]
        return arguments[0] if arguments else None

    def wait_end(self) -> None:
        """Wait until the server has closed; fail if it doesn't."""
        while self.receive():
            pass

    def call(self, event: str, *arguments: Any) -> Any:
        """Do the same as Client.call."""
        number = next(self._ack_ids)
        self.send(f"42{number}{json.dumps([event, *arguments])}")
        return json.loads(self._wait(f"43{number}[")[2 + len(str(number)) :])[0]

    def drop(self) -> None:
        """Drop the connection without a DISCONNECT."""
        self.socket.shutdown()


class Poller:
    """A long-polling client in packets, with the part of RawClient that tests need."""

    def __init__(self, server: Server) -> None:
        self._http = requests.Session()
        self._url = f"{server.url}/socket.io/?EIO=4&transport=polling"
        self._packets: list[str] = []
        self._url += "&sid=" + json.loads(self.receive()[1:])["sid"]

    def send(self, packet: str) -> None:
        assert self._http.post(self._url, data=packet.encode(), timeout=10).text == "ok"

    def receive(self) -> str:
        """Return the next packet except pings; "" once the session is over."""
        while True:
            while not self._packets:
                response = self._http.get(self._url, timeout=60)
                if response.status_code == 400:
                    return ""
                self._packets = response.content.decode().split("\x1e")
            packet = self._packets.pop(0)
            if packet == "2":
                self.send("3")
            elif packet != "6":
                return packet

    def wait(self, begins: str) -> str:
        """Return the next packet with this beginning; "" for the end of the session."""
        while (packet := self.receive()) and not (begins and packet.startswith(begins)):
            pass
        assert bool(packet) == bool(begins), f"{begins!r} did not come"
        return packet

    def drop(self) -> None:
        self._http.close()


@contextlib.contextmanager
def raw_clients(server: Server, count: int) -> Iterator[list[RawClient]]:
    clients: list[RawClient] = []
    try:
        for _ in range(count):
            clients.append(RawClient(server))
        yield clients
    finally:
        for client in clients:
            client.drop()


def resident_kilobytes(pid: int) -> int:
    """Return the process's resident memory."""
    return int(subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True, check=True).stdout)


def status(server: Server, path: str) -> int:
    """Return the HTTP status; 0 while the server doesn't answer."""
    try:
        return server.get(path).status_code
    except requests.RequestException:
        return 0


Connect = Callable[..., Client]
