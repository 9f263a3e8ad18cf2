"""The wire protocol's two event tables and its rules, line by line, on every kind of store, with both stock clients."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from animochat.chat.client_rooms import GREETING
from tests.helpers.people import (
    Connect,
    RawClient,
    goodbye,
    meet,
    raw_clients,
    running,
    say,
    stats,
    texts,
    wait_until_empty,
)
from tests.helpers.servers import Client, PythonClient, Server, eventually
from tests.helpers.store_kinds import KINDS, Store, running_store

#: The fast server's short times, and its limit of reports.
COOLDOWN_MS = 2_000
GRACE_MS = 500
INTEREST_WAIT_MS = 1_500
REPORTS_PER_HOUR = 2

ADMIN_TOKEN = "correct horse battery staple"

NewClient = Callable[..., Client]

#: Kind of store, stock client, and whether people come to two servers in turn or all to one.
PLACES = [("valkey", "python", "one"), *((kind, "node", "two") for kind in KINDS)]


@pytest.fixture(scope="module", params=PLACES, ids="-".join)
def place(request: pytest.FixtureRequest) -> tuple[str, str, str]:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def store(place: tuple[str, str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with running_store(place[0], tmp_path_factory.mktemp("store")) as store:
        yield store
        # asked for, to learn whether sharded pub/sub may be used
        assert store.refusals() <= {"pubsub|shardnumsub", "pubsub"}


@pytest.fixture(scope="module")
def servers(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Server]]:
    """Start two servers on one store: the first with the protocol's numbers, the second with short times and high
    limits.
    """
    hasty = {
        "SKIP_COOLDOWN_MS": str(COOLDOWN_MS),
        "RECONNECT_GRACE_MS": str(GRACE_MS),
        "INTEREST_WAIT_MS": str(INTEREST_WAIT_MS),
        "REPORTS_PER_HOUR": str(REPORTS_PER_HOUR),
    }
    untouched = {"RATE_SEARCHES": "", "RATE_MESSAGES": "", "RATE_TYPING": "", "RATE_REFUSALS": ""}
    directory = tmp_path_factory.mktemp("servers")
    for name in ("untouched", "hasty"):
        (directory / name).mkdir()
    with (
        running(directory / "untouched", store=store.url, ADMIN_TOKEN=ADMIN_TOKEN, **untouched) as first,
        running(directory / "hasty", store=store.url, **hasty) as second,
    ):
        hear_each_other(first + second)
        yield first + second


def hear_each_other(servers: list[Server]) -> None:
    """Wait until the servers receive each other's notices: right after the start a worker may not be subscribed yet."""
    clients = [PythonClient(server.url) for server in servers]
    for client in clients:
        client.connect()
        client.call("find-match")
    for client in clients:
        client.wait("matched")
        client.close()


@pytest.fixture
def server(servers: list[Server]) -> Server:
    """The server with the protocol's numbers, without clients at first."""
    wait_until_empty(servers[0])
    return servers[0]


@pytest.fixture
def stock_client(place: tuple[str, str, str]) -> str:
    return place[1]


@pytest.fixture
def new_client(server: Server, servers: list[Server], connect: Connect, place: tuple[str, str, str]) -> NewClient:
    """Make a client of one server, of both in turn, or of the fast one. There are no other clients at first."""
    turn = itertools.count()

    def new(hasty: bool = False, **options: object) -> Client:
        chosen = next(turn) % 2 if place[2] == "two" else 0
        return connect(servers[1 if hasty else chosen], place[1], **options)

    return new


@pytest.fixture
def pair(new_client: NewClient) -> tuple[Client, Client]:
    """Return two people who chat."""
    anna, bert = new_client(), new_client()
    meet(anna, bert)
    return anna, bert


def arguments_of(client: Client, event: str) -> list[list[object]]:
    """Return all arguments of these events until now."""
    return [arguments for name, arguments in client.log.all() if name == event]


class Operator:
    """The operator, who uses the API of one of the servers (tests of the page: tests/web/test_admin.py)."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
        answer = self._server.get(f"/admin/api/{path}", method, json=body, headers=headers)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def open_reports(self) -> int:
        """How many."""
        return int(self._ask("GET", "reports")["open"])

    def reports_on(self, person: str) -> list[dict[str, Any]]:
        """The open reports on a person, the oldest first."""
        return [report for report in self._ask("GET", "reports")["reports"] if report["reported"] == person]

    def ban(self, person: str, hours: float | None) -> None:
        """Ban someone, without an end if `hours` is None."""
        self._ask("POST", "bans", {"person": person, "hours": hours})

    def lift(self, person: str) -> None:
        self._ask("DELETE", f"bans/person:{person}")

    def announce(self, text: str) -> None:
        self._ask("POST", "announcements", {"text": text})


@pytest.fixture
def operator(server: Server) -> Operator:
    return Operator(server)


# Connecting


def test_session_is_the_first_event_and_has_the_token(new_client: NewClient) -> None:
    anna = new_client()
    session = anna.wait("session")
    anna.wait("online-count")
    assert next(event for event in anna.events() if event != "connect") == "session"
    assert isinstance(session["token"], str)
    assert session["recovered"] is False
    assert session["state"] == "idle"
    assert "room" not in session
    assert session["limits"]["maxMessageLength"] == 2_000
    assert anna.received("session") == [session]


def test_every_person_gets_a_token_of_their_own(new_client: NewClient) -> None:
    assert new_client().wait("session")["token"] != new_client().wait("session")["token"]


@pytest.mark.parametrize("transport", ["polling", "websocket"])
def test_either_transport_will_do(new_client: NewClient, transport: str) -> None:
    anna, bert = new_client(transports=[transport]), new_client(transports=[transport])
    assert anna.transport == transport  # type: ignore[attr-defined]
    meet(anna, bert)
    say(anna, bert, "there")
    say(bert, anna, "and back")
    goodbye(anna)
    assert bert.wait("partner-disconnected") == {"reason": "disconnected"}


def test_online_count_comes_once_after_connecting_then_on_change(new_client: NewClient) -> None:
    anna = new_client()
    assert anna.wait("online-count") == 1
    bert = new_client()
    assert bert.wait("online-count") == 2
    assert anna.wait("online-count") == 2
    goodbye(bert)
    assert anna.wait("online-count") == 1
    assert anna.received("online-count") == [1, 2, 1]


def test_online_count_comes_at_most_once_a_second(new_client: NewClient, server: Server) -> None:
    begun = time.monotonic()
    anna = new_client()
    anna.wait("online-count")
    with raw_clients(server, 8):
        anna.wait("online-count", where=lambda count: count == 9)
    anna.wait("online-count", where=lambda count: count == 1)
    assert len(anna.received("online-count")) <= 1 + (time.monotonic() - begun)


# Matching


def test_find_match_answers_waiting_until_there_is_a_partner_for_both(new_client: NewClient) -> None:
    anna, bert = new_client(), new_client()
    assert anna.call("find-match") == {"ok": True, "state": "waiting", "cooldownMs": 0}
    assert anna.wait("waiting") == {"cooldownMs": 0}
    assert bert.call("find-match") == {"ok": True, "state": "matched"}
    a, b = anna.wait("matched"), bert.wait("matched")
    assert a["roomId"] == b["roomId"]
    assert (a["userId"], a["partnerId"]) == (b["partnerId"], b["userId"])
    assert a["userId"] != b["userId"]
    assert a["interests"] == b["interests"] == []
    assert "waiting" not in bert.events()


def test_a_shared_interest_matches_at_once_and_is_sent_in_each_ones_spelling(new_client: NewClient) -> None:
    anna, bert, carl = new_client(), new_client(), new_client()
    assert carl.call("find-match", {"interests": ["chess"]})["state"] == "waiting"
    assert anna.call("find-match", {"interests": [" Tea ", "cats", "tea"]})["state"] == "waiting"
    assert bert.call("find-match", {"interests": ["dogs", "TEA"]})["state"] == "matched"
    assert anna.wait("matched")["interests"] == ["Tea"]
    assert bert.wait("matched")["interests"] == ["TEA"]
    assert "matched" not in carl.events()


def test_after_the_interest_wait_anyone_matches(new_client: NewClient) -> None:
    anna, bert = new_client(hasty=True), new_client()
    assert anna.call("find-match", {"interests": ["tea"]})["state"] == "waiting"
    assert bert.call("find-match", {"interests": []})["state"] == "waiting"
    begun = time.monotonic()
    assert anna.wait("matched")["interests"] == bert.wait("matched")["interests"] == []
    assert time.monotonic() - begun > (INTEREST_WAIT_MS - 500) / 1000


def test_find_match_while_waiting_changes_no_interests(new_client: NewClient) -> None:
    anna, bert = new_client(), new_client()
    anna.call("find-match", {"interests": ["tea"]})
    assert anna.call("find-match", {"interests": ["chess"]})["state"] == "waiting"
    assert bert.call("find-match", {"interests": ["tea"]})["state"] == "matched"
    assert anna.wait("matched")["interests"] == ["tea"]


def test_ten_interests_of_32_characters_are_taken_and_more_change_nothing(new_client: NewClient) -> None:
    anna, bert = new_client(), new_client()
    ten = [f" {chr(0x1F600 + n) * 32} " for n in range(10)]
    for wrong in ([*ten, "tea"], ["x" * 33], ["tea", " "], [""]):
        assert anna.call("find-match", {"interests": wrong})["error"]["code"] == "invalid-payload"
    assert bert.call("find-match")["state"] == "waiting", "Anna isn't"
    assert bert.call("cancel-match")["ok"] is True
    assert anna.call("find-match", {"interests": ten})["state"] == "waiting"
    assert bert.call("find-match", {"interests": ten})["state"] == "matched"
    assert bert.wait("matched")["interests"] == [interest.strip() for interest in ten]


def test_a_reload_in_a_chat_sends_the_interests_in_common(new_client: NewClient) -> None:
    anna, bert = new_client(), new_client()
    token = anna.wait("session")["token"]
    anna.call("find-match", {"interests": ["Tea"]})
    bert.call("find-match", {"interests": ["tea"]})
    anna.wait("matched")
    again = new_client(token=token)
    assert again.wait("session")["room"]["interests"] == ["Tea"]


def test_the_first_message_in_a_room_is_the_systems_and_goes_to_both(new_client: NewClient) -> None:
    anna, bert = new_client(), new_client()
    anna.emit("find-match")
    bert.emit("find-match")
    a, b = anna.wait("message"), bert.wait("message")
    assert a == b
    assert (a["type"], a["senderId"], a["seq"], a["content"]) == ("system", "system", 0, GREETING)
    assert GREETING == "You are now chatting with a stranger. Say hi!"
    assert a["roomId"] == anna.wait("matched")["roomId"]
    assert abs(a["timestamp"] / 1000 - time.time()) < 60
    for client in (anna, bert):
        names = client.events()
        assert names.index("matched") < names.index("message")


def test_find_match_while_waiting_answers_waiting_again_and_changes_nothing(new_client: NewClient) -> None:
    anna, bert = new_client(), new_client()
    for _ in range(3):
        assert anna.call("find-match")["state"] == "waiting"
        assert anna.wait("waiting") == {"cooldownMs": 0}
    assert anna.call("next-match")["state"] == "waiting"
    assert anna.wait("waiting") == {"cooldownMs": 0}
    bert.call("find-match")
    anna.wait("matched")
    say(bert, anna, "only me")
    assert len(anna.received("matched")) == 1


def test_find_match_in_a_room_is_already_in_room(pair: tuple[Client, Client]) -> None:
    anna, bert = pair
    error = {"code": "already-in-room", "message": "Already in a room"}
    assert anna.call("find-match") == {"ok": False, "error": error}
    anna.emit("find-match")
    assert anna.wait("error") == {**error, "event": "find-match"}
    say(anna, bert, "still here")
    assert "partner-disconnected" not in bert.events()


def test_cancel_match_leaves_the_pool(new_client: NewClient) -> None:
    anna, bert = new_client(), new_client()
    anna.call("find-match")
    assert anna.call("cancel-match") == {"ok": True}
    assert anna.wait("match-cancelled") is None
    assert arguments_of(anna, "match-cancelled") == [[]]
    assert bert.call("find-match")["state"] == "waiting"
    assert anna.call("find-match")["state"] == "matched"
    anna.wait("matched")
    bert.wait("matched")
    assert len(anna.received("matched")) == 1


def test_next_match_leaves_and_sends_the_partner_skipped(pair: tuple[Client, Client]) -> None:
    anna, bert = pair
    answer = anna.call("next-match")
    assert (answer["ok"], answer["state"]) == (True, "waiting")
    assert bert.wait("partner-disconnected") == {"reason": "skipped"}
    assert 0 < anna.wait("waiting", where=lambda waiting: waiting["cooldownMs"] > 0)["cooldownMs"] <= 5_000
    assert "partner-disconnected" not in anna.events()
    assert bert.call("send-message", "wait")["error"]["code"] == "not-in-room"


def test_after_the_skip_cooldown_a_person_is_matched_by_the_named_interests(new_client: NewClient) -> None:
    anna, bert, carla = new_client(hasty=True), new_client(), new_client()
    meet(anna, bert)
    anna.call("next-match", {"interests": ["Tea"]})
    rest = anna.wait("waiting", where=lambda waiting: waiting["cooldownMs"] > 0)["cooldownMs"]
    assert carla.call("next-match", {"interests": ["tea"]})["state"] == "waiting", "matched with someone in cooldown"
    # two who may meet are never both left waiting for longer than 1 s
    assert anna.wait("matched", timeout=rest / 1000 + 1, where=lambda told: told["interests"])["interests"] == ["Tea"]
    assert carla.wait("matched")["interests"] == ["tea"]
    assert len(anna.received("waiting")) == 1 + 1, "the first search and the skip"


def test_searching_again_does_not_shorten_the_cooldown(pair: tuple[Client, Client]) -> None:
    anna, _ = pair
    anna.call("next-match")
    assert 0 < anna.call("find-match")["cooldownMs"] <= 5_000
    anna.call("cancel-match")
    assert 0 < anna.call("find-match")["cooldownMs"] <= 5_000


def test_a_skipped_partner_has_no_cooldown(new_client: NewClient) -> None:
    anna, bert, carla = new_client(), new_client(), new_client()
    meet(anna, bert)
    anna.call("next-match")
    bert.wait("partner-disconnected")
    assert carla.call("find-match")["state"] == "waiting"
    assert bert.call("find-match")["state"] == "matched"
    carla.wait("matched")


def test_next_match_outside_a_room_is_find_match(new_client: NewClient) -> None:
    anna, bert = new_client(), new_client()
    assert anna.call("next-match") == {"ok": True, "state": "waiting", "cooldownMs": 0}
    assert anna.wait("waiting") == {"cooldownMs": 0}
    assert bert.call("next-match")["state"] == "matched"
    anna.wait("matched")


def test_those_who_met_are_not_matched_again(new_client: NewClient) -> None:
    anna, bert, carla = new_client(), new_client(), new_client()
    first, _ = meet(anna, bert)
    anna.call("leave-room")
    bert.wait("partner-disconnected")
    assert anna.call("find-match")["state"] == "waiting"
    assert bert.call("find-match")["state"] == "waiting", "those two have just met"
    assert carla.call("find-match")["state"] == "matched"
    carla.wait("matched")
    eventually(lambda: len(anna.received("matched") + bert.received("matched")) == 3)
    assert carla.received("matched")[0]["roomId"] != first["roomId"]


def test_a_person_in_a_room_is_not_matched(pair: tuple[Client, Client], new_client: NewClient) -> None:
    anna, bert = pair
    carla, dora = new_client(), new_client()
    assert carla.call("find-match")["state"] == "waiting"
    assert dora.call("find-match")["state"] == "matched"
    say(anna, bert, "undisturbed")
    assert len(anna.received("matched")) == len(bert.received("matched")) == 1


# Talking


def test_a_message_goes_to_the_partner_alone(pair: tuple[Client, Client]) -> None:
    anna, bert = pair
    answer = anna.call("send-message", "hello")
    message = bert.wait("message", where=lambda message: message["seq"] > 0)
    me = anna.received("matched")[0]
    assert message == {
        "id": answer["id"],
        "roomId": me["roomId"],
        "seq": 1,
        "senderId": me["userId"],
        "content": "hello",
        "timestamp": answer["timestamp"],
        "type": "text",
    }
    assert answer == {"ok": True, "id": message["id"], "seq": 1, "timestamp": message["timestamp"]}
    assert abs(message["timestamp"] / 1000 - time.time()) < 60
    say(bert, anna, "reply")
    assert texts(anna) == ["reply"], "never sent back to its sender"


def test_a_message_may_be_an_object(pair: tuple[Client, Client]) -> None:
    anna, bert = pair
    assert anna.call("send-message", {"content": "hello", "clientId": "1", "some": "field of later"})["ok"] is True
    assert bert.wait("message", where=lambda message: message["seq"] == 1)["content"] == "hello"


def test_a_message_needs_no_callback(pair: tuple[Client, Client]) -> None:
    anna, bert = pair
    anna.emit("send-message", "one")
    anna.emit("send-message", {"content": "two"})
    bert.wait("message", where=lambda message: message["content"] == "two")
    assert texts(bert) == ["one", "two"]
    assert "error" not in anna.events()


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert('x')</script> &amp; \"quoted\" \\ back",
        "line\nbreak\ttab",
        "👩‍👩‍👧 שלום 你好 \u2028\u2029 e\u0301",
        '"]42["message",{}]',
        "\x00\x01\x7f\x1e inside",
        "0",
    ],
)
def test_text_arrives_as_it_was_written(pair: tuple[Client, Client], text: str) -> None:
    anna, bert = pair
    assert say(anna, bert, text)["content"] == text
    assert say(bert, anna, "after it")["seq"] == 2


def test_content_is_trimmed(pair: tuple[Client, Client]) -> None:
    anna, bert = pair
    anna.call("send-message", "  \n hello  there \t ")
    assert bert.wait("message", where=lambda message: message["seq"] == 1)["content"] == "hello  there"


#: Texts in which nothing can be seen: one of each kind of character that shows nothing, then several together.
INVISIBLE = [
    "", "   ", "\n\t\r\n", "\u3000\u00a0", "\x00\x07\x1b\x7f\x9b", "\u3164\uffa0", "\u200b\u200d\ufeff", "\u2800\u2800",
    "\xad", "\u202e\u2066\u200f", "\ufe0f\U000e0100", "\U000e0041\U000e007f",
    "\u3164 \u200b\n\u2800\ufeff\U000e0020 \u3164",
]  # fmt: skip


def test_a_message_without_visible_characters_is_empty(pair: tuple[Client, Client]) -> None:
    anna, bert = pair
    error = {"code": "empty-message", "message": "Message cannot be empty"}
    for content in INVISIBLE:
        assert anna.call("send-message", content) == {"ok": False, "error": error}, repr(content)
        assert anna.call("send-message", {"content": content}) == {"ok": False, "error": error}, repr(content)
    anna.emit("send-message", INVISIBLE[-1])
    assert anna.wait("error") == {**error, "event": "send-message"}
    assert say(anna, bert, "something")["seq"] == 1


def test_a_message_with_a_visible_character_is_relayed_unchanged(pair: tuple[Client, Client]) -> None:
    anna, bert = pair
    for number, content in enumerate(["\u200b.", "❤\ufe0f", "👨\u200d👩\u200d👧", "\u3164a", "\u0301"], 1):
        assert anna.call("send-message", content)["ok"] is True
        assert bert.wait("message", where=lambda m, at=number: m["seq"] == at)["content"] == content


def test_content_has_at_most_2000_code_points(pair: tuple[Client, Client]) -> None:
    anna, bert = pair
    for longest in ("x" * 2000, "é" * 2000, "😀" * 2000, " " * 500 + "y" * 2000 + " " * 500):
        say_longest = anna.call("send-message", longest)
        assert say_longest["ok"] is True
        assert bert.wait("message", where=lambda m, at=say_longest["seq"]: m["seq"] == at)["content"] == longest.strip()
    for too_long in ("x" * 2001, "😀" * 2001):
        assert anna.call("send-message", too_long)["error"]["code"] == "message-too-long"
        assert anna.call("send-message", {"content": too_long})["error"]["code"] == "message-too-long"
    assert say(anna, bert, "short")["seq"] == 5


def test_a_client_id_is_stored_and_delivered_once(pair: tuple[Client, Client]) -> None:
    anna, bert = pair
    first = anna.call("send-message", {"content": "once", "clientId": "c1"})
    again = anna.call("send-message", {"content": "once", "clientId": "c1"})
    changed = anna.call("send-message", {"content": "changed", "clientId": "c1"})
    assert first["ok"] is True
    assert first == again == changed
    assert say(anna, bert, "next")["seq"] == 2
    assert texts(bert) == ["once", "next"]


def test_a_client_id_counts_for_its_sender_and_its_room(new_client: NewClient) -> None:
    anna, bert, carla = new_client(), new_client(), new_client()
    meet(anna, bert)
    assert anna.call("send-message", {"content": "from anna", "clientId": "c1"})["seq"] == 1
    assert bert.call("send-message", {"content": "from bert", "clientId": "c1"})["seq"] == 2
    anna.wait("message", where=lambda message: message["content"] == "from bert")
    anna.call("leave-room")
    meet(carla, anna)
    assert anna.call("send-message", {"content": "elsewhere", "clientId": "c1"})["seq"] == 1
    assert carla.wait("message", where=lambda message: message["seq"] == 1)["content"] == "elsewhere"


def test_a_client_id_has_up_to_64_characters(pair: tuple[Client, Client]) -> None:
    anna, bert = pair
    for client_id in ("x" * 64, "é" * 64):
        assert anna.call("send-message", {"content": "fits", "clientId": client_id})["ok"] is True
    assert anna.call("send-message", {"content": "no", "clientId": "x" * 65})["error"]["code"] == "invalid-payload"
    assert say(anna, bert, "next")["seq"] == 3


def test_each_gets_the_partners_messages_in_order_and_once_and_the_room_has_one_order(
    pair: tuple[Client, Client],
) -> None:
    anna, bert = pair
    for number in range(40):
        anna.emit("send-message", f"a{number}")
        bert.emit("send-message", f"b{number}")
    last_a, last_b = anna.call("send-message", "a40"), bert.call("send-message", "b40")
    anna.wait("message", where=lambda message: message["content"] == "b40")
    bert.wait("message", where=lambda message: message["content"] == "a40")
    assert texts(bert) == [f"a{number}" for number in range(41)]
    assert texts(anna) == [f"b{number}" for number in range(41)]
    messages = [m for client in pair for m in client.received("message") if m["type"] == "text"]
    assert sorted(m["seq"] for m in messages) == list(range(1, 83)), "one order, without a gap"
    assert len({m["id"] for m in messages}) == 82
    assert max(last_a["seq"], last_b["seq"]) == 82
    for client in pair:
        seqs = [m["seq"] for m in client.received("message")]
        assert seqs == sorted(seqs)


def test_a_reply_quotes_a_message_of_the_room(pair: tuple[Client, Client]) -> None:
    anna, bert = pair
    original = say(anna, bert, "Do you like tea?")
    answer = bert.call("send-message", {"content": "Very much", "replyTo": original["id"]})
    reply = anna.wait("message", where=lambda message: message["content"] == "Very much")
    quote = {"id": original["id"], "senderId": original["senderId"], "content": "Do you like tea?"}
    assert reply["replyTo"] == quote
    assert (reply["id"], reply["seq"], reply["type"]) == (answer["id"], 2, "text")
    # one's own words, and a reply, can be replied to; what a reply quotes is not quoted again
    bert.call("send-message", {"content": "With milk", "replyTo": reply["id"]})
    again = anna.wait("message", where=lambda message: message["content"] == "With milk")
    assert again["replyTo"] == {"id": reply["id"], "senderId": reply["senderId"], "content": "Very much"}
    assert "replyTo" not in original


@pytest.mark.parametrize("text", ["x" * 201, "😀" * 300, '\n"\\' + "ß" * 250], ids=["letters", "emoji", "escapes"])
def test_a_quote_has_the_first_200_characters(pair: tuple[Client, Client], text: str) -> None:
    anna, bert = pair
    original = say(anna, bert, text.strip())
    bert.call("send-message", {"content": "yes", "replyTo": original["id"]})
    reply = anna.wait("message", where=lambda message: message["content"] == "yes")
    assert reply["replyTo"]["content"] == text.strip()[:200]


def test_the_message_that_a_room_begins_with_can_be_replied_to(pair: tuple[Client, Client]) -> None:
    anna, bert = pair
    first = anna.received("message")[0]
    anna.call("send-message", {"content": "Hi!", "replyTo": first["id"]})
    reply = bert.wait("message", where=lambda message: message["seq"] == 1)
    assert reply["replyTo"] == {"id": first["id"], "senderId": "system", "content": GREETING}


def test_a_reply_to_a_message_outside_the_room_is_invalid(new_client: NewClient) -> None:
    anna, bert, carla = new_client(), new_client(), new_client()
    meet(anna, bert)
    elsewhere = say(anna, bert, "in another room")["id"]
    anna.call("leave-room")
    room = meet(carla, anna)[0]["roomId"]
    say(anna, carla, "the only one")
    for no_id in (
        "",
        "x",
        elsewhere,
        room,
        f"{room}-2",
        f"{room}-01",
        f"{room}--1",
        f"{room}-1 ",
        f"{room}-" + "9" * 40,
    ):
        answer = carla.call("send-message", {"content": "lost", "replyTo": no_id})
        assert answer["error"]["code"] == "invalid-payload", no_id
    carla.emit("send-message", {"content": "lost", "replyTo": "x"})
    assert carla.wait("error")["event"] == "send-message"
    assert say(carla, anna, "found")["seq"] == 2


def test_a_reply_keeps_its_place_among_the_other_messages(pair: tuple[Client, Client]) -> None:
    anna, bert = pair
    original = say(bert, anna, "count!")["id"]
    for number in range(20):
        anna.emit("send-message", {"content": str(number), "replyTo": original} if number % 3 == 0 else str(number))
    anna.emit("leave-room")
    bert.wait("partner-disconnected")
    assert texts(bert) == [str(number) for number in range(20)]


def test_a_reply_that_is_sent_again_is_stored_once(new_client: NewClient) -> None:
    anna, bert = new_client(), new_client(hasty=True)
    meet(anna, bert)
    original = say(bert, anna, "which one?")["id"]
    reply = {"content": "this one", "replyTo": original, "clientId": "c1"}
    first = anna.call("send-message", reply)
    for number in range(199):  # the log keeps 200: the reply is in it, what it replies to is not
        bert.emit("send-message", str(number))
    anna.wait("message", where=lambda message: message["content"] == "198")
    assert first["ok"] is True
    assert anna.call("send-message", reply) == first
    too_late = anna.call("send-message", {**reply, "clientId": "c2"})
    assert too_late["error"]["code"] == "invalid-payload"
    assert texts(bert) == ["this one"]


def test_a_quote_survives_a_reload(pair: tuple[Client, Client], new_client: NewClient) -> None:
    anna, bert = pair
    original = say(bert, anna, "before")
    anna.call("send-message", {"content": "after", "replyTo": original["id"]})
    for client in pair:
        again = new_client(token=client.received("session")[0]["token"])
        last = again.wait("session")["room"]["messages"][-1]
        assert (last["content"], last["replyTo"]["content"]) == ("after", "before")


def test_typing_is_passed_on(pair: tuple[Client, Client]) -> None:
    anna, bert = pair
    for argument, told in ((True, True), (False, False), ({"isTyping": True}, True), ({"isTyping": False}, False)):
        anna.emit("typing", argument)
        assert bert.wait("partner-typing") == {"isTyping": told}
    assert anna.call("typing", True) == {"ok": True}
    assert bert.wait("partner-typing") == {"isTyping": True}
    assert "partner-typing" not in anna.events()


def test_leave_room_notifies_the_partner_and_does_not_search(new_client: NewClient) -> None:
    anna, bert, carla = new_client(), new_client(), new_client()
    meet(anna, bert)
    assert anna.call("leave-room") == {"ok": True}
    assert bert.wait("partner-disconnected") == {"reason": "left"}
    assert carla.call("find-match")["state"] == "waiting", "no one searches"
    assert anna.call("find-match")["state"] == "matched", "leaving costs no rest"
    assert not {"partner-disconnected", "match-cancelled"} & set(anna.events())


IN_A_ROOM_ONLY: list[tuple[str, list[object]]] = [
    ("send-message", ["hello"]),
    ("send-message", [{"content": "hello", "replyTo": "x"}]),
    ("typing", [True]),
    ("leave-room", []),
    ("block-partner", []),
    ("report-partner", [{"reason": "spam"}]),
]


@pytest.mark.parametrize(("event", "arguments"), IN_A_ROOM_ONLY, ids=lambda x: str(x))
def test_outside_a_room_it_is_not_in_room(new_client: NewClient, event: str, arguments: list[object]) -> None:
    anna = new_client()
    error = {"code": "not-in-room", "message": "Not in a chat room"}
    assert anna.call(event, *arguments) == {"ok": False, "error": error}
    assert "error" not in anna.events(), "with a callback the failure goes there alone"
    anna.emit(event, *arguments)
    assert anna.wait("error") == {**error, "event": event}


@pytest.mark.parametrize("event", ["no-such-event", "session", "connect "])
def test_unknown_events_are_invalid(pair: tuple[Client, Client], event: str) -> None:
    anna, bert = pair
    answer = anna.call(event, {"reason": "because"})
    assert answer["ok"] is False
    assert answer["error"]["code"] == "invalid-payload"
    assert isinstance(answer["error"]["message"], str)
    anna.emit(event)
    error = anna.wait("error")
    assert (error["code"], error["event"]) == ("invalid-payload", event)
    say(anna, bert, "still here")


def test_a_message_after_leaving_reaches_no_one(pair: tuple[Client, Client]) -> None:
    anna, bert = pair
    anna.emit("leave-room")
    anna.emit("send-message", "too late")
    assert anna.wait("error", where=lambda error: error["event"] == "send-message")["code"] == "not-in-room"
    bert.wait("partner-disconnected")
    bert.call("find-match")
    assert texts(bert) == []


@pytest.mark.parametrize("event", ["leave-room", "next-match"])
def test_a_message_before_leaving_arrives_before_the_end(pair: tuple[Client, Client], event: str) -> None:
    anna, bert = pair
    for number in range(5):
        anna.emit("send-message", f"last words {number}")
    anna.emit(event)
    bert.wait("partner-disconnected")
    assert texts(bert) == [f"last words {number}" for number in range(5)]
    assert bert.events()[-1] in ("partner-disconnected", "online-count")


def test_after_the_partner_left_messages_are_refused(pair: tuple[Client, Client]) -> None:
    anna, bert = pair
    anna.call("leave-room")
    bert.wait("partner-disconnected")
    assert bert.call("send-message", "hello?")["error"]["code"] == "not-in-room"
    assert bert.call("typing", True)["error"]["code"] == "not-in-room"
    anna.call("find-match")
    assert texts(anna) == []


# Blocking


def test_block_partner_ends_the_room_for_both_and_looks_like_leaving(pair: tuple[Client, Client]) -> None:
    anna, bert = pair
    anna.emit("send-message", "last words")
    assert anna.call("block-partner") == {"ok": True}
    assert bert.wait("partner-disconnected") == {"reason": "left"}
    assert texts(bert) == ["last words"]
    assert not {"partner-disconnected", "error"} & set(anna.events())
    for client in pair:
        assert client.call("send-message", "hello?")["error"]["code"] == "not-in-room"


def test_block_partner_needs_no_callback(pair: tuple[Client, Client]) -> None:
    anna, bert = pair
    anna.emit("block-partner")
    assert bert.wait("partner-disconnected") == {"reason": "left"}
    anna.settle()
    assert "error" not in anna.events()


def test_after_blocking_one_may_search_at_once_and_meets_someone_else(new_client: NewClient) -> None:
    anna, bert, carla = new_client(), new_client(), new_client()
    meet(anna, bert)
    anna.call("block-partner")
    assert bert.call("find-match")["state"] == "waiting"
    assert anna.call("find-match") == {"ok": True, "state": "waiting", "cooldownMs": 0}, "never again"
    assert carla.call("find-match")["state"] == "matched"


def test_a_partner_who_is_away_can_be_blocked(pair: tuple[Client, Client], new_client: NewClient) -> None:
    anna, bert = pair
    anna.drop()
    bert.wait("partner-reconnecting")
    assert bert.call("block-partner") == {"ok": True}
    again = new_client(token=anna.received("session")[0]["token"])
    assert again.wait("session")["state"] == "idle"


@pytest.mark.parametrize("reason", ["harassment", "sexual", "spam", "underage", "threat", "other"])
def test_report_partner_ends_the_room_as_block_partner_does(pair: tuple[Client, Client], reason: str) -> None:
    anna, bert = pair
    say(bert, anna, "something bad")
    assert anna.call("report-partner", {"reason": reason, "details": "x" * 1000}) == {"ok": True}
    assert bert.wait("partner-disconnected") == {"reason": "left"}
    assert anna.call("find-match")["state"] == "waiting"
    assert bert.call("find-match")["state"] == "waiting", "never again"
    assert "partner-disconnected" not in anna.events()
    assert "error" not in anna.events() + bert.events()


def test_report_partner_needs_neither_details_nor_a_callback(pair: tuple[Client, Client]) -> None:
    anna, bert = pair
    anna.emit("report-partner", {"reason": "other", "details": None})
    assert bert.wait("partner-disconnected") == {"reason": "left"}
    anna.settle()
    assert "error" not in anna.events()


def test_a_report_with_another_reason_changes_nothing(pair: tuple[Client, Client]) -> None:
    anna, bert = pair
    assert anna.call("report-partner", {"reason": "boring"})["error"]["code"] == "invalid-payload"
    assert anna.call("report-partner", {"reason": "spam", "details": "x" * 1001})["error"]["code"] == "invalid-payload"
    say(anna, bert, "still here")
    assert "partner-disconnected" not in bert.events()


def test_too_many_reports_are_rate_limited_and_the_room_stays(new_client: NewClient) -> None:
    anna = new_client(hasty=True)
    for _ in range(REPORTS_PER_HOUR):
        bert = new_client()
        meet(bert, anna)
        assert anna.call("report-partner", {"reason": "spam"}) == {"ok": True}
        goodbye(bert)
    carla = new_client()
    meet(carla, anna)
    error = anna.call("report-partner", {"reason": "spam"})["error"]
    assert error["code"] == "rate-limited"
    assert 3_500_000 < error["retryAfterMs"] <= 3_600_000
    say(anna, carla, "still here")
    assert anna.call("block-partner") == {"ok": True}, "blocking is always allowed"


@pytest.mark.parametrize("ending", ["leave-room", "next-match", "DISCONNECT"])
def test_a_partner_who_has_gone_can_be_reported_and_blocked_by_the_room_also_after_a_reload(
    pair: tuple[Client, Client], new_client: NewClient, operator: Operator, ending: str
) -> None:
    anna, bert = pair
    room = anna.received("matched")[0]["roomId"]
    culprit, his = person_of(bert), bert.received("session")[0]["token"]
    say(bert, anna, "something bad")
    if ending == "DISCONNECT":
        goodbye(bert)
    else:
        bert.call(ending)
    anna.wait("partner-disconnected")
    anna.drop()
    again = new_client(token=anna.received("session")[0]["token"])
    session = again.wait("session")
    assert session["state"] == "idle"
    assert session["lastRoom"]["roomId"] == room
    assert 0 <= time.time() * 1000 - session["lastRoom"]["endedAt"] < 60_000
    for _ in range(2):
        assert again.call("report-partner", {"reason": "threat", "roomId": room}) == {"ok": True}
    (report,) = operator.reports_on(culprit)
    assert [(said["sender"], said["content"]) for said in report["evidence"]] == [("reported", "something bad")]
    assert again.call("block-partner", {"roomId": room}) == {"ok": True}
    goodbye(bert)
    bert = new_client(token=his)
    assert again.call("find-match")["state"] == "waiting"
    assert bert.call("find-match")["state"] == "waiting", "never again"
    assert "error" not in again.events()


def test_a_room_can_be_named_by_its_members_alone(
    pair: tuple[Client, Client], new_client: NewClient, operator: Operator
) -> None:
    anna, bert = pair
    room = anna.received("matched")[0]["roomId"]
    anna.call("leave-room")
    eve = new_client()
    before = operator.open_reports()
    for named in (room, "0123456789abcdef", "", "nonsense"):
        assert eve.call("block-partner", {"roomId": named})["error"]["code"] == "not-in-room"
        answer = eve.call("report-partner", {"reason": "spam", "roomId": named})
        assert answer["error"]["code"] == "not-in-room"
    assert anna.call("report-partner", {"reason": "spam", "roomId": 7})["error"]["code"] == "invalid-payload"
    assert anna.call("block-partner", {"roomId": [room]})["error"]["code"] == "invalid-payload"
    assert anna.call("block-partner")["error"]["code"] == "not-in-room", "no room is named"
    assert operator.open_reports() == before
    assert bert.call("report-partner", {"reason": "spam", "roomId": room}) == {"ok": True}
    assert operator.open_reports() == before + 1


def test_a_report_that_can_not_be_kept_after_the_end_changes_nothing(
    pair: tuple[Client, Client], store: Store, operator: Operator
) -> None:
    anna, bert = pair
    room = anna.received("matched")[0]["roomId"]
    say(bert, anna, "something bad")
    bert.call("leave-room")
    anna.wait("partner-disconnected")
    before = operator.open_reports()
    store.everywhere("CONFIG", "SET", "maxmemory", "1")
    try:
        report = anna.call("report-partner", {"reason": "threat", "roomId": room})
        block = anna.call("block-partner", {"roomId": room})
    finally:
        store.everywhere("CONFIG", "SET", "maxmemory", "0")
    assert (report["error"]["code"], block["error"]["code"]) == ("unavailable", "unavailable")
    assert operator.open_reports() == before
    assert anna.call("report-partner", {"reason": "threat", "roomId": room}) == {"ok": True}
    assert len(operator.reports_on(person_of(bert))) == 1


def test_a_report_that_can_not_be_kept_changes_nothing(
    pair: tuple[Client, Client], store: Store, operator: Operator
) -> None:
    """The log can be read, but nothing be written."""
    anna, bert = pair
    say(bert, anna, "something bad")
    before = operator.open_reports()
    store.everywhere("CONFIG", "SET", "maxmemory", "1")
    try:
        answer = anna.call("report-partner", {"reason": "threat"})
    finally:
        store.everywhere("CONFIG", "SET", "maxmemory", "0")
    assert answer["error"]["code"] == "unavailable"
    assert operator.open_reports() == before
    eventually(lambda: anna.call("send-message", "still here")["ok"])
    bert.wait("message", where=lambda message: message["content"] == "still here")
    assert "partner-disconnected" not in bert.events()
    assert anna.call("report-partner", {"reason": "threat"}) == {"ok": True}
    assert operator.open_reports() == before + 1


# The operator


def person_of(client: Client) -> str:
    """Return the person that the client's token names."""
    return str(client.wait("session")["token"].rpartition(".")[0])


@pytest.mark.parametrize("hours", [0.5, None], ids=["for a time", "for good"])
def test_a_banned_person_gets_the_remaining_time_and_is_closed(
    new_client: NewClient, operator: Operator, hours: float | None
) -> None:
    anna = new_client()
    person, token = person_of(anna), anna.received("session")[0]["token"]
    goodbye(anna)
    operator.ban(person, hours)
    again = new_client(token=token, reconnect=True)
    error = again.wait("error")
    assert error["code"] == "banned"
    if hours is None:
        assert "retryAfterMs" not in error
    else:
        assert 0 < error["retryAfterMs"] <= 1_800_000
    again.wait("disconnect")
    assert "session" not in again.events()
    assert again.events().count("connect") == 1, "a stock client doesn't try again by itself"
    operator.lift(person)
    assert new_client(token=token).wait("session")["token"] == token


def test_a_ban_closes_the_connection_and_ends_the_room(pair: tuple[Client, Client], operator: Operator) -> None:
    anna, bert = pair
    operator.ban(person_of(anna), 0.5)
    error = anna.wait("error")
    assert (error["code"], error["retryAfterMs"]) == ("banned", 1_800_000)
    anna.wait("disconnect")
    assert bert.wait("partner-disconnected") == {"reason": "disconnected"}
    assert bert.call("find-match")["state"] == "waiting"


def test_a_person_banned_while_away_can_not_resume_the_session(server: Server, operator: Operator) -> None:
    anna = RawClient(server)
    connected = json.loads(next(frame for frame in anna.frames if frame.startswith("40"))[2:])
    anna.drop()
    operator.ban(anna.session["token"].rpartition(".")[0], None)
    again = RawClient(server, connected=False)
    again.send("40" + json.dumps({"pid": connected["pid"], "offset": "i"}))
    assert json.loads(again.wait_frame("40")[2:])["sid"] != connected["sid"]
    assert again.wait_event("error")["code"] == "banned"
    again.wait_frame("41")


def test_an_announcement_reaches_everyone_in_every_state(new_client: NewClient, operator: Operator) -> None:
    anna, bert, carla, dora = (new_client() for _ in range(4))
    meet(anna, bert)
    carla.call("find-match")
    dora.wait("session")
    operator.announce("Back in 5 minutes")
    for client in (anna, bert, carla, dora):
        assert client.wait("announcement") == {"text": "Back in 5 minutes"}
    say(anna, bert, "so what")


# Going


def test_a_goodbye_ends_the_room_at_once(pair: tuple[Client, Client], server: Server) -> None:
    anna, bert = pair
    rooms = stats(server)["activeRooms"]
    anna.emit("send-message", "farewell")
    goodbye(anna)
    assert bert.wait("partner-disconnected") == {"reason": "disconnected"}
    assert "partner-reconnecting" not in bert.events()
    assert texts(bert) == ["farewell"]
    eventually(lambda: stats(server)["activeRooms"] < rooms)


def test_a_goodbye_leaves_the_pool(new_client: NewClient, server: Server) -> None:
    anna, bert = new_client(), new_client()
    anna.call("find-match")
    goodbye(anna)
    eventually(lambda: stats(server)["waitingUsers"] == 0)
    assert bert.call("find-match")["state"] == "waiting"


def test_a_connection_that_vanishes_keeps_its_place_for_the_grace_time(new_client: NewClient) -> None:
    anna, bert = new_client(hasty=True), new_client()
    meet(anna, bert)
    anna.drop()
    assert bert.wait("partner-reconnecting") == {"graceMs": GRACE_MS}
    assert bert.wait("partner-disconnected") == {"reason": "disconnected"}
    assert bert.call("send-message", "hello?")["error"]["code"] == "not-in-room"


def test_messages_to_a_vanished_partner_are_kept(pair: tuple[Client, Client], new_client: NewClient) -> None:
    anna, bert = pair
    token = anna.received("session")[0]["token"]
    anna.drop()
    bert.wait("partner-reconnecting")
    assert bert.call("send-message", "are you there?")["ok"] is True
    anna_again = new_client(token=token)
    assert anna_again.wait("session")["room"]["messages"][-1]["content"] == "are you there?"
    assert bert.wait("partner-reconnected") is None
    assert arguments_of(bert, "partner-reconnected") == [[]]
    say(bert, anna_again, "good")


def test_no_one_is_matched_with_a_vanished_person(new_client: NewClient, server: Server) -> None:
    anna, bert, carla = new_client(), new_client(), new_client()
    anna.call("find-match")
    anna.drop()
    eventually(lambda: stats(server)["onlineUsers"] == 2)
    bert.call("find-match")
    carla.call("find-match")
    for client in (bert, carla):
        client.wait("matched")
    say(bert, carla, "here")


def test_typing_is_never_stored(pair: tuple[Client, Client], new_client: NewClient) -> None:
    anna, bert = pair
    bert.emit("typing", True)
    anna.wait("partner-typing")
    say(bert, anna, "typed")
    anna_again = new_client(token=anna.received("session")[0]["token"])
    session = anna_again.wait("session")
    assert [message["content"] for message in session["room"]["messages"]] == [GREETING, "typed"]
    say(bert, anna_again, "more")
    assert "partner-typing" not in anna_again.events()


# How often


def test_the_default_numbers_are_the_protocols(server: Server, connect: Connect, stock_client: str) -> None:
    limits = connect(server, stock_client).wait("session")["limits"]
    assert limits["maxMessageLength"] == 2_000
    assert limits["skipCooldownMs"] == 5_000
    assert limits["reconnectGraceMs"] == 10_000


@pytest.mark.parametrize(("event", "argument", "burst"), [("send-message", "x", 50), ("typing", True, 50)])
def test_too_many_messages_are_rate_limited_with_a_retry_time(
    server: Server, connect: Connect, stock_client: str, event: str, argument: object, burst: int
) -> None:
    anna, bert = connect(server, stock_client), connect(server, stock_client)
    meet(anna, bert)
    answers = [anna.call(event, argument) for _ in range(burst)]
    assert all(answer["ok"] for answer in answers), "ten seconds' worth at once"
    refused = next(answer for answer in (anna.call(event, argument) for _ in range(500)) if not answer["ok"])
    assert refused["error"]["code"] == "rate-limited"
    assert 0 < refused["error"]["retryAfterMs"] <= 200
    assert bert.call(event, argument)["ok"] is True, "the partner has a limit of its own"
    eventually(lambda: anna.call(event, argument)["ok"])


def test_too_many_searches_are_rate_limited(server: Server, connect: Connect, stock_client: str) -> None:
    anna = connect(server, stock_client)
    for event in ["find-match", "next-match"] * 5:
        assert anna.call(event)["ok"] is True
    refused = next(answer for answer in (anna.call("next-match") for _ in range(50)) if not answer["ok"])
    assert refused["error"]["code"] == "rate-limited"
    assert 0 < refused["error"]["retryAfterMs"] <= 1000
    assert anna.call("cancel-match")["ok"] is True
