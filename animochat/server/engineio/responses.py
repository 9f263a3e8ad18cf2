"""The Engine.IO server's HTTP responses: payloads, and refusals with Engine.IO's codes."""

from __future__ import annotations

import enum
import gzip
import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from animochat.server.engineio import packets

#: A shorter body isn't worth compressing; compressing a longer one would delay everyone else.
MIN_COMPRESSED, MAX_COMPRESSED = 1024, 64 * 1024

#: Bytes of a body that a client has to read within the HTTP server's time for one write.
PIECE = 64 * 1024

_COMPRESS: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "deflate": zlib.compress}


class Response(NamedTuple):
    """A response in WSGI's terms."""

    status: str
    headers: list[tuple[str, str]]
    body: bytes = b""
    #: called with a number of bytes that begin to wait for the client or, if negative, no longer wait
    on_progress: Callable[[int], object] | None = None

    def pieces(self) -> Iterator[bytes]:
        """Yield the body in pieces, so that a longer body gets more time."""
        left = len(self.body)
        report = self.on_progress or (lambda _change: None)
        report(left)
        try:
            while left:
                start = len(self.body) - left
                yield self.body[start : start + PIECE]
                taken = min(PIECE, left)
                left -= taken
                report(-taken)
        finally:
            report(-left)  # bytes that will not be read

    def compressed(self, accept_encoding: str) -> Response:
        """Return the response in a form that fits the client's accepted encodings."""
        if MIN_COMPRESSED <= len(self.body) <= MAX_COMPRESSED:
            for entry in accept_encoding.split(","):
                encoding = entry.split(";")[0].strip()
                if encoding in _COMPRESS:
                    headers = [*self.headers, ("Content-Encoding", encoding)]
                    return self._replace(headers=headers, body=_COMPRESS[encoding](self.body))
        return self


class Problem(enum.Enum):
    """The fault of a request: Engine.IO's code and words for it."""

    TRANSPORT = 0, "Transport unknown"
    SESSION = 1, "Session ID unknown"
    METHOD = 2, "Bad handshake method"
    REQUEST = 3, "Bad request"
    ORIGIN = 4, "Forbidden"
    VERSION = 5, "Unsupported protocol version"


class BadRequest(Exception):
    """A request is refused with 400."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.value[1])
        self.problem = problem

    def response(self) -> Response:
        """Return the response to the request."""
        return refusal("400 Bad Request", *self.problem.value)


def refusal(status: str, code: int, message: str, *headers: tuple[str, str]) -> Response:
    """Return a refusal in Engine.IO's form."""
    body = json.dumps({"code": code, "message": message}, separators=(",", ":")).encode()
    return Response(status, [("Content-Type", "application/json"), *headers], body)


def done() -> Response:
    """Return the response to accepted packets."""
    return Response("200 OK", [("Content-Type", "text/html")], b"ok")


def payload(packets_: Sequence[str | bytes], on_progress: Callable[[int], object]) -> Response:
    """Return the response to a poll."""
    headers = [("Content-Type", "text/plain; charset=UTF-8"), ("Cache-Control", "no-store")]
    return Response("200 OK", headers, packets.encode_payload(packets_), on_progress)
