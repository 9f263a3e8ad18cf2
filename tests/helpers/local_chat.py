"""A worker's chat within the test's own process, on a real store, with clients that need no server."""

from __future__ import annotations

import json
from typing import Any

from animochat.chat.worker import Chat
from animochat.settings import Settings
from tests.helpers.store import soon

HUNG_UP, CLOSED = "hung up", "closed"


class LocalClient:
    """A client and its session, which replaces an Engine.IO session.

    `packets`: everything sent to it, ending with HUNG_UP or CLOSED. `upgraded`: it uses a WebSocket.
    """

    def __init__(
        self, chat: Chat, auth: dict[str, Any] | None = None, address: str = "192.0.2.1", upgraded: bool = True
    ) -> None:
        self.sid, self.remote_addr, self.upgraded, self.owner = "", address, upgraded, None  # type: ignore[var-annotated]
        self.packets: list[str] = []
        self.paused = False
        self.penalized = 0
        self._asked = 100  # three digits, so that no id is the beginning of another
        self.lobby = chat.lobbies["main"]
        self.connection = self.lobby.arrivals.open(self, auth or {})

    # The session's interface for a connection

    def send(self, packet: str) -> None:
        if not self.gone:
            self.packets.append(packet)

    def send_frame(self, frame: bytes, packet: str) -> None:
        self.send(packet)

    def pause(self) -> None:
        self.paused = True

    def penalize(self) -> None:
        self.penalized += 1

    def close(self) -> None:
        self._end(CLOSED)

    def hang_up(self) -> None:
        self._end(HUNG_UP)

    def _end(self, how: str) -> None:
        if not self.gone:
            self.packets.append(how)
            owner, self.owner = self.owner, None
            if owner is not None:
                self.lobby.departures.lose(owner)

    # The test's interface

    @property
    def gone(self) -> bool:
        return HUNG_UP in self.packets or CLOSED in self.packets

    def joined(self) -> LocalClient:
        soon(lambda: self.payload("session") and not self.connection.busy, "a session")
        return self

    def ask(self, event: str, *args: Any) -> str:
        """Send an event; return the beginning of its acknowledgement."""
        self._asked += 1
        ack_id = str(self._asked)
        self.lobby.namespace.trigger_event(event, self.connection, list(args), ack_id)
        return f"3{ack_id}["

    def is_answered(self, answer: str) -> bool:
        return any(packet.startswith(answer) for packet in self.packets)

    def call(self, event: str, *args: Any) -> Any:
        """Send an event; return its answer."""
        answer = self.ask(event, *args)
        soon(lambda: self.is_answered(answer), f"an answer to {event}")
        (found,) = [packet for packet in self.packets if packet.startswith(answer)]
        return json.loads(found[len(answer) - 1 :])[0]

    def events(self, but: tuple[str, ...] = ("online-count",)) -> list[str]:
        """Return the names of the events so far; those of acknowledgements are `ack`."""
        names = [json.loads(p[1:])[0] if p[0] == "2" else "ack" for p in self.packets if p[0] in "23"]
        return [name for name in names if name not in but]

    def payloads(self, event: str) -> list[Any]:
        found = [json.loads(packet[1:]) for packet in self.packets if packet.startswith(f'2["{event}"')]
        return [arguments[1] if len(arguments) > 1 else None for arguments in found]

    def payload(self, event: str) -> Any:
        """Return the last event of this name, or None."""
        return (self.payloads(event) or [None])[-1]

    def texts(self) -> list[str]:
        """Return the partner's messages."""
        return [message["content"] for message in self.payloads("message") if message["type"] == "text"]


def start_chat(store_url: str, **environment: str) -> Chat:
    """Return a worker that serves."""
    chat = Chat(Settings.from_environ({"REDIS_URL": store_url, "RATE_SEARCHES": "0", **environment}))
    chat.start()
    soon(lambda: chat.lobbies["main"]._epoch, "its first heartbeat")
    soon(lambda: chat.subscriptions.proven(0), "its subscription, after which it asks about everyone")
    return chat


def pair(chat: Chat, other: Chat | None = None) -> tuple[LocalClient, LocalClient]:
    """Return two people in a room."""
    anna, bert = LocalClient(chat).joined(), LocalClient(other or chat).joined()
    for person in (anna, bert):
        person.call("find-match")
    for person in (anna, bert):
        soon(lambda person=person: person.payload("matched"), "a match")
    return anna, bert
