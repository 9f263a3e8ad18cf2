"""The private parts of libraries that the server uses; no other module uses any.

Each is used because no public way exists. `tests/server/test_library_internals.py` fails when a library changes one.
This module does not import ssl: gunicorn loads it before gevent patches the standard library.
"""

from __future__ import annotations

from _socket import socket as NativeSocket
from collections.abc import Iterator
from typing import Any

from gevent.pywsgi import WSGIHandler
from geventwebsocket.handler import WebSocketHandler
from gunicorn.http.wsgi import base_environ
from gunicorn.workers.ggevent import VERSION, PyWSGIHandler
from websockets.protocol import Protocol
from websockets.streams import StreamReader

__all__ = ["VERSION", "NativeSocket", "RequestHandlerBase", "base_environ", "native_socket"]


def native_socket(sock: Any) -> NativeSocket:
    """Return the native socket inside a gevent socket.

    Its methods return at once, and do not wake greenlets that wait for the socket.
    """
    native: NativeSocket = sock._sock
    return native


# gevent-websocket


def take_websocket(websocket: Any) -> Any:
    """Return the gevent socket of a WebSocket, which does nothing with it any more."""
    sock = websocket.stream.handler.socket
    websocket.closed = True
    return sock


# websockets


def remembers_nothing(parser: Protocol) -> bool:
    """Return whether a frame parser is between two messages."""
    if parser.current_size is not None or parser.reader.buffer:
        return False
    # The parser consumes a header before the payload has arrived; only here it waits for a new frame. If another
    # version of the package waits elsewhere, every connection keeps its own parser, and nothing else changes.
    waits_in = getattr(parser.parser, "gi_yieldfrom", None)
    return waits_in is not None and waits_in.gi_code is StreamReader.at_eof.__code__


def forget_message(parser: Protocol) -> None:
    """Make a parser drop the current message."""
    parser.current_size = None


def free_parser(parser: Protocol) -> None:
    """Break the circles of references in a parser.

    The garbage collector runs seldom: until then each parser would keep its last frame, 100 kB in a flood of large
    frames.
    """
    parser.parser.close()
    parser.parser_exc = None


# python-engineio


def allowed_origins(engine: Any, environ: dict[str, Any]) -> list[str] | None:
    """Return the origins that an engineio.Server's `cors_allowed_origins` allows for this request; None: all."""
    allowed: list[str] | None = engine._cors_allowed_origins(environ)
    return allowed


def cors_headers(engine: Any, environ: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the response headers that let an allowed origin's page read the response."""
    headers: list[tuple[str, str]] = engine._cors_headers(environ)
    return headers


# gevent's pywsgi


class RequestHandlerBase(WebSocketHandler, PyWSGIHandler):
    """pywsgi's handler, with public names for the hooks that we need; head and body go out in one system call."""

    _held_back: bytearray | None = None

    def environ_headers(self) -> Iterator[tuple[str, str]]:
        """Yield the request's header fields with their WSGI names."""
        raise NotImplementedError

    def client_error(self, error: Exception) -> tuple[str, bytes]:
        """Return the status and the whole response to a request that can't be parsed."""
        raise NotImplementedError

    def start_response(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        """Start a response, except to a WebSocket handshake."""
        return WSGIHandler.start_response(self, status, headers, exc_info)

    def log_request(self) -> None:
        """Write gunicorn's access log line."""
        PyWSGIHandler.log_request(self)

    def _headers(self) -> Iterator[tuple[str, str]]:
        return self.environ_headers()

    def _handle_client_error(self, ex: Exception) -> tuple[str, bytes]:
        # pywsgi's own method writes each error to stderr, some with a traceback.
        return self.client_error(ex)

    def _write_with_headers(self, data: bytes) -> None:
        # One segment and one system call instead of pywsgi's two.
        self._held_back = bytearray()
        try:
            super()._write_with_headers(data)
            super()._sendall(self._held_back)
        finally:
            self._held_back = None

    def _sendall(self, data: bytes | bytearray) -> None:
        if self._held_back is not None:
            self._held_back += data
        else:
            super()._sendall(data)
