"""Every setting at both ends of its range: the protocol's promises hold, with every stock client."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from animochat.app import longest_recovery
from animochat.protocol.payloads import MAX_HISTORY, latest
from animochat.rooms.log import LOG_LENGTH
from animochat.settings import Settings
from tests.helpers.people import RawClient, meet, running, say, texts, wait_until_empty
from tests.helpers.servers import Client, Server, eventually

Connect = Callable[..., Client]

#: Limits of the machine, not promises of the server.
MACHINE = {"PORT", "WEB_CONCURRENCY"}


def ends() -> dict[str, tuple[str, str]]:
    """The lowest and the highest value of each setting that is a number, by its variable."""
    found = {}
    for field in dataclasses.fields(Settings):
        numbers = re.fullmatch(r"a (?:whole )?number from (\d+)\D.*?(\d+)(?:, a second)?", allowed(field))
        if numbers is not None and field.name.upper() not in MACHINE:
            found[field.name.upper()] = (numbers[1], numbers[2])
    return found


def allowed(field: dataclasses.Field[object]) -> str:
    text: str = field.metadata["setting"].kind.allowed
    return text


LOWEST = {name: low for name, (low, _) in ends().items()}
HIGHEST = {name: high for name, (_, high) in ends().items()}


def test_the_table_has_the_ends() -> None:
    assert (LOWEST["RATE_MESSAGES"], HIGHEST["RATE_MESSAGES"]) == ("0", "100000")
    assert (LOWEST["MAX_MESSAGE_LENGTH"], HIGHEST["MAX_MESSAGE_LENGTH"]) == ("1", "20000")
    assert len(LOWEST) >= 14


@pytest.fixture(scope="module", params=[LOWEST, HIGHEST], ids=["lowest", "highest"])
def module_server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("ends"), **request.param) as (server,):
        server.ends = request.param  # type: ignore[attr-defined]
        yield server


@pytest.fixture
def values(module_server: Server) -> dict[str, int]:
    wait_until_empty(module_server)
    return {name: int(value) for name, value in module_server.ends.items()}  # type: ignore[attr-defined]


@pytest.mark.parametrize("transports", [["websocket"], ["polling"]], ids=["websocket", "polling"])
def test_people_meet_say_the_longest_things_and_go(
    module_server: Server, values: dict[str, int], connect: Connect, stock_client: str, transports: list[str]
) -> None:
    anna, bert = (connect(module_server, stock_client, transports=transports) for _ in range(2))
    longest = values["MAX_MESSAGE_LENGTH"]
    assert anna.wait("session")["limits"]["maxMessageLength"] == longest
    meet(anna, bert)
    for character in ("a", "\U0001f418", '"'):
        say(anna, bert, character * longest)
    say(anna, bert, "\u0001" * (longest - 1) + "b")
    assert anna.call("send-message", "a" * (longest + 1))["error"]["code"] == "message-too-long"
    assert bert.call("typing", True)["ok"] is True
    assert bert.call("leave-room")["ok"] is True
    assert anna.wait("partner-disconnected") == {"reason": "left"}


def test_a_burst_of_messages_may_use_the_whole_rate(
    module_server: Server, values: dict[str, int], connect: Connect, stock_client: str
) -> None:
    """Ten seconds' worth of the default rate, each as long as may be, from a client that escapes what it can."""
    anna, bert = (connect(module_server, stock_client, transports=["websocket"]) for _ in range(2))
    meet(anna, bert)
    said = ["\U0001f418" * (values["MAX_MESSAGE_LENGTH"] - 1) + chr(0x4E00 + number) for number in range(50)]
    for text in said:
        anna.emit("send-message", text)
    eventually(lambda: len(texts(bert)) == len(said))
    assert texts(bert) == said


def test_the_skip_cooldown_lasts_as_long_as_its_setting(
    module_server: Server, values: dict[str, int], connect: Connect
) -> None:
    anna, bert = connect(module_server), connect(module_server)
    meet(anna, bert)
    answer = anna.call("next-match")
    assert answer["state"] == "waiting"
    assert 0 <= values["SKIP_COOLDOWN_MS"] - answer["cooldownMs"] < 5000
    assert bert.wait("partner-disconnected") == {"reason": "skipped"}
    assert bert.call("find-match")["ok"] is True
    if values["SKIP_COOLDOWN_MS"] == 0 and values["MATCH_HISTORY_HOURS"] == 0:
        anna.wait("matched")  # each other again: there is no one else


def test_the_interest_wait_lasts_as_long_as_its_setting(
    module_server: Server, values: dict[str, int], connect: Connect
) -> None:
    anna, bert, carl = (connect(module_server) for _ in range(3))
    assert anna.call("find-match", {"interests": ["chess"]})["ok"] is True
    assert bert.call("find-match", {"interests": ["music"]})["ok"] is True
    if values["INTEREST_WAIT_MS"] == 0:
        assert anna.wait("matched")["interests"] == []
    else:
        assert carl.call("find-match", {"interests": ["chess"]})["ok"] is True
        assert anna.wait("matched")["interests"] == ["chess"]
        assert bert.received("matched") == []


def test_a_lost_connection_keeps_its_place_for_as_long_as_the_setting_says(
    module_server: Server, values: dict[str, int], connect: Connect
) -> None:
    anna, bert = RawClient(module_server), connect(module_server)
    anna.call("find-match")
    bert.call("find-match")
    bert.wait("matched")
    anna.drop()
    if values["RECONNECT_GRACE_MS"] == 0:
        assert bert.wait("partner-disconnected") == {"reason": "disconnected"}
    else:
        assert bert.wait("partner-reconnecting")["graceMs"] > values["RECONNECT_GRACE_MS"] - 5000
        again = RawClient(module_server, auth={"token": anna.session["token"]})
        assert again.session["state"] == "chatting"
        bert.wait("partner-reconnected")
        again.drop()
        bert.call("leave-room")


@pytest.mark.parametrize("module_server", [HIGHEST], indirect=True, ids=["highest"])
def test_all_missed_messages_reach_a_slow_reader(module_server: Server, values: dict[str, int]) -> None:
    """The most that there can be: a whole log of control characters, six bytes each in JSON."""
    anna, bert = RawClient(module_server), RawClient(module_server)
    anna.call("find-match")
    bert.call("find-match")
    pid = json.loads(next(frame for frame in anna.frames if frame.startswith("40"))[2:])["pid"]
    anna.wait_event("matched")
    offset = json.loads(anna.wait_frame('42["message"')[2:])[-1]
    anna.drop()
    bert.wait_event("partner-reconnecting")
    said = ["\u0001" * (values["MAX_MESSAGE_LENGTH"] - 3) + f"{number:03}" for number in range(LOG_LENGTH)]
    for text in said:
        assert bert.call("send-message", text)["ok"] is True

    back = RawClient(module_server, connected=False, receive_buffer=4096)
    back.send("40" + json.dumps({"pid": pid, "offset": offset}))
    assert json.loads(back.wait_frame("40")[2:])["pid"] == pid
    assert bert.call("typing", True)["ok"] is True  # a small frame behind all that is still under way
    assert [back.wait_event("message")["content"] for _ in said] == said
    assert back.wait_event("partner-typing") == {"isTyping": True}
    back.drop()

    reloaded = RawClient(module_server, auth={"token": anna.session["token"]}, receive_buffer=4096)
    shown = [message["content"] for message in reloaded.session["room"]["messages"]]
    assert shown[0].startswith("You are now chatting")
    assert shown[1:] == said[len(said) - len(shown) + 1 :]
    assert len(shown) > MAX_HISTORY / (6 * values["MAX_MESSAGE_LENGTH"] + 1000)
    reloaded.drop()
    bert.call("leave-room")
    bert.drop()


def test_the_latest_messages_that_fit_into_a_frame_are_shown() -> None:
    messages = [b"a" * 10, b"b" * 20, b"c" * 30]
    assert latest(messages, 60) == messages
    assert latest(messages, 59) == messages[1:]
    assert latest(messages, 30) == messages[2:]
    assert latest(messages, 29) == []
    assert latest([], 0) == []


def test_a_whole_log_is_shown_at_the_default_length() -> None:
    quote_and_ids = 2000
    assert LOG_LENGTH * (6 * Settings().max_message_length + quote_and_ids) <= MAX_HISTORY
    assert longest_recovery(1) > LOG_LENGTH


def test_at_the_defaults_ten_seconds_worth_of_long_messages_is_no_flood() -> None:
    for length in (1, 2_000, 20_000):
        settings = dataclasses.replace(Settings(), max_message_length=length)
        pieces = max(1.0, settings.longest_frame / 4096)
        assert 10 * settings.rate_frames >= 10 * settings.rate_messages * pieces + 50
    assert Settings().rate_frames == 42
    assert dataclasses.replace(Settings(), rate_typing=0).rate_frames == 0


def test_the_announced_payload_holds_the_longest_message(tmp_path: Path) -> None:
    for length in (1, 2_000, 20_000):
        settings = dataclasses.replace(Settings(), max_message_length=length)
        event = ["send-message", {"content": "\U0001f418" * length, "clientId": "\U0001f418" * 64, "replyTo": "x" * 64}]
        assert len("42" + "9" * 15 + json.dumps(event)) <= max(100_000, settings.longest_frame)
