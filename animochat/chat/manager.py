"""Clients and rooms of python-socketio, with the chat's connections in their places in namespace `/`.

The chat's connections are in no table of python-socketio's: that would cost each of them more memory than the rest of
it. They are looked up where it asks for them. A client of another namespace, and a room that an application makes, is
in its tables.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import gevent
import msgspec
from engineio import packet as engine_packets
from gevent.queue import Full, Queue
from socketio import packet as packets

from animochat.chat.connections import Connection
from animochat.chat.socketio_internals import ManagerBase, QueueBase
from animochat.time_slice import TimeSlice

if TYPE_CHECKING:
    from animochat.chat.lobby import Lobby

log = logging.getLogger(__name__)

#: Events of the chat's own with an offset behind their payload that an application, or the operator, may emit.
WITH_OFFSET = frozenset({"announcement"})

#: Before the name of a lobby: a room in which everyone of that lobby is.
LOBBY_ROOM = "lobby:"

#: Messages of the queue that wait to be handled. More are dropped: the worker is too slow for them.
MAX_MESSAGES = 10_000

#: Names and ids of Engine.IO sessions.
Participants = dict[str, str]


class ConnectionManager(ManagerBase):
    """The table of one process. `lobbies` is set before the first client comes."""

    lobbies: Mapping[str, Lobby]

    def __init__(self) -> None:
        super().__init__()
        self.lobbies = {}
        #: Connections of the chat that are gone and whose `disconnect` handler runs.
        self._leaving: Participants = {}
        #: The rooms of each client, but for those that everyone is in.
        self._joined: dict[tuple[str, str], list[Any]] = {}

    # The chat's connections

    def connection(self, sid: Any) -> Connection | None:
        """Return a connection of the chat's by its Socket.IO session id."""
        for lobby in self.lobbies.values():
            found = lobby.connections.by_sid.get(sid)
            if found is not None:
                return found
        return None

    def is_remembered(self, sid: str) -> bool:
        """Return whether a connection of the chat's is in any table here."""
        return ("/", sid) in self._joined or sid in self.callbacks

    def begin_to_leave(self, connection: Connection) -> None:
        """Keep what is known of a connection that is gone, until `basic_disconnect`."""
        self._leaving[connection.sid] = connection.transport.sid

    def _everyone(self) -> Iterator[Connection]:
        for lobby in self.lobbies.values():
            yield from list(lobby.connections.by_sid.values())

    # The interface that python-socketio requires

    def get_participants(self, namespace: str, room: Any) -> Iterator[tuple[str, str]]:
        if namespace != "/":
            yield from super().get_participants(namespace, room)
        elif room is None:
            yield from ((c.sid, c.transport.sid) for c in self._everyone())
            yield from super().get_participants(namespace, room)
        else:
            found: Participants = {}
            for name in [room] if isinstance(room, str) or not hasattr(room, "__len__") else room:
                found.update(self._members(name))
            yield from found.items()

    def _members(self, room: Any) -> Iterator[tuple[str, str]]:
        connection = self.connection(room)
        if connection is not None:
            yield connection.sid, connection.transport.sid
            return
        lobby = self.lobbies.get(room.removeprefix(LOBBY_ROOM)) if str(room).startswith(LOBBY_ROOM) else None
        if lobby is not None:
            yield from ((c.sid, c.transport.sid) for c in list(lobby.connections.by_sid.values()))
        yield from super().get_participants("/", room)

    def is_connected(self, sid: str, namespace: str) -> bool:
        if namespace == "/" and self.connection(sid) is not None:
            return True
        return bool(super().is_connected(sid, namespace))

    def sid_from_eio_sid(self, eio_sid: str, namespace: str) -> str | None:
        if namespace == "/":
            session = self.server.eio.sockets.get(eio_sid)
            if session is not None and isinstance(session.owner, Connection):
                return session.owner.sid
        found: str | None = super().sid_from_eio_sid(eio_sid, namespace)
        return found

    def eio_sid_from_sid(self, sid: str, namespace: str) -> str | None:
        if namespace == "/":
            connection = self.connection(sid)
            if connection is not None:
                return connection.transport.sid
            if sid in self._leaving:
                return self._leaving[sid]
        if None not in self.rooms.get(namespace, ()):
            return None
        found: str | None = super().eio_sid_from_sid(sid, namespace)
        return found

    def pre_disconnect(self, sid: str, namespace: str) -> Any:
        if None in self.rooms.get(namespace, ()):
            return super().pre_disconnect(sid, namespace)
        return self.eio_sid_from_sid(sid, namespace)

    def is_sid_room(self, namespace: str, room: Any) -> bool:
        return (namespace == "/" and self.connection(room) is not None) or bool(super().is_sid_room(namespace, room))

    def basic_enter_room(self, sid: str, namespace: str, room: Any, eio_sid: str | None = None) -> None:
        if namespace == "/" and eio_sid is None:
            if str(room).startswith(LOBBY_ROOM):
                raise ValueError(f"{LOBBY_ROOM}… are the rooms of the lobbies")
            eio_sid = self.eio_sid_from_sid(sid, namespace)
        super().basic_enter_room(sid, namespace, room, eio_sid=eio_sid)
        joined = self._joined.setdefault((namespace, sid), [])
        if room not in joined:
            joined.append(room)

    def basic_leave_room(self, sid: str, namespace: str, room: Any) -> None:
        super().basic_leave_room(sid, namespace, room)
        joined = self._joined.get((namespace, sid), [])
        if room in joined:
            joined.remove(room)
        if not joined:
            self._joined.pop((namespace, sid), None)

    def basic_disconnect(self, sid: str, namespace: str, **options: Any) -> None:
        """Forget a client. python-socketio looks through all rooms of the namespace; here a client's are known."""
        for room in list(self._joined.get((namespace, sid), [])):
            self.basic_leave_room(sid, namespace, room)
        self.callbacks.pop(sid, None)
        if namespace == "/":
            self._leaving.pop(sid, None)
        for pending in (self.pending_connect, self.pending_disconnect):
            if sid in pending.get(namespace, ()):
                pending[namespace].remove(sid)
                if not pending[namespace]:
                    del pending[namespace]

    def get_rooms(self, sid: str, namespace: str) -> list[Any]:
        own = [sid] if namespace == "/" and self.connection(sid) is not None else []
        return own + [room for room in self._joined.get((namespace, sid), []) if room is not None]

    # Sending

    def emit(
        self,
        event: str,
        data: Any,
        namespace: str,
        room: Any = None,
        skip_sid: Any = None,
        callback: Callable[..., Any] | None = None,
        to: Any = None,
        **options: Any,
    ) -> None:
        """Send an event to clients of this process.

        In a greenlet, it yields to other greenlets between clients when its time slice is over; in the hub it never
        yields.
        """
        arguments = list(data) if isinstance(data, tuple) else [] if data is None else [data]
        skipped = skip_sid if isinstance(skip_sid, list) else [skip_sid]
        make = self.server.packet_class
        encoded: Any = None if callback else make(packets.EVENT, namespace=namespace, data=[event, *arguments]).encode()
        shared = [
            engine_packets.Packet(engine_packets.MESSAGE, part)
            for part in (encoded if isinstance(encoded, list) else [encoded] if encoded else [])
        ]
        slice_ = TimeSlice() if gevent.getcurrent() is not gevent.get_hub() else None
        for sid, eio_sid in list(self.get_participants(namespace, to or room)):
            if sid in skipped:
                continue
            connection = self.connection(sid) if namespace == "/" else None
            if callback is not None:
                ack_id = self.new_ack_id(sid, callback)
                asking = make(packets.EVENT, namespace=namespace, data=[event, *arguments], id=ack_id)
                self.server.send_packet(eio_sid, asking)
            elif connection is not None and event in WITH_OFFSET and len(arguments) == 1:
                connection.emit(event, arguments[0])
                continue
            else:
                for part in shared:
                    self.server.send_engine_packet(eio_sid, part)
            if connection is not None and arguments and isinstance(arguments[-1], str):
                connection.emit_offset()  # stock clients take a string at the end of an event for the offset
            if slice_ is not None:
                slice_.yield_if_due()


class QueueManager(QueueBase, ConnectionManager):
    """The tables of all processes that share a message queue, as far as clients of this one are concerned.

    Args:
        channel: the queue's name.
        send: publishes a message, without waiting. Those of the other processes are given to `receive`.
        database: the number of the store's database. Channels are shared by all of a server's databases: a worker's
            message is for workers of the same one. Messages of other processes name none, and are for everyone.
    """

    def __init__(self, channel: str, send: Callable[[bytes], None], database: int) -> None:
        super().__init__(channel=channel)  # type: ignore[call-arg]  # of QueueBase
        self._send = send
        self._database = database
        self._messages: Queue[bytes] = Queue(MAX_MESSAGES)

    def receive(self, message: bytes) -> None:
        """Take a message of the queue's. Does not wait."""
        if not self.server.manager_initialized:
            return  # there has been no client yet
        try:
            self._messages.put_nowait(message)
        except Full:
            log.error("A message of the queue %s was dropped: too many wait", self.channel)

    def publish(self, message: dict[str, Any]) -> None:
        self._send(self.json.dumps({**message, "database": self._database}).encode())

    def messages(self) -> Iterator[dict[str, Any]]:
        while True:
            try:
                message = msgspec.json.decode(self._messages.get())
            except msgspec.DecodeError:
                message = None
            if not isinstance(message, dict):
                log.warning("A message of the queue %s is no JSON object", self.channel)
            elif message.get("database", self._database) == self._database:
                yield message
