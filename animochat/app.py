"""The application factory."""

from __future__ import annotations

import os
import sys
from typing import Any

import gevent
from flask import Flask

from animochat import web
from animochat.apidocs.routes import blueprint as documents
from animochat.chat.extension import SocketIO
from animochat.chat.server import ChatNamespace
from animochat.chat.worker import Chat
from animochat.rooms.log import LOG_LENGTH
from animochat.server.backlog import MAX_QUEUED
from animochat.server.engineio.server import MAX_BACKLOG, MAX_PAYLOAD
from animochat.server.process import loading
from animochat.settings import FRAME_OVERHEAD, Settings
from animochat.web.cors import origin_check

#: gunicorn's status for an application that can't be loaded: its master stops instead of trying again.
EXIT_APP_LOAD_ERROR = 4

#: The extension, as in Flask-SocketIO's documentation; the factory calls `init_app`.
socketio = SocketIO()


def refuse_other_servers() -> Any:
    """Exit with one line where the server that loads the application can't run it. Return gunicorn's worker."""
    worker = loading.loading_worker()
    problem = loading.NO_WORKER
    if worker is not None:
        from animochat.server.process.worker import unsupported  # late: it is part of gunicorn

        problem = unsupported(worker.cfg) or ""
    if problem:
        print(f"animochat: {problem}", file=sys.stderr)
        sys.exit(EXIT_APP_LOAD_ERROR)
    return worker


def create_app(settings: Settings | None = None) -> Flask:
    """Make the Flask application of one worker. It opens no connection: the worker starts it once it serves.

    `settings`: by default those of the environment. Raises SettingsError; exits if a server that can't run it is about
    to do so.
    """
    worker = refuse_other_servers() if loading.is_about_to_serve() else None
    settings = settings or Settings.from_environ(os.environ)
    app = Flask("animochat", static_folder=None)
    chat = app.extensions["animochat"] = Chat(settings)
    web.register(app)
    app.register_blueprint(documents)
    socketio.init_app(
        app,
        message_queue=chat.store_url,
        channel=settings.message_queue_channel,
        cors_allowed_origins=origin_check(settings),
        max_http_buffer_size=max(MAX_PAYLOAD, settings.longest_frame),
        max_backlog=max(MAX_BACKLOG, MAX_QUEUED + longest_recovery(settings.max_message_length)),
        rate_frames=settings.rate_frames,
        rate_events=settings.rate_events,
        rate_connects=settings.rate_connects,
        rate_requests=settings.rate_requests,
        max_connections_per_address=settings.max_connections_per_address,
        max_connections=settings.max_connections,
        trusted_proxies=settings.trusted_proxies,
    )
    socketio.on_namespace(ChatNamespace("/", chat.lobbies))
    if worker is not None and not getattr(worker, "starts_chat", False):
        gevent.spawn(chat.start)  # once gunicorn's own worker serves
    return app


def longest_recovery(max_message_length: int) -> int:
    """Return the size of the messages that a client may miss: a full log of control characters, six bytes each."""
    return LOG_LENGTH * (6 * max_message_length + FRAME_OVERHEAD)
