"""Options of stock clients that change the requests they send, and the requests that some proxies make of them."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import pytest

from tests.helpers.people import meet, say
from tests.helpers.servers import Client, Server

TRANSPORTS = [["polling"], ["websocket"], ["polling", "websocket"]]


@pytest.mark.parametrize("transports", TRANSPORTS, ids="-".join)
@pytest.mark.parametrize(
    "options", [{"addTrailingSlash": False}, {"protocols": ["x", "y"]}], ids=["no slash", "subprotocols"]
)
def test_two_with_any_options_can_talk(
    module_server: Server, connect: Callable[..., Client], transports: list[str], options: dict[str, Any]
) -> None:
    anna, bert = (connect(module_server, "node", transports=transports, **options) for _ in range(2))
    meet(anna, bert)
    say(anna, bert, "there")
    say(bert, anna, "and back")
    for client in (anna, bert):
        client.disconnect()


@pytest.mark.parametrize("path", ["/socket.io", "/socket.io/", "/socket.io/more"])
def test_socket_io_is_at_its_path_with_or_without_a_slash(module_server: Server, path: str) -> None:
    assert module_server.get(f"{path}?EIO=4&transport=polling").status_code == 200


@pytest.mark.parametrize("path", ["/socket.iox", "/socket.io.js", "/a/socket.io/", "/socket"])
def test_similar_paths_are_not_socketio(module_server: Server, path: str) -> None:
    assert module_server.get(f"{path}?EIO=4&transport=polling").status_code == 404


@pytest.mark.parametrize("target", ["/health/live", "/socket.io/?EIO=4&transport=polling"])
def test_a_whole_url_as_target_is_served(module_server: Server, target: str) -> None:
    host = f"localhost:{module_server.port}"
    with socket.create_connection(("127.0.0.1", module_server.port), 10) as connection:
        connection.sendall(f"GET http://{host}{target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        assert b"".join(iter(lambda: connection.recv(4096), b"")).startswith(b"HTTP/1.1 200 ")
