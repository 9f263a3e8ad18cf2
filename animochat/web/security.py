"""The headers that limit in browsers the rights of our pages, and the rights of other pages over them."""

from __future__ import annotations

import re

from flask import Flask, Response, current_app, request

from animochat.web.cors import seen_scheme

# Own files only, nothing inline. The page posts no form and opens no frame. Pages of EMBED_ORIGINS may show the chat in
# a frame; nothing else stands in one.
_CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src {connect};"
    " manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors {ancestors}"
)

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",  # for browsers that don't know frame-ancestors
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}

# The characters of a Host header that are safe inside the policy: no space, comma or semicolon.
_HOST = re.compile(r"[A-Za-z0-9._\-]+(:[0-9]+)?|\[[0-9A-Fa-f:.]+\](:[0-9]+)?", re.ASCII)

# Browsers that were here once with TLS use only TLS for a year, so no one in between can remove it.
_HSTS = "max-age=31536000"


def register(app: Flask) -> None:
    """Add the headers to every answer of `app`, errors and JSON included."""
    app.after_request(_add_headers)


def _add_headers(response: Response) -> Response:
    settings = current_app.extensions["animochat"].settings
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    ancestors = "'none'"
    if settings.embed_origins and request.endpoint == "page.index":
        ancestors = " ".join(("'self'", *settings.embed_origins))
        del response.headers["X-Frame-Options"]  # which knows no list
    if seen_scheme(request.environ, settings.trusted_proxies) == "https":
        response.headers.setdefault("Strict-Transport-Security", _HSTS)
    if "animochat.request" in request.environ:  # the field of this request's log lines
        response.headers["X-Request-Id"] = request.environ["animochat.request"]
    policy = _CONTENT_SECURITY_POLICY.format(connect=_connect_sources(request.host), ancestors=ancestors)
    response.headers.setdefault("Content-Security-Policy", policy)
    # Answers that are not marked as cacheable hold only for this moment.
    response.headers.setdefault("Cache-Control", "no-store")
    return response


def _connect_sources(host: str) -> str:
    """'self' covers WebSockets to the same host in today's browsers; Safari before 15.4 wants them named."""
    if _HOST.fullmatch(host):
        return f"'self' ws://{host} wss://{host}"
    return "'self'"
