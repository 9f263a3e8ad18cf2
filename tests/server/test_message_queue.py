"""The message queue: an emit of any process reaches each addressed client once, on any worker and server.

The other process knows only the store's address, and has stock libraries.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from animochat.store.url import parse
from tests.helpers.people import Poller, RawClient, running
from tests.helpers.servers import Server
from tests.helpers.store_kinds import running_store

#: Of a process that emits what it is given, each a list of arguments and a dictionary of options.
EMIT = """
import json, sys
url, options, emits = json.loads(sys.argv[1])
if options is None:
    import flask_socketio
    emit = flask_socketio.SocketIO(message_queue=url).emit
else:
    import socketio
    emit = socketio.RedisManager(url, channel="flask-socketio", write_only=True, redis_options=options).emit
for arguments, named in emits:
    emit(*arguments, **named)
"""

Client = RawClient | Poller
Emit = Callable[..., None]


def emitter(url: str) -> Emit:
    """Return a function that has another process emit events, each a pair of arguments and options."""
    address = parse(url)
    options: dict[str, Any] | None = None
    if address.kind == "sentinel":
        tls = {"ssl": True, **{k: v for k, v in address.keywords().items() if k.startswith("ssl_")}}
        given = dict(address.options)
        names = {name.removeprefix("sentinel_"): value for name, value in given.items() if name.startswith("sentinel_")}
        options = {**tls, "sentinel_kwargs": {**tls, **names}}
        host, port = address.hosts[0]
        url = f"redis+sentinel://{address.username}:{address.password}@{host}:{port}/0/{address.service}"
    elif address.kind == "unix":
        options = {}  # flask_socketio.SocketIO knows redis:// and rediss:// alone
    elif address.kind == "cluster":
        options, url = {}, address.at(*address.hosts[0]).url

    def emit(*emits: tuple[list[Any], dict[str, Any]]) -> None:
        command = [sys.executable, "-c", EMIT, json.dumps([url, options, emits])]
        subprocess.run(command, check=True, timeout=30, capture_output=True)

    return emit


def announcement(text: str, **options: Any) -> tuple[list[Any], dict[str, Any]]:
    return ["announcement", {"text": text}], options


def until_the_end(client: Client) -> list[Any]:
    """Return the announcements that a client has received, up to the one that says so."""
    texts: list[str] = []
    while "end" not in texts:
        packet = client.receive()
        assert packet, "closed"
        if packet.startswith('42["announcement"'):
            texts.append(json.loads(packet[2:])[1]["text"])
    return texts[:-1]


def connected(server: Server, kind: type[Client]) -> Client:
    client = kind(server)
    if isinstance(client, Poller):
        client.send("40")
        client.wait('42["session"')
    return client


@pytest.mark.parametrize(
    ("kind", "count"),
    [("redis", 40), ("sentinel", 8), ("redis-6.2-cluster", 8), ("cluster-tls-acl", 8)],
)
def test_each_client_on_each_worker_receives_what_another_process_emits_once(
    tmp_path: Path, kind: str, count: int
) -> None:
    clients: list[Client] = []
    with (
        running_store(kind, tmp_path) as store,
        running(tmp_path, 2, store.url, WEB_CONCURRENCY="2", LOBBIES="main,cebu") as servers,
    ):
        try:
            for number in range(count):
                clients.append(connected(servers[number % 2], (RawClient, Poller)[number // 2 % 2]))
            emit = emitter(store.url)
            emit(
                announcement("to all"),
                announcement("to a lobby", to="lobby:main"),
                announcement("to no one", to="lobby:cebu"),
                announcement("end"),
            )
            for client in clients:
                assert until_the_end(client) == ["to all", "to a lobby"]
        finally:
            for client in clients:
                client.drop()


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Server]]:
    with running(tmp_path_factory.mktemp("queue"), 2) as found:
        yield found


def sid_of(client: RawClient) -> str:
    answer = next(frame for frame in client.frames if frame.startswith("40"))
    return str(json.loads(answer[2:])["sid"])


def test_one_client_can_be_addressed_and_one_left_out(servers: list[Server]) -> None:
    anna, bert = RawClient(servers[0]), RawClient(servers[1])
    emitter(servers[0].redis_url)(
        announcement("to anna", to=sid_of(anna)),
        announcement("to both", to=[sid_of(anna), sid_of(bert)]),
        announcement("not to anna", skip_sid=sid_of(anna)),
        announcement("end"),
    )
    assert until_the_end(anna) == ["to anna", "to both"]
    assert until_the_end(bert) == ["to both", "not to anna"]
    for client in (anna, bert):
        client.drop()


def test_a_message_that_is_none_harms_nothing(servers: list[Server]) -> None:
    for server in servers:
        server.expect_errors()  # stock code logs the emit that lacks its event
    anna = RawClient(servers[0])
    with redis.Redis.from_url(servers[0].redis_url) as store:
        for message in (b"\x80\x04", b"[]", b"5", b"{}", b'{"method":"emit"}', b'{"method":"none"}'):
            store.publish("flask-socketio", message)
    emitter(servers[0].redis_url)(announcement("end"))
    assert until_the_end(anna) == []
    anna.drop()
