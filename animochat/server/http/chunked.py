"""Read a chunked body (RFC 9112 section 7.1), strictly and within bounds.

pywsgi's own reader takes a byte at a time and limits neither extensions nor trailers: a few megabytes of these would
block everyone for seconds.
"""

from __future__ import annotations

import re

from animochat.server.http.reader import BadBody, RequestReader

#: Chunks of one body; a client with more than this sends tiny ones.
MAX_CHUNKS = 1_000

#: Bytes of a chunk size with its extensions, or of a trailer field, including the end of the line.
MAX_LINE = 256

#: Trailer fields of one body. They are dropped.
MAX_TRAILERS = 20

_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\r]*)?")


class MalformedChunks(BadBody):
    """A chunked body is malformed, too large, or incomplete."""


def read_chunked(reader: RequestReader, most: int) -> bytes:
    """Read a whole body of at most `most` bytes, and the trailers.

    Raises:
        MalformedChunks: nothing more can be read from the connection.
    """
    body = bytearray()
    for _ in range(MAX_CHUNKS):
        size = _SIZE.fullmatch(_line(reader))
        if size is None:
            raise MalformedChunks("malformed size")
        length = int(size[1], 16)
        if not length:
            _drop_trailers(reader)
            return bytes(body)
        if len(body) + length > most:
            raise MalformedChunks("too large")
        piece = reader.read(length)
        if len(piece) < length or _line(reader):
            raise MalformedChunks("a chunk is not as long as it says")
        body += piece
    raise MalformedChunks("too many chunks")


def _line(reader: RequestReader) -> bytes:
    line = reader.readline(MAX_LINE)
    if not line.endswith(b"\r\n"):
        raise MalformedChunks("a line without an end")
    return line[:-2]


def _drop_trailers(reader: RequestReader) -> None:
    for _ in range(MAX_TRAILERS + 1):
        if not _line(reader):
            return
    raise MalformedChunks("too many trailers")
