"""WebSocket connections driven by the event loop: one read watcher each, no greenlet.

A connection arrives here after its handshake, as a native non-blocking socket that no other code reads, writes or
closes. The sans-I/O core of the `websockets` package handles frames (fragmentation, control frames, close handshake,
bounds); this module moves its bytes. All callbacks run in the gevent hub: they neither block nor raise.
"""

from __future__ import annotations

import enum
import logging
import socket
import time
from typing import Any, cast
from typing import Protocol as TypingProtocol

from gevent import get_hub
from websockets.frames import Close, CloseCode, Frame, Opcode
from websockets.protocol import Protocol, State

from animochat.server.backlog import MAX_QUEUED, Backlog, Outgoing
from animochat.server.library_internals import NativeSocket, free_parser
from animochat.server.throttle import ThrottleQueue
from animochat.server.timers import TimerWheel
from animochat.server.websocket.frames import FrameReader, missing, whole_message
from animochat.telemetry.logs import about

log = logging.getLogger(__name__)

#: Bytes per read. One read is one turn of the loop for this connection: a larger one would let a flood of tiny frames
#: delay everyone else; this one takes up to half a millisecond.
RECV_SIZE = 512

#: The same within a long frame.
LONG_RECV_SIZE = 4 * 1024

#: Bytes, per read and in total, that are read from a client after our close frame, and dropped.
DROP_SIZE, MAX_DROPPED = 64 * 1024, 1024 * 1024

#: Seconds in which the client of a closing connection has to read the rest and to close its side.
LINGER = 5.0

_READ, _WRITE = 1, 2

# Looking a member up in its enum takes as long as using it.
_OPEN, _CLOSING, _CLOSED = State.OPEN, State.CLOSING, State.CLOSED
_TEXT, _BINARY, _CONT = Opcode.TEXT, Opcode.BINARY, Opcode.CONT


class Reason(str, enum.Enum):
    """Why a connection ended, in python-engineio's words."""

    CLIENT = "client disconnect"
    CLOSE_FRAME = "close frame"
    CLOSED = "transport close"
    ERROR = "transport error"


class Listener(TypingProtocol):
    """Receives a connection's messages and its end."""

    def websocket_message(self, websocket: WebSocket, data: str | bytes) -> None:
        """Handle a complete message."""

    def websocket_closed(self, websocket: WebSocket, reason: Reason) -> None:
        """Handle the end; no message follows. Called once, but not after :meth:`WebSocket.close` or ``abort``."""


class WebSocket:
    """One connection. Messages go to `listener`; nothing here interprets them.

    Call :meth:`start` once, when the listener is ready. Until then nothing is read.

    Args:
        sock: a connected native socket, non-blocking; owned from now on.
        frames: the worker's parsers.
        timers: the worker's wheel, for the time that closing may take.
        lane: the worker's throttle queue, for clients that send too fast.
        backlog: the worker's, for clients that read too slowly.
        listener: receives messages and the end.
    """

    __slots__ = (
        "_backlog",
        "_counted_at",
        "_frames",
        "_left",
        "_message",
        "_missing",
        "_out",
        "_own",
        "_paused",
        "_reader",
        "_received",
        "_sock",
        "_text",
        "_throttle_queue",
        "_timers",
        "_writer",
        "abusive",
        "listener",
        "state",
        "taken",
        "timer_slot",
    )  # fmt: skip

    def __init__(
        self,
        sock: NativeSocket,
        frames: FrameReader,
        timers: TimerWheel,
        throttle_queue: ThrottleQueue,
        backlog: Backlog,
        listener: Listener,
    ) -> None:
        self._sock = sock
        self._frames = frames
        frames.connections += 1
        self._timers = timers
        self._throttle_queue = throttle_queue
        self._backlog = backlog
        self.listener = listener
        self.state = _OPEN
        #: ended because the client broke WebSocket's protocol, or sent too much
        self.abusive = False
        #: bytes of the queue that the socket has accepted
        self.taken = 0
        self.timer_slot = -1
        self._reader = get_hub().loop.io(sock.fileno(), _READ)
        self._writer: Any = None
        self._own: Protocol | None = None  # this connection's own parser
        self._out: Outgoing | None = None  # frames that the socket has not accepted yet
        self._message: bytearray | None = None  # the fragments of an unfinished message
        self._text = False  # whether that message is text
        self._paused = False
        self._left = frames.burst  # frames that the client may send at once
        self._counted_at = time.monotonic()
        self._missing = 0  # bytes of a long frame that have not arrived yet
        self._received = b""  # bytes from before start() that are not parsed yet

    # For the owner

    def start(self, received: bytes = b"") -> None:
        """Begin to read; `received` arrived after the handshake in the same segment."""
        if received:  # from one client in a million: a client can't know yet that it may send
            self._received = received
            self._throttle_queue.add(self)
        elif not self._paused:
            self._reader.start(self._readable)

    def send(self, frame: bytes) -> None:
        """Send a frame, now or once the client reads it. Never blocks and never raises.

        If it fails, or if too much waits (backlog.py), the connection ends; the listener is called from the event loop,
        never from within this call.
        """
        if self.state is not _OPEN:
            return
        if self._out is None:
            try:
                sent = self._sock.send(frame)
            except BlockingIOError:
                sent = 0
            except OSError:
                self._break()
                return
            if sent == len(frame):
                return
            self._out = Outgoing()
            self._out.add(frame, sent)
            self._writer = get_hub().loop.io(self._sock.fileno(), _WRITE)
            self._writer.start(self._writable)
        else:
            self._out.add(frame)
        if self._out.size > MAX_QUEUED:
            self._backlog.look_at(self)

    def send_early(self, frame: bytes) -> None:
        """Do the same as :meth:`send`, but in front of waiting frames: a ping that waits for long arrives too late."""
        if self._out is None or self.state is not _OPEN:
            self.send(frame)
        else:
            self._out.add_early(frame)

    def send_binary(self, data: bytes) -> None:
        """Send a binary message, like :meth:`send`."""
        self.send(Frame(_BINARY, data).serialize(mask=False))

    @property
    def queued(self) -> int:
        """Return how many bytes the socket has not accepted yet."""
        return 0 if self._out is None else self._out.size

    def cut_off(self) -> None:
        """Abort because the client reads too slowly."""
        log.info("a client that does not read was disconnected", extra=about(self.listener))
        self._break()

    @property
    def is_open(self) -> bool:
        """Return whether neither side has begun to close."""
        return self.state is _OPEN

    def close(self, code: CloseCode = CloseCode.NORMAL_CLOSURE) -> None:
        """Send what is queued, then the close frame; abort once the client has closed too, or after `LINGER`."""
        self.send(Frame(Opcode.CLOSE, Close(code, "").serialize()).serialize(mask=False))
        self._linger()

    def abort(self) -> None:
        """Close the socket at once."""
        if self.state is _CLOSED:
            return
        self.state = _CLOSED
        self._frames.connections -= 1
        self._timers.remove(self)
        self._throttle_queue.remove(self)
        self._backlog.forget(self)
        self._reader.stop()
        self._reader.close()
        if self._writer is not None:
            self._writer.stop()
            self._writer.close()
        self._forget()
        self._out = None
        self._sock.close()

    def pause(self) -> None:
        """Stop reading, since the connection is about to end: the client's bytes wait in the kernel."""
        self._paused = True
        if self.state is _OPEN:
            self._reader.stop()

    def on_timer(self) -> None:
        """Abort because the client took too long to close, or to finish an upgrade."""
        if self.state is _OPEN:
            self.close()
            self.listener.websocket_closed(self, Reason.ERROR)
        else:
            self.abort()

    # Incoming bytes

    def _readable(self) -> None:
        if self._left >= self._frames.throttle_below or not self._is_throttled():
            self._read()
        else:
            self._reader.stop()
            self._throttle_queue.add(self)

    def _is_throttled(self) -> bool:
        self._count_time()
        return self._left < self._frames.throttle_below

    def on_slot(self) -> None:
        """Continue: the throttle queue has reached this connection."""
        if self.state is not _OPEN or self._paused:
            return
        self._read()
        if self.state is _OPEN and not self._paused:
            if self._received:
                self._throttle_queue.add(self)
            elif self not in self._throttle_queue:
                self._reader.start(self._readable)

    def _read(self) -> None:
        size = min(self._missing, LONG_RECV_SIZE) or RECV_SIZE
        try:
            if self._received:
                data, self._received = self._received[:size], self._received[size:]
            else:
                data = self._sock.recv(size)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._end(Reason.ERROR)
            return
        if not data:
            self._end(Reason.CLOSED)
            return
        if self._missing:
            self._missing -= len(data)
        elif len(data) == RECV_SIZE:
            # There may be more. The rest of a long frame is read as soon as it arrives; many small frames are read from
            # the throttle queue, if there are limits, ahead of connections that are known to send too much.
            self._missing = missing(data) if self._own is None else 0
            if self._missing:
                data += self._read_on()
            elif self._frames.rate:
                self._reader.stop()
                self._throttle_queue.add(self, first=self._left >= self._frames.throttle_below)
        self._receive(data)

    def _read_on(self) -> bytes:
        """Return the part of a long frame's rest that has arrived: most frames are complete then."""
        if self._received:
            return b""
        try:
            data = self._sock.recv(min(self._missing, LONG_RECV_SIZE))
        except OSError:  # no bytes yet; or the end, which the next read finds as well
            return b""
        self._missing -= len(data)
        return data

    def _receive(self, data: bytes) -> None:
        if self._own is None and (message := whole_message(data)) is not None:
            self._left -= 1
            if self._left >= 0 or self._may_go_on():
                self.listener.websocket_message(self, message)
            return
        frames = self._frames
        parser = self._own or frames.shared
        parser.receive_data(data)
        events = cast("list[Frame]", parser.events_received())
        replies = parser.data_to_send()
        if FrameReader.remembers_nothing(parser):
            if self._own is not None:
                free_parser(parser)
                self._own = None
        elif self._own is None:
            self._own = parser
            frames.taken()
        self._left -= (
            len(events) or len(data) / LONG_RECV_SIZE
        )  # a piece of a large frame costs as much as a small frame
        if self._left < 0 and not self._may_go_on():
            return
        if not replies:
            self._deliver(events)
        elif replies[-1]:
            self.send(b"".join(replies))  # pongs: as soon as possible
            self._deliver(events)
        else:
            self._deliver(events)
            if self.state is _OPEN:
                self.send(b"".join(replies))
                self.abusive = parser.parser_exc is not None
                self._linger()
                self.listener.websocket_closed(self, Reason.ERROR if self.abusive else Reason.CLOSE_FRAME)

    def _count_time(self) -> None:
        """Allow the client more frames for the time that has passed."""
        now = time.monotonic()
        self._left = min(self._frames.burst, self._left + (now - self._counted_at) * self._frames.rate)
        self._counted_at = now

    def _may_go_on(self) -> bool:
        """Disconnect a client that exceeded its burst of frames; return whether it may go on."""
        self._count_time()
        if self._left < 0:
            self.abusive = True
            self.close(CloseCode.POLICY_VIOLATION)
            self.listener.websocket_closed(self, Reason.ERROR)
        return self._left >= 0

    def _deliver(self, events: list[Frame]) -> None:
        """Pass the messages among the frames on, as long as the listener accepts them."""
        for frame in events:
            if self.state is not _OPEN or self._paused:
                return
            opcode = frame.opcode
            payload: Any = frame.data
            if opcode is _TEXT or opcode is _BINARY:
                if not frame.fin:
                    self._message = bytearray(payload)
                    self._text = opcode is _TEXT
                    continue
                text = opcode is _TEXT
            elif opcode is _CONT and self._message is not None:
                self._message += payload
                if not frame.fin:
                    continue
                payload, self._message = self._message, None
                text = self._text
            else:
                continue
            try:
                data = payload.decode() if text else bytes(payload)
            except UnicodeDecodeError:
                self.close(CloseCode.INVALID_DATA)
                self.listener.websocket_closed(self, Reason.ERROR)
                return
            self.listener.websocket_message(self, data)

    # Outgoing bytes

    def _writable(self) -> None:
        assert self._out is not None
        try:
            self.taken += self._out.send(self._sock)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._end(Reason.ERROR)
            return
        if not self._out.size:
            self._out = None
            self._writer.stop()
            self._writer.close()
            self._writer = None
            if self.state is _CLOSING:
                self._shut()

    # The end

    def _forget(self) -> None:
        """Drop everything received."""
        if self._own is not None:
            free_parser(self._own)
        self._own = self._message = None

    def _linger(self) -> None:
        """Finish writing, then wait for the client's end of stream, at most `LINGER` seconds."""
        if self.state is not _OPEN:
            return
        self.state = _CLOSING
        self._forget()
        self._timers.add(self, LINGER)
        if self.abusive:
            self._reader.stop()  # further bytes may wait in the kernel until LINGER is over
        else:
            self._left = MAX_DROPPED
            self._reader.start(self._drop)
        if self._out is None:
            self._shut()

    def _drop(self) -> None:
        """Read and drop the bytes of a client after our close frame, until it closes.

        Bytes left in the kernel would turn our close into a reset, and the client would lose our last frames.
        """
        try:
            dropped = len(self._sock.recv(DROP_SIZE))
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            dropped = 0
        self._left -= dropped
        if not dropped or self._left < 0:
            self.abort()

    def _shut(self) -> None:
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            self.abort()

    def _break(self) -> None:
        """End a connection from within send(): its caller may be in the middle of a task, so notify it later."""
        self.state = _CLOSING
        self._reader.stop()
        self._out = None
        if self._writer is not None:
            self._writer.stop()
        get_hub().loop.run_callback(self._broken)

    def _broken(self) -> None:
        if self.state is _CLOSING:
            self.abort()
            self.listener.websocket_closed(self, Reason.ERROR)

    def _end(self, reason: Reason) -> None:
        """End the connection: the client is gone."""
        was_open = self.state is _OPEN
        self.abort()
        if was_open:
            self.listener.websocket_closed(self, reason)
