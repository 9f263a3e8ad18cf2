"""What a room's log can't publish in a cluster, where the workers' channels are at another node: its caller does.

Publications follow what was stored, in its order, once a turn of the loop for each worker that needs to know. One may
be lost between the two: its worker is killed, or the way to the channel's node is cut. So a line names the sender's
message before it, and who hasn't got that one looks into the log; and whom nobody may have told is told to look, until
the channel's node says that somebody listens.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from animochat.protocol.channel import Delivery, Look, encode_chain, encode_looks
from animochat.protocol.errors import Unavailable
from animochat.store import keys
from animochat.store.node import Request

#: Times that a worker's people are told to look, a heartbeat apart, where nobody hears it: a worker that lives has
#: subscribed again by then, and looked at everything.
ATTEMPTS = 10

#: A message, and what waits for its publication.
Waiting = tuple[Delivery, Callable[[bool], None]]


class Outbox:
    """What is to be published for the rooms of one lobby, by worker."""

    def __init__(self, lobby: str) -> None:
        self._lobby = lobby
        self._messages: dict[str, list[Waiting]] = {}
        #: Who may have missed a message, and how often that was published in vain.
        self._unheard: dict[str, dict[Look, int]] = {}

    def tell(self, worker: str, message: Delivery, told: Callable[[bool], None]) -> None:
        """Publish a message with the next commands. `told` is called with False if that failed."""
        self._messages.setdefault(worker, []).append((message, told))

    def tell_to_look(self, worker: str, look: Look) -> None:
        """Have someone look into the log of the room."""
        if worker:  # else away, and about to read the log by itself
            self._unheard.setdefault(worker, {})[look] = 0

    def collect(self) -> list[Request]:
        """Return what is to be published, as commands."""
        by_worker, self._messages = self._messages, {}
        commands: list[Request] = []
        for worker, waiting in by_worker.items():
            messages = [message for message, _ in waiting]
            looks = dict.fromkeys((message.look for message in messages), 0)
            command, published = self._command(worker, encode_chain(messages), looks)
            commands.append((command, partial(_tell, published, [told for _, told in waiting])))
        return commands

    def unheard(self) -> list[Request]:
        """The same for those who may have missed something."""
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
