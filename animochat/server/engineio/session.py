"""One Engine.IO session on either transport, without a greenlet, a queue object or a request's environ of its own."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol

import gevent
from gevent import get_hub
from gevent.event import Event
from websockets.frames import CloseCode

from animochat.server.addresses import group_of
from animochat.server.backlog import MIN_TAKEN, Backlog
from animochat.server.engineio import packets
from animochat.server.engineio.polling import Polling
from animochat.server.engineio.responses import BadRequest, Problem, Response
from animochat.server.limits import ConnectionLimits
from animochat.server.throttle import ThrottleQueue
from animochat.server.timers import TimerWheel
from animochat.server.websocket.connection import LONG_RECV_SIZE, Reason, WebSocket
from animochat.server.websocket.frames import FrameReader, websocket_frame
from animochat.telemetry.logs import about
from animochat.time_slice import TimeSlice

log = logging.getLogger(__name__)

#: Seconds from a WebSocket's handshake to its UPGRADE packet; then the upgrade has failed.
UPGRADE_TIMEOUT = 10.0

#: Seconds between two NOOPs to a client that still polls during an upgrade: it has to end its poll without busy loops.
NOOP_INTERVAL = 0.1

#: Seconds that the last packets of a closed polling session wait for a poll.
DRAIN_TIMEOUT = 10.0

_PING_FRAME = websocket_frame(packets.PING)
_CLOSE_FRAME = websocket_frame(packets.CLOSE)
_ERROR = Reason.ERROR.value
_PROBE_ANSWER = websocket_frame(packets.PONG + "probe")


class Host(Protocol):
    """A session's view of its worker's Engine.IO server (server.py)."""

    ping_interval: float
    ping_timeout: float
    max_http_buffer_size: int
    limits: ConnectionLimits
    timers: TimerWheel
    throttle_queue: ThrottleQueue
    backlog: Backlog
    frames: FrameReader
    on_message: Callable[[EngineSocket, str | bytes], object]
    on_close: Callable[[EngineSocket, str], object]

    def call(self, callback: Callable[..., object], *arguments: object) -> None: ...
    def session_ended(self, socket: EngineSocket) -> None: ...
    def session_gone(self, socket: EngineSocket) -> None: ...
    def accept_websocket(self, environ: Mapping[str, Any], socket: EngineSocket) -> tuple[WebSocket, bytes] | None: ...


class EngineSocket:
    """One session. The server makes it; the layer above gets it in ``on_open`` and may keep it.

    It is open until `closed`. A session that ends on long polling is then closing while last packets wait for a poll
    (`is_gone` is false), for `DRAIN_TIMEOUT` at most.

    No method blocks or raises, except the ``handle_…`` methods, which the server calls in the greenlet of an HTTP
    request.
    """

    __slots__ = ("_awaiting_pong", "_noop_at", "_paused", "_polling", "_taken", "_upgrade", "_websocket", "application",
                 "closed", "owner", "remote_addr", "server", "sid", "timer_slot", "upgraded")  # fmt: skip

    def __init__(self, server: Host, sid: str, remote_addr: str) -> None:
        self.server = server
        #: session id, which begins with the worker's id
        self.sid = sid
        #: the client's address, as trusted proxies report it
        self.remote_addr = remote_addr
        #: whether the transport is WebSocket, from the start or after an upgrade
        self.upgraded = False
        self.closed = False
        #: the layer above keeps its own state here, and that of its application's handlers
        self.owner: object | None = None
        self.application: object | None = None
        self.timer_slot = -1
        self._awaiting_pong = False
        self._taken = 0  # queued bytes that the client had read at the last check
        self._paused = False
        self._websocket: WebSocket | None = None
        self._upgrade: WebSocket | None = None  # a WebSocket that is not the transport yet
        self._noop_at: float | None = None  # time of the last NOOP that asked to end a poll; None before a probe
        self._polling: Polling | None = None

    # For the layer above

    def send(self, packet: str) -> None:
        """Send a Socket.IO packet as an Engine.IO message. After the end it is dropped."""
        self.send_engine(packets.MESSAGE + packet)

    def send_frame(self, frame: bytes, packet: str) -> None:
        """Send a packet that many clients get: `frame` is ``websocket_frame("4" + packet)``, made once for all."""
        if self._websocket is not None:
            self._websocket.send(frame)
        else:
            self.send_engine(packets.MESSAGE + packet)

    def send_engine(self, packet: str | bytes) -> None:
        """Send an encoded Engine.IO packet; bytes are a binary message."""
        if self._websocket is not None:
            if isinstance(packet, str):
                self._websocket.send(websocket_frame(packet))
            else:
                self._websocket.send_binary(packet)
        elif self._polling is not None and not self.closed:
            # Also during an upgrade: packets that no poll fetches meanwhile go out on the new transport.
            self._polling.put(packet)

    def close(self, reason: str = "server disconnect") -> None:
        """End the session after everything sent before. Calls ``on_close`` from within, once."""
        if self._websocket is not None:
            self._websocket.send(_CLOSE_FRAME)
        self._end(reason, packets.CLOSE, keep=True)

    def hang_up(self) -> None:
        """End the session like a lost connection, after which every stock client connects again.

        An Engine.IO CLOSE would make python-socketio's client stay disconnected.
        """
        if self._websocket is not None:
            self._websocket.close(CloseCode.GOING_AWAY)
        self._end("server shutdown", packets.NOOP, keep=self._has_queued)

    def penalize(self) -> None:
        """Note abuse on this session: its address may connect less often for a while."""
        if self._websocket is not None:
            self._websocket.abusive = True
        self.server.limits.penalize(self.remote_addr)

    def pause(self) -> None:
        """Accept no more messages of a session that is about to end: they wait in the kernel, unread."""
        self._paused = True
        if self._websocket is not None:
            self._websocket.pause()

    # For the server

    @property
    def is_gone(self) -> bool:
        """Return whether the session has ended, and its last packets were fetched or dropped."""
        return self.closed and not self._has_queued

    @property
    def _has_queued(self) -> bool:
        return self._polling is not None and bool(self._polling.queue)

    @property
    def queued(self) -> int:
        """Return how many bytes wait for the client."""
        transport = self._websocket or self._polling
        return transport.queued if transport is not None else 0

    def open_polling(self) -> None:
        """Start on long polling."""
        self._polling = Polling(self.server.backlog, self._cut_off, self.server.frames.burst)
        self._schedule_first_ping()

    def open_websocket(self, websocket: WebSocket) -> None:
        """Start on WebSocket. The server starts reading from it later, when the layer above is ready."""
        self._websocket = websocket
        self.upgraded = True
        self._schedule_first_ping()

    def _schedule_first_ping(self) -> None:
        # Clients that connected at the same time (after a restart, all) would otherwise always be pinged together.
        self.server.timers.add(self, self.server.ping_interval * random.uniform(0.5, 1.0))

    def on_timer(self) -> None:
        """Send a ping, or handle a missing pong."""
        if self.closed:  # the last packets were not fetched
            self.server.session_gone(self)
        elif self._paused:
            self.server.timers.add(self, self.server.ping_timeout)  # the pong may be among the unread bytes
        elif not self._awaiting_pong:
            self._awaiting_pong = True
            self._takes_something()
            self.server.timers.add(self, self.server.ping_timeout)
            if self._websocket is not None:
                self._websocket.send_early(_PING_FRAME)
            elif self._polling is not None:
                self._polling.put(packets.PING, early=True)
        elif self._takes_something():
            self.server.timers.add(self, self.server.ping_timeout)  # the ping may be behind a large frame
        else:
            if self._websocket is not None:
                self._websocket.send(_CLOSE_FRAME)
            self._end("ping timeout", packets.CLOSE)  # a client that doesn't answer does not poll either

    def _takes_something(self) -> bool:
        """Return whether the client has read much of its queued bytes since the last call."""
        transport = self._websocket or self._polling
        if transport is None or not transport.queued:
            return False
        before, self._taken = self._taken, transport.taken
        return transport.taken - before >= MIN_TAKEN

    def _cut_off(self) -> None:
        log.info("a client that does not read was disconnected", extra=about(self))
        get_hub().loop.run_callback(self._end, _ERROR)

    def _end(self, reason: str, last: str = packets.CLOSE, keep: bool = False) -> None:
        """End the session. On long polling, the waiting poll gets the packet `last`; or the next one, to `keep` it."""
        if self.closed:
            return
        self.closed = True
        self.server.timers.remove(self)
        websocket, upgrade = self._websocket, self._upgrade
        self._websocket = self._upgrade = self._noop_at = None
        for connection in (websocket, upgrade):
            if connection is not None:
                connection.close()
        if self._polling is not None:
            self._polling.end(last, keep)
        self.server.session_ended(self)
        if not self.is_gone:
            self.server.timers.add(self, DRAIN_TIMEOUT)
        self.server.call(self.server.on_close, self, reason)

    def _receive(self, packet: str | bytes) -> bool:
        """Handle one packet from the client. Return False if no client sends such a packet."""
        kind = packet[:1]
        if kind == packets.MESSAGE or isinstance(packet, bytes):
            try:
                self.server.on_message(self, packet if isinstance(packet, bytes) else packet[1:])
            except Exception:  # as in EngineServer.call(), but for each message
                log.exception("a handler failed", extra=about(self))
        elif kind == packets.PONG:
            self._awaiting_pong = False
            self.server.timers.add(self, self.server.ping_interval)
        elif kind == packets.CLOSE:
            self._end(Reason.CLIENT.value, packets.NOOP)
        else:
            return kind in (packets.NOOP, packets.UPGRADE)
        return True

    # WebSocket.

    def websocket_message(self, websocket: WebSocket, data: str | bytes) -> None:
        """Handle a message on the transport, or on a WebSocket that is about to become the transport."""
        if websocket is self._websocket:
            if not self._receive(data):
                websocket.close(CloseCode.PROTOCOL_ERROR)
                self._end(_ERROR)
        elif websocket is not self._upgrade:
            websocket.close()
        elif self._noop_at is None and data == packets.PING + "probe":
            self._noop_at = time.monotonic()
            websocket.send(_PROBE_ANSWER)
            if self._polling is not None:
                self._polling.wake()  # the client ends its poll before it switches
        elif self._noop_at is not None and data == packets.UPGRADE:
            self._change_over(websocket)
        else:
            self._give_up_upgrade()
            websocket.close()

    def websocket_closed(self, websocket: WebSocket, reason: Reason) -> None:
        """Handle the end of a WebSocket."""
        if websocket.abusive:
            self.penalize()
        if websocket is self._websocket:
            self._end(reason.value)
        elif websocket is self._upgrade:
            self._give_up_upgrade()

    def _change_over(self, websocket: WebSocket) -> None:
        """Make the WebSocket the transport. A waiting poll gets a NOOP; packets that wait for a poll are sent here."""
        self.server.timers.remove(websocket)
        polling, self._polling = self._polling, None
        self._websocket, self._upgrade = websocket, None
        self.upgraded = True
        if polling is not None:
            for packet in polling.queue:
                self.send_engine(packet)
            polling.clear()
            polling.wake()
        if self._paused:
            websocket.pause()

    def _give_up_upgrade(self) -> None:
        """Stay on long polling."""
        upgrade, self._upgrade = self._upgrade, None
        self._noop_at = None
        if upgrade is not None:
            self.server.timers.remove(upgrade)

    # HTTP requests, in their greenlets

    def handle_get_request(self, environ: dict[str, Any]) -> Response:
        """Return the response to a poll once there are packets; a ping comes at the latest after the ping interval.

        Raises:
            BadRequest: a second poll while one waits, which ends the session; a session on WebSocket.
        """
        if self._upgrade is not None:
            gevent.sleep(0)  # the end of an earlier upgrade may be read after this request
        polling, connection = self._polling, environ.get("animochat.connection")
        if polling is None:
            raise BadRequest(Problem.REQUEST)
        if polling.waiter is not None:
            self._end(_ERROR)
            raise BadRequest(Problem.REQUEST)
        if not polling.queue and not self.closed:
            self._wait_for_packets(polling, connection)
        if self._noop_at is not None and not polling.queue:
            self._noop_at = time.monotonic()
        response = polling.take(connection)
        if self.is_gone:
            self.server.session_gone(self)
        return response

    def _wait_for_packets(self, polling: Polling, connection: Any) -> None:
        gone = connection.watch_for_end(self._poll_lost) if connection is not None else None
        try:
            if self._noop_at is None:
                polling.wait()
            else:
                polling.wait(max(0.0, self._noop_at + NOOP_INTERVAL - time.monotonic()))
        finally:
            if gone is not None:
                gone.stop()
                gone.close()

    def _poll_lost(self) -> None:
        """End the session, because the client closed the connection of the waiting poll."""
        self._end(Reason.CLOSED.value)

    def handle_upgrade(self, environ: dict[str, Any]) -> None:
        """Accept a WebSocket for an upgrade. If the session can't use it, close it once it is open.

        Raises:
            BadRequest: no WebSocket handshake.
        """
        connection = self.server.accept_websocket(environ, self)
        if connection is None:
            raise BadRequest(Problem.REQUEST)
        websocket, received = connection
        if self.closed or self._polling is None or self._upgrade is not None:
            websocket.close()
            return
        self._upgrade = websocket
        self.server.timers.add(websocket, UPGRADE_TIMEOUT)
        websocket.start(received)

    def handle_post_request(self, environ: dict[str, Any]) -> None:
        """Handle the packets of a polling request.

        Raises:
            BadRequest: not Engine.IO, too large, or two at a time, which ends the session; a session on WebSocket.
        """
        polling = self._polling
        if polling is None:
            raise BadRequest(Problem.REQUEST)
        if polling.posting:
            self._end(_ERROR)
            raise BadRequest(Problem.REQUEST)
        polling.posting = True
        try:
            body = self._read_body(environ)
            received = packets.decode_payload(body)
            if packets.CLOSE in received and polling.waiter is None:
                # An earlier poll may be read after this request; it gets the last packets.
                gevent.sleep(0)
            time_slice = self._turn(polling, max(len(received), len(body) / LONG_RECV_SIZE))
            for packet in received:
                if self._paused:
                    polling.paused = Event()
                    polling.paused.wait()  # until the session ends
                if self.closed:
                    return
                if not self._receive(packet):
                    raise packets.MalformedPayload("a packet that no client sends")
                time_slice.yield_if_due()
        except packets.MalformedPayload:
            self._end(_ERROR)
            raise BadRequest(Problem.REQUEST) from None
        except OSError:
            self._end(Reason.CLOSED.value)
            raise BadRequest(Problem.REQUEST) from None
        finally:
            polling.posting = False

    def _turn(self, polling: Polling, count: float) -> TimeSlice:
        """Count packets as WebSocket frames are counted, and start on them when the throttle queue permits.

        Raises:
            MalformedPayload: too many packets; none of them is handled.
        """
        frames = self.server.frames
        left = polling.count(count, frames.rate, frames.burst)
        if left < 0:
            self.penalize()
            raise packets.MalformedPayload("too many packets")
        if left >= frames.throttle_below:
            return TimeSlice()
        wait = partial(self.server.throttle_queue.wait, group_of(self.remote_addr) or None)
        wait()
        return TimeSlice(wait)

    def _read_body(self, environ: dict[str, Any]) -> bytes:
        try:
            length = int(environ.get("CONTENT_LENGTH") or 0)
        except ValueError:
            length = 0
        if length > self.server.max_http_buffer_size:
            raise packets.MalformedPayload("too large")
        most = self.server.max_http_buffer_size
        if environ.get("HTTP_TRANSFER_ENCODING", "").lower() != "chunked":
            return bytes(environ["wsgi.input"].read(length))
        body = bytes(environ["wsgi.input"].read(most + 1))
        if len(body) > most:
            raise packets.MalformedPayload("too large")
        return body
