"""One client's packets for the application's own handlers: other namespaces, and the application's events in `/`.

A client without any costs nothing. Handlers may wait, so they run in greenlets; a client's packets are handled in
order, and a handler of an event does not delay the next one.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from typing import Any, Protocol

import gevent

from animochat.protocol import packets
from animochat.protocol.packets import Packet
from animochat.token_bucket import TokenBucket

log = logging.getLogger(__name__)

#: Packets of a client that may wait, or whose handlers may run, at the same time. A client that sends more is closed.
MAX_QUEUED = 100

#: Other namespaces that a client may be in.
MAX_NAMESPACES = 16

#: Characters of a namespace's name.
MAX_NAME = 100

#: Events that no client may send: python-socketio's handlers of these names are for something else.
RESERVED = frozenset({"connect", "disconnect"})


#: Stands for the type of a packet that says that the session has ended.
CLOSED = "closed"
#: The same, of its connection in `/`.
LEFT = "left"


class Server(Protocol):
    """The parts of the Socket.IO server (server.py) that ApplicationClient uses."""

    manager: Any
    async_handlers: bool
    rate_events: float

    def prepare_environ(self, eio_sid: str) -> None: ...
    def connect_client(self, eio_sid: str, namespace: str, auth: Any) -> None: ...
    def disconnect_client(self, eio_sid: str, namespace: str, reason: str) -> None: ...
    def run_handler(self, eio_sid: str, namespace: str, sid: str, ack_id: int | None, data: list[Any]) -> None: ...
    def trigger(self, event: str, namespace: str, *arguments: Any) -> Any: ...
    def with_attachments(self, data: Any, attachments: list[bytes]) -> Any: ...
    def forget(self, session: Any) -> None: ...


class ApplicationClient:
    """Made for a session when it first sends something that is not the chat's."""

    __slots__ = ("_announced", "_attachments", "_bucket", "_closed", "_queue", "_running", "_server", "_session",
                 "_working")  # fmt: skip

    def __init__(self, server: Server, session: Any) -> None:
        self._server = server
        self._session = session
        self._queue: deque[Packet] = deque()
        self._working = False  # whether a greenlet takes packets from the queue
        self._running = 0  # handlers of events
        self._closed = False
        self._bucket = TokenBucket()
        #: a binary packet whose attachments are still to come, and those that came; None for a packet that was refused
        self._announced: Packet | None = None
        self._attachments: list[bytes] | None = None

    # Binary packets

    @property
    def expects_attachment(self) -> bool:
        """Whether the next message has to be binary."""
        return self._announced is not None

    def announce(self, packet: Packet, refused: bool) -> None:
        """Note that attachments of a binary packet follow; of a `refused` one they are dropped."""
        if packet.attachments:
            self._announced, self._attachments = packet, None if refused else []
        elif not refused:
            self.take(packet)

    def attach(self, data: bytes, most: int) -> bool:
        """Take an attachment; with the last one, the packet is taken. Return whether all is well.

        `most`: bytes of all attachments of a packet.
        """
        packet = self._announced
        assert packet is not None
        left = packet.attachments - 1
        self._announced = packet._replace(attachments=left) if left else None
        if self._attachments is None:
            return True
        self._attachments.append(data)
        if sum(map(len, self._attachments)) > most:
            self._attachments = None
            return False
        if left:
            return True
        attachments, self._attachments = self._attachments, None
        try:
            self.take(packet._replace(data=self._server.with_attachments(packet.data, attachments)))
        except (IndexError, TypeError, RecursionError):
            return False
        return True

    def drop_attachments(self) -> None:
        """Expect no more attachments."""
        self._announced = self._attachments = None

    # Packets

    def take(self, packet: Packet) -> None:
        """Handle a packet behind the earlier ones. Does not wait."""
        if self._closed:
            return
        if self._bucket.take(self._server.rate_events, time.monotonic()):
            self._session.penalize()
            self._session.close()
        elif len(self._queue) + self._running >= MAX_QUEUED:
            self._session.close()
        else:
            self._queue.append(packet)
            self._work()

    def end(self, reason: str) -> None:
        """Call the `disconnect` handlers behind whatever the client has sent before, since its session has ended."""
        self._closed = True
        self._queue.append(Packet(CLOSED, "", None, reason))
        self._work()

    def leave(self, sid: str, reason: str) -> None:
        """Call the `disconnect` handler of `/`, from which this client's connection of the chat's is gone."""
        self._queue.append(Packet(LEFT, "/", None, (sid, reason)))
        self._work()

    def _work(self) -> None:
        if not self._working:
            self._working = True
            gevent.spawn(self._run)

    def _run(self) -> None:
        try:
            while self._queue:
                packet = self._queue.popleft()
                try:
                    self._handle(packet)
                except Exception:  # one packet's mistake must not cost the client those behind it
                    log.exception("A handler of the application's failed")
        finally:
            self._working = False

    def _handle(self, packet: Packet) -> None:
        eio_sid, namespace, manager = self._session.sid, packet.namespace, self._server.manager
        if packet.type == CLOSED:
            for name in [name for name in list(manager.get_namespaces()) if manager.sid_from_eio_sid(eio_sid, name)]:
                self._server.disconnect_client(eio_sid, name, packet.data)
            self._server.forget(self._session)
            return
        if packet.type == LEFT:
            sid, reason = packet.data
            try:
                self._server.trigger("disconnect", "/", sid, reason)
            finally:
                manager.disconnect(sid, "/", ignore_queue=True)
            return
        if packet.type == packets.CONNECT:
            joined = [name for name in manager.get_namespaces() if manager.sid_from_eio_sid(eio_sid, name)]
            if len(joined) > MAX_NAMESPACES or len(namespace) > MAX_NAME:
                self._session.send(packets.refused(namespace[:MAX_NAME], "Too many namespaces"))
            else:
                self._server.prepare_environ(eio_sid)
                self._server.connect_client(eio_sid, namespace, packet.data)
            return
        sid = manager.sid_from_eio_sid(eio_sid, namespace)
        if sid is None or not manager.is_connected(sid, namespace):
            return  # as python-socketio has it
        if packet.type == packets.DISCONNECT:
            self._server.disconnect_client(eio_sid, namespace, "client disconnect")
        elif packet.type in (packets.ACK, packets.BINARY_ACK):
            if packet.ack_id is not None and type(packet.data) is list:
                manager.trigger_callback(sid, int(packet.ack_id), packet.data)
        elif packet.data[0] not in RESERVED:
            self._server.prepare_environ(eio_sid)
            self._running += 1
            if self._server.async_handlers:
                gevent.spawn(self._run_handler, packet, sid)
            else:
                self._run_handler(packet, sid)

    def _run_handler(self, packet: Packet, sid: str) -> None:
        try:
            ack_id = None if packet.ack_id is None else int(packet.ack_id)
            self._server.run_handler(self._session.sid, packet.namespace, sid, ack_id, packet.data)
        except Exception:  # the outermost of this greenlet
            log.exception("A handler of the application's failed")
        finally:
            self._running -= 1
