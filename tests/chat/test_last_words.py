"""However a room ends for a client, it gets the messages in the log first.

The client is at the server `far`, whose channel is delayed or cut, so that messages are only in the log.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.faults.network import Network
from tests.helpers.people import Connect, meet, running, texts, wait_until_empty
from tests.helpers.servers import Client, RedisServer, Server

WORDS = ["these", "are", "the last"]


class Places(NamedTuple):
    """Two servers on one store. On the way from the store to `far` the channel can be held up."""

    near: Server
    far: Server
    way: Network
    store: RedisServer


@pytest.fixture(scope="module")
def module_places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Places]:
    directory = tmp_path_factory.mktemp("places")
    store = RedisServer(directory).start()
    env = {"MATCH_HISTORY_HOURS": "0", "RECONNECT_GRACE_MS": "60000"}
    with contextlib.ExitStack() as stack:
        stack.callback(store.stop)
        way = stack.enter_context(Network(store.url))
        way.prompt = b"EVALSHA"  # the connection of the commands is not held up
        servers = []
        for name, url in (("near", store.url), ("far", way.url)):
            (directory / name).mkdir()
            servers += stack.enter_context(running(directory / name, 1, url, **env))
        yield Places(*servers, way, store)


@pytest.fixture
def places(module_places: Places) -> Iterator[Places]:
    wait_until_empty(module_places.near)
    yield module_places
    module_places.way.release_answers()


def last_words(places: Places, anna: Client, *, then_leaves: bool) -> None:
    """Anna sends messages, and perhaps leaves; none of it reaches Bert's server over its channel for now."""
    places.way.hold_answers()
    for word in WORDS:
        assert anna.call("send-message", word)["ok"] is True
    if then_leaves:
        assert anna.call("leave-room")["ok"] is True


def lose_lobby(places: Places) -> None:
    """As when the lobby's node of a cluster restarts empty: the rooms' logs are at other nodes."""
    with places.store.client() as client:
        client.delete(*client.scan_iter("{lobby:main}:*", count=1000))


def in_order(client: Client) -> list[str]:
    """Return the client's events since the greeting, messages as their texts, without `online-count`."""
    entries = [(name, arguments) for name, arguments in client.log.all() if name != "online-count"]
    greeting = next(i for i, (name, arguments) in enumerate(entries) if name == "message")
    return [arguments[0]["content"] if name == "message" else name for name, arguments in entries[greeting + 1 :]]


def test_last_words_when_the_partner_leaves_while_the_channel_is_cut(places: Places, connect: Connect) -> None:
    anna, bert = connect(places.near), connect(places.far)
    meet(anna, bert)
    last_words(places, anna, then_leaves=True)
    places.way.cut()
    places.way.release_answers()
    assert bert.wait("partner-disconnected") == {"reason": "left"}
    assert in_order(bert) == [*WORDS, "partner-disconnected"]


@pytest.mark.parametrize("event", ["find-match", "next-match"])
def test_last_words_when_a_search_is_answered_before_the_notice_of_the_end(
    places: Places, connect: Connect, event: str
) -> None:
    anna, bert = connect(places.near), connect(places.far)
    meet(anna, bert)
    last_words(places, anna, then_leaves=True)
    assert bert.call(event)["state"] == "waiting"
    bert.settle()
    assert in_order(bert) == [*WORDS, "partner-disconnected", "waiting"]
    places.way.release_answers()
    bert.settle()
    assert texts(bert) == WORDS, "what comes late over the channel changes nothing"


def test_last_words_when_the_store_has_lost_the_room(places: Places, connect: Connect) -> None:
    anna, bert = connect(places.near), connect(places.far)
    meet(anna, bert)
    last_words(places, anna, then_leaves=False)
    lose_lobby(places)
    places.way.cut()
    places.way.release_answers()
    for client in (anna, bert):
        assert client.wait("partner-disconnected") == {"reason": "disconnected"}
        for _ in range(2):
            assert client.wait("session")["state"] == "idle"
    assert in_order(bert) == [*WORDS, "partner-disconnected", "session"]


def test_last_words_when_both_are_on_one_worker(places: Places, connect: Connect) -> None:
    anna, bert = connect(places.near), connect(places.near)
    meet(anna, bert)
    for word in WORDS:
        anna.emit("send-message", word)
    anna.emit("leave-room")
    bert.wait("partner-disconnected")
    assert in_order(bert) == [*WORDS, "partner-disconnected"]


def test_nothing_is_acknowledged_in_a_room_that_the_store_no_longer_has_once_it_is_over_for_the_partner(
    places: Places, connect: Connect
) -> None:
    """Every acknowledged message is shown: Anna goes on talking while the end becomes known."""
    anna, bert = connect(places.near), connect(places.far)
    meet(anna, bert)
    lose_lobby(places)
    said = []
    while "partner-disconnected" not in anna.events():
        word = f"word {len(said)}"
        if anna.call("send-message", word)["ok"]:
            said.append(word)
    bert.wait("partner-disconnected")
    assert texts(bert) == said
