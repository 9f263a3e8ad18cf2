"""Read HTTP requests from a socket within bounds of time and size; pywsgi's ``rfile``.

A request's head is read completely before any code looks at it. So slow and endless heads are bounded in one place, the
parser never waits, and a connection can still be handed to another worker with everything that was read from it.
"""

from __future__ import annotations

import re
import time

from gevent.socket import socket as Socket

#: Bytes of request line and headers together.
MAX_HEAD = 32 * 1024

#: Seconds for a head after its first byte, and for that first byte on a new connection.
HEAD_TIMEOUT = 10.0

#: Seconds between two requests on one connection.
KEEP_ALIVE = 75.0

#: Seconds in which a body must arrive, counted from the first wait for it, whether it is used or dropped.
BODY_TIMEOUT = 20.0

#: Seconds for which one write may block.
IO_TIMEOUT = 30.0

_RECV_SIZE = 16 * 1024
_END_OF_HEAD = re.compile(rb"\n\r?\n")
_FORWARDED_FOR = re.compile(rb"\nx-forwarded-for:([^\r\n]*)", re.IGNORECASE)


class BadHead(ValueError):
    """The head of a request exceeds the bounds; `response` is the answer, empty if none is due."""

    def __init__(self, response: bytes) -> None:
        super().__init__(response)
        self.response = response


class BadBody(OSError):
    """A body broke off, or is malformed: the connection can't be read further. `status` is the answer."""

    status = "400 Bad Request"


class BodyTimeout(BadBody):
    """The rest of a body did not arrive in time."""

    status = "408 Request Timeout"


def plain_response(status: str) -> bytes:
    """Return a whole response without a body, after which the connection is closed."""
    return f"HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".encode()


class RequestReader:
    """A file-like object over a gevent socket, for reading requests.

    Args:
        sock: only read from; the caller keeps and closes it.
        received: bytes that were read from the connection before.
    """

    __slots__ = ("_body_deadline", "_buffer", "_sock", "closed")

    def __init__(self, sock: Socket, received: bytes = b"") -> None:
        self._sock = sock
        self._buffer = bytearray(received)
        self._body_deadline = 0.0  # of the current request, after the first wait for its body
        self.closed = False
        sock.settimeout(IO_TIMEOUT)

    def read_head(self, idle_timeout: float) -> bool:
        """Wait until the whole head of a request is buffered. Return False if the client has closed or was silent.

        Raises:
            BadHead: too slow or too large.
        """
        self._body_deadline = 0.0
        try:
            deadline = time.monotonic() + (HEAD_TIMEOUT if self._buffer else idle_timeout)
            was_silent = not self._buffer
            searched = dropped = 0
            while True:
                # Empty lines in front of a request are allowed (RFC 9112 section 2.2); they count as part of its head.
                while self._buffer.startswith((b"\r\n", b"\n")):
                    length = 2 if self._buffer[0] == 13 else 1
                    del self._buffer[:length]
                    dropped += length
                end = _END_OF_HEAD.search(self._buffer, searched)
                if dropped + (end.end() if end is not None else len(self._buffer)) > MAX_HEAD:
                    raise BadHead(plain_response("431 Request Header Fields Too Large"))
                if end is not None:
                    return True
                searched = max(0, len(self._buffer) - 3)
                if not self._fill(deadline):
                    return False
                if was_silent:
                    was_silent = False
                    deadline = time.monotonic() + HEAD_TIMEOUT
        except TimeoutError:
            raise BadHead(plain_response("408 Request Timeout") if self._buffer else b"") from None
        finally:
            self._sock.settimeout(IO_TIMEOUT)

    def _fill(self, deadline: float) -> bool:
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError("timed out")
        self._sock.settimeout(remaining)
        data = self._sock.recv(_RECV_SIZE)
        self._buffer += data
        return bool(data)

    def request_line(self) -> bytes:
        """Return the first buffered line, without its end; after :meth:`read_head`."""
        return bytes(self._buffer[: self._buffer.find(b"\n")]).rstrip(b"\r")

    def forwarded_for(self) -> str:
        """Return the values of all X-Forwarded-For fields of the buffered head, before it is parsed."""
        end = _END_OF_HEAD.search(self._buffer)
        values = _FORWARDED_FOR.findall(self._buffer, 0, end.end() if end else len(self._buffer))
        return b",".join(values).decode("latin-1")

    @property
    def is_empty(self) -> bool:
        """Return whether nothing is buffered."""
        return not self._buffer

    def take_fields(self) -> list[bytes]:
        """Remove and return the header fields after the request line, each a line without its line feed."""
        if self._buffer.startswith((b"\r\n", b"\n")):
            end = start = 0
        else:
            match = _END_OF_HEAD.search(self._buffer)
            if match is None:
                raise ValueError("the head is not complete")
            start, end = match.span()
        fields = bytes(self._buffer[:start]).split(b"\n") if start else []
        del self._buffer[: end or 1 + (self._buffer[0] == 13)]
        return fields

    def take(self) -> bytes:
        """Remove and return everything that is buffered."""
        taken = bytes(self._buffer)
        self._buffer.clear()
        return taken

    @property
    def buffered(self) -> bytes:
        """Return everything that is buffered."""
        return bytes(self._buffer)

    def _fill_body(self) -> bool:
        """Wait for more of the current request's body. Return False if the client has closed.

        Raises:
            BodyTimeout: it took too long.
        """
        if not self._body_deadline:
            self._body_deadline = time.monotonic() + BODY_TIMEOUT
        try:
            return self._fill(self._body_deadline)
        except TimeoutError:
            raise BodyTimeout("the body took too long") from None
        finally:
            self._sock.settimeout(IO_TIMEOUT)

    # Methods for a body, and those that pywsgi calls. These raise BodyTimeout.

    def readline(self, size: int = -1) -> bytes:
        """Return the bytes up to and including the next line feed; at most `size` if that is positive."""
        searched = 0
        while True:
            end = self._buffer.find(b"\n", searched) + 1
            if not end and 0 <= size <= len(self._buffer):
                end = size
            if end:
                break
            searched = len(self._buffer)
            if not self._fill_body():
                end = len(self._buffer)
                break
        if size >= 0:
            end = min(end, size)
        line = bytes(self._buffer[:end])
        del self._buffer[:end]
        return line

    def read(self, size: int) -> bytes:
        """Return `size` bytes, fewer only at the end of the stream."""
        while len(self._buffer) < size and self._fill_body():
            pass
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    def close(self) -> None:
        """Stop reading. The socket stays open."""
        self.closed = True
