"""WebSockets of other HTTP servers than ours: gevent-websocket's handler has done the handshake; gunicorn's has not.

Each adapter has what EngineServer needs of a connection: `websocket_requested` and `accept_websocket`.
"""

from __future__ import annotations

import base64
import binascii
import socket
from collections.abc import Mapping
from typing import Any

from websockets.utils import accept_key

from animochat.server.library_internals import NativeSocket, take_websocket


class _Connection:
    """A gevent socket that another server has accepted."""

    websocket_requested = True

    def __init__(self, sock: Any) -> None:
        self._sock = sock

    def accept_websocket(self, first: bytes = b"") -> tuple[NativeSocket, bytes]:
        """Send what is queued, and take the connection from the server. Raise OSError: the client is gone."""
        if first:
            self._sock.sendall(first)
        family, kind, proto = self._sock.family, self._sock.type, self._sock.proto
        native = NativeSocket(family, kind, proto, fileno=self._sock.detach())
        native.setblocking(False)
        if family != socket.AF_UNIX:
            native.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return native, b""


class GunicornConnection(_Connection):
    """A connection of gunicorn's `gevent` worker. The application has to raise StopIteration once it is taken."""

    def __init__(self, environ: Mapping[str, Any]) -> None:
        super().__init__(environ["gunicorn.socket"])
        self._key = environ.get("HTTP_SEC_WEBSOCKET_KEY", "").strip()
        self.websocket_requested = (
            environ["REQUEST_METHOD"] == "GET"
            and environ.get("HTTP_UPGRADE", "").lower() == "websocket"
            and environ.get("HTTP_SEC_WEBSOCKET_VERSION", "").strip() == "13"
            and _is_key(self._key)
        )

    def accept_websocket(self, first: bytes = b"") -> tuple[NativeSocket, bytes]:
        """Answer the handshake, send `first`, and take the connection. Raise OSError: the client is gone."""
        response = (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {accept_key(self._key)}\r\n\r\n"
        )
        return super().accept_websocket(response.encode() + first)


def _is_key(key: str) -> bool:
    try:
        return len(base64.b64decode(key.encode("ascii"), validate=True)) == 16
    except (binascii.Error, UnicodeError):
        return False


def connection_of(environ: Mapping[str, Any]) -> Any:
    """Return the connection of a request, whichever server has accepted it; None where it can't be had."""
    ours = environ.get("animochat.connection")
    if ours is not None:
        return ours
    if environ.get("wsgi.websocket") is not None:
        return _Connection(take_websocket(environ["wsgi.websocket"]))
    return GunicornConnection(environ) if "gunicorn.socket" in environ else None


def must_stop(environ: Mapping[str, Any]) -> bool:
    """Return whether the server would write a response on a connection that was taken from it."""
    return "gunicorn.socket" in environ and "animochat.connection" not in environ and "wsgi.websocket" not in environ
