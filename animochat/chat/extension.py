"""The Flask extension: Flask-SocketIO's, with our server.

    socketio = SocketIO()
    socketio.init_app(app, message_queue=redis_url, cors_allowed_origins=origins)
    socketio.on_namespace(ChatNamespace("/", chat.lobbies))

`app.extensions["animochat"]` has to be there: the chat, whose connections to the store are the message queue's.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import flask_socketio
import gevent
from flask import Flask
from flask import json as flask_json

from animochat.chat.manager import ConnectionManager, QueueManager
from animochat.chat.server import SocketIOServer
from animochat.server.process import loading

log = logging.getLogger(__name__)

#: The path of Socket.IO.
PATH = "/socket.io"

#: Seconds in which a stopping server reports to the store.
STOP_TIMEOUT = 2.0

#: Flask-SocketIO's name of the message queue.
CHANNEL = "flask-socketio"


class SocketIO(flask_socketio.SocketIO):
    """Flask-SocketIO's extension, with our server in the place of python-socketio's."""

    server: SocketIOServer
    manage_session: bool

    def init_app(self, app: Flask | None, **options: Any) -> None:
        """Attach to the Flask application. Options are Flask-SocketIO's and SocketIOServer's.

        `message_queue`: the address of the chat's store, or None for emitting to this process alone. Without an
        application it is any store's: this process then only emits.

        Raises:
            ValueError: an option that can't be had here.
        """
        if app is None:
            super().init_app(app, **options)
            return
        options = {**self.server_options, **options}
        if (options.pop("path", None) or options.pop("resource", None) or PATH).strip("/") != PATH.strip("/"):
            raise ValueError(f"Socket.IO is at {PATH}: other workers and proxies expect it there")
        chat = app.extensions["animochat"]
        app.extensions["socketio"] = self
        self.manage_session = options.pop("manage_session", self.manage_session)
        url, channel = options.pop("message_queue", None), options.pop("channel", CHANNEL)
        if url is not None:
            if url != chat.store_url:
                raise ValueError("message_queue has to be the store's address (REDIS_URL)")
            queue = QueueManager(channel, chat.queue_sender(channel), chat.pipeline.database)
            chat.listen_to_queue(channel, queue.receive)
            options["client_manager"] = queue
        if options.get("json") is flask_json:
            options["json"] = _FlaskJson(app)
        self.server = SocketIOServer(chat.worker_id, app=app, **options)
        self.async_mode = self.server.async_mode
        for event, handler, namespace in self.handlers:
            self.server.on(event, handler, namespace=namespace)
        for namespace_handler in self.namespace_handlers:
            self.server.register_namespace(namespace_handler)
        chat.engine = self.server.eio
        chat.on_heartbeat = self.server.close_silent
        self.sockio_mw = Dispatcher(self.server, app, partial(_start, chat))
        app.wsgi_app = self.sockio_mw  # type: ignore[method-assign]

    def run(self, app: Flask, *arguments: Any, **options: Any) -> None:
        """Serve the application in this process, with gevent's own server. Options are Flask-SocketIO's.

        Raises:
            RuntimeError: gevent has not patched the standard library.
        """
        if not loading.is_patched():
            raise RuntimeError(loading.NOT_PATCHED)
        chat = app.extensions["animochat"]
        gevent.spawn(chat.start)
        try:
            super().run(app, *arguments, **options)
        finally:
            chat.stop(STOP_TIMEOUT)

    def test_client(self, app: Flask, *arguments: Any, **options: Any) -> Any:
        """Return Flask-SocketIO's test client. From then on events reach this process alone, not the message queue."""
        if isinstance(self.server.manager, QueueManager):
            local = ConnectionManager()
            local.lobbies = self.server.manager.lobbies
            self.server.manager = local
            local.set_server(self.server)
        return super().test_client(app, *arguments, **options)


def _start(chat: Any) -> None:
    """Start a chat that no worker has started: gevent's own server runs the application."""
    if not chat.started:
        if loading.is_patched():
            chat.start()
        else:
            log.error(loading.NOT_PATCHED)


class _FlaskJson:
    """Flask's JSON, which depends on the application, also outside of a request."""

    def __init__(self, app: Flask) -> None:
        self._app = app

    def dumps(self, *arguments: Any, **options: Any) -> str:
        with self._app.app_context():
            return flask_json.dumps(*arguments, **options)

    def loads(self, *arguments: Any, **options: Any) -> Any:
        with self._app.app_context():
            return flask_json.loads(*arguments, **options)


class Dispatcher:
    """A WSGI application: Socket.IO at its path, with or without the slash behind it, and Flask everywhere else."""

    def __init__(self, server: SocketIOServer, app: Flask, start: Callable[[], None]) -> None:
        self._server = server
        self._start = start
        #: Flask's; Flask-SocketIO puts its debugger here.
        self.wsgi_app = app.wsgi_app

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        path = environ["PATH_INFO"]
        if path == PATH or path.startswith(PATH + "/"):
            self._start()
            return self._server.handle_request(environ, start_response)
        return self.wsgi_app(environ, start_response)
