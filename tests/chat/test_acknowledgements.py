"""An acknowledgement describes past events: the client gets these events before it.

The tests delay the notices of other workers on their way from the store, so that nothing here depends on speed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from tests.faults.network import Network
from tests.helpers.people import Connect, RawClient, running, wait_until_empty
from tests.helpers.servers import RedisServer, Server, eventually

Raw = Callable[[Server], RawClient]


class Places(NamedTuple):
    """Servers on one store: on the way to `one` its channel can be held up, on the way to `two` its answers, and both
    are on the way to neither `three`."""

    one: Server
    notices: Network
    two: Server
    answers: Network
    three: Server


@pytest.fixture(scope="module")
def module_places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Places]:
    directory = tmp_path_factory.mktemp("acknowledgements")
    store = RedisServer(directory).start()
    env = {"SKIP_COOLDOWN_MS": "0", "MATCH_HISTORY_HOURS": "0"}
    with contextlib.ExitStack() as stack:
        stack.callback(store.stop)
        notices, answers = (stack.enter_context(Network(store.url)) for _ in range(2))
        notices.prompt, answers.prompt = b"EVALSHA", b"SUBSCRIBE"  # the connection that is not held up
        servers = []
        for name, url in (("one", notices.url), ("two", answers.url), ("three", store.url)):
            (directory / name).mkdir()
            servers += stack.enter_context(running(directory / name, 1, url, **env))
        yield Places(servers[0], notices, servers[1], answers, servers[2])


@pytest.fixture
def places(module_places: Places) -> Iterator[Places]:
    wait_until_empty(module_places.three)
    yield module_places
    module_places.notices.release_answers()
    module_places.answers.release_answers()


@pytest.fixture
def raw() -> Iterator[Callable[[Server], RawClient]]:
    """A factory of raw clients, which say goodbye in the end."""
    clients = []

    def factory(server: Server) -> RawClient:
        clients.append(RawClient(server))
        return clients[-1]

    yield factory
    for client in clients:
        client.send("41")
        client.drop()


def names(client: RawClient) -> list[str]:
    """Events and acknowledgements as they came: an acknowledgement is `ack`. Counts of people online are left out."""
    found = []
    for frame in client.frames:
        if frame.startswith("42"):
            found.append(frame.split('"')[1])
        elif frame.startswith("43"):
            found.append("ack")
    return [name for name in found if name != "online-count"]


@pytest.mark.parametrize("event", ["find-match", "next-match"])
def test_matched_comes_before_its_acknowledgement_and_what_follows_is_for_that_room(
    places: Places, connect: Connect, raw: Raw, event: str
) -> None:
    anna, bert = raw(places.one), connect(places.one)
    assert bert.call("find-match")["state"] == "waiting"
    places.notices.hold_answers()
    assert anna.call(event)["state"] == "matched"
    assert names(anna)[-3:] == ["matched", "message", "ack"]
    for word in ("first", "second", "third"):
        assert anna.call("send-message", word)["ok"] is True
    places.notices.release_answers()
    assert anna.call("send-message", "last")["ok"] is True
    room = bert.wait("matched")["roomId"]
    said = [bert.wait("message", where=lambda message: message["type"] == "text") for _ in range(4)]
    assert [(message["content"], message["seq"]) for message in said] == [
        ("first", 1), ("second", 2), ("third", 3), ("last", 4),
    ]  # fmt: skip
    assert {message["roomId"] for message in said} == {room}
    anna.call("no-such-event")
    assert names(anna).count("matched") == 1, "the notice that comes later says the same"


@pytest.mark.parametrize("later", ["the notices", "the answer"])
def test_events_right_after_a_match_come_after_its_acknowledgement(
    places: Places, connect: Connect, raw: Raw, later: str
) -> None:
    """The partner, at another worker, says something and leaves at once."""
    server, held = (places.one, places.notices) if later == "the notices" else (places.two, places.answers)
    anna, bert = raw(server), connect(places.three)
    assert bert.call("find-match")["state"] == "waiting"
    held.hold_answers()
    anna.send('4277["find-match"]')
    bert.wait("matched")
    assert bert.call("send-message", "hello")["ok"] is True
    assert bert.call("leave-room")["ok"] is True
    held.release_answers()
    anna.wait_event("partner-disconnected")
    assert names(anna)[-5:] == ["matched", "message", "ack", "message", "partner-disconnected"]


@pytest.mark.parametrize("event", ["find-match", "cancel-match"])
def test_already_in_room_comes_after_matched(places: Places, connect: Connect, raw: Raw, event: str) -> None:
    """Someone who waits is found by another, and asks for something before the notice of the match is there."""
    anna, bert = raw(places.one), connect(places.one)
    assert anna.call("find-match")["state"] == "waiting"
    places.notices.hold_answers()
    assert bert.call("find-match")["state"] == "matched"
    assert anna.call(event)["error"]["code"] == "already-in-room"
    assert names(anna)[-3:] == ["matched", "message", "ack"]
    assert anna.call("send-message", "first words")["ok"] is True
    bert.wait("message", where=lambda message: message["type"] == "text")


def test_a_match_is_counted_once_whichever_way_it_becomes_known(places: Places, connect: Connect) -> None:
    def counted() -> tuple[float, ...]:
        lines = [line.split(" ") for line in places.three.get("/metrics").text.splitlines()]
        numbers = {words[0]: float(words[-1]) for words in lines if words[0] != "#"}
        return numbers["animochat_matches_total"], numbers["animochat_match_wait_seconds_count"]

    before = counted()
    anna, bert = connect(places.three), connect(places.three)
    anna.call("find-match")
    assert bert.call("find-match")["state"] == "matched"
    anna.wait("matched")
    for client in (anna, bert):
        client.settle()
    matches, waits = before
    eventually(lambda: counted() == (matches + 1, waits + 2), what="one match, two waits")
