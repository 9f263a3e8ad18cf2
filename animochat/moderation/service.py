"""What the operator sees and does, over all lobbies: each has its own people, reports and bans (service.py).

An address that is banned is banned in every lobby: in the person's own together with the person, and there last. So
whoever bans somebody and hears that it could not be done, or hears nothing since the worker died in between, finds the
report still open and does it again, which changes nothing where it was done. Lifting ends in the person's own, too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from animochat.moderation.lobby_moderation import Ban, LobbyModeration, Report
from animochat.protocol.errors import Unavailable
from animochat.store.gather import gather

T = TypeVar("T")
Item = TypeVar("Item", Report, Ban)

#: Some of a lobby's list, and the whole list's ids with what they are sorted by.
Some = Callable[[int, int], "tuple[int, list[Item]]"]
Order = Callable[[], "list[tuple[str, float]]"]


class ModerationService:
    """Each method does what LobbyModeration's method of that name does, in every lobby.

    All wait for the store. All raise Unavailable after they did everything that was possible.

    `lobby`, where it is a parameter, names the one that it is about; None: all of them.
    """

    def __init__(self, lobbies: Sequence[LobbyModeration]) -> None:
        self._lobbies = {moderation.lobby: moderation for moderation in lobbies}

    @property
    def lobbies(self) -> list[str]:
        """The lobbies' names."""
        return list(self._lobbies)

    def reports(self, offset: int, count: int, lobby: str | None = None) -> tuple[int, list[Report]]:
        chosen = self._chosen(lobby)
        return _merged([m.reports for m in chosen], [m.report_order for m in chosen], offset, count)

    def bans(self, offset: int, count: int, lobby: str | None = None) -> tuple[int, list[Ban]]:
        """An address that is banned stands there once, with the lobby of the person for whose sake it is."""
        chosen = self._chosen(lobby)
        return _merged([m.bans for m in chosen], [m.ban_order for m in chosen], offset, count)

    def dismiss(self, report: str) -> bool:
        return self._first(lambda moderation: moderation.dismiss(report) or None) is not None

    def ban_reported(self, report: str, ms: int | None, address: bool, note: str) -> tuple[str, bool] | None:
        found = self._first(lambda moderation: moderation.subject("", report))
        if found is None:
            return None
        home, (person, known) = found
        with_address = known if address else ""
        ban = self._ban_elsewhere(home, with_address, person, ms, note, report)
        banned = home.ban_reported(report, ms, with_address, note)
        _check(ban)
        return None if banned is None else (banned, with_address != "")

    def ban(self, person: str, ms: int | None, address: bool, note: str, lobby: str | None = None) -> tuple[str, bool]:
        """In the person's lobby. Somebody whom none knows (any more) is banned in all of them."""
        if lobby is None:
            found = self._first(lambda moderation: moderation.subject(person))
        else:
            home = self._lobbies[lobby]
            found = home, home.subject(person) or (person, "")
        if found is None:
            _check(_ask(self._chosen(None), lambda m: m.ban(person, ms, "", note)))
            return person, False
        home, (_, known) = found
        with_address = known if address else ""
        ban = self._ban_elsewhere(home, with_address, person, ms, note)
        home.ban(person, ms, with_address, note)
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
        _check(_ask(self._chosen(lobby), lambda m: m.announce(text)))

    def _chosen(self, lobby: str | None) -> list[LobbyModeration]:
        return list(self._lobbies.values()) if lobby is None else [self._lobbies[lobby]]

    def _first(self, question: Callable[[LobbyModeration], T | None]) -> tuple[LobbyModeration, T] | None:
        """The lobby that has an answer to this, and the answer."""
        everywhere = self._chosen(None)
        answers = _ask(everywhere, question)
        for moderation, answer in zip(everywhere, answers, strict=True):
            if answer is not None and not isinstance(answer, Unavailable):
                return moderation, answer
        _check(answers)
        return None

    def _ban_elsewhere(
        self, home: LobbyModeration, address: str, person: str, ms: int | None, note: str, report: str = ""
    ) -> list[Unavailable | None]:
        others = [m for m in self._chosen(None) if m is not home] if address else []
        return _ask(others, lambda m: m.ban_address(address, person, home.lobby, ms, note, report))


def _merged(somes: Sequence[Some[Item]], orders: Sequence[Order], offset: int, count: int) -> tuple[int, list[Item]]:
    """A part of what the lobbies' lists are together, in their order, and how many that is."""
    if len(somes) == 1:
        return somes[0](offset, count)
    _check(gather([partial(some, 0, 1) for some in somes]))  # clears away what is over
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
    """What was answered. Raises Unavailable where something wasn't."""
    missing = next((answer for answer in answers if isinstance(answer, Unavailable)), None)
    if missing is not None:
        raise missing
    return [answer for answer in answers if not isinstance(answer, Unavailable)]
