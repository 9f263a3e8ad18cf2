"""Errors as JSON: `{"error": {"code", "message"}}`, the same shape as on the socket. For a browser, 404 is a page."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable

from flask import Flask, jsonify, request
from werkzeug.exceptions import BadRequest, HTTPException, NotFound, RequestTimeout
from werkzeug.wrappers import Response

from animochat.protocol.errors import Unavailable
from animochat.server.http.reader import BadBody, BodyTimeout
from animochat.web.page import not_found_page

log = logging.getLogger(__name__)

# A browser's requests if a proxy does not remove the path below which it serves the page: /chat/, /chat/socket.io/.
_BELOW_A_PATH = re.compile(r"(/[\w.~-]{1,32}){1,4}/")


def register(app: Flask) -> None:
    """Answer every HTTP error (404, 405, 500, …) of `app` with JSON, and 404 to a browser with a page.

    Flask itself has logged a 500 before.
    """
    app.register_error_handler(NotFound, _not_found())
    app.register_error_handler(HTTPException, http_error)
    app.register_error_handler(Unavailable, _unavailable)
    app.register_error_handler(BadBody, lambda _: http_error(BadRequest()))
    app.register_error_handler(BodyTimeout, lambda _: http_error(RequestTimeout()))


def _not_found() -> Callable[[NotFound], Response]:
    """Return the handler of 404. The first one that may be a proxy's mistake is logged, and what to change."""
    logged = False

    def not_found(error: NotFound) -> Response:
        nonlocal logged
        if not logged and _BELOW_A_PATH.fullmatch(request.path):
            logged = True
            log.warning(
                "nothing is at %r: if a proxy serves the page there, it has to take that path away "
                "(nginx: a slash at the end of location and of proxy_pass); said once",
                request.path,
            )
        return not_found_page() or http_error(error)

    return not_found


def http_error(error: HTTPException) -> Response:
    """Return the answer to an HTTP error."""
    # Its own answer is the start, for headers that belong to the status: Allow with 405, Retry-After with 429.
    response = error.get_response()
    assert isinstance(response, Response)
    # "Method Not Allowed" becomes "method-not-allowed", as the socket's codes are written.
    code = re.sub(r"[^a-z0-9]+", "-", error.name.lower()).strip("-")
    body = jsonify(error={"code": code, "message": error.description or error.name})
    response.set_data(body.get_data())
    response.content_type = body.content_type
    return response


def _unavailable(error: Unavailable) -> tuple[Response, int]:
    return jsonify(error=error.payload()), 503
