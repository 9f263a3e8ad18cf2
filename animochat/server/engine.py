"""The Engine.IO server of a worker: python-engineio's request handling over sockets that need no greenlet.

python-engineio keeps what it does well and seldom: CORS, transports, handshakes, compression of polling responses.
What happens for each packet and each connection is in `engine_socket` and `websocket`. The layer above sets three
callables and gets `EngineSocket` objects::

    engine = EngineServer(worker_id, cors_allowed_origins=is_allowed)
    engine.on_open = lambda socket, environ: ...
    engine.on_message = lambda socket, data: socket.send(data)
    engine.on_close = lambda socket, reason: ...
"""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs

import engineio

from animochat.logs import about
from animochat.metrics import METRICS
from animochat.server import packets
from animochat.server.engine_socket import DRAIN_TIMEOUT, UPGRADE_TIMEOUT, EngineSocket
from animochat.server.frames import FrameReader, websocket_frame
from animochat.server.lane import SlowLane
from animochat.server.limits import ConnectionLimits, client_address
from animochat.server.timers import TimerWheel
from animochat.server.websocket import LINGER, WebSocket

__all__ = ["EngineServer", "EngineSocket", "websocket_frame"]

log = logging.getLogger(__name__)

#: Largest message or polling request in bytes. The longest allowed chat message is 2,000 characters, 8 kB.
MAX_PAYLOAD = 100_000

#: Engine.IO's codes for a refused request, by the beginning of python-engineio's words for it.
_ERROR_CODES = {
    "Invalid transport": (0, "Transport unknown"),
    "Invalid session": (1, "Session ID unknown"),
    "Session": (1, "Session ID unknown"),
    "Method": (2, "Bad handshake method"),
    "Not an accepted origin": (4, "Forbidden"),
    "The client is using an unsupported": (5, "Unsupported protocol version"),
}


def _nothing(*_arguments: object) -> None:
    """Stands in for a callable that the layer above has not set."""


class EngineServer(engineio.Server):
    """One per worker process.

    Args:
        worker_id: begins every session id, so that any worker can tell whose it is; without ``-``.
        rate_frames: WebSocket frames per connection and second, with a burst of ten seconds' worth; 0 = no limit.
        rate_connects: connects per address and second; 0 = no limit.
        max_connections_per_address: open connections per address; 0 = no limit.
        max_connections: open connections; 0 = no limit.
        trusted_proxies: how many proxies in front may be believed in X-Forwarded-For.
        options: python-engineio's, among them ``cors_allowed_origins``, ``ping_interval``, ``ping_timeout`` (seconds),
            ``max_http_buffer_size`` (bytes, for both transports).
    """

    def __init__(
        self,
        worker_id: str,
        *,
        rate_frames: float = 0,
        rate_connects: float = 0,
        max_connections_per_address: int = 0,
        max_connections: int = 0,
        trusted_proxies: int = 0,
        **options: Any,
    ) -> None:
        if "-" in worker_id:
            raise ValueError("a worker's id must not contain '-'")
        options.setdefault("max_http_buffer_size", MAX_PAYLOAD)
        options.setdefault("async_mode", "gevent")
        # Our own timers watch the clients; our own logger keeps python-engineio from attaching a handler.
        super().__init__(**{"logger": log, **options, "monitor_clients": False, "async_handlers": False})
        self.worker_id = worker_id
        self.trusted_proxies = trusted_proxies
        self.limits = ConnectionLimits(rate_connects, max_connections_per_address, max_connections)
        #: open sessions by id
        self.sockets: dict[str, EngineSocket] = {}
        #: closed polling sessions whose last packets were not fetched yet
        self.draining: dict[str, EngineSocket] = {}
        #: set to refuse new sessions, when the worker is about to stop
        self.stopping = False
        longest = max(self.ping_interval, self.ping_timeout, LINGER, UPGRADE_TIMEOUT, DRAIN_TIMEOUT)
        self.timers = TimerWheel(min(1.0, self.ping_interval / 10, self.ping_timeout / 10), longest)
        self.lane = SlowLane()
        self.frames = FrameReader(self.max_http_buffer_size, rate_frames)
        self.on_open: Callable[[EngineSocket, dict[str, Any]], object] = _nothing
        self.on_message: Callable[[EngineSocket, str | bytes], object] = _nothing
        self.on_close: Callable[[EngineSocket, str], object] = _nothing

    def generate_id(self) -> str:
        """A new session id: the worker's id, a dash, 120 random bits."""
        return f"{self.worker_id}-{secrets.token_urlsafe(15)}"

    def call(self, callback: Callable[..., object], *arguments: object) -> None:
        """Call the layer above. It is not to raise; should it all the same, the event loop must not suffer."""
        try:
            callback(*arguments)
        except Exception:  # the outermost loop of everything that a client causes
            log.exception("a handler failed", extra=about(arguments[0]))

    # Sessions.

    def connection_made(self, peer: Any) -> None:
        """Called for each new TCP connection, with `peer` as `accept()` has it. Who is suspected waits here."""
        if not self.trusted_proxies and isinstance(peer, tuple):
            self._hold_up(client_address({"REMOTE_ADDR": peer[0]}, 0))

    def _hold_up(self, address: str) -> None:
        if self.limits.suspects(address):
            self.lane.wait()

    def _handle_connect(
        self, environ: dict[str, Any], start_response: Any, transport: str, jsonp_index: int | None = None
    ) -> Any:
        address = client_address(environ, self.trusted_proxies)
        if self.stopping:
            METRICS.connects_refused["stopping"] += 1
            return self._refusal("503 Service Unavailable", "Stopping", 1)
        if self.trusted_proxies:  # else it has waited before its first byte was read
            self._hold_up(address)
        refused = self.limits.admit(address)
        if refused is not None:
            METRICS.connects_refused[refused.reason] += 1
            return self._refusal(refused.status, refused.message, refused.retry_after)
        METRICS.connects += 1
        socket = EngineSocket(self, self.generate_id(), address)
        if transport == "websocket":
            return self._open_websocket(socket, environ)
        self.sockets[socket.sid] = socket
        socket.open_polling()
        socket.send_engine(self._open_packet(socket.sid, ["websocket"] if self.allow_upgrades else []))
        self.call(self.on_open, socket, environ)
        return self._ok(socket.handle_get_request({}, None), headers=self._cookie(socket.sid), jsonp_index=jsonp_index)

    def _open_websocket(self, socket: EngineSocket, environ: dict[str, Any]) -> Any:
        try:
            first = websocket_frame(self._open_packet(socket.sid, []))
            connection = self.accept_websocket(environ, socket, first)
        except OSError:  # gone before our answer
            self.limits.release(socket.remote_addr)
            raise
        if connection is None:
            self.limits.release(socket.remote_addr)
            return self.bad_request("Bad request")
        websocket, received = connection
        self.sockets[socket.sid] = socket
        socket.open_websocket(websocket)
        self.call(self.on_open, socket, environ)
        websocket.start(received)
        return ()

    def session_ended(self, socket: EngineSocket) -> None:
        """Called by a session that ends."""
        if self.sockets.pop(socket.sid, None) is not None:
            self.limits.release(socket.remote_addr)

    def accept_websocket(
        self, environ: Mapping[str, Any], socket: EngineSocket, first: bytes = b""
    ) -> tuple[WebSocket, bytes] | None:
        """Answer a WebSocket handshake and take the connection from the HTTP server; `first` is sent with the answer.

        Returns the WebSocket, not yet started, and what it has received so far; None when the request is no handshake.

        Raises:
            OSError: the client is gone.
        """
        connection = environ.get("animochat.connection")
        if connection is None or not connection.websocket_requested:
            return None
        native, received = connection.accept_websocket(first)
        return WebSocket(native, self.frames, self.timers, self.lane, socket), received

    def shutdown(self) -> None:
        """Stop the timers; for the end of the process, when all sessions are closed."""
        self.timers.stop()
        self.lane.stop()

    def disconnect(self, sid: str | None = None) -> None:
        """Close one session, or all."""
        for socket in [self.sockets.get(sid)] if sid is not None else list(self.sockets.values()):
            if socket is not None:
                socket.close()

    def hang_up(self) -> None:
        """End all sessions so that their clients connect again, elsewhere."""
        for socket in list(self.sockets.values()):
            socket.hang_up()

    def _get_socket(self, sid: str) -> EngineSocket:
        return self.sockets[sid]  # a closed one is not in there, but while its last packets are fetched

    def send_packet(self, sid: str, pkt: Any) -> None:
        """Send one of python-engineio's packets; for what is built upon its interface."""
        socket = self.sockets.get(sid)
        if socket is not None:
            socket.send_engine(pkt.encode())

    # Answers.

    def handle_request(self, environ: dict[str, Any], start_response: Any) -> Any:
        """Answer an HTTP request for the Engine.IO path; a WSGI application."""
        start_response = self._with_cors(environ, start_response)
        if environ["REQUEST_METHOD"] not in ("GET", "POST", "OPTIONS"):
            answer = self._method_not_found()
            start_response(answer["status"], [*answer["headers"], ("Allow", "GET, POST, OPTIONS")])
            return [answer["response"]]
        if self.draining and environ["REQUEST_METHOD"] == "GET":
            sid = parse_qs(environ.get("QUERY_STRING", "")).get("sid", [""])[0]
            socket = self.draining.get(sid)
            if socket is not None:
                # Closed, but the client is to get what was sent before: let this one poll through.
                self.sockets[sid] = socket
                socket.connected = True
                try:
                    return super().handle_request(environ, start_response)
                finally:
                    self.sockets.pop(sid, None)
                    if not socket.has_queued:
                        self.timers.remove(socket)
                        self.draining.pop(sid, None)
        return super().handle_request(environ, start_response)

    def _with_cors(self, environ: dict[str, Any], start_response: Any) -> Any:
        """Return a `start_response` that lets an allowed page read whatever the answer is, refusals included."""
        if "HTTP_ORIGIN" not in environ:
            return start_response

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            others = [header for header in headers if not header[0].startswith("Access-Control-")]
            cors = self._cors_headers(environ)
            named = any(name == "Access-Control-Allow-Origin" for name, _ in cors)
            return start_response(status, [*others, ("Vary", "Origin"), *(cors if named else [])], exc_info)

        return start

    def bad_request(self, message: str) -> dict[str, Any]:
        """A 400 answer in Engine.IO's form."""
        return self._bad_request(message)

    def _bad_request(self, message: str | None = None) -> dict[str, Any]:
        code = next((code for words, code in _ERROR_CODES.items() if (message or "").startswith(words)), None)
        number, words = code or (3, "Bad request")
        return {
            "status": "400 Bad Request",
            "headers": [("Content-Type", "application/json")],
            "response": json.dumps({"code": number, "message": words}).encode(),
        }

    def _refusal(self, status: str, message: str, retry_after: int) -> dict[str, Any]:
        return {
            "status": status,
            "headers": [("Content-Type", "application/json"), ("Retry-After", str(retry_after))],
            "response": json.dumps({"code": 4, "message": message}).encode(),
        }

    def _ok(
        self,
        packets_: Sequence[str | bytes] | None = None,
        headers: list[tuple[str, str]] | None = None,
        jsonp_index: int | None = None,
    ) -> dict[str, Any]:
        if packets_ is None:
            return {"status": "200 OK", "headers": [("Content-Type", "text/html")], "response": b"ok"}
        kind = "text/plain; charset=UTF-8" if jsonp_index is None else "text/javascript; charset=UTF-8"
        return {
            "status": "200 OK",
            "headers": [*(headers or []), ("Content-Type", kind), ("Cache-Control", "no-store")],
            "response": packets.encode_payload(packets_, jsonp_index),
        }

    def _open_packet(self, sid: str, upgrades: list[str]) -> str:
        return packets.OPEN + json.dumps(
            {
                "sid": sid,
                "upgrades": upgrades,
                "pingInterval": int(self.ping_interval * 1000),
                "pingTimeout": int(self.ping_timeout * 1000),
                "maxPayload": self.max_http_buffer_size,
            },
            separators=(",", ":"),
        )

    def _cookie(self, sid: str) -> list[tuple[str, str]]:
        if not self.cookie:
            return []
        attributes = (
            self.cookie if isinstance(self.cookie, dict) else {"name": self.cookie, "path": "/", "SameSite": "Lax"}
        )
        return [("Set-Cookie", self._generate_sid_cookie(sid, attributes))]

    def _log_error_once(self, message: str, message_key: str) -> None:
        # Whatever a client gets wrong is no error of ours.
        log.debug("refused: %s", message_key)
