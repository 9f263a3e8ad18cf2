"""The Engine.IO server of a worker: requests and sessions, over sockets that need no greenlet.

python-engineio's server is the interface for python-socketio, and provides CORS and options. `session.py` and
`websocket/` handle each packet and each connection. The layer above sets three callables and gets `EngineSocket`
objects::
    engine = EngineServer(worker_id, cors_allowed_origins=is_allowed)
    engine.on_open = lambda socket, environ: ...
    engine.on_message = lambda socket, data: socket.send(data)
    engine.on_close = lambda socket, reason: ...
"""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qs

import engineio

from animochat.server.addresses import client_address, comes_through_proxy
from animochat.server.backlog import PATIENCE, Backlog
from animochat.server.engineio import packets
from animochat.server.engineio.responses import BadRequest, Problem, Response, done, refusal
from animochat.server.engineio.session import DRAIN_TIMEOUT, UPGRADE_TIMEOUT, EngineSocket
from animochat.server.http.admission import Admission
from animochat.server.library_internals import allowed_origins, cors_headers
from animochat.server.limits import ConnectionLimits
from animochat.server.throttle import ThrottleQueue
from animochat.server.timers import TimerWheel
from animochat.server.websocket.connection import LINGER, WebSocket
from animochat.server.websocket.foreign import connection_of, must_stop
from animochat.server.websocket.frames import FrameReader, websocket_frame
from animochat.telemetry.logs import about
from animochat.telemetry.metrics import METRICS

__all__ = ["EngineServer", "EngineSocket", "websocket_frame"]

log = logging.getLogger(__name__)

#: Default of `max_http_buffer_size`: largest WebSocket message or polling request, in bytes. app.py raises it if
#: MAX_MESSAGE_LENGTH needs more.
MAX_PAYLOAD = 100_000

#: Bytes that may wait for one slow client.
MAX_BACKLOG = 4 * 1024 * 1024


def _nothing(*_arguments: object) -> None:
    """Replace a callable that the layer above has not set."""


class EngineServer(engineio.Server):
    """One per worker process.

    Args:
        worker_id: prefix of every session id, which tells any worker the owner; without ``-``.
        rate_frames: WebSocket frames, or packets posted, per connection and second, with a burst of ten seconds' worth;
            0 = no limit.
        rate_connects: connects per address and second; 0 = no limit.
        rate_requests: HTTP requests per address and second; 0 = no limit.
        max_connections_per_address: open connections per address; 0 = no limit.
        max_connections: open connections; 0 = no limit.
        max_backlog: bytes that may wait for one slow client.
        trusted_proxies: number of proxies in front whose X-Forwarded-For entries are trusted.
        options: python-engineio's, among them ``cors_allowed_origins``, ``ping_interval``, ``ping_timeout`` (seconds),
            ``max_http_buffer_size`` (bytes, for both transports).
    """

    def __init__(
        self,
        worker_id: str,
        *,
        rate_frames: float = 0,
        rate_connects: float = 0,
        rate_requests: float = 0,
        max_connections_per_address: int = 0,
        max_connections: int = 0,
        max_backlog: int = MAX_BACKLOG,
        trusted_proxies: int = 0,
        **options: Any,
    ) -> None:
        if "-" in worker_id:
            raise ValueError("a worker's id must not contain '-'")
        options.setdefault("max_http_buffer_size", MAX_PAYLOAD)
        options.setdefault("async_mode", "gevent")
        # Our own timers watch the clients; with our own logger, python-engineio attaches no handler.
        super().__init__(**{"logger": log, **options, "monitor_clients": False, "async_handlers": False})
        self.worker_id = worker_id
        self.trusted_proxies = trusted_proxies
        self.limits = ConnectionLimits(rate_connects, max_connections_per_address, max_connections, rate_requests)
        #: open sessions by id
        self.sockets: dict[str, EngineSocket] = {}
        #: ended sessions whose last packets wait for a poll
        self.closing: dict[str, EngineSocket] = {}
        #: an application's data of a session, by id; the layer above removes it
        self.user_sessions: dict[str, dict[str, Any]] = {}
        self._proxy_noticed = False
        #: refuse new sessions, because the worker is about to stop
        self.stopping = False
        longest = max(self.ping_interval, self.ping_timeout, LINGER, UPGRADE_TIMEOUT, DRAIN_TIMEOUT, PATIENCE)
        self.timers = TimerWheel(min(1.0, self.ping_interval / 10, self.ping_timeout / 10), longest)
        self.throttle_queue = ThrottleQueue()
        self.backlog = Backlog(self.timers, max_backlog)
        self.admission = Admission(self.limits, self.throttle_queue, self.sockets, worker_id, trusted_proxies)
        self.frames = FrameReader(self.max_http_buffer_size, rate_frames)
        self.on_open: Callable[[EngineSocket, dict[str, Any]], object] = _nothing
        self.on_message: Callable[[EngineSocket, str | bytes], object] = _nothing
        self.on_close: Callable[[EngineSocket, str], object] = _nothing

    def generate_id(self) -> str:
        """Return a new session id: the worker's id, a dash, 120 random bits."""
        return f"{self.worker_id}-{secrets.token_urlsafe(15)}"

    def call(self, callback: Callable[..., object], *arguments: object) -> None:
        """Call the layer above. It should not raise; if it does, the event loop must not suffer."""
        try:
            callback(*arguments)
        except Exception:  # the outermost loop of everything that a client causes
            log.exception("a handler failed", extra=about(arguments[0]))

    # Sessions

    def _open(self, environ: dict[str, Any], transport: str) -> Response | None:
        address = client_address(environ, self.trusted_proxies)
        if not self.trusted_proxies and not self._proxy_noticed and comes_through_proxy(environ):
            self._proxy_noticed = True
            log.warning(
                "People come through a proxy while TRUSTED_PROXIES=0: all count as one address, for limits and bans;"
                " set it to the number of proxies in front"
            )
        if self.stopping:
            METRICS.connects_refused["stopping"] += 1
            return self._refuse("503 Service Unavailable", "Stopping", 1)
        refused = self.limits.admit(address)
        if refused is not None:
            METRICS.connects_refused[refused.reason] += 1
            return self._refuse(refused.status, refused.message, refused.retry_after)
        METRICS.connects += 1
        socket = EngineSocket(self, self.generate_id(), address)
        if transport == "websocket":
            self._open_websocket(socket, environ)
            return None
        self.sockets[socket.sid] = socket
        socket.open_polling()
        socket.send_engine(self._open_packet(socket.sid, ["websocket"] if self.allow_upgrades else []))
        self.call(self.on_open, socket, environ)
        return socket.handle_get_request(environ)

    @staticmethod
    def _refuse(status: str, message: str, retry_after: int) -> Response:
        return refusal(status, Problem.ORIGIN.value[0], message, ("Retry-After", str(retry_after)))

    def _open_websocket(self, socket: EngineSocket, environ: dict[str, Any]) -> None:
        try:
            first = websocket_frame(self._open_packet(socket.sid, []))
            connection = self.accept_websocket(environ, socket, first)
        except OSError:  # the client left before our answer
            self.limits.release(socket.remote_addr)
            raise
        if connection is None:
            self.limits.release(socket.remote_addr)
            raise BadRequest(Problem.REQUEST)
        websocket, received = connection
        self.sockets[socket.sid] = socket
        socket.open_websocket(websocket)
        self.call(self.on_open, socket, environ)
        websocket.start(received)

    def session_ended(self, socket: EngineSocket) -> None:
        """Note that a session has ended: it is gone, or closing while its last packets wait."""
        if self.sockets.pop(socket.sid, None) is not None:
            self.closing[socket.sid] = socket
            if socket.is_gone:
                self.session_gone(socket)

    def session_gone(self, socket: EngineSocket) -> None:
        """Forget an ended session."""
        if self.closing.pop(socket.sid, None) is not None:
            self.timers.remove(socket)
            self.limits.release(socket.remote_addr)

    def accept_websocket(
        self, environ: Mapping[str, Any], socket: EngineSocket, first: bytes = b""
    ) -> tuple[WebSocket, bytes] | None:
        """Answer a WebSocket handshake and take the connection over; `first` is sent with the answer.

        Returns the WebSocket, not yet started, and the bytes received so far; None if the request is no handshake.

        Raises:
            OSError: the client is gone.
        """
        connection = connection_of(environ)
        if connection is None or not connection.websocket_requested:
            return None
        native, received = connection.accept_websocket(first)
        return WebSocket(native, self.frames, self.timers, self.throttle_queue, self.backlog, socket), received

    def shutdown(self) -> None:
        """Stop the timers, before the process ends and after all sessions are closed."""
        self.timers.stop()
        self.throttle_queue.stop()

    def disconnect(self, sid: str | None = None) -> None:
        """Close one session, or all."""
        for socket in [self.sockets.get(sid)] if sid is not None else list(self.sockets.values()):
            if socket is not None:
                socket.close()

    def hang_up(self) -> None:
        """End all sessions so that their clients connect again, to other workers."""
        for socket in list(self.sockets.values()):
            socket.hang_up()

    def _get_socket(self, sid: str) -> EngineSocket:
        return self.sockets[sid]  # only open ones are listed

    def send_packet(self, sid: str, pkt: Any) -> None:
        """Send one of python-engineio's packets; for libraries that use its interface."""
        socket = self.sockets.get(sid)
        if socket is not None:
            socket.send_engine(pkt.encode())

    def get_session(self, sid: str) -> dict[str, Any]:
        """Return what an application keeps of a session, to be changed in place."""
        return self.user_sessions.setdefault(sid, {})

    def save_session(self, sid: str, session: dict[str, Any]) -> None:
        """Replace what an application keeps of a session."""
        self.user_sessions[sid] = session

    # Responses

    def handle_request(self, environ: dict[str, Any], start_response: Any) -> Any:
        """Answer an HTTP request for the Engine.IO path; a WSGI application."""
        try:
            response = self._answer(environ)
        except BadRequest as error:
            log.debug("refused: %s", error)  # a client's mistake is no error of ours
            response = error.response()
        if response is None:
            if must_stop(environ):
                raise StopIteration  # gunicorn's own word for it
            return ()
        response = response.compressed(environ.get("HTTP_ACCEPT_ENCODING", ""))
        length = ("Content-Length", str(len(response.body)))
        start_response(response.status, [*response.headers, length, *self._cors(environ)])
        return response.pieces()

    def _cors(self, environ: dict[str, Any]) -> list[tuple[str, str]]:
        """Return the headers that let an allowed page read any response, refusals included."""
        if "HTTP_ORIGIN" not in environ:
            return []
        headers = cors_headers(self, environ)
        named = any(name == "Access-Control-Allow-Origin" for name, _ in headers)
        return [("Vary", "Origin"), *(headers if named else [])]

    def _answer(self, environ: dict[str, Any]) -> Response | None:
        """Return the response to a request; None if it has become a WebSocket.

        Raises:
            BadRequest: the request is refused.
        """
        origin, method = environ.get("HTTP_ORIGIN"), environ["REQUEST_METHOD"]
        allowed = allowed_origins(self, environ) if origin and self.cors_allowed_origins != [] else None
        if allowed is not None and origin not in allowed:
            raise BadRequest(Problem.ORIGIN)
        if method == "OPTIONS":
            return done()
        query = parse_qs(environ.get("QUERY_STRING", ""))
        transport = query.get("transport", [""])[0]
        if transport not in self.transports:
            raise BadRequest(Problem.TRANSPORT)
        if "sid" not in query and query.get("EIO") != ["4"]:
            raise BadRequest(Problem.VERSION)
        if method not in ("GET", "POST") or "j" in query:  # JSONP: any page could open sessions and read answers
            raise BadRequest(Problem.REQUEST if "sid" in query else Problem.METHOD)
        if "sid" in query:
            return self._answer_session(query["sid"][0], environ, transport)
        if method != "GET":
            raise BadRequest(Problem.METHOD)
        return self._open(environ, transport)

    def _answer_session(self, sid: str, environ: dict[str, Any], transport: str) -> Response | None:
        session = self.sockets.get(sid)
        if session is None and environ["REQUEST_METHOD"] == "GET" and transport == "polling":
            session = self.closing.get(sid)
        if session is None:
            raise BadRequest(Problem.SESSION)
        if environ["REQUEST_METHOD"] == "POST":
            session.handle_post_request(environ)
            return done()
        if transport == "websocket":
            session.handle_upgrade(environ)
            return None
        return session.handle_get_request(environ)

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
