"""A chat in the terminal, with `pip install "python-socketio[client]"`: python examples/client.py [http://localhost:3001]

What is typed goes to the partner, /next finds another one, and the end of the input is a goodbye.

Most events carry one more argument behind their payload: the offset, for clients that resume a lost session (this one
starts again). So a handler that takes one parameter alone raises TypeError: add `*_`, as below, or `offset=None`.
"""

from __future__ import annotations

import sys
from typing import Any, TextIO

import socketio

sys.stdout.reconfigure(errors="replace")  # a terminal that lacks a character shows another one
client = socketio.Client()


def show(*words: str, file: TextIO = sys.stdout) -> None:
    """Print one line. Drop what would act on the terminal: control characters, line ends, changes of direction."""
    line = " ".join(words)
    print("".join(c if c.isprintable() or c in "\u200c\u200d" else " " for c in line), file=file, flush=True)


@client.on("session")
def on_session(session: dict[str, Any], *_: str) -> None:
    if session["state"] == "idle":
        client.emit("find-match")


@client.on("waiting")
def on_waiting(waiting: dict[str, int], *_: str) -> None:
    show(f"Resting for {waiting['cooldownMs']} ms" if waiting["cooldownMs"] else "Waiting")


@client.on("matched")
def on_matched(matched: dict[str, Any], *_: str) -> None:
    show("Matched", *matched["interests"])


@client.on("message")
def on_message(message: dict[str, Any], *_: str) -> None:
    show(f"> {message['content']}" if message["type"] == "text" else message["content"])


@client.on("partner-disconnected")
def on_partner_disconnected(end: dict[str, str], *_: str) -> None:
    show(f"Alone again ({end['reason']}); /next finds somebody else")


@client.on("error")
def on_error(error: dict[str, Any], *_: str) -> None:
    show(error["code"], error["message"], file=sys.stderr)


client.connect(sys.argv[1] if len(sys.argv) > 1 else "http://localhost:3001")
for line in sys.stdin:
    if line == "/next\n":
        client.emit("next-match")
    else:
        answer = client.call("send-message", line)
        if not answer["ok"]:
            show(answer["error"]["code"], answer["error"]["message"], file=sys.stderr)
client.disconnect()
