"""Publications that a room's log can't make in a cluster, where the workers' channels are on another node.

They follow the stored messages in their order, once per turn of the loop for each worker concerned. A publication can
be lost after its message was stored: the worker is killed, or the connection to the channel's node is cut. So each line
names the sender's previous message, and a receiver that lacks that one looks into the log. A receiver whose publication
may be lost gets a hint to look, repeated until the channel's node reports a subscriber.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from animochat.protocol.channel import Look, RelayedMessage, encode_chain, encode_looks
from animochat.protocol.errors import Unavailable
from animochat.store import keys
from animochat.store.node import Request

#: Times that a hint to look is repeated, one heartbeat apart, while its worker has no subscription: a worker that lives
#: has subscribed again by then, and has looked at everything.
ATTEMPTS = 10

#: A message, and the callback for its publication.
Waiting = tuple[RelayedMessage, Callable[[bool], None]]


class Outbox:
    """The publications for the rooms of one lobby, by worker."""

    def __init__(self, lobby: str) -> None:
        self._lobby = lobby
        self._messages: dict[str, list[Waiting]] = {}
        #: hints for people who may have missed a message, and how often each was published without a subscriber
        self._unheard: dict[str, dict[Look, int]] = {}

    def tell(self, worker: str, message: RelayedMessage, told: Callable[[bool], None]) -> None:
        """Publish a message with the next commands. Call `told` with the success."""
        self._messages.setdefault(worker, []).append((message, told))

    def tell_to_look(self, worker: str, look: Look) -> None:
        """Have a person's worker look into the log of the room."""
        if worker:  # else the person is away, and reads the log after reconnecting
            self._unheard.setdefault(worker, {})[look] = 0

    def collect(self) -> list[Request]:
        """Return the commands that publish the messages."""
        by_worker, self._messages = self._messages, {}
        commands: list[Request] = []
        for worker, waiting in by_worker.items():
            messages = [message for message, _ in waiting]
            looks = dict.fromkeys((message.look for message in messages), 0)
            command, published = self._command(worker, encode_chain(messages), looks)
            commands.append((command, partial(_tell, published, [told for _, told in waiting])))
        return commands

    def unheard(self) -> list[Request]:
        """Return the commands that repeat the hints."""
        unheard, self._unheard = self._unheard, {}
        return [self._command(worker, encode_looks(looks), looks) for worker, looks in unheard.items()]

    def _command(self, worker: str, text: str, looks: dict[Look, int]) -> Request:
        channel = keys.channel(self._lobby, worker)
        return ("PUBLISH", channel, text), partial(self._published, worker, looks)

    def _published(self, worker: str, looks: dict[Look, int], listeners: Any) -> None:
        if isinstance(listeners, Unavailable) or not listeners:
            unheard = self._unheard.setdefault(worker, {})
            unheard.update({look: times + 1 for look, times in looks.items() if times < ATTEMPTS})
            if not unheard:
                del self._unheard[worker]


def _tell(published: Callable[[Any], None], told: list[Callable[[bool], None]], listeners: Any) -> None:
    published(listeners)
    for callback in told:
        callback(not isinstance(listeners, Unavailable))
