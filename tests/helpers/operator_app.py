"""A Flask application with only the operator's pages and API, for tests that need no worker."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from flask import Flask

from animochat import web
from animochat.moderation.access import OperatorAccess
from animochat.moderation.announcements import Announcements
from animochat.moderation.lobby_moderation import LobbyModeration
from animochat.moderation.service import ModerationService
from animochat.settings import Settings
from animochat.telemetry.history import MetricHistory


def operator_app(
    pipeline: Any, moderation: LobbyModeration, readings: MetricHistory | None = None, **settings: Any
) -> Flask:
    """Create the application. `settings`: fields of Settings; `admin_token` is required."""
    app = Flask("animochat", static_folder=None)
    app.extensions["animochat"] = SimpleNamespace(
        settings=Settings(**settings),
        lobbies={"main": SimpleNamespace(moderation=moderation)},
        moderation=ModerationService([moderation], Announcements(pipeline, "flask-socketio")),
        operator_access=OperatorAccess(pipeline),
        readings=readings,
    )
    web.register(app)
    return app
