"""A chat in the terminal, with `pip install "python-socketio[client]"`: python examples/client.py [http://localhost:3001]

What is typed goes to the partner, /next finds another one, and the end of the input is a goodbye.
"""

from __future__ import annotations

import sys
from typing import Any

import socketio

client = socketio.Client()


# Behind its argument an event may have an offset: for clients that take a lost session up again. This one begins anew.
@client.on("session")
def on_session(session: dict[str, Any], *_: str) -> None:
    if session["state"] == "idle":
        client.emit("find-match")


@client.on("waiting")
def on_waiting(waiting: dict[str, int], *_: str) -> None:
    print(f"Resting for {waiting['cooldownMs']} ms" if waiting["cooldownMs"] else "Waiting", flush=True)


@client.on("matched")
def on_matched(matched: dict[str, Any], *_: str) -> None:
    print("Matched", *matched["interests"], flush=True)


@client.on("message")
def on_message(message: dict[str, Any], *_: str) -> None:
    print(f"> {message['content']}" if message["type"] == "text" else message["content"], flush=True)


@client.on("partner-disconnected")
def on_partner_disconnected(end: dict[str, str], *_: str) -> None:
    print(f"Alone again ({end['reason']}); /next finds somebody else", flush=True)


@client.on("error")
def on_error(error: dict[str, Any], *_: str) -> None:
    print(error["code"], error["message"], file=sys.stderr, flush=True)


client.connect(sys.argv[1] if len(sys.argv) > 1 else "http://localhost:3001")
for line in sys.stdin:
    if line == "/next\n":
        client.emit("next-match")
    else:
        answer = client.call("send-message", line)
        if not answer["ok"]:
            print(answer["error"]["code"], answer["error"]["message"], file=sys.stderr, flush=True)
client.disconnect()
