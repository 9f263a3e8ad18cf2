"""One Engine.IO session, on either transport, without a greenlet, a queue object or a request's environ of its own."""

from __future__ import annotations

import logging
import random
from typing import TYPE_CHECKING, Any

import gevent
from engineio.exceptions import ContentTooLongError, EngineIOError
from gevent import get_hub
from gevent.event import Event
from websockets.frames import CloseCode

from animochat.logs import about
from animochat.server import packets
from animochat.server.frames import websocket_frame
from animochat.server.polling import Polling
from animochat.server.websocket import MAX_QUEUED, Reason, WebSocket
from animochat.turns import Turn

if TYPE_CHECKING:
    from animochat.server.engine import EngineServer

log = logging.getLogger(__name__)

#: Seconds from a WebSocket's handshake to its UPGRADE packet, after which the attempt is given up.
UPGRADE_TIMEOUT = 10.0

#: Seconds in which a polling request's body must be here.
BODY_TIMEOUT = 20.0

#: Seconds that the last packets of a closed polling session wait for being fetched.
DRAIN_TIMEOUT = 10.0

_PING_FRAME = websocket_frame(packets.PING)
_CLOSE_FRAME = websocket_frame(packets.CLOSE)
_ERROR = Reason.ERROR.value
_PROBE_ANSWER = websocket_frame(packets.PONG + "probe")


class EngineSocket:
    """One session. The server makes it, the layer above gets it in ``on_open`` and may keep it.

    Nothing here blocks or raises, but the two ``handle_…_request`` methods, which python-engineio's request handling
    calls in the greenlet of the HTTP request.
    """

    __slots__ = ("_awaiting_pong", "_paused", "_polling", "_probed", "_upgrade", "_websocket", "closed", "connected",
                 "owner", "remote_addr", "server", "sid", "timer_slot", "upgraded")  # fmt: skip

    def __init__(self, server: EngineServer, sid: str, remote_addr: str) -> None:
        self.server = server
        #: session id, beginning with the worker's
        self.sid = sid
        #: the client's address, behind any trusted proxies
        self.remote_addr = remote_addr
        #: ready for requests and packets
        self.connected = False
        #: on WebSocket, from the beginning or by an upgrade
        self.upgraded = False
        self.closed = False
        #: for the layer above: its own state
        self.owner: object | None = None
        self.timer_slot = -1
        self._awaiting_pong = False
        self._paused = False
        self._websocket: WebSocket | None = None
        self._upgrade: WebSocket | None = None  # one that is not the transport yet
        self._probed = False  # whether it has had the answer to its probe
        self._polling: Polling | None = None

    # For the layer above.

    def send(self, packet: str) -> None:
        """Send a Socket.IO packet, as an Engine.IO message. After the end it is dropped."""
        self.send_engine(packets.MESSAGE + packet)

    def send_frame(self, frame: bytes, packet: str) -> None:
        """Send a packet that goes to many: `frame` is ``websocket_frame("4" + packet)``, made once for all of them."""
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
            # While an upgrade is under way they wait here too, and go out on whichever transport it ends with.
            self._polling.put(packet)
            if self._polling.size > MAX_QUEUED:
                get_hub().loop.run_callback(self._end, Reason.ERROR.value)

    def close(self, reason: str = "server disconnect") -> None:
        """End the session after what has been sent. ``on_close`` is called from within, once."""
        if self.closed:
            return
        if self._websocket is not None:
            self._websocket.send(_CLOSE_FRAME)
            self._websocket.close()
        elif self._polling is not None:
            self._polling.put(packets.CLOSE)
        self._end(reason)

    def hang_up(self) -> None:
        """End the session as a lost connection would, upon which every stock client connects again.

        An Engine.IO CLOSE says that the server wants to be rid of the client: python-socketio's stays away then.
        """
        if self.closed:
            return
        if self._websocket is not None:
            self._websocket.close(CloseCode.GOING_AWAY)
        elif self._polling is not None:
            self._polling.put(packets.NOOP)  # the next request finds no session
        self._end("server shutdown")

    def abort(self, reason: str = "server disconnect") -> None:
        """End the session at once; what the client has not been sent yet is lost."""
        if self._polling is not None and not self.closed:
            self._polling.queue.clear()
            self._polling.put(packets.CLOSE)
        self._end(reason)

    def charge(self) -> None:
        """What was sent on this session is abuse: its address may connect less often for a while."""
        if self._websocket is not None:
            self._websocket.abusive = True
        self.server.limits.charge(self.remote_addr)

    def pause(self) -> None:
        """Take no more messages from the client until :meth:`resume`; they wait in the kernel, then at the client."""
        self._paused = True
        if self._websocket is not None:
            self._websocket.pause()

    def resume(self) -> None:
        """Take messages again, in the order in which they were sent."""
        self._paused = False
        if self._awaiting_pong and not self.closed:
            self.server.timers.add(self, self.server.ping_timeout)  # it may be there already, unread
        if self._websocket is not None:
            self._websocket.resume()
        elif self._polling is not None and self._polling.resumed is not None:
            self._polling.resumed.set()

    # For the server.

    @property
    def has_queued(self) -> bool:
        """Whether packets wait for a poll."""
        return self._polling is not None and bool(self._polling.queue)

    @property
    def queued(self) -> int:
        """Bytes that wait for the client to read."""
        websocket, polling = self._websocket, self._polling
        return websocket.queued if websocket is not None else polling.size if polling is not None else 0

    def open_polling(self) -> None:
        """Start on long polling."""
        self._polling = Polling()
        self.connected = True
        self._schedule_first_ping()

    def open_websocket(self, websocket: WebSocket) -> None:
        """Start on WebSocket. The server starts the WebSocket's reading later, when the layer above is ready."""
        self._websocket = websocket
        self.connected = self.upgraded = True
        self._schedule_first_ping()

    def _schedule_first_ping(self) -> None:
        # Who connected together (after a restart, everybody) would otherwise be pinged together ever after.
        self.server.timers.add(self, self.server.ping_interval * random.uniform(0.5, 1.0))

    def on_timer(self) -> None:
        """Time for a ping, or its answer did not come."""
        if self.closed:  # a polling session whose last packets nobody fetched
            self.server.draining.pop(self.sid, None)
        elif self._paused:
            self.server.timers.add(self, self.server.ping_timeout)  # its pong may be among what we don't read
        elif self._awaiting_pong:
            self.close("ping timeout")
        else:
            self._awaiting_pong = True
            self.server.timers.add(self, self.server.ping_timeout)
            if self._websocket is not None:
                self._websocket.send(_PING_FRAME)
            else:
                self.send_engine(packets.PING)

    def _end(self, reason: str) -> None:
        if self.closed:
            return
        self.closed = True
        self.connected = False
        self.server.timers.remove(self)
        self.server.session_ended(self)
        websocket, upgrade, polling = self._websocket, self._upgrade, self._polling
        self._websocket = self._upgrade = None
        self._probed = False
        if websocket is not None and websocket.is_open:
            websocket.abort()
        if upgrade is not None:
            upgrade.abort()
        if polling is not None:
            if polling.resumed is not None:
                polling.resumed.set()
            if polling.waiter is not None:
                polling.waiter.set()
            if polling.queue:
                self.server.draining[self.sid] = self
                self.server.timers.add(self, DRAIN_TIMEOUT)
        self.server.call(self.server.on_close, self, reason)

    def _receive(self, packet: str | bytes) -> bool:
        """Take one packet from the client. False: it is one that no client sends."""
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
            if self._polling is not None:
                self._polling.put(packets.NOOP)  # a body for a GET that may still be waiting
            self._end("client disconnect")
        else:
            return kind in (packets.NOOP, packets.UPGRADE)
        return True

    # WebSocket.

    def websocket_message(self, websocket: WebSocket, data: str | bytes) -> None:
        """A message came in, on the transport or on one that is about to become it."""
        if websocket is self._websocket:
            if not self._receive(data):
                self._end(_ERROR)
        elif websocket is not self._upgrade:
            websocket.abort()
        elif not self._probed and data == packets.PING + "probe":
            self._probed = True
            websocket.send(_PROBE_ANSWER)
            polling = self._polling
            if polling is not None and polling.waiter is not None:
                polling.waiter.set()  # the client finishes its poll before it changes over
        elif self._probed and data == packets.UPGRADE:
            self._changed_over(websocket)
        else:
            self._give_up_upgrade()
            websocket.close()

    def websocket_closed(self, websocket: WebSocket, reason: Reason) -> None:
        """A WebSocket has ended by itself."""
        if websocket.abusive:
            self.charge()
        if websocket is self._websocket:
            self._end(reason.value)
        elif websocket is self._upgrade:
            self._give_up_upgrade()

    def _changed_over(self, websocket: WebSocket) -> None:
        self.server.timers.remove(websocket)
        polling, self._polling = self._polling, None
        self._websocket, self._upgrade = websocket, None
        self.upgraded = True
        if polling is not None:
            for packet in polling.queue:
                self.send_engine(packet)
            if polling.waiter is not None:
                polling.waiter.set()
        if self._paused:
            websocket.pause()

    def _give_up_upgrade(self) -> None:
        """Stay on long polling, with everything that was held back."""
        upgrade, self._upgrade = self._upgrade, None
        self._probed = False
        if upgrade is not None:
            self.server.timers.remove(upgrade)

    # HTTP requests, in their greenlets.

    def handle_get_request(self, environ: dict[str, Any], start_response: Any) -> Any:
        """Answer a poll with a list of packets, or take a WebSocket for an upgrade.

        Raises:
            EngineIOError: a second poll while one is waiting; the session is closed.
        """
        polling = self._polling
        if "websocket" in environ.get("HTTP_UPGRADE", "").lower():
            if self._upgrade is not None or polling is None:
                return self.server.bad_request("Bad request")
            return self._accept_upgrade(environ)
        if polling is None:
            return self.server.bad_request("Bad request")
        if polling.waiter is not None:
            self._end(Reason.ERROR.value)
            raise EngineIOError("a poll while another one waits")
        if self._probed:
            return [packets.NOOP]
        if not polling.queue:
            self._wait_for_packets(polling, environ)
        if self._probed or self._polling is None:
            return [packets.NOOP]  # the packets stay for the new transport
        return polling.take() or [packets.CLOSE if self.closed else packets.NOOP]

    def _wait_for_packets(self, polling: Polling, environ: dict[str, Any]) -> None:
        """Wait until there is something to answer; a ping at the latest, so for no longer than the ping interval."""
        waiter = polling.waiter = Event()
        connection = environ.get("animochat.connection")
        gone = connection.watch_for_end(self._poll_lost) if connection is not None else None
        try:
            waiter.wait()
        finally:
            polling.waiter = None
            if gone is not None:
                gone.stop()
                gone.close()

    def _poll_lost(self) -> None:
        """The connection of the waiting poll was closed: so was, for the client, its session."""
        self._end(Reason.CLOSED.value)

    def _accept_upgrade(self, environ: dict[str, Any]) -> Any:
        connection = self.server.accept_websocket(environ, self)
        if connection is None:
            return self.server.bad_request("Bad request")
        websocket, received = connection
        if self.closed or self._polling is None or self._upgrade is not None:  # meanwhile
            websocket.abort()
            return ()
        self._upgrade = websocket
        self.server.timers.add(websocket, UPGRADE_TIMEOUT)
        websocket.start(received)
        return ()

    def handle_post_request(self, environ: dict[str, Any]) -> None:
        """Take the packets of a polling request.

        Raises:
            EngineIOError: not Engine.IO, too large, or two at a time; the session is closed.
        """
        polling = self._polling
        if polling is None or polling.posting:
            self._end(Reason.ERROR.value)
            raise EngineIOError("a request while another one is under way")
        polling.posting = True
        try:
            received = packets.decode_payload(self._read_body(environ))
            turn = Turn()
            for packet in received:
                if self._paused:
                    polling.resumed = Event()
                    polling.resumed.wait()
                    polling.resumed = None
                if self.closed:
                    return
                if not self._receive(packet):
                    raise packets.MalformedPayload("a packet that no client sends")
                turn.give_way()
        except (packets.MalformedPayload, ContentTooLongError) as error:
            self._end(Reason.ERROR.value)
            raise EngineIOError(str(error)) from error
        except (OSError, gevent.Timeout) as error:
            self._end(Reason.CLOSED.value)
            raise EngineIOError("the request was not finished") from error
        finally:
            polling.posting = False

    def _read_body(self, environ: dict[str, Any]) -> bytes:
        try:
            length = int(environ.get("CONTENT_LENGTH") or 0)
        except ValueError:
            length = 0
        if length > self.server.max_http_buffer_size:
            raise ContentTooLongError
        most = self.server.max_http_buffer_size
        with gevent.Timeout(BODY_TIMEOUT):
            if environ.get("HTTP_TRANSFER_ENCODING", "").lower() != "chunked":
                return bytes(environ["wsgi.input"].read(length))
            body = bytes(environ["wsgi.input"].read(most + 1))
        if len(body) > most:
            raise ContentTooLongError
        return body
