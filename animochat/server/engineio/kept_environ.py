"""The part of a handshake's WSGI environ that handlers of later events may look at, kept in little memory.

`flask.request` in an event handler is the handshake's: its query, headers and cookies. A whole environ takes 4 kB. Here
names and usual values are shared between connections, which leaves some hundred bytes for one of a browser's.
"""

from __future__ import annotations

import io
import sys
from typing import Any

#: Names and values: what `keep` returns.
Kept = tuple[tuple[str, ...], tuple[str, ...]]

_NAMES = frozenset(
    (
        "PATH_INFO", "QUERY_STRING", "REMOTE_ADDR", "REQUEST_METHOD", "SCRIPT_NAME", "SERVER_NAME", "SERVER_PORT",
        "SERVER_PROTOCOL", "wsgi.url_scheme",
    )
)  # fmt: skip

#: Header fields that say nothing about the client.
_TRANSPORT = ("HTTP_SEC_WEBSOCKET_", "HTTP_UPGRADE", "HTTP_CONNECTION", "HTTP_TRANSFER_ENCODING")

#: Values and tuples of names that are shared. Clients choose values: beyond that many, sharing starts again.
_MAX_SHARED = 10_000
_shared: dict[Any, Any] = {}

#: Of a connection that was there before anything was kept.
NOTHING: Kept = (), ()
_DEFAULTS = {
    "PATH_INFO": "/socket.io/",
    "QUERY_STRING": "",
    "REQUEST_METHOD": "GET",
    "SCRIPT_NAME": "",
    "SERVER_NAME": "localhost",
    "SERVER_PORT": "80",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "wsgi.url_scheme": "http",
}


def _share(value: Any) -> Any:
    if len(_shared) >= _MAX_SHARED:
        _shared.clear()
    return _shared.setdefault(value, value)


def keep(environ: dict[str, Any], remote_addr: str) -> Kept:
    """Return what of an environ is worth keeping. `remote_addr`: the client's address, behind any trusted proxies."""
    kept = {
        name: value
        for name, value in environ.items()
        if name in _NAMES or (name.startswith("HTTP_") and not name.startswith(_TRANSPORT))
    }
    kept["REMOTE_ADDR"] = remote_addr
    return _share(tuple(kept)), tuple(map(_share, kept.values()))


def rebuild(kept: Kept) -> dict[str, Any]:
    """Return a WSGI environ without a body."""
    return {
        **_DEFAULTS,
        **dict(zip(*kept, strict=True)),
        "wsgi.version": (1, 0),
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
