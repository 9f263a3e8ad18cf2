"""Socket.IO on top of the Engine.IO server.

It is python-socketio's server with its own way of receiving and sending packets. The chat's own events take a short
path: no greenlet, no queue and no second decoding. Everything else (other namespaces, the application's own events,
rooms, callbacks, sessions) is python-socketio's, so its documentation and Flask-SocketIO's hold here.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import time
from collections import deque
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import flask_socketio

from animochat.chat.application import RESERVED, ApplicationClient
from animochat.chat.connections import Connection
from animochat.chat.departures import Departures
from animochat.chat.manager import ConnectionManager
from animochat.chat.socketio_internals import SocketIOBase
from animochat.protocol import packets
from animochat.protocol.errors import ChatError, InvalidPayload, UnknownLobby
from animochat.protocol.events import CLIENT_EVENTS
from animochat.server.engineio import kept_environ
from animochat.server.engineio.server import EngineServer
from animochat.server.websocket.connection import Reason
from animochat.telemetry.metrics import METRICS

if TYPE_CHECKING:
    from animochat.chat.lobby import Lobby

#: Seconds that an Engine.IO session may stay without a Socket.IO CONNECT.
CONNECT_TIMEOUT = 45.0

#: Ends of an Engine.IO session that its client wanted: an Engine.IO CLOSE, or a WebSocket close frame.
CLOSED_BY_CLIENT = {Reason.CLIENT.value, Reason.CLOSE_FRAME.value}

CHAT_EVENTS = frozenset(event.name for event in CLIENT_EVENTS)

# At INFO python-socketio logs each event of each client.
log = logging.getLogger(__name__)
log.setLevel(logging.WARNING)


class ChatNamespace(flask_socketio.Namespace):
    """Namespace `/`, where the chat is. `lobbies`, by name: the first is for clients that name none."""

    def __init__(self, namespace: str, lobbies: Mapping[str, Lobby]) -> None:
        super().__init__(namespace)
        self.lobbies = lobbies

    def lobby_of(self, auth: dict[str, Any]) -> Lobby:
        """Return the lobby that a client names.

        Raises:
            InvalidPayload, UnknownLobby
        """
        name = auth.get("lobby", next(iter(self.lobbies)))
        if not isinstance(name, str):
            raise InvalidPayload("auth.lobby must be a string")
        if name not in self.lobbies:
            raise UnknownLobby
        return self.lobbies[name]


class SocketIOServer(SocketIOBase):
    """`eio` is the Engine.IO server of this worker. The chat comes with `register_namespace(ChatNamespace("/", …))`.

    Args:
        rate_events: packets per client and second that are not the chat's, with a burst of ten seconds' worth; 0 = no
            limit.
        app: what `flask.current_app` is in handlers.
        options: python-socketio's and the Engine.IO server's.
    """

    manager: ConnectionManager
    manager_initialized: bool
    eio: EngineServer

    def __init__(self, worker_id: str, rate_events: float = 0, app: Any = None, **options: Any) -> None:
        self._worker_id = worker_id
        self.rate_events = rate_events
        self._app = app
        self._lobbies: Mapping[str, Lobby] = {}
        #: Ids of sessions that have yet to send CONNECT, in the order in which they came: (deadline, id).
        self._silent: deque[tuple[float, str]] = deque()
        #: By session: the handshake's data for handlers, until one asks for it.
        self._kept: dict[str, kept_environ.Kept] = {}
        #: By session: `auth` of its CONNECT, for the application's handler.
        self._auth: dict[str, Any] = {}
        self._reason = self.reason.SERVER_DISCONNECT
        super().__init__(**{"logger": log, "client_manager": ConnectionManager(), **options, "async_mode": "gevent"})
        self.eio.on_open = self._on_open
        self.eio.on_message = self._on_message
        self.eio.on_close = self._on_close

    def engine_class(self) -> Any:
        return functools.partial(EngineServer, self._worker_id)

    # Handlers and namespaces of the application

    def on(self, event: str, handler: Any = None, namespace: str | None = None) -> Any:
        """Register a handler. The chat's own events can't have another one."""
        if (namespace or "/") == "/" and event in CHAT_EVENTS:
            raise ValueError(f"{event} is an event of the chat's own")
        return super().on(event, handler, namespace)

    def register_namespace(self, namespace_handler: Any) -> None:
        """Register a namespace. `/` is the chat's."""
        if namespace_handler.namespace == "/":
            if not isinstance(namespace_handler, ChatNamespace):
                raise ValueError("/ is the chat's namespace: name another one, or register events with on()")
            self._lobbies = self.manager.lobbies = namespace_handler.lobbies
            for lobby in self._lobbies.values():
                lobby.connections.on_gone = self._on_gone
                lobby.arrivals.on_connect = self._on_connect
        super().register_namespace(namespace_handler)

    @property
    def _is_extended(self) -> bool:
        """Return whether there are handlers besides the chat's."""
        return bool(self.handlers) or len(self.namespace_handlers) > 1

    def _is_own(self, event: str) -> bool:
        """Return whether an event in `/` is one of the application's own."""
        return bool(self.handlers) and event not in RESERVED and self.listens(event, "/")

    def _is_known(self, namespace: str) -> bool:
        known = namespace in self.handlers or namespace in self.namespace_handlers
        return known or self.namespaces == "*" or namespace in self.namespaces

    # Sessions

    def close_silent(self) -> None:
        """Close the sessions that are in no namespace. To be called now and then."""
        now = time.monotonic()
        while self._silent and self._silent[0][0] < now:
            session = self.eio.sockets.get(self._silent.popleft()[1])
            if session is not None and session.owner is None:
                names = list(self.manager.get_namespaces())
                if not any(self.manager.sid_from_eio_sid(session.sid, name) for name in names):
                    session.close()

    def _expect_connect(self, session: Any) -> None:
        self._silent.append((time.monotonic() + CONNECT_TIMEOUT, session.sid))

    def _on_open(self, session: Any, environ: dict[str, Any]) -> None:
        if not self.manager_initialized:
            self.manager_initialized = True
            self.manager.initialize()
        self._expect_connect(session)
        if self._is_extended:
            self._kept[session.sid] = kept_environ.keep(environ, session.remote_addr)

    def _on_close(self, session: Any, reason: str) -> None:
        connection, session.owner = session.owner, None
        by_client = reason in CLOSED_BY_CLIENT
        if reason == Reason.CLOSE_FRAME.value:
            reason = Reason.CLOSED.value  # python-socketio has one reason for both
        if connection is not None:
            with self._because(reason):
                departures = self._departures(connection)
                (departures.close if by_client else departures.lose)(connection)
        if session.application is not None:
            session.application.end(reason)
        else:
            self.forget(session)

    def forget(self, session: Any) -> None:
        """Forget the handlers' data of a session that has ended."""
        self._auth.pop(session.sid, None)
        self._kept.pop(session.sid, None)
        self.environ.pop(session.sid, None)
        self.eio.user_sessions.pop(session.sid, None)

    def prepare_environ(self, eio_sid: str) -> None:
        """Have the environ of a session's handshake ready for handlers."""
        if eio_sid not in self.environ:
            kept = self._kept.pop(eio_sid, kept_environ.NOTHING)
            self.environ[eio_sid] = {**kept_environ.rebuild(kept), "flask.app": self._app}

    def get_environ(self, sid: str, namespace: str | None = None) -> Any:
        """Return the WSGI environ of a client's handshake."""
        eio_sid = self.manager.eio_sid_from_sid(sid, namespace or "/")
        if eio_sid is None:
            return None
        self.prepare_environ(eio_sid)
        return self.environ[eio_sid]

    def _application(self, session: Any) -> ApplicationClient:
        if session.application is None:
            session.application = ApplicationClient(self, session)
        client: ApplicationClient = session.application
        return client

    # Connections of the chat

    def _departures(self, connection: Connection) -> Departures:
        return self._lobbies[connection.lobby].departures

    @contextlib.contextmanager
    def _because(self, reason: str) -> Iterator[None]:
        """Set the reason for which connections end, for the `disconnect` handler."""
        self._reason = reason
        try:
            yield
        finally:
            self._reason = self.reason.SERVER_DISCONNECT

    def _open(self, session: Any, auth: dict[str, Any]) -> None:
        """Admit a client to the lobby that it names; close the session if it names none that exists."""
        try:
            chat: ChatNamespace = self.namespace_handlers["/"]
            lobby = chat.lobby_of(auth)
        except ChatError as why:
            METRICS.rejected[why.code] += 1
            session.send(packets.refused("/", why.message, why.payload()))
            return
        connection = lobby.arrivals.open(session, auth)
        if not connection.closed and self.handlers and self.listens("connect", "/"):
            self._auth[session.sid] = auth

    def _on_connect(self, connection: Connection) -> dict[str, Any] | None:
        """Return how the application refuses a connection; None where it doesn't."""
        auth = self._auth.pop(connection.transport.sid, None)
        if auth is None:
            return None
        try:
            refusal = self.ask_to_connect("/", connection.sid, self.get_environ(connection.sid), auth or None)
        except Exception:  # the handler's; python-socketio does not answer then
            log.exception("The application's handler of connect failed")
            refusal = {"message": "Internal error"}
        if refusal is not None:
            self.manager.disconnect(connection.sid, "/", ignore_queue=True)
            self._expect_connect(connection.transport)
        return refusal

    def _on_gone(self, connection: Connection) -> None:
        """Call the application's `disconnect` handler for a chat connection that is gone."""
        remembered = self.manager.is_remembered(connection.sid)
        if remembered or (self.handlers and self.listens("disconnect", "/")):
            self.manager.begin_to_leave(connection)
            self._application(connection.transport).leave(connection.sid, self._reason)

    def disconnect(self, sid: str, namespace: str | None = None, ignore_queue: bool = False) -> None:
        """Disconnect a client from a namespace, whichever worker it is on. In `/` its room and its search end."""
        connection = self.manager.connection(sid) if (namespace or "/") == "/" else None
        if connection is None:
            super().disconnect(sid, namespace, ignore_queue)
            return
        session = connection.transport
        session.send(packets.DISCONNECT)
        session.owner = None
        self._expect_connect(session)
        self._departures(connection).disconnect(connection)

    # Packets

    def _on_message(self, session: Any, data: str | bytes) -> None:
        client = session.application
        if isinstance(data, bytes) or (client is not None and client.expects_attachment):
            self._on_attachment(session, data)
            return
        connection = session.owner
        try:
            packet = packets.parse(data)
        except packets.Malformed as malformed:
            self._malformed(session, malformed.ack_id)
            return
        if packet.namespace != "/":
            self._on_other_namespace(session, packet)
        elif packet.type == packets.EVENT and connection is not None:
            event, *args = packet.data
            if event in CHAT_EVENTS or not self._is_own(event):
                self._lobbies[connection.lobby].namespace.trigger_event(event, connection, args, packet.ack_id)
            else:
                self._application(session).take(packet)
        else:
            self._on_other_packet(session, connection, packet)

    def _on_other_packet(self, session: Any, connection: Connection | None, packet: packets.Packet) -> None:
        """Handle a packet in `/` that is no event of a connected client."""
        if connection is None:
            if packet.type == packets.CONNECT:
                self._open(session, packet.data if isinstance(packet.data, dict) else {})
            else:
                session.close()  # nothing else may come before CONNECT
        elif packet.type == packets.CONNECT:
            session.close()
        elif packet.type == packets.DISCONNECT:
            session.owner = None
            self._expect_connect(session)
            with self._because(self.reason.CLIENT_DISCONNECT):
                self._departures(connection).disconnect(connection)
            if not self.eio.limits.connect_again(session.remote_addr):  # its next packet would count as a connect
                session.close()
        elif packet.type == packets.BINARY_EVENT:
            own = self._is_own(packet.data[0])
            if not own:
                refusal = InvalidPayload("Binary data is not accepted")
                self._departures(connection).refuse(connection, packet.data[0][:64], packet.ack_id, refusal)
            self._application(session).announce(packet, refused=not own)
        else:
            self._on_acknowledgement(session, connection.sid, packet)

    def _on_acknowledgement(self, session: Any, sid: str | None, packet: packets.Packet) -> None:
        waited_for = sid in self.manager.callbacks
        if packet.type == packets.BINARY_ACK:
            self._application(session).announce(packet, refused=not waited_for)
        elif packet.type == packets.ACK and waited_for:
            self._application(session).take(packet)

    def _on_other_namespace(self, session: Any, packet: packets.Packet) -> None:
        """Handle a packet in a namespace of the application's own."""
        known = self._is_known(packet.namespace)
        if packet.type == packets.CONNECT and not known:
            session.send(packets.refused(packet.namespace, "Invalid namespace"))
        elif packet.type in (packets.ACK, packets.BINARY_ACK):
            sid = self.manager.sid_from_eio_sid(session.sid, packet.namespace) if known else None
            self._on_acknowledgement(session, sid, packet)
        elif packet.type == packets.BINARY_EVENT:
            self._application(session).announce(packet, refused=not known)
        elif known:
            if packet.type == packets.DISCONNECT:
                self._expect_connect(session)
            self._application(session).take(packet)

    def _on_attachment(self, session: Any, data: str | bytes) -> None:
        client = session.application
        if client is None or not client.expects_attachment:
            self._malformed(session)
        elif isinstance(data, str):  # text where attachments were announced
            client.drop_attachments()
            self._malformed(session)
        elif not client.attach(data, self.eio.max_http_buffer_size):
            self._malformed(session)

    def _malformed(self, session: Any, ack_id: str | None = None) -> None:
        """Answer an unreadable packet: a client of the chat gets an error, any other one is closed."""
        connection = session.owner
        if connection is None:
            session.close()
        else:
            self._departures(connection).refuse(connection, None, ack_id, InvalidPayload("Malformed packet"))
