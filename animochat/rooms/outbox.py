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

from animochat.protocol.errors import Unavailable
from animochat.store import keys
from animochat.store.node import Command

#: Times that a worker's people are told to look, a heartbeat apart, where nobody hears it: a worker that lives has
#: subscribed again by then, and looked at everything.
ATTEMPTS = 10

#: A person, and the room.
Place = tuple[str, str]

#: Where it goes, the line, and who waits for it.
Message = tuple[Place, str, Callable[[bool], None]]


class Outbox:
    """What is to be published for the rooms of one lobby, by worker."""

    def __init__(self, lobby: str) -> None:
        self._lobby = lobby
        self._messages: dict[str, list[Message]] = {}
        #: Who may have missed something, and how often that was said in vain.
        self._unheard: dict[str, dict[Place, int]] = {}

    def tell(self, worker: str, place: Place, line: str, told: Callable[[bool], None]) -> None:
        """Hand over a message: `line` as it goes over the channel. `told` is called with False if that failed."""
        self._messages.setdefault(worker, []).append((place, line, told))

    def tell_to_look(self, worker: str, person: str, room_id: str) -> None:
        """Have somebody look into the log of the room."""
        if worker:  # else away, and about to read the log by itself
            self._unheard.setdefault(worker, {})[person, room_id] = 0

    def collect(self) -> list[tuple[Command, Callable[[Any], None]]]:
        """What was handed over, as commands."""
        by_worker, self._messages = self._messages, {}
        commands: list[tuple[Command, Callable[[Any], None]]] = []
        for worker, messages in by_worker.items():
            places = dict.fromkeys((place for place, _, _ in messages), 0)
            command, published = self._command(worker, "chain", [line for _, line, _ in messages], places)
            commands.append((command, partial(_tell, published, [told for _, _, told in messages])))
        return commands

    def unheard(self) -> list[tuple[Command, Callable[[Any], None]]]:
        """The same for those who may have missed something."""
        unheard, self._unheard = self._unheard, {}
        return [
            self._command(worker, "look", [f"{person} {room_id}" for person, room_id in places], places)
            for worker, places in unheard.items()
        ]

    def _command(
        self, worker: str, kind: str, lines: list[str], places: dict[Place, int]
    ) -> tuple[Command, Callable[[Any], None]]:
        channel = keys.channel(self._lobby, worker)
        return ("PUBLISH", channel, "\n".join([kind, *lines])), partial(self._published, worker, places)

    def _published(self, worker: str, places: dict[Place, int], listeners: Any) -> None:
        if isinstance(listeners, Unavailable) or not listeners:
            unheard = self._unheard.setdefault(worker, {})
            unheard.update({place: times + 1 for place, times in places.items() if times < ATTEMPTS})
            if not unheard:
                del self._unheard[worker]


def _tell(published: Callable[[Any], None], told: list[Callable[[bool], None]], listeners: Any) -> None:
    published(listeners)
    for callback in told:
        callback(not isinstance(listeners, Unavailable))
