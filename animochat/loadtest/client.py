"""One Socket.IO client on one WebSocket: Engine.IO packets by hand, frames by the sans-I/O core of `websockets`.

A stock client's threads and objects cost more than the server does for the same connection; here one process drives
thousands. It has only the parts that the load test needs: WebSocket from the start, namespace `/`, text.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import gevent.socket
import gevent.ssl
import msgspec
from websockets.client import ClientProtocol
from websockets.exceptions import InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

#: Timeout in seconds, of connecting and of the wait for the server's answers until the first event, each.
TIMEOUT = 10.0

#: Maximal bytes per read.
PORTION = 65_536


class Refused(Exception):
    """The server refuses the connection: the message is an HTTP status, or the failure on the way."""


class Client:
    """A connection to a lobby (None: to the default one).

    `on_event(name, argument)` is called for each event, in order, in the greenlet of `connect` or `run`.
    """

    def __init__(self, url: str, on_event: Callable[[str, Any], None], lobby: str | None = None) -> None:
        parts = urlsplit(url)
        self._secure = parts.scheme == "https"
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if self._secure else 80)
        scheme = "wss" if self._secure else "ws"
        self._uri = parse_uri(f"{scheme}://{parts.netloc}{parts.path.rstrip('/')}/socket.io/?EIO=4&transport=websocket")
        self._on_event = on_event
        self._auth = "" if lobby is None else msgspec.json.encode({"lobby": lobby}).decode()
        self._accepted = False
        self._refusal = "the connection ended"
        self._answers: dict[int, Callable[[Any], None]] = {}
        self._count = 0
        self._socket: Any = None
        self._protocol: ClientProtocol
        #: Whether it can be used.
        self.open = False

    def connect(self) -> None:
        """Connect; return once the server has accepted. `run` does the rest. Raises Refused."""
        try:
            with gevent.Timeout(TIMEOUT, TimeoutError()):
                self._socket = gevent.socket.create_connection((self._host, self._port))
                self._socket.setsockopt(gevent.socket.IPPROTO_TCP, gevent.socket.TCP_NODELAY, 1)
                if self._secure:
                    context = gevent.ssl.create_default_context()
                    self._socket = context.wrap_socket(self._socket, server_hostname=self._host)
                self._protocol = ClientProtocol(self._uri)
                self._protocol.send_request(self._protocol.connect())
                self._flush()
                while self._protocol.state is State.CONNECTING and self._protocol.handshake_exc is None:
                    self._read()
        except (OSError, TimeoutError) as error:
            self.close()
            raise Refused(type(error).__name__) from None
        failure = self._protocol.handshake_exc
        if failure is not None:
            self.close()
            status = failure.response.status_code if isinstance(failure, InvalidStatus) else type(failure).__name__
            raise Refused(f"HTTP {status}" if isinstance(status, int) else status)
        self.open = True
        self._send(f"40{self._auth}")
        try:
            with gevent.Timeout(TIMEOUT, TimeoutError()):
                self._handle()
                while self.open and not self._accepted:
                    self._read()
                    self._handle()
        except (OSError, TimeoutError) as error:
            self.close()
            raise Refused(type(error).__name__) from None
        if not self._accepted:
            raise Refused(self._refusal)

    def run(self) -> None:
        """Read until the connection ends in any way."""
        try:
            self._handle()
            while self.open:
                self._read()
                self._handle()
        except OSError:
            pass
        finally:
            self.close()

    def _handle(self) -> None:
        """Handle the received frames."""
        for event in self._protocol.events_received():
            if isinstance(event, Frame) and event.opcode is Opcode.TEXT:
                self._packet(bytes(event.data))
        self._flush()  # pongs
        if self._protocol.state is not State.OPEN:
            self.close()

    def emit(self, event: str, *arguments: Any, answered: Callable[[Any], None] | None = None) -> None:
        """Send an event, with a callback if `answered` is given. Does nothing on a closed connection."""
        number = ""
        if answered is not None:
            self._count += 1
            self._answers[self._count] = answered
            number = str(self._count)
        self._send(f"42{number}{msgspec.json.encode([event, *arguments]).decode()}")

    def goodbye(self) -> None:
        """Disconnect with a DISCONNECT packet."""
        self._send("41")
        self.close()

    def close(self) -> None:
        """Drop the connection without a DISCONNECT packet."""
        self.open = False
        if self._socket is not None:
            self._socket.close()

    def _packet(self, packet: bytes) -> None:
        if packet == b"2":
            self._send("3")
        elif packet.startswith(b"42["):
            name, *rest = msgspec.json.decode(packet[2:])
            self._on_event(name, rest[0] if rest else None)
        elif packet.startswith(b"43"):
            bracket = packet.index(b"[")
            answered = self._answers.pop(int(packet[2:bracket]), None)
            if answered is not None:
                answered(msgspec.json.decode(packet[bracket:])[0])
        elif packet.startswith(b"40"):
            self._accepted = True
        elif packet.startswith((b"41", b"44", b"1")):
            if packet.startswith(b"44"):
                self._refusal = str(msgspec.json.decode(packet[2:])["message"])
            self.close()

    def _send(self, packet: str) -> None:
        if self.open:
            self._protocol.send_text(packet.encode())
            try:
                self._flush()
            except OSError:
                self.close()

    def _flush(self) -> None:
        data = b"".join(self._protocol.data_to_send())
        if data:
            self._socket.sendall(data)

    def _read(self) -> None:
        data = self._socket.recv(PORTION)
        if data:
            self._protocol.receive_data(data)
        else:
            self._protocol.receive_eof()
            self.open = False
            if self._protocol.state is State.CONNECTING:
                raise ConnectionResetError
