"""Private parts of libraries: each exists, and behaves as the server needs.

A test here fails when a new version of a library changes a part that `server/library_internals.py` depends on.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import engineio
import gevent.socket
import pytest
import socketio
from gevent.pywsgi import Input, WSGIHandler
from geventwebsocket.websocket import Stream, WebSocket
from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, Side, State

import animochat
from animochat.server import library_internals
from animochat.server.library_internals import (
    RequestHandlerBase,
    allowed_origins,
    cors_headers,
    forget_message,
    free_parser,
    native_socket,
    remembers_nothing,
    take_websocket,
)

PACKAGE = Path(animochat.__file__).parent


def frame(text: bytes, opcode: Opcode = Opcode.TEXT, fin: bool = True) -> bytes:
    return Frame(opcode, text, fin).serialize(mask=True)


def parser(received: bytes) -> Protocol:
    made = Protocol(Side.SERVER, state=State.OPEN, max_size=1000)
    made.receive_data(received)
    return made


def test_the_socket_in_a_gevent_socket_is_a_native_one() -> None:
    ours, theirs = gevent.socket.socketpair()
    with ours, theirs:
        native = native_socket(ours)
        assert native.fileno() == ours.fileno()
        assert not isinstance(native, gevent.socket.socket)
        with pytest.raises(BlockingIOError):
            native.recv(1)


@pytest.mark.parametrize(
    ("received", "idle"),
    [
        (b"", True),
        (frame(b"whole"), True),
        (frame(b"one") + frame(b"two"), True),
        (frame(b"whole")[:1], False),
        (frame(b"whole")[:4], False),
        (frame(b"whole")[:-1], False),
        (frame(b"part", fin=False), False),
        (frame(b"part", fin=False) + frame(b"", Opcode.PING), False),
        (frame(b"part", fin=False) + frame(b"end", Opcode.CONT), True),
    ],
    ids=["nothing", "whole", "two", "a byte", "a head", "not all", "fragment", "ping within", "fragments"],
)
def test_a_parser_shows_whether_it_has_state(received: bytes, idle: bool) -> None:
    made = parser(received)
    assert made.parser_exc is None
    assert remembers_nothing(made) is idle


def test_a_parser_can_drop_the_current_message() -> None:
    made = parser(frame(b"part", fin=False))
    forget_message(made)
    made.receive_data(frame(b"next"))
    assert [event.data for event in made.events_received()][-1] == b"next"  # type: ignore[union-attr]
    assert made.parser_exc is None


def test_a_freed_parser_is_gone_without_the_garbage_collector() -> None:
    made = parser(frame(b"whole")[:-1])
    free_parser(made)
    assert made.parser.gi_frame is None


def test_python_engineio_checks_origins() -> None:
    engine = engineio.Server(async_mode="gevent", cors_allowed_origins=["https://a.example"], monitor_clients=False)
    environ = {"REQUEST_METHOD": "GET", "HTTP_ORIGIN": "https://a.example"}
    assert allowed_origins(engine, environ) == ["https://a.example"]
    assert ("Access-Control-Allow-Origin", "https://a.example") in cors_headers(engine, environ)
    assert ("Access-Control-Allow-Origin", "https://b.example") not in cors_headers(
        engine, {**environ, "HTTP_ORIGIN": "https://b.example"}
    )


@pytest.mark.parametrize("hook", ["_headers", "_handle_client_error", "_write_with_headers", "_sendall"])
def test_pywsgi_calls_our_hooks(hook: str) -> None:
    theirs, ours = getattr(WSGIHandler, hook), RequestHandlerBase.__dict__[hook]
    assert list(inspect.signature(ours).parameters) == list(inspect.signature(theirs).parameters)
    assert f"self.{hook}(" in inspect.getsource(WSGIHandler)


def test_pywsgi_discards_a_body_by_our_method() -> None:
    assert callable(Input._discard)
    assert "._discard()" in inspect.getsource(WSGIHandler)


def _reaches(path: Path) -> Iterator[str]:
    """Yield the private names of other modules that a module of ours uses."""
    text = path.read_text()
    own = set(re.findall(r"(?:def |self\.|^ +|\")(_[a-z]\w*)", text, re.MULTILINE)) | {"_replace", "_exit"}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Attribute) and re.match("_[a-z]", node.attr):
            owner = node.value.id if isinstance(node.value, ast.Name) else ""
            if owner not in ("self", "cls") and node.attr not in own:
                yield f"{path.name}: {ast.unparse(node)}"
        elif isinstance(node, ast.ImportFrom | ast.Import):
            names = [getattr(node, "module", "") or "", *(alias.name for alias in node.names)]
            yield from (f"{path.name}: {name}" for name in names if re.match(r"_[a-z]|.*\._[a-z]", name))


def test_only_one_module_uses_private_parts_of_libraries() -> None:
    modules = [path for path in PACKAGE.rglob("*.py") if path.name != "library_internals.py"]
    assert [reach for path in modules for reach in _reaches(path)] == []
    assert list(_reaches(Path(library_internals.__file__)))


@pytest.mark.parametrize(
    ("owner", "name", "parameters"),
    [
        (socketio.Server, "_get_event_handler", ["event", "namespace", "args"]),
        (socketio.Server, "_trigger_event", ["event", "namespace", "args"]),
        (socketio.Server, "_handle_connect", ["eio_sid", "namespace", "data"]),
        (socketio.Server, "_handle_disconnect", ["eio_sid", "namespace", "reason"]),
        (socketio.Server, "_handle_event_internal", ["server", "sid", "eio_sid", "data", "namespace", "id"]),
        (socketio.Server, "_send_packet", ["eio_sid", "pkt"]),
        (socketio.Server, "_send_eio_packet", ["eio_sid", "eio_pkt"]),
        (socketio.Server, "_engineio_server_class", []),
        (socketio.Manager, "_generate_ack_id", ["sid", "callback"]),
        (socketio.PubSubManager, "_publish", ["data"]),
        (socketio.PubSubManager, "_listen", []),
    ],
)
def test_python_socketio_has_what_the_server_calls(owner: type, name: str, parameters: list[str]) -> None:
    """Their behaviour is tested in test_flask_socketio.py."""
    assert list(inspect.signature(getattr(owner, name)).parameters) == ["self", *parameters]


def test_gevent_websocket_lets_go_of_a_socket() -> None:
    handler = SimpleNamespace(rfile=SimpleNamespace(read=None), socket=SimpleNamespace(sendall=None))
    websocket = WebSocket({}, Stream(handler), handler)
    assert take_websocket(websocket) is handler.socket
    assert websocket.closed
