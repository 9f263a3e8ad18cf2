"""A minimal application for our worker: it echoes messages, with no store and no people.

Over Engine.IO it supports just enough Socket.IO for stock clients: it accepts CONNECT, echoes events, and answers the
event ``who`` with the worker's process id and the client's address. As a WSGI application it
answers ``/pid``, ``/body``, ``/pieces``, ``/lines``, ``/environ`` and ``/slow``; the Engine.IO server handles
everything under ``/socket.io/``.

The environment variable ECHO_OPTIONS is a JSON object of options for `EngineServer`.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from typing import Any

import gevent.event

from animochat.server.engineio.server import EngineServer, EngineSocket


class EchoChat:
    """The object that a worker expects in ``extensions["animochat"]``."""

    def __init__(self, **options: Any) -> None:
        self.worker_id = secrets.token_hex(4)
        self.engine = EngineServer(self.worker_id, **options)
        self.engine.on_open = self.on_open
        self.engine.on_message = self.on_message
        self.engine.on_close = self.on_close
        self.started = 0
        self.closed: list[tuple[str, str]] = []

    def start(self) -> None:
        self.started += 1

    def drain(self, seconds: float) -> None:
        self._log(f"drains for {seconds:.1f}")
        if "ECHO_DRAINS_FOREVER" in os.environ:
            gevent.event.Event().wait()

    def stop(self, timeout: float) -> None:
        self._log(f"stopped within {timeout:.1f}")

    def on_open(self, socket: EngineSocket, environ: dict[str, Any]) -> None:
        socket.owner = environ["REQUEST_METHOD"]

    def on_message(self, socket: EngineSocket, data: str | bytes) -> None:
        if isinstance(data, bytes):
            socket.send_engine(data)
        elif data.startswith("0"):  # CONNECT
            socket.send('0{"sid":"' + socket.sid + '"}')
        elif data.startswith('2["who"'):
            socket.send("2" + json.dumps(["who", os.getpid(), socket.remote_addr]))
        elif data == '2["bye"]':
            socket.send('2["bye"]')
            socket.close()
        elif data.startswith('2["broadcast",'):
            for other in list(self.engine.sockets.values()):
                other.send(data)
        else:
            socket.send(data)

    def on_close(self, socket: EngineSocket, reason: str) -> None:
        self.closed.append((socket.sid, reason))
        self._log(f"closed {socket.sid} {reason}")

    def _log(self, line: str) -> None:
        if "ECHO_LOG" in os.environ:
            with open(os.environ["ECHO_LOG"], "a", encoding="utf-8") as log:
                log.write(f"{os.getpid()} {line}\n")


class EchoApp:
    """Replaces the Flask application."""

    def __init__(self, chat: EchoChat) -> None:
        self.extensions = {"animochat": chat}
        self.chat = chat

    def about(self) -> dict[str, Any]:
        """Return the worker's process id, the number of its sessions, and how many of them are idle."""
        sockets = list(self.chat.engine.sockets.values())
        quiet = sum(1 for socket in sockets if socket._polling is None or socket._polling.waiter is not None)
        return {"pid": os.getpid(), "worker_id": self.chat.worker_id, "sockets": len(sockets), "quiet": quiet}

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        path = environ["PATH_INFO"]
        if path.startswith("/socket.io/"):
            return self.chat.engine.handle_request(environ, start_response)
        if path == "/pid":
            body = json.dumps(self.about())
        elif path == "/body":
            body = str(len(environ["wsgi.input"].read()))
        elif path == "/pieces":
            body = json.dumps([len(piece) for piece in iter(lambda: environ["wsgi.input"].read(4), b"")])
        elif path == "/lines":
            body = json.dumps([line.decode() for line in environ["wsgi.input"].readlines()])
        elif "HTTP_X_SHOW" in environ:
            body = json.dumps([path, environ["HTTP_HOST"]])
        elif path == "/environ":
            body = " ".join(environ)
        elif path == "/slow":
            time.sleep(0.5)
            body = "slow"
        else:
            start_response("404 Not Found", [("Content-Type", "text/plain")])
            return [b"Not Found"]
        start_response("200 OK", [("Content-Type", "application/json")])
        return [body.encode()]


def create_app() -> EchoApp:
    """Create the application for ``gunicorn 'echo_app:create_app()'``."""
    return EchoApp(EchoChat(**json.loads(os.environ.get("ECHO_OPTIONS", "{}"))))
