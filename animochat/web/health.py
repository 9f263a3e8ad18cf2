"""`GET /health` and `GET /health/live`, for load balancers and people on call (protocol, "HTTP")."""

from __future__ import annotations

import gevent
from flask import Blueprint, current_app
from flask.typing import ResponseReturnValue

from animochat.protocol.errors import Unavailable

#: Seconds within which the store has to answer (protocol, "HTTP").
STORE_TIMEOUT = 1.0

blueprint = Blueprint("health", __name__)


@blueprint.get("/health")
def health() -> ResponseReturnValue:
    """200 with what the protocol lists, or 503 while the store can't be used."""
    try:
        with gevent.Timeout(STORE_TIMEOUT, Unavailable()):
            return dict(current_app.extensions["animochat"].health())
    except Unavailable as error:
        return {"status": "unavailable", "redis": "unavailable", "error": error.payload()}, 503


@blueprint.get("/health/live")
def live() -> ResponseReturnValue:
    """200 as long as the process serves: restarting it would not bring a lost store back."""
    return {"status": "ok"}
