"""`GET /stats`: numbers of the whole system, all workers together (protocol, "HTTP")."""

from __future__ import annotations

from typing import cast

import gevent
from flask import Blueprint, current_app
from flask.typing import ResponseReturnValue

from animochat.protocol.errors import Unavailable
from animochat.web.health import STORE_TIMEOUT

blueprint = Blueprint("stats", __name__)


@blueprint.get("/stats")
def stats() -> ResponseReturnValue:
    """200 with what the protocol lists; 503 as every JSON error while the store can't be used."""
    with gevent.Timeout(STORE_TIMEOUT, Unavailable()):
        return cast("ResponseReturnValue", current_app.extensions["animochat"].stats())
