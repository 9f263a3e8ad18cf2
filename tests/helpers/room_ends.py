"""Every way in which a room ends, for tests of rules that hold for all of them."""

from __future__ import annotations

from collections.abc import Callable

from animochat.moderation.lobby_moderation import NOTHING
from animochat.store import keys
from tests.helpers.store import GRACE_MS, Lobby, Person


def grace_passes(lobby: Lobby) -> None:
    lobby.pass_time(GRACE_MS)
    lobby.tick()


def vanish_then(second: Callable[[Person], object]) -> Callable[[Lobby, Person, Person], None]:
    def end(lobby: Lobby, anna: Person, bert: Person) -> None:
        anna.drop()
        second(bert)
        grace_passes(lobby)

    return end


def reaped(lobby: Lobby, anna: Person, bert: Person) -> None:
    """Kill the worker of both people; neither comes back."""
    other = lobby.add_worker()
    lobby.worker.kill()
    lobby.pass_time(5001)
    other.presence.reap(lobby.worker.name, GRACE_MS)
    grace_passes(lobby)


def lost(lobby: Lobby, anna: Person, bert: Person) -> None:
    """Remove only the room's record, as if the store had lost it."""
    lobby.pipeline.execute("DEL", f"{keys.lobby()}:room:{anna.room}")
    for person in (anna, bert):
        person.resync()


def ban(lobby: Lobby, anna: Person, bert: Person) -> None:
    lobby.moderation.ban("anna", None, NOTHING, "")


def suspended(lobby: Lobby, anna: Person, bert: Person) -> None:
    """Suspend the person by one report too many."""
    lobby.moderation._auto_suspend_reports = 1
    anna.report()


#: Every way in which a room ends.
ENDS: dict[str, Callable[[Lobby, Person, Person], object]] = {
    "leave": lambda lobby, anna, bert: anna.leave(),
    "skip": lambda lobby, anna, bert: anna.next(),
    "block": lambda lobby, anna, bert: anna.block(),
    "report": lambda lobby, anna, bert: anna.report(),
    "suspended": suspended,
    "ban": ban,
    "goodbye": lambda lobby, anna, bert: anna.goodbye(),
    "both say goodbye": lambda lobby, anna, bert: (anna.goodbye(), bert.goodbye()),
    "one vanishes": vanish_then(lambda bert: None),
    "one vanishes, the other says goodbye": vanish_then(Person.goodbye),
    "one vanishes, the other leaves": vanish_then(Person.leave),
    "both vanish": vanish_then(Person.drop),
    "their worker dies": reaped,
    "the record is lost": lost,
    "a worker saw it end before": lambda lobby, anna, bert: lobby.worker.rooms.end_again([anna.room or "", "other"]),
}
