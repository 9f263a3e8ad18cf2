"""The origins whose pages may use this server: one rule for HTTP and for Socket.IO (CLIENT_URL)."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from flask import Flask, Response, request

from animochat.environment import normalized_origin
from animochat.settings import Settings

log = logging.getLogger(__name__)

#: Refused origins that are logged in an hour, each once: there may be any number of made-up ones.
MAX_LOGGED = 20
_LOGGED_S = 3600

#: Characters of an origin and of a host in a line of the log.
_SHOWN = 100

#: Seconds for which a browser may remember the answer to a preflight request.
PREFLIGHT_MAX_AGE = 600

# Some proxies name a WebSocket's own scheme in X-Forwarded-Proto; the page that opens it has the other one.
_SCHEMES_OF_WEBSOCKETS = {"ws": "http", "wss": "https"}

#: (origin, WSGI environ) -> whether it may. An absent origin means no browser's page, which CORS is not about.
OriginCheck = Callable[["str | None", Mapping[str, Any]], bool]


def origin_check(settings: Settings, clock: Callable[[], float] = time.monotonic) -> OriginCheck:
    """Return the rule for `settings`, in the form that Engine.IO's `cors_allowed_origins` takes as well.

    The rule logs what it refuses. `clock`: seconds, from any moment on.
    """
    any_origin = "*" in settings.client_url
    listed = frozenset(settings.client_url)
    refused = _Refused(settings, clock)

    def allowed(origin: str | None, environ: Mapping[str, Any]) -> bool:
        if origin is None or any_origin:
            return True
        # "": a malformed origin. "null": sandboxed frames and files; anyone can make one, so it has to be listed.
        normalized = origin if origin == "null" else normalized_origin(origin) or ""
        if normalized in listed:
            return True
        if normalized not in ("", "null"):
            # No page can set Sec-Fetch-Site. It helps where a proxy has replaced Host.
            same = environ.get("HTTP_SEC_FETCH_SITE") == "same-origin"
            if same or is_own(normalized, environ, settings.trusted_proxies):
                return True
        refused.log(normalized or origin, environ)
        return False

    return allowed


class _Refused:
    """Log refused origins, each once."""

    def __init__(self, settings: Settings, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._clock = clock
        self._logged: set[str] = set()
        self._since = clock()

    def log(self, origin: str, environ: Mapping[str, Any]) -> None:
        now = self._clock()
        if now - self._since >= _LOGGED_S:
            self._since = now
            self._logged.clear()
        origin = origin[:_SHOWN]
        if origin in self._logged or len(self._logged) >= MAX_LOGGED:
            return
        self._logged.add(origin)
        host = environ.get("HTTP_HOST", "")[:_SHOWN]
        log.warning("refused a page of origin %r: it is neither in CLIENT_URL nor that of host %r%s",
                    origin, host, self._hint(environ))  # fmt: skip
        if len(self._logged) == MAX_LOGGED:
            log.warning("refused %d origins: further ones are not logged for up to an hour", MAX_LOGGED)

    def _hint(self, environ: Mapping[str, Any]) -> str:
        """Return what to change if this is the server's own page, behind a proxy."""
        forwarded = environ.get("HTTP_X_FORWARDED_HOST")
        if forwarded and not self._settings.trusted_proxies:
            return "; if it is the server's own page, set TRUSTED_PROXIES, so that X-Forwarded-Host counts"
        if forwarded:
            return ""
        return (
            "; if it is the server's own page, the proxy in front has to pass the header Host on, or X-Forwarded-Host"
        )


def is_own(origin: str, environ: Mapping[str, Any], trusted_proxies: int) -> bool:
    """Return whether `origin` is the server's own: its host and port are those that the request was sent to.

    `origin` in the form that browsers send.

    A browser writes Host itself, so that a foreign page can't forge it. An https origin is accepted where we see http,
    since TLS usually ends at a proxy in front; an http origin where we see https is not.
    """
    hosts = [environ.get("HTTP_HOST", "")]
    if trusted_proxies > 0:
        hosts.append(_forwarded(environ, "HTTP_X_FORWARDED_HOST", trusted_proxies))
    schemes = {"https", seen_scheme(environ, trusted_proxies)}
    return any(origin == normalized_origin(f"{scheme}://{host}") for scheme in schemes for host in hosts if host)


def seen_scheme(environ: Mapping[str, Any], trusted_proxies: int) -> str:
    """Return the scheme that the client's request had, "http" or "https", as far as trusted proxies tell."""
    scheme = str(environ.get("wsgi.url_scheme", "http"))
    if trusted_proxies > 0:
        scheme = _forwarded(environ, "HTTP_X_FORWARDED_PROTO", trusted_proxies).lower() or scheme
    return _SCHEMES_OF_WEBSOCKETS.get(scheme, scheme)


def _forwarded(environ: Mapping[str, Any], name: str, trusted_proxies: int) -> str:
    """Return the entry of a forwarding header by the outermost trusted proxy; entries before it may be forged."""
    entries = [entry.strip() for entry in environ.get(name, "").split(",")]
    return str(entries[-min(trusted_proxies, len(entries))])


def register(app: Flask) -> None:
    """Add the headers to every answer of `app`. Other origins get none, so browsers hide the answer from them."""
    allowed = origin_check(app.extensions["animochat"].settings)

    @app.after_request
    def add_headers(response: Response) -> Response:
        # /admin is for no other origin, whatever CLIENT_URL says, and /widget.js for those of EMBED_ORIGINS.
        if request.path.startswith("/admin") or request.endpoint == "page.widget":
            return response
        # One answer differs from origin to origin, so caches must not mix them up.
        response.vary.add("Origin")
        origin = request.headers.get("Origin")
        if origin is None or not allowed(origin, request.environ):
            return response
        response.headers["Access-Control-Allow-Origin"] = origin
        # The only cookie is the operator's, for /admin alone; clients that ask for credentials anyway would be refused
        # without it.
        response.headers["Access-Control-Allow-Credentials"] = "true"
        if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
            response.headers["Access-Control-Allow-Methods"] = "GET, HEAD, OPTIONS"
            response.headers["Access-Control-Allow-Headers"] = "Content-Type"
            response.headers["Access-Control-Max-Age"] = str(PREFLIGHT_MAX_AGE)
        return response
