"""A Flask-SocketIO application, written as its documentation shows each use, for any of its servers.

    python stock_app.py PORT    serves it on a stock Flask-SocketIO server

The same handlers are in `/` and in `/own`.
"""

from __future__ import annotations

if __name__ == "__main__":
    from gevent import monkey

    monkey.patch_all()

import sys
from typing import Any

import flask
import flask_socketio
from flask import Blueprint, Flask, current_app, request, session
from flask_socketio import (
    ConnectionRefusedError,
    Namespace,
    call,
    close_room,
    disconnect,
    emit,
    join_room,
    leave_room,
    rooms,
    send,
)

blueprint = Blueprint("own", __name__)


@blueprint.route("/own/emit/<to>")
def emit_from_route(to: str) -> str:
    """Flask-SocketIO, "Emitting from an External Process" and from routes: no client context."""
    current_app.extensions["socketio"].emit("from route", {"to": to}, to=to, namespace=request.args["namespace"])
    return "done"


class OwnNamespace(Namespace):  # type: ignore[misc]
    """Flask-SocketIO, "Class-Based Namespaces"."""

    def on_connect(self) -> None:
        emit("welcome", {"namespace": request.namespace})  # type: ignore[attr-defined]

    def on_disconnect(self, reason: str) -> None:
        self.socketio.emit("someone left", {"reason": reason}, namespace="/own")

    def on_my_event(self, data: Any) -> None:
        emit("my_response", data)


def register(app: Flask, socketio: Any) -> None:
    """Add everything to an application and its extension."""
    app.secret_key = "secret!"
    app.register_blueprint(blueprint)
    socketio.on_namespace(OwnNamespace("/class"))
    socketio.on_error_default(_any_error)
    socketio.on_error("/own")(_own_error)
    for namespace in ("/", "/own"):
        _register(socketio, namespace)

    @socketio.on("*", namespace="/catch-all")
    def catch_all(event: str, *args: Any) -> None:
        emit("caught", {"event": event, "args": list(args)})

    @socketio.on("connect", namespace="/never")
    def never() -> bool:
        return False

    @socketio.on("connect", namespace="/secret")
    def secret(auth: Any) -> None:
        if auth != {"password": "right"}:
            raise ConnectionRefusedError("unauthorized!", {"code": 7})


def _own_error(error: Exception) -> Any:
    return {"own": str(error), "event": request.event["message"]}  # type: ignore[attr-defined]


def _any_error(error: Exception) -> Any:
    return {"default": str(error), "event": request.event["message"]}  # type: ignore[attr-defined]


def _register(socketio: Any, namespace: str) -> None:
    @socketio.on("connect", namespace=namespace)
    def on_connect(auth: Any) -> None:
        session["visits"] = 0
        socketio.server.save_session(request.sid, {"auth": auth}, namespace)  # type: ignore[attr-defined]

    @socketio.on("disconnect", namespace=namespace)
    def on_disconnect(reason: str) -> None:
        emit("someone left", {"sid": request.sid, "reason": reason}, broadcast=True)  # type: ignore[attr-defined]

    @socketio.on("my event", namespace=namespace)
    def my_event(json: Any) -> None:
        emit("my response", json)

    @socketio.on("message", namespace=namespace)
    def message(data: Any) -> None:
        send({"got": data})

    @socketio.on("json", namespace=namespace)
    def json_message(data: Any) -> None:
        send(data, json=True)

    @socketio.on("two arguments", namespace=namespace)
    def two_arguments(one: Any, two: Any) -> Any:
        return two, one

    @socketio.on("nothing", namespace=namespace)
    def nothing() -> None:
        pass

    @socketio.on("broadcast", namespace=namespace)
    def broadcast(data: Any, include_self: bool = True) -> None:
        emit("news", data, broadcast=True, include_self=include_self)

    @socketio.on("join", namespace=namespace)
    def join(room: str) -> Any:
        join_room(room)
        return sorted(room for room in rooms() if room != request.sid)  # type: ignore[attr-defined]

    @socketio.on("leave", namespace=namespace)
    def leave(room: str) -> Any:
        leave_room(room)
        return rooms() == [request.sid]  # type: ignore[attr-defined]

    @socketio.on("close", namespace=namespace)
    def close(room: str) -> None:
        close_room(room)

    @socketio.on("to", namespace=namespace)
    def to_room(to: Any, data: Any, skip: Any = None) -> None:
        emit("news", data, to=to, skip_sid=skip)

    @socketio.on("ask me", namespace=namespace)
    def ask_me() -> None:
        emit("question", {"n": 6}, callback=lambda *answer: emit("you said", {"answer": answer}))

    @socketio.on("call me", namespace=namespace)
    def call_me() -> Any:
        return call("question", {"n": 7}, timeout=10)

    @socketio.on("goodbye", namespace=namespace)
    def goodbye() -> None:
        disconnect()

    @socketio.on("who am i", namespace=namespace)
    def who_am_i() -> Any:
        return {
            "sid": request.sid,  # type: ignore[attr-defined]
            "namespace": request.namespace,  # type: ignore[attr-defined]
            "query": request.args.get("flavour"),
            "header": request.headers.get("X-Flavour"),
            "address": request.remote_addr,
            "app": current_app.name == socketio.app_name,
            "auth": socketio.server.get_session(request.sid, namespace)["auth"],  # type: ignore[attr-defined]
            "transport": socketio.server.transport(request.sid, namespace),  # type: ignore[attr-defined]
        }

    @socketio.on("visit", namespace=namespace)
    def visit() -> Any:
        flask.session["visits"] += 1
        return flask.session["visits"]

    @socketio.on("fail", namespace=namespace)
    def fail(data: Any) -> None:
        raise RuntimeError(data)

    @socketio.on("bytes", namespace=namespace)
    def binary(data: Any) -> Any:
        emit("bytes", {"back": data["data"][::-1], "more": [data["data"]]})
        return data["data"] * 2

    @socketio.on("work", namespace=namespace)
    def work() -> None:
        socketio.start_background_task(background, request.sid)  # type: ignore[attr-defined]

    def background(sid: str) -> None:
        socketio.sleep(0.01)
        socketio.emit("done", {"work": 1}, to=sid, namespace=namespace)

    socketio.on_event("by on_event", lambda data: {"handled": data}, namespace=namespace)


def main() -> None:
    app = Flask("stock")
    socketio = flask_socketio.SocketIO(app, async_mode="gevent", cors_allowed_origins="*")
    socketio.app_name = app.name
    register(app, socketio)
    socketio.run(app, port=int(sys.argv[1]))


if __name__ == "__main__":
    main()
