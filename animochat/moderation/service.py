"""Moderation over all lobbies: each has its own people, reports and bans (lobby_moderation.py).

A banned address is banned in every lobby: last in the person's own, together with the person. So if a ban fails, or the
worker dies in between, the operator finds the report still open and repeats the ban, which changes nothing where it
was done already. Lifting a ban ends in the person's own lobby, too.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from animochat.moderation.announcements import Announcements
from animochat.moderation.lobby_moderation import Ban, LobbyModeration, Report
from animochat.moderation.moderators import Action
from animochat.protocol.errors import Unavailable
from animochat.store.gather import gather

T = TypeVar("T")
Item = TypeVar("Item", Report, Ban)

#: A part of a lobby's list, and the ids of the whole list with their sort keys.
Some = Callable[[int, int], "tuple[int, list[Item]]"]
Order = Callable[[], "list[tuple[str, float]]"]


class ModerationService:
    """Runs LobbyModeration's method of the same name in every lobby.

    All methods wait for the store. All raise Unavailable after they did everything that was possible.

    `lobby`, if it is a parameter, names the one lobby concerned; None: all of them.
    """

    def __init__(self, lobbies: Sequence[LobbyModeration], announcements: Announcements | None = None) -> None:
        self._announcements = announcements
        self._lobbies = {moderation.lobby: moderation for moderation in lobbies}

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
        """List bans. A banned address appears once, with the lobby of the person banned along with it."""
        chosen = self._chosen(lobby)
        return _merged([m.bans for m in chosen], [m.ban_order for m in chosen], offset, count)

    def dismiss(self, report: str) -> bool:
        return self._first(lambda moderation: moderation.dismiss(report) or None) is not None

    def ban_reported(
        self, report: str, ms: int | None, address: bool, note: str, reason: str = ""
    ) -> tuple[str, bool] | None:
        found = self._first(lambda moderation: moderation.subject("", report))
        if found is None:
            return None
        home, (person, known) = found
        with_address = known if address else ""
        ban = self._ban_elsewhere(home, with_address, person, ms, note, report, reason)
        banned = home.ban_reported(report, ms, with_address, note, reason)
        _check(ban)
        return None if banned is None else (banned, with_address != "")

    def ban(
        self, person: str, ms: int | None, address: bool, note: str, lobby: str | None = None, reason: str = ""
    ) -> tuple[str, bool]:
        """Ban in the person's lobby. A person that no lobby knows (any more) is banned in all of them."""
        if lobby is None:
            found = self._first(lambda moderation: moderation.subject(person))
        else:
            home = self._lobbies[lobby]
            found = home, home.subject(person) or (person, "")
        if found is None:
            _check(_ask(self._chosen(None), lambda m: m.ban(person, ms, "", note, reason)))
            return person, False
        home, (_, known) = found
        with_address = known if address else ""
        ban = self._ban_elsewhere(home, with_address, person, ms, note, reason=reason)
        home.ban(person, ms, with_address, note, reason)
        _check(ban)
        return person, with_address != ""

    def lift(self, subject: str) -> bool:
        everywhere = self._chosen(None)
        addresses = _check(_ask(everywhere, lambda m: m.address_banned_with(subject)))
        banned_with = next(filter(None, addresses), "")
        homes = [m for m, address in zip(everywhere, addresses, strict=True) if address is not None]
        others = [m for m in everywhere if m not in homes]
        lifted = _check(_ask(others, lambda m: m.lift(subject, banned_with)))
        return any(lifted + _check(_ask(homes, lambda m: m.lift(subject))))

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
        address: str,
        person: str,
        ms: int | None,
        note: str,
        report: str = "",
        reason: str = "",
    ) -> list[Unavailable | None]:
        others = [m for m in self._chosen(None) if m is not home] if address else []
        return _ask(others, lambda m: m.ban_address(address, person, home.lobby, ms, note, report, reason))


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
