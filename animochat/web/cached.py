"""Constant answers: make their bytes, plain and compressed, and their headers once."""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
import re
from collections.abc import Mapping
from pathlib import Path

from flask import Response, request

#: Media types that are worth compressing.
TEXTS = {
    "application/json", "application/manifest+json", "image/svg+xml", "text/css", "text/html", "text/javascript",
    "text/plain",
}  # fmt: skip

#: A file is no document: opened as one, it may do nothing. (There are many files, so a short policy saves bytes.)
FILE_HEADERS = {"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'"}

# Werkzeug's reader costs a millisecond for the kilobyte that the field may have.
_GZIP = re.compile(r"(?:^|,)[ \t]*(?:(x-)?gzip|\*)[ \t]*(?:;[ \t]*q=([0-9.]{1,5})[ \t]*)?(?=,|$)", re.IGNORECASE)


def takes_gzip(accept_encoding: str) -> bool:
    """Return whether a client with that Accept-Encoding reads gzip."""
    named = {match[0].strip(", \t").lower()[0]: match[2] for match in _GZIP.finditer(accept_encoding)}
    quality = named.get("g", named.get("x", named.get("*", "0")))
    return quality is None or quality.strip("0.") != ""


class CachedAnswer:
    """A body that is served many times, at the cost of a few headers each.

    Its ETag is weak, as it stands for the body in both codings.
    """

    __slots__ = ("_body", "_content_type", "_etag", "_gzipped", "_headers")

    def __init__(self, body: bytes, content_type: str, headers: Mapping[str, str] | None = None) -> None:
        self._body = body
        self._content_type = content_type
        self._etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        self._gzipped = b""
        compressible = content_type.partition(";")[0] in TEXTS
        if compressible:
            self._gzipped = gzip.compress(body, 9, mtime=0)
        vary = ", ".join(filter(None, ((headers or {}).get("Vary"), "Accept-Encoding" if compressible else None)))
        self._headers = {**(headers or {}), "ETag": f"W/{self._etag}", **({"Vary": vary} if vary else {})}

    def response(self, status: int = 200, cache_control: str = "no-cache") -> Response:
        """Answer the present request, with 304 where the client has it already."""
        headers = {**self._headers, "Cache-Control": cache_control}
        if status == 200 and self._is_known():
            return Response(None, 304, headers, content_type=self._content_type)
        body = self._body
        if self._gzipped and takes_gzip(request.headers.get("Accept-Encoding", "")):
            body, headers["Content-Encoding"] = self._gzipped, "gzip"
        return Response(body, status, headers, content_type=self._content_type)

    def _is_known(self) -> bool:
        known = request.headers.get("If-None-Match", "")
        return self._etag in known or known.strip() == "*"


def file_answer(path: Path) -> CachedAnswer:
    """Read a file that belongs to a page."""
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    charset = "; charset=utf-8" if kind.startswith("text/") else ""
    return CachedAnswer(path.read_bytes(), kind + charset, FILE_HEADERS)
