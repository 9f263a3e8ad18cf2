"""The bounds of each payload that clients send, to the last character, and how it is normalized."""

from __future__ import annotations

from typing import Any

import pytest

from animochat.chat.lobby import session_limits
from animochat.matchmaking.interests import by_name
from animochat.protocol import payloads
from animochat.protocol.errors import InvalidPayload
from animochat.protocol.events import CLIENT_EVENTS
from animochat.protocol.packets import Malformed, parse
from animochat.rooms.log import LOG_LENGTH
from animochat.settings import Settings

EVENTS = {event.name: event for event in CLIENT_EVENTS}
LIMITS = session_limits(Settings())


def read(event: str, *args: Any) -> Any:
    return EVENTS[event].parse(list(args), LIMITS)


def refuses(event: str, *args: Any) -> bool:
    try:
        read(event, *args)
    except InvalidPayload:
        return True
    return False


def interests(*args: Any) -> list[str]:
    found: list[str] = read("find-match", *args).interests
    return found


def test_the_bounds_are_those_of_the_documents() -> None:
    bounds = (payloads.MAX_CLIENT_ID, payloads.MAX_INTERESTS, payloads.MAX_INTEREST_LENGTH, payloads.MAX_TOKEN)
    assert bounds == (64, 10, 32, 200)
    assert (payloads.MAX_DETAILS, payloads.MAX_QUOTE, LOG_LENGTH) == (1000, 200, 200)


def test_texts_are_accepted_up_to_their_bounds() -> None:
    for length in (64, 65):
        assert refuses("send-message", {"content": "hi", "clientId": "x" * length}) == (length > 64)
    for length in (1000, 1001):
        assert refuses("report-partner", {"reason": "spam", "details": "x" * length}) == (length > 1000)


@pytest.mark.parametrize("args", [[], [True, True], [None], [1], ["true"]])
def test_an_event_takes_exactly_its_one_argument(args: list[Any]) -> None:
    assert refuses("typing", *args)
    assert not refuses("typing", True)


@pytest.mark.parametrize("args", [[0], [False], [""], [{}], [None, None]])
def test_an_event_without_an_argument_takes_none(args: list[Any]) -> None:
    assert read("leave-room") is read("leave-room", None) is None
    assert refuses("leave-room", *args)


def test_an_argument_without_required_fields_is_optional() -> None:
    assert interests() == interests(None) == interests({}) == interests({"interests": []}) == []


@pytest.mark.parametrize(
    ("event", "short", "field"), [("typing", False, "isTyping"), ("send-message", "hi", "content")]
)
def test_a_plain_value_is_short_for_the_first_field(event: str, short: Any, field: str) -> None:
    assert read(event, short) == read(event, {field: short})
    assert getattr(read(event, short), field) == short


def test_interests_are_stripped() -> None:
    spelled = ["  tea ", "x" * 32, " " + "y" * 32 + "\n"]
    assert interests({"interests": spelled}) == ["tea", "x" * 32, "y" * 32]
    assert len(interests({"interests": [str(number) for number in range(10)]})) == 10


@pytest.mark.parametrize(
    "spelled", [["x" * 33], ["tea", ""], [" "], ["\u3164"], ["\u200b\u2800"], [5], [str(n) for n in range(11)], "tea"]
)
def test_an_interest_that_is_too_long_or_shows_nothing_is_refused(spelled: Any) -> None:
    assert refuses("find-match", {"interests": spelled})


@pytest.mark.parametrize(("one", "other"), [("J\u030c", "\u01f0"), ("H\u0331", "\u1e96"), ("\u1e9e", "ss")])
def test_spellings_that_differ_in_case_and_composition_are_one_interest(one: str, other: str) -> None:
    """Case folding may leave characters that can be composed."""
    assert by_name([one]).keys() == by_name([other]).keys()


@pytest.mark.parametrize("text", ['2["\ud800"]', '27["x","\udfff"]'])
def test_half_a_character_is_malformed(text: str) -> None:
    with pytest.raises(Malformed):
        parse(text)
