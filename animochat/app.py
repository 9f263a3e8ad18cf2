"""The application factory."""

from __future__ import annotations

import os
import sys

from flask import Flask

from animochat import server, web
from animochat.apidocs.routes import blueprint as documents
from animochat.chat.extension import SocketIO
from animochat.chat.server import ChatNamespace
from animochat.chat.worker import Chat
from animochat.rooms.log import LOG_LENGTH
from animochat.server.backlog import MAX_QUEUED
from animochat.server.engineio.server import MAX_BACKLOG, MAX_PAYLOAD
from animochat.settings import FRAME_OVERHEAD, Settings
from animochat.web.cors import origin_check

#: gunicorn's status for an application that can't be loaded: its master stops instead of trying again.
EXIT_APP_LOAD_ERROR = 4

#: The extension, as Flask-SocketIO's documentation has it; `init_app` is called by the factory.
socketio = SocketIO()


def refuse_other_servers() -> None:
    """Exit with one line, unless this is one of our workers."""
    if not server.in_worker:
        print(
            "animochat: no other server can run it: start it with `animochat serve`, or with gunicorn, its worker class"
            " animochat.server.process.worker.Worker, and without --preload",
            file=sys.stderr,
        )
        sys.exit(EXIT_APP_LOAD_ERROR)


def _is_served_otherwise() -> bool:
    """Return whether `flask run` or gunicorn is about to serve the application, rather than a test or a script."""
    flask = os.environ.get("FLASK_RUN_FROM_CLI") == "true" and "run" in sys.argv
    return flask or os.environ.get("SERVER_SOFTWARE", "").startswith("gunicorn/")


def create_app(settings: Settings | None = None) -> Flask:
    """Make the Flask application of one worker. Opens no connection: the worker starts it once it serves.

    `settings` come from the environment where they are not given. Raises SettingsError, and exits where a server is
    about to run it that can't.
    """
    if _is_served_otherwise():
        refuse_other_servers()
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
    return app


def longest_recovery(max_message_length: int) -> int:
    """Return the bytes of the messages that someone may have missed: a whole log of control characters, of six each."""
    return LOG_LENGTH * (6 * max_message_length + FRAME_OVERHEAD)
