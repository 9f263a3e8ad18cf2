"""Moderation over all lobbies: each has its own people, reports and bans (lobby_moderation.py).

A banned address or device is banned in every lobby: last in the person's own, together with the person. So if a ban
fails, or the worker dies in between, the operator finds the report still open and repeats the ban, which changes
nothing where it was done already. Lifting a ban ends in the person's own lobby, too.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import partial
from operator import methodcaller
from typing import NamedTuple, TypeVar

import gevent

from animochat.moderation.announcements import Announcements
from animochat.moderation.lobby_moderation import NOTHING, Ban, LobbyModeration, Origin, Report
from animochat.moderation.moderators import Action
from animochat.protocol.errors import Unavailable
from animochat.store.gather import gather

T = TypeVar("T")
Item = TypeVar("Item", Report, Ban)

#: A part of a lobby's list, and the ids of the whole list with their sort keys.
Some = Callable[[int, int], "tuple[int, list[Item]]"]
Order = Callable[[], "list[tuple[str, float]]"]


#: Blocks that wait for lobbies which can't be reached, at most.
MAX_BLOCKS = 10_000


class _Block(NamedTuple):
    """Two devices to keep apart in the lobbies `missing`."""

    device: str
    other: str
    missing: list[LobbyModeration]


class ModerationService:
    """Runs LobbyModeration's method of the same name in every lobby.

    All methods wait for the store. All raise Unavailable after they did everything that was possible.

    `lobby`, if it is a parameter, names the one lobby concerned; None: all of them.
    """

    def __init__(self, lobbies: Sequence[LobbyModeration], announcements: Announcements | None = None) -> None:
        self._announcements = announcements
        self._lobbies = {moderation.lobby: moderation for moderation in lobbies}
        #: Blocks that have not arrived in every lobby.
        self._blocks: list[_Block] = []
        for moderation in lobbies:
            moderation.on_block = self._block_elsewhere

    def acting_as(self, by: str) -> ModerationService:
        """Return the same service for a moderator, whose actions the logs then have."""
        acting = copy.copy(self)
        acting._lobbies = {name: moderation.acting_as(by) for name, moderation in self._lobbies.items()}
        return acting

    @property
    def lobbies(self) -> list[str]:
        """Return the lobbies' names."""
        return list(self._lobbies)

    def reports(
        self, offset: int, count: int, lobby: str | None = None, reason: str = "", state: str = "open"
    ) -> tuple[int, list[Report]]:
        chosen = self._chosen(lobby)
        somes = [partial(m.reports, reason=reason, state=state) for m in chosen]
        return _merged(somes, [partial(m.report_order, reason, state) for m in chosen], offset, count)

    def actions(self, offset: int, count: int, lobby: str | None = None) -> tuple[int, list[Action]]:
        """Return how many actions the logs have, and `count` of them after the first `offset`, the latest first."""
        logs = _check(_ask(self._chosen(lobby), lambda m: m.actions(offset + count)))
        merged = sorted((action for _, actions in logs for action in actions), key=lambda action: -action.at)
        return sum(total for total, _ in logs), merged[offset : offset + count]

    def bans(self, offset: int, count: int, lobby: str | None = None) -> tuple[int, list[Ban]]:
        """List bans. A banned address or device appears once, with the lobby of the person banned along with it."""
        chosen = self._chosen(lobby)
        return _merged([m.bans for m in chosen], [m.ban_order for m in chosen], offset, count)

    def dismiss(self, report: str) -> bool:
        return self._first(lambda moderation: moderation.dismiss(report) or None) is not None

    def ban_reported(
        self, report: str, ms: int | None, note: str, reason: str = "", *, address: bool, device: bool
    ) -> tuple[str, Origin] | None:
        """Ban the reported person. Return the person and what was banned too, or None if there is no such report."""
        found = self._first(lambda moderation: moderation.subject("", report))
        if found is None:
            return None
        home, (person, known) = found
        origin = known.chosen(address=address, device=device)
        ban = self._ban_elsewhere(home, origin, person, ms, note, report, reason)
        banned = home.ban_reported(report, ms, origin, note, reason)
        _check(ban)
        return None if banned is None else (banned, origin)

    def ban(
        self,
        person: str,
        ms: int | None,
        note: str,
        lobby: str | None = None,
        reason: str = "",
        *,
        address: bool,
        device: bool,
    ) -> tuple[str, Origin]:
        """Ban in the person's lobby. A person that no lobby knows (any more) is banned in all of them.

        Return the person and what was banned too.
        """
        if lobby is None:
            found = self._first(lambda moderation: moderation.subject(person))
        else:
            home = self._lobbies[lobby]
            found = home, home.subject(person) or (person, NOTHING)
        if found is None:
            _check(_ask(self._chosen(None), lambda m: m.ban(person, ms, NOTHING, note, reason)))
            return person, NOTHING
        home, (_, known) = found
        origin = known.chosen(address=address, device=device)
        ban = self._ban_elsewhere(home, origin, person, ms, note, reason=reason)
        home.ban(person, ms, origin, note, reason)
        _check(ban)
        return person, origin

    def lift(self, subject: str) -> bool:
        everywhere = self._chosen(None)
        origins = _check(_ask(everywhere, lambda m: m.banned_with(subject)))
        banned_with = next((origin for origin in origins if origin is not None and any(origin)), NOTHING)
        homes = [m for m, origin in zip(everywhere, origins, strict=True) if origin is not None]
        others = [m for m in everywhere if m not in homes]
        lifted = _check(_ask(others, lambda m: m.lift(subject, banned_with)))
        return any(lifted + _check(_ask(homes, lambda m: m.lift(subject))))

    def retry_blocks(self) -> None:
        """Bring blocks of devices to the lobbies that lack them. Call it now and then. Waits for the store.

        A block holds in its own lobby at once; another one, which may be at a node that is gone, gets it as soon as it
        can be reached.
        """
        blocks, self._blocks = self._blocks, []
        for block in blocks:
            answers = _ask(block.missing, methodcaller("block_devices", block.device, block.other))
            missing = [m for m, answer in zip(block.missing, answers, strict=True) if isinstance(answer, Unavailable)]
            if missing:
                self._blocks.append(block._replace(missing=missing))

    def _block_elsewhere(self, home: LobbyModeration, device: str, other: str) -> None:
        missing = [m for m in self._chosen(None) if m is not home]
        if missing and len(self._blocks) < MAX_BLOCKS:
            self._blocks.append(_Block(device, other, missing))
            gevent.spawn(self.retry_blocks)

    def announce(self, text: str, lobby: str | None = None) -> None:
        if self._announcements is None:
            raise Unavailable
        _check(_ask(self._chosen(lobby), lambda m: m.log_announcement()))
        self._announcements.announce(text, lobby)

    def _chosen(self, lobby: str | None) -> list[LobbyModeration]:
        return list(self._lobbies.values()) if lobby is None else [self._lobbies[lobby]]

    def _first(self, question: Callable[[LobbyModeration], T | None]) -> tuple[LobbyModeration, T] | None:
        """Return the first lobby with an answer, and the answer."""
        everywhere = self._chosen(None)
        answers = _ask(everywhere, question)
        for moderation, answer in zip(everywhere, answers, strict=True):
            if answer is not None and not isinstance(answer, Unavailable):
                return moderation, answer
        _check(answers)
        return None

    def _ban_elsewhere(
        self,
        home: LobbyModeration,
        origin: Origin,
        person: str,
        ms: int | None,
        note: str,
        report: str = "",
        reason: str = "",
    ) -> list[Unavailable | None]:
        others = [m for m in self._chosen(None) if m is not home] if any(origin) else []
        return _ask(others, lambda m: m.ban_elsewhere(origin, person, home.lobby, ms, note, report, reason))


def _merged(somes: Sequence[Some[Item]], orders: Sequence[Order], offset: int, count: int) -> tuple[int, list[Item]]:
    """Return a part of the lobbies' merged lists, in their order, and the total length."""
    if len(somes) == 1:
        return somes[0](offset, count)
    _check(gather([partial(some, 0, 1) for some in somes]))  # removes expired entries
    places: dict[str, tuple[float, int, int]] = {}
    for number, order in enumerate(_check(gather(list(orders)))):
        for position, (name, score) in enumerate(order):
            places.setdefault(name, (score, number, position))
    wanted = sorted(places, key=places.__getitem__)[offset : offset + count]
    found: dict[str, Item] = {}
    for number, some in enumerate(somes):
        positions = [places[name][2] for name in wanted if places[name][1] == number]
        if positions:
            _, items = some(positions[0], positions[-1] - positions[0] + 1)
            found |= {item.id: item for item in items}
    return len(places), [found[name] for name in wanted if name in found]


def _ask(lobbies: Sequence[LobbyModeration], question: Callable[[LobbyModeration], T]) -> list[T | Unavailable]:
    return gather([partial(question, moderation) for moderation in lobbies])


def _check(answers: list[T | Unavailable]) -> list[T]:
    """Return the answers. Raise Unavailable if one is missing."""
    missing = next((answer for answer in answers if isinstance(answer, Unavailable)), None)
    if missing is not None:
        raise missing
    return [answer for answer in answers if not isinstance(answer, Unavailable)]
