"""Socket.IO on top of the Engine.IO server: packets in, events out to the namespace of the client's lobby.

python-socketio's server with its way of a packet cut short: no greenlet, no queue, no second decoding for an event.
What others expect of a Flask-SocketIO application (`emit`, `disconnect`, namespaces) works on it.
"""

from __future__ import annotations

import functools
import time
from collections import deque
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import flask_socketio
import socketio
from flask import Flask

from animochat.chat.connections import Connection
from animochat.chat.lifecycle import Lifecycle
from animochat.protocol import packets
from animochat.protocol.errors import ChatError, InvalidPayload, UnknownLobby
from animochat.server.engineio.server import EngineServer
from animochat.telemetry.metrics import METRICS

if TYPE_CHECKING:
    from animochat.chat.lobby import Lobby

#: Where Socket.IO is.
PATH = "/socket.io"

#: Seconds that an Engine.IO session may stay without a Socket.IO CONNECT.
CONNECT_TIMEOUT = 45.0


class ConnectionManager(socketio.Manager):
    """Lets python-socketio's own `emit` and `disconnect` find our connections, without a table of its own."""

    def __init__(self, lobbies: Mapping[str, Lobby]) -> None:
        super().__init__()
        self._lobbies = lobbies
        self.rooms: dict[str, Any] = {"/": {}}

    def get_participants(self, namespace: str, room: str | None) -> Any:
        yield from ((c.sid, c.transport.sid) for c in self._connections() if room in (None, c.sid))

    def is_connected(self, sid: str, namespace: str) -> bool:
        return namespace == "/" and self.eio_sid_from_sid(sid, namespace) is not None

    def eio_sid_from_sid(self, sid: str, namespace: str) -> str | None:
        return next((c.transport.sid for c in self._connections() if c.sid == sid), None)

    def _connections(self) -> Iterator[Connection]:
        """All of them: nothing that happens often asks for one by its Socket.IO session."""
        for lobby in self._lobbies.values():
            yield from lobby.connections


class SocketIOServer(socketio.Server):
    """`eio` is the Engine.IO server of this worker. `lobbies`, by name: the first is for clients that name none."""

    def __init__(self, worker_id: str, lobbies: Mapping[str, Lobby], **options: Any) -> None:
        self._worker_id = worker_id
        self._lobbies = lobbies
        self._first = next(iter(lobbies))
        #: Ids of sessions that have yet to send CONNECT, in the order in which they came: (deadline, id).
        self._silent: deque[tuple[float, str]] = deque()
        super().__init__(client_manager=ConnectionManager(lobbies), async_mode="gevent", **options)
        self.eio.on_open = self._on_open
        self.eio.on_message = self._on_message
        self.eio.on_close = self._on_close
        for lobby in lobbies.values():
            self.register_namespace(lobby.namespace)

    def _engineio_server_class(self) -> Any:
        return functools.partial(EngineServer, self._worker_id)

    def close_silent(self) -> None:
        """Close the sessions that never sent CONNECT. To be called now and then."""
        now = time.monotonic()
        while self._silent and self._silent[0][0] < now:
            session = self.eio.sockets.get(self._silent.popleft()[1])
            if session is not None and session.owner is None:
                session.close()

    def _on_open(self, session: Any, environ: dict[str, Any]) -> None:
        self._silent.append((time.monotonic() + CONNECT_TIMEOUT, session.sid))

    def _on_close(self, session: Any, reason: str) -> None:
        owner, session.owner = session.owner, None
        connection = owner.connection if isinstance(owner, _Attachments) else owner
        if connection is not None:
            self._lifecycle(connection).drop(connection)

    def _lifecycle(self, connection: Connection) -> Lifecycle:
        return self._lobbies[connection.lobby].lifecycle

    def _on_message(self, session: Any, data: str | bytes) -> None:
        owner = session.owner
        connection = owner if type(owner) is Connection else None
        if isinstance(data, bytes):
            # An attachment: its packet was refused already, and the attachments are counted off.
            if not isinstance(owner, _Attachments):
                self._malformed(session, connection)
            elif owner.left():
                session.owner = owner.connection
            return
        if type(owner) is _Attachments:  # text where attachments were announced
            session.owner = connection = owner.connection
            self._malformed(session, connection)
            return
        try:
            packet = packets.parse(data)
        except packets.Malformed as malformed:
            self._malformed(session, connection, malformed.ack_id)
            return
        if packet.namespace != "/":
            if packet.type == packets.CONNECT:
                session.send(packets.refused(packet.namespace, "Invalid namespace"))
        elif packet.type == packets.EVENT and connection is not None:
            event, *args = packet.data
            self._lobbies[connection.lobby].namespace.trigger_event(event, connection, args, packet.ack_id)
        else:
            self._other_packet(session, connection, packet)

    def _other_packet(self, session: Any, connection: Connection | None, packet: packets.Packet) -> None:
        """Handle a packet that is no event of a connected client."""
        if connection is None:
            if packet.type == packets.CONNECT:
                self._open(session, packet.data if isinstance(packet.data, dict) else {})
            else:
                session.close()  # nothing else may come before CONNECT
        elif packet.type == packets.CONNECT:
            session.close()
        elif packet.type == packets.DISCONNECT:
            session.owner = None
            self._silent.append((time.monotonic() + CONNECT_TIMEOUT, session.sid))
            self._lifecycle(connection).goodbye(connection)
            if not self.eio.limits.connect_again(session.remote_addr):  # what comes next would be a connect
                session.close()
        elif packet.type == packets.BINARY_EVENT:
            refusal = InvalidPayload("Binary data is not accepted")
            self._lifecycle(connection).refuse(connection, packet.data[0][:64], packet.ack_id, refusal)
            if packet.attachments:
                session.owner = _Attachments(connection, packet.attachments)
        elif packet.type == packets.BINARY_ACK and packet.attachments:
            session.owner = _Attachments(connection, packet.attachments)

    def _open(self, session: Any, auth: dict[str, Any]) -> None:
        """Let a client into the lobby that it names, and into no other; the session is closed if it sends no better."""
        name = auth.get("lobby", self._first)
        if isinstance(name, str) and name in self._lobbies:
            self._lobbies[name].lifecycle.open(session, auth)
            return
        why: ChatError = UnknownLobby() if isinstance(name, str) else InvalidPayload("auth.lobby must be a string")
        METRICS.rejected[why.code] += 1
        session.send(packets.refused("/", why.message, why.payload()))

    def _malformed(self, session: Any, connection: Connection | None, ack_id: str | None = None) -> None:
        """What can't even be read as a packet: a connected client is told, anybody else is closed."""
        if connection is None:
            session.close()
        else:
            self._lifecycle(connection).refuse(connection, None, ack_id, InvalidPayload("Malformed packet"))


class _Attachments:
    """Stands in the session for its connection while refused binary attachments arrive."""

    __slots__ = ("_left", "connection")

    def __init__(self, connection: Connection, count: int) -> None:
        self.connection = connection
        self._left = count

    def left(self) -> bool:
        """Count one off; True when that was the last."""
        self._left -= 1
        return self._left == 0


class SocketIO(flask_socketio.SocketIO):
    """The Flask extension, with our server in the place of python-socketio's."""

    def init_app(self, app: Flask, **options: Any) -> None:
        """Attach to the Flask application: `worker_id`, `lobbies` and engine options."""
        app.extensions["socketio"] = self
        self.server = SocketIOServer(**options)
        self.async_mode = self.server.async_mode
        app.wsgi_app = _Dispatcher(self.server, app.wsgi_app)  # type: ignore[method-assign]


class _Dispatcher:
    """A WSGI application: Socket.IO at its path, with or without the slash behind it, and Flask everywhere else."""

    def __init__(self, server: SocketIOServer, app: Any) -> None:
        self._server = server
        self._app = app

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        path = environ["PATH_INFO"]
        if path == PATH or path.startswith(PATH + "/"):
            return self._server.handle_request(environ, start_response)
        return self._app(environ, start_response)
