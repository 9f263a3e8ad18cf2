"""An extension: an event, a namespace, a route and the chat's signals, added to create_app()'s application.

    REDIS_URL=redis://localhost:6379 gunicorn --config python:animochat.gunicorn_conf extension:app

Clients vote with the event `vote`. A team's dashboard is in the namespace `/dashboard`, and shows what goes on in the
chat, without a word of what is said. `GET /poll` has this worker's votes.
"""

from gevent import monkey

monkey.patch_all()

from collections import Counter  # noqa: E402
from typing import Any  # noqa: E402

from flask import Blueprint, Response, jsonify  # noqa: E402
from flask_socketio import ConnectionRefusedError, Namespace, emit  # noqa: E402

from animochat import hooks  # noqa: E402
from animochat.app import create_app, socketio  # noqa: E402

PASSWORD = "change me"

votes: Counter[str] = Counter()
happened: Counter[str] = Counter()
poll = Blueprint("poll", __name__)


@socketio.on("vote")
def vote(choice: Any) -> dict[str, Any]:
    """Count a vote, and show everyone the result. The return value is the acknowledgement."""
    if choice not in ("tea", "coffee"):
        return {"ok": False}
    votes[choice] += 1
    emit("poll", dict(votes), broadcast=True)
    return {"ok": True}


class Dashboard(Namespace):
    """Show the events of the chat. Each worker reports its own part to all dashboards."""

    def on_connect(self, auth: Any) -> None:
        if auth != {"password": PASSWORD}:
            raise ConnectionRefusedError("wrong password")
        emit("happened", dict(happened))


@poll.get("/poll")
def result() -> Response:
    return jsonify(votes)


@hooks.matched.connect
def on_match(lobby: str, **details: Any) -> None:
    count("matched", lobby)


@hooks.room_ended.connect
def on_end(lobby: str, **details: Any) -> None:
    count("room-ended", lobby)


@hooks.reported.connect
def on_report(lobby: str, reason: str, **details: Any) -> None:
    count(f"reported: {reason}", lobby)


def count(what: str, lobby: str) -> None:
    happened[what] += 1
    socketio.emit("news", {"what": what, "lobby": lobby}, namespace="/dashboard")


socketio.on_namespace(Dashboard("/dashboard"))
app = create_app()
app.register_blueprint(poll)
