"""The same chat as in Flask-SocketIO tutorials: a scale for the other figures.

It has Flask-SocketIO's own handlers with its Redis message queue, a list of waiting people in the process, and `emit`
to a room. Nothing is wrong on purpose and nothing is tuned. There is only one process: the waiting list is a variable.

Environment: PORT, REDIS_URL.
"""

from gevent import monkey

monkey.patch_all()

import os  # noqa: E402
import time  # noqa: E402
import uuid  # noqa: E402

from flask import Flask, request  # noqa: E402
from flask_socketio import SocketIO, emit, join_room  # noqa: E402

app = Flask(__name__)
socketio = SocketIO(app, async_mode="gevent", cors_allowed_origins="*", message_queue=os.environ["REDIS_URL"])

waiting: list[str] = []
rooms: dict[str, str] = {}


@app.get("/health")
def health():
    """Report to the benchmark that the server serves."""
    return {"status": "ok"}


@socketio.on("find-match")
def find_match():
    """Pair the client with a waiting one, or let it wait."""
    if not waiting:
        waiting.append(request.sid)
        emit("waiting", {"cooldownMs": 0})
        return
    partner = waiting.pop()
    room_id = str(uuid.uuid4())
    for sid, other in ((partner, request.sid), (request.sid, partner)):
        join_room(room_id, sid=sid)
        rooms[sid] = room_id
        emit("matched", {"roomId": room_id, "userId": sid, "partnerId": other, "interests": []}, to=sid)
    emit("message", message(room_id, "system", "You are now chatting with a stranger. Say hi!"), to=room_id)


@socketio.on("send-message")
def send_message(content):
    """Send the message to the room."""
    room_id = rooms.get(request.sid)
    if room_id is None:
        emit("error", {"code": "not-in-room", "message": "Not in a chat room"})
        return
    emit("message", message(room_id, request.sid, content.strip()), to=room_id, include_self=False)


@socketio.on("disconnect")
def disconnect():
    """Forget a client that has left."""
    rooms.pop(request.sid, None)
    if request.sid in waiting:
        waiting.remove(request.sid)


def message(room_id: str, sender_id: str, content: str) -> dict[str, object]:
    """Return a message in its wire format."""
    return {
        "id": str(uuid.uuid4()),
        "roomId": room_id,
        "senderId": sender_id,
        "content": content,
        "timestamp": int(time.time() * 1000),
        "type": "system" if sender_id == "system" else "text",
    }


if __name__ == "__main__":
    socketio.run(app, host="127.0.0.1", port=int(os.environ["PORT"]))
