"""HTTP requests on a connection: gevent's pywsgi with bounds, and WebSocket handshakes that take over the socket.

The handshake is answered when the application accepts it (``environ["animochat.connection"].accept_websocket()``), so
that a refusal is an ordinary HTTP response.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import re
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import gevent
from gevent import get_hub
from gevent.pywsgi import WSGIHandler, WSGIServer
from websockets.utils import accept_key

from animochat.server.http.body import RequestBody
from animochat.server.http.headers import FieldTooLong, Headers
from animochat.server.http.reader import HEAD_TIMEOUT, KEEP_ALIVE, BadBody, BadHead, RequestReader, plain_response
from animochat.server.library_internals import NativeSocket, RequestHandlerBase, native_socket
from animochat.server.process.handover import Handover
from animochat.telemetry import logs

#: Bytes and seconds for which a closing connection is still read, so that no reset overtakes the response.
_MAX_DRAIN, _DRAIN_TIMEOUT = 128 * 1024, 1.0


#: Bytes of a request line. Browsers have sent no longer ones for decades; parsing a query costs more than its length.
MAX_REQUEST_LINE = 2 * 1024

#: Connections that wait for a request, or for the rest of its head. Beyond, the one that has waited longest is closed:
#: an honest client does not wait for long, and a client that holds thousands of connections only harms itself.
MAX_IDLE = 4_000

#: The same for connections that wait for the rest of a body; each may have sent 100 kB already.
MAX_BODIES = 1_000

# RFC 9112 section 3.2.2: servers must accept a whole URL as the target, and use its host instead of the Host field's.
_ABSOLUTE_TARGET = re.compile(r"https?://([^/?]*)(.*)", re.IGNORECASE)

# A host in a Host field or a target: no user, no path, and no form that two parsers could read differently.
_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._~%!$&'()*+;=-]*)(?::[0-9]*)?")

# RFC 9110 section 5.6.2
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


class RequestServer(WSGIServer):
    """A pywsgi server whose connections can be handed over, adopted, and ended."""

    #: set at shutdown: every response is the last one on its connection
    stopping = False
    #: connections accepted per turn of the loop, in which existing connections are served, too
    max_accept = 4
    #: called in its greenlet for each new connection, with the peer's address; may wait
    on_connection: Callable[[Any], object] | None = None
    #: called when a request's head is read, with the peer's address, the reader, and whether the request was sent
    #: before the last one was answered; may wait, and returns the response that refuses the request
    on_head: Callable[[Any, RequestReader, bool], bytes | None] | None = None
    #: called after each request
    on_request: Callable[[], object] | None = None
    #: seconds that a connection may wait for its next request
    keep_alive = KEEP_ALIVE
    #: takes over requests for other workers' sessions, if there are other workers
    handover: Handover | None = None

    def __init__(self, *arguments: Any, **options: Any) -> None:
        options.setdefault("handler_class", RequestHandler)
        super().__init__(*arguments, **options)
        #: connections without a current request, in the order in which they began to wait
        self.idle: dict[RequestHandler, None] = {}
        #: connections that wait for the rest of a body, in the order in which they began to wait
        self.bodies: dict[RequestHandler, None] = {}

    def adopt(self, sock: Any, address: Any, received: bytes) -> None:
        """Serve a connection that another worker has accepted; `received` was read from it already."""
        spawn = self.pool.spawn if self.pool is not None else gevent.spawn
        spawn(self._serve_adopted, sock, address, received)

    def _serve_adopted(self, sock: Any, address: Any, received: bytes) -> None:
        RequestHandler(sock, address, self, received).handle()

    @property
    def busy(self) -> bool:
        """Return whether connections are open that use HTTP."""
        return self.pool is not None and len(self.pool) > 0

    def wait_for_request(self, handler: RequestHandler) -> None:
        """Note that a connection waits for a request. If too many do, end the first of them."""
        _hold(self.idle, handler, MAX_IDLE)

    def wait_for_body(self, handler: RequestHandler) -> None:
        """Note that a connection waits for a body. If too many do, end the first of them."""
        _hold(self.bodies, handler, MAX_BODIES)

    def close_idle(self) -> None:
        """Accept no further requests: end idle connections now, and the others after their response."""
        self.stopping = True
        for handler in self.idle:
            handler.hang_up()


def _hold(waiting: dict[RequestHandler, None], handler: RequestHandler, most: int) -> None:
    waiting[handler] = None
    if len(waiting) > most:
        first = next(iter(waiting))
        del waiting[first]
        first.hang_up()


class RequestHandler(RequestHandlerBase):
    """One connection of the HTTP server, as long as it uses HTTP."""

    #: whether the present request is a proper WebSocket handshake
    websocket_requested = False
    #: whether the client may still send bytes that no one reads
    unread = False
    #: the gevent socket; None after the connection was handed over
    socket: Any
    #: WSGI environment of the current request
    environ: Any
    headers: Headers
    path: str
    response_headers: Any
    wsgi_input: Any

    def __init__(self, sock: Any, address: Any, server: Any, received: bytes = b"") -> None:
        super().__init__(sock, address, server, rfile=RequestReader(sock, received))
        self._first = True

    # The connection

    def handle(self) -> None:
        """Answer requests until one side closes, or the connection is handed over."""
        try:
            if self.server.on_connection is not None:
                self.server.on_connection(self.client_address)
            while (result := self.handle_one_request()) is True:
                pass
            if result is not None:
                self.status, response = result
                self.socket.sendall(response)
                self.unread = True
            if self.unread and self.socket is not None:
                self._drain()
        except OSError:
            pass  # the client is gone
        finally:
            if self.socket is not None:
                self.socket.close()
            # All references that might form a circle with this handler.
            self.socket = self.environ = self.wsgi_input = None
            self.rfile.close()

    def handle_one_request(self) -> Any:
        """Wait for a request and answer it; the return value is for pywsgi."""
        self.environ = None
        if self.server.stopping and self.rfile.is_empty:
            return None
        pipelined = not (self._first or self.rfile.is_empty)
        self.server.wait_for_request(self)
        try:
            if not self.rfile.read_head(HEAD_TIMEOUT if self._first else self.server.keep_alive):
                return None
        except BadHead as error:
            if not error.response:
                return None
            self._admit(pipelined)
            return error.response.partition(b"\r\n")[0], error.response
        finally:
            self.server.idle.pop(self, None)
        self._first = False
        refusal = self._admit(pipelined)
        line = self.rfile.request_line()
        if len(line) > MAX_REQUEST_LINE:
            return "414", plain_response("414 URI Too Long")
        handover = self.server.handover
        if handover is not None and handover.pass_on(line, self.socket, self.client_address, self.rfile.buffered):
            return None  # only our copy of the connection gets closed
        if refusal is not None:
            return "429", refusal
        self.time_start = time.time()
        result = super().handle_one_request()
        if self.server.on_request is not None:
            self.server.on_request()
        return result

    def _admit(self, pipelined: bool) -> bytes | None:
        """Count the request, and let it wait if necessary. Return the response that refuses it, or None."""
        admit = self.server.on_head
        return admit(self.client_address, self.rfile, pipelined) if admit is not None else None

    def hang_up(self) -> None:
        """End a connection that waits for a request."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RD)

    def cut_off(self) -> None:
        """End a connection whose client does not read the response."""
        with contextlib.suppress(OSError):
            native_socket(self.socket).shutdown(socket.SHUT_RDWR)  # gevent would raise in the waiting greenlet, too

    def _drain(self) -> None:
        """Read on for a moment after the last response: closing at once could reset the connection and lose it."""
        self.socket.shutdown(socket.SHUT_WR)
        deadline = time.monotonic() + _DRAIN_TIMEOUT
        drained = 0
        while drained < _MAX_DRAIN and (remaining := deadline - time.monotonic()) > 0:
            self.socket.settimeout(remaining)
            data = self.socket.recv(64 * 1024)
            if not data:
                return
            drained += len(data)

    # One request

    def MessageClass(self, rfile: RequestReader, *_: object) -> Headers:
        """Parse the header fields; pywsgi calls this."""
        return Headers(rfile)

    def read_request(self, raw_requestline: str) -> bool:
        """Parse the head of a request.

        Raises:
            ValueError: it is malformed, or its host is ambiguous.
        """
        super().read_request(raw_requestline)
        absolute = _ABSOLUTE_TARGET.fullmatch(self.path)
        if absolute is not None:
            host, path = absolute.groups()
            if not host:
                raise ValueError("a target without a host")
            self.path = path if path.startswith("/") else "/" + path
            self.headers.replace("host", host)
        host = self.headers.get("host")
        if host is None and self.request_version not in ("HTTP/0.9", "HTTP/1.0"):
            raise ValueError("no Host")
        if host is not None and _HOST.fullmatch(host) is None:
            raise ValueError("malformed Host")
        options = self.headers.tokens("connection")
        if "close" in options:
            self.close_connection = True
        elif self.request_version == "HTTP/1.0":
            self.close_connection = "keep-alive" not in options
        return True

    def environ_headers(self) -> Iterator[tuple[str, str]]:
        """Yield the request's header fields with their WSGI names."""
        return self.headers.environ_items()

    def get_environ(self) -> dict[str, Any]:
        """Return the WSGI environment, with this connection in it."""
        environ: dict[str, Any] = super().get_environ()
        environ["animochat.connection"] = self
        environ["animochat.request"] = logs.begin_request()
        # Always: if the client asks for an upgrade, pywsgi lets an application read beyond the body's end.
        self.wsgi_input = environ["wsgi.input"] = RequestBody(self, self.rfile, self.wsgi_input)
        return environ

    def run_application(self) -> None:
        """Call the application, unless the request is an invalid handshake."""
        self.websocket_requested = False
        if self.environ.get("HTTP_UPGRADE", "").lower() == "websocket":
            problem = self._handshake_problem()
            if problem is not None:
                status, headers = problem
                self.start_response(status, [("Content-Length", "0"), *headers])
                self.write(b"")
                return
            self.websocket_requested = True
        WSGIHandler.run_application(self)

    def _handshake_problem(self) -> tuple[str, list[tuple[str, str]]] | None:
        """Return the response to an invalid WebSocket handshake (RFC 6455 section 4.2.1), or None."""
        environ = self.environ
        connection = [token.strip() for token in environ.get("HTTP_CONNECTION", "").lower().split(",")]
        if environ["REQUEST_METHOD"] != "GET" or self.request_version != "HTTP/1.1" or "upgrade" not in connection:
            return "400 Bad Request", []
        if environ.get("HTTP_SEC_WEBSOCKET_VERSION", "").strip() != "13":
            return "426 Upgrade Required", [("Sec-WebSocket-Version", "13")]
        try:
            key = base64.b64decode(environ.get("HTTP_SEC_WEBSOCKET_KEY", "").strip().encode("ascii"), validate=True)
        except (binascii.Error, UnicodeError):
            return "400 Bad Request", []
        if len(key) != 16 or self.content_length or "HTTP_TRANSFER_ENCODING" in environ:
            return "400 Bad Request", []
        offered = self._subprotocols()
        if len(set(offered)) < len(offered) or not all(map(_TOKEN.fullmatch, offered)):
            return "400 Bad Request", []
        return None

    def _subprotocols(self) -> list[str]:
        """Return the subprotocols that the client offers, in its order of preference."""
        offered = self.environ.get("HTTP_SEC_WEBSOCKET_PROTOCOL")
        return [] if offered is None else [protocol.strip(" \t") for protocol in offered.split(",")]

    def accept_websocket(self, first: bytes = b"") -> tuple[NativeSocket, bytes]:
        """Switch protocols and hand over the connection; the HTTP server is done with it.

        Call this only if `websocket_requested`, and before the application starts a response. `first`: frames to send
        in the same segment. Returns the socket, native and non-blocking, and the bytes that the client has sent after
        the handshake. No extension is negotiated.

        Raises:
            OSError: the client is gone.
        """
        key = self.environ["HTTP_SEC_WEBSOCKET_KEY"].strip()
        # We don't use subprotocols, but a browser that offers some fails unless one is chosen. Node's server chooses
        # the first one, too.
        protocol = "".join(f"Sec-WebSocket-Protocol: {name}\r\n" for name in self._subprotocols()[:1])
        response = (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {accept_key(key)}\r\n{protocol}\r\n"
        ).encode()
        self.status, self.code, self.response_headers = b"101 Switching Protocols", 101, []
        self.headers_sent = self.close_connection = True
        self.socket.sendall(response + first)
        received = self.rfile.take()
        family, kind, proto = self.socket.family, self.socket.type, self.socket.proto
        native = NativeSocket(family, kind, proto, fileno=self.socket.detach())
        native.setblocking(False)
        if family != socket.AF_UNIX:
            native.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = None
        return native, received

    def watch_for_end(self, callback: Callable[[], object]) -> Any:
        """Call `callback` from the event loop if the client closes before its request is answered.

        Returns the watcher; the caller stops and closes it.
        """
        native = native_socket(self.socket)
        watcher = get_hub().loop.io(native.fileno(), 1)

        def readable() -> None:
            try:
                more = native.recv(1, socket.MSG_PEEK)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                more = b""
            watcher.stop()
            if not more:  # else it is the next request
                callback()

        watcher.start(readable)
        return watcher

    # The response

    def finalize_headers(self) -> None:
        """Add the header that says so if this is the last response on the connection."""
        super().finalize_headers()
        if self.wsgi_input.too_much_is_left:
            self.close_connection = self.unread = True
        if self.server.stopping:
            self.close_connection = True
        if self.close_connection and not any(name.lower() == b"connection" for name, _ in self.response_headers):
            self.response_headers.append((b"Connection", b"close"))

    def client_error(self, error: Exception) -> tuple[str, bytes]:
        """Return the status and the whole response to a request that can't be parsed."""
        self.close_connection = True
        if isinstance(error, FieldTooLong):
            return "431", plain_response("431 Request Header Fields Too Large")
        return "400", plain_response("400 Bad Request")

    def handle_error(self, t: Any, v: Any, tb: Any) -> None:
        """Answer a failure of the application with 500, or with the fitting status if the body was unreadable."""
        if not isinstance(v, BadBody):
            super().handle_error(t, v, tb)
            return
        self.close_connection = True
        if not self.headers_sent:
            self.start_response(v.status, [("Content-Length", "0")])
            with contextlib.suppress(OSError):  # the client may be gone
                self.write(b"")

    def log_request(self) -> None:
        """Write an access log line, if gunicorn has an access log."""
        if self.environ is not None and getattr(self.server.log, "access_log_enabled", False):
            super().log_request()
