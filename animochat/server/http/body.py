"""A request's body: bounded in time and size, whether the application reads it or not.

pywsgi's own body waits for each read as long as the socket does, and treats a body that broke off as complete: then the
next request would begin in the wrong place.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from gevent.pywsgi import Input

from animochat.server.http.chunked import read_chunked
from animochat.server.http.reader import BadBody, RequestReader

#: Bytes of an unread body that are read and dropped to keep the connection; if more are left, it is closed.
MAX_DISCARDED = 64 * 1024

#: Bytes of a chunked body: a little more than Engine.IO's largest request, so that Engine.IO refuses a larger one.
MAX_CHUNKED = 128 * 1024

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Connection(Protocol):
    """A body's view of its connection (handler.py)."""

    socket: Any
    server: Any
    close_connection: bool
    unread: bool


class RequestBody:
    """WSGI's input stream of one request.

    All reads raise BadBody; after that the connection can't carry another request.
    """

    __slots__ = ("_chunked", "_expects", "_handler", "_left", "_reader", "_whole", "broken")

    def __init__(self, handler: Connection, reader: RequestReader, given: Input) -> None:
        """Wrap `given`, which pywsgi made for the request."""
        self._handler = handler
        self._reader = reader
        self._chunked: bool = given.chunked_input
        self._whole: io.BytesIO | None = None  # a chunked body
        self._left: int = 0 if given.chunked_input else given.content_length or 0
        self._expects = given.socket is not None  # the client waits for "100 Continue"
        self.broken = False

    @property
    def too_much_is_left(self) -> bool:
        """Return whether closing the connection is better than reading on to the next request."""
        if self._chunked:
            return self._whole is None
        return self.broken or self._left > MAX_DISCARDED or (self._expects and self._left > 0)

    def read(self, size: int | None = None) -> bytes:
        """Read `size` bytes, fewer only at the end; all bytes if `size` is None."""
        if self._chunked:
            return self._chunks().read(size)
        return self._waiting(self._read, self._wanted(size))

    def readline(self, size: int | None = None) -> bytes:
        """Read up to and including the next line feed, but no more than `size`."""
        if self._chunked:
            return self._chunks().readline(-1 if size is None else size)
        return self._waiting(self._read_line, self._wanted(size))

    def readlines(self, hint: int | None = None) -> list[bytes]:
        """Read all lines."""
        return list(self)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.readline, b"")

    def discard(self) -> None:
        """Skip to the next request, or leave the connection to be closed."""
        try:
            if not self.too_much_is_left:
                self.read()
        except OSError:  # read() has noted it
            pass
        if self.too_much_is_left:
            self._handler.close_connection = self._handler.unread = True

    _discard = discard  # the name that pywsgi calls

    def _wanted(self, size: int | None) -> int:
        return self._left if size is None or size < 0 else min(size, self._left)

    def _chunks(self) -> io.BytesIO:
        if self._whole is None:
            self._whole = io.BytesIO(self._waiting(self._read_chunks, 1))
        return self._whole

    def _read(self, size: int) -> bytes:
        data = self._reader.read(size)
        if len(data) < size:
            raise BadBody("the body broke off")
        self._left -= size
        return data

    def _read_line(self, size: int) -> bytes:
        line = self._reader.readline(size)
        if len(line) < size and not line.endswith(b"\n"):
            raise BadBody("the body broke off")
        self._left -= len(line)
        return line

    def _read_chunks(self, _size: int) -> bytes:
        return read_chunked(self._reader, MAX_CHUNKED)

    def _waiting(self, read: Callable[[int], bytes], size: int) -> bytes:
        """Call `read` while this connection counts as waiting for a body."""
        if not size:
            return b""
        if self.broken:
            raise BadBody("the body broke off")
        server = self._handler.server
        server.wait_for_body(self._handler)
        try:
            if self._expects:
                self._expects = False
                self._handler.socket.sendall(_CONTINUE)
            return read(size)
        except BadBody:
            self.broken = True
            raise
        except OSError as error:  # the client is gone, or was cut off
            self.broken = True
            raise BadBody("the body broke off") from error
        finally:
            server.bodies.pop(self._handler, None)
