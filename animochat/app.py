"""The application factory."""

from __future__ import annotations

import os

from flask import Flask

from animochat import http
from animochat.chat import Chat
from animochat.documents.routes import blueprint as documents
from animochat.http.cors import origin_check
from animochat.rooms.service import LOG_LENGTH
from animochat.server.backlog import MAX_QUEUED
from animochat.server.engine import MAX_BACKLOG, MAX_PAYLOAD
from animochat.settings import FRAME_OVERHEAD, Settings
from animochat.sockets.server import SocketIO


def create_app(settings: Settings | None = None) -> Flask:
    """Make the Flask application of one worker. Opens no connection: the worker starts it once it serves.

    `settings` come from the environment where they are not given. Raises SettingsError.
    """
    settings = settings or Settings.from_environ(os.environ)
    app = Flask("animochat", static_folder=None)
    chat = app.extensions["animochat"] = Chat(settings)
    http.register(app)
    app.register_blueprint(documents)
    socketio = SocketIO(
        app,
        worker_id=chat.worker_id,
        lobbies=chat.lobbies,
        cors_allowed_origins=origin_check(settings),
        max_http_buffer_size=max(MAX_PAYLOAD, settings.longest_frame),
        max_backlog=max(MAX_BACKLOG, MAX_QUEUED + longest_recovery(settings.max_message_length)),
        rate_frames=settings.rate_frames,
        rate_connects=settings.rate_connects,
        rate_requests=settings.rate_requests,
        max_connections_per_address=settings.max_connections_per_address,
        max_connections=settings.max_connections,
        trusted_proxies=settings.trusted_proxies,
    )
    chat.engine = socketio.server.eio
    chat.on_heartbeat = socketio.server.close_silent
    return app


def longest_recovery(max_message_length: int) -> int:
    """Return the bytes of the messages that someone may have missed: a whole log of control characters, of six each."""
    return LOG_LENGTH * (6 * max_message_length + FRAME_OVERHEAD)
