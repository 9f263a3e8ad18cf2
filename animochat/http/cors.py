"""Whose pages may talk to this server: one rule for HTTP and for Socket.IO (protocol, "Configuration", CLIENT_URL)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from flask import Flask, Response, request

from animochat.environment import normalized_origin
from animochat.settings import Settings

#: Seconds for which a browser may remember the answer to a preflight request.
PREFLIGHT_MAX_AGE = 600

# Some proxies name a WebSocket's own scheme in X-Forwarded-Proto; the page that opens it has the other one.
_SCHEMES_OF_WEBSOCKETS = {"ws": "http", "wss": "https"}

#: (origin, WSGI environ) -> whether it may. An absent origin means no browser's page, which CORS is not about.
OriginCheck = Callable[["str | None", Mapping[str, Any]], bool]


def origin_check(settings: Settings) -> OriginCheck:
    """The rule for `settings`, in the form that Engine.IO's `cors_allowed_origins` takes as well."""
    any_origin = "*" in settings.client_url
    listed = frozenset(settings.client_url)

    def allowed(origin: str | None, environ: Mapping[str, Any]) -> bool:
        if origin is None or any_origin:
            return True
        normalized = normalized_origin(origin)
        if normalized is None:  # "null" of sandboxed frames and files, and anything odd
            return False
        return normalized in listed or is_own(normalized, environ, settings.trusted_proxies)

    return allowed


def is_own(origin: str, environ: Mapping[str, Any], trusted_proxies: int) -> bool:
    """Whether `origin` is the server's own: its host and port are those that the request was sent to.

    `origin` in the form that browsers send.

    A browser writes Host itself, so that a foreign page can't forge it. An https origin is accepted where we see http,
    since TLS usually ends at a proxy in front; an http origin where we see https is not.
    """
    hosts = [environ.get("HTTP_HOST", "")]
    scheme = environ.get("wsgi.url_scheme", "http")
    if trusted_proxies > 0:
        hosts.append(_forwarded(environ, "HTTP_X_FORWARDED_HOST", trusted_proxies))
        scheme = _forwarded(environ, "HTTP_X_FORWARDED_PROTO", trusted_proxies).lower() or scheme
        scheme = _SCHEMES_OF_WEBSOCKETS.get(scheme, scheme)
    schemes = {"https", scheme}
    return any(origin == normalized_origin(f"{scheme}://{host}") for scheme in schemes for host in hosts if host)


def _forwarded(environ: Mapping[str, Any], name: str, trusted_proxies: int) -> str:
    """The entry of a forwarding header that the outermost trusted proxy wrote; what stands before may be forged."""
    entries = [entry.strip() for entry in environ.get(name, "").split(",")]
    return str(entries[-min(trusted_proxies, len(entries))])


def register(app: Flask) -> None:
    """Adds the headers to every answer of `app`. Other origins get none, and browsers keep the answer from them."""
    allowed = origin_check(app.extensions["animochat"].settings)

    @app.after_request
    def add_headers(response: Response) -> Response:
        if request.path.startswith("/admin"):  # for no other origin, whatever CLIENT_URL says
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
