"""Tokens: the same person across reloads and servers, the newest connection wins, a reload keeps the chat."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from animochat.chat.client_rooms import GREETING
from animochat.chat.tokens import Tokens
from tests.helpers.people import Connect, goodbye, meet, raw_clients, running, say, stats, texts, wait_until_empty
from tests.helpers.servers import Client, NodeClient, PythonClient, Server, eventually

#: The protocol's grace time, long enough for a busy machine; and the other server's, for people who do not return.
GRACE_MS, SHORT_GRACE_MS = 10_000, 500


@pytest.fixture(scope="module")
def two_servers(module_store: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Server]]:
    patient, hasty = tmp_path_factory.mktemp("patient"), tmp_path_factory.mktemp("hasty")
    with (
        running(patient, store=module_store) as first,
        running(hasty, store=module_store, RECONNECT_GRACE_MS=str(SHORT_GRACE_MS)) as second,
    ):
        yield first + second


@pytest.fixture
def server(two_servers: list[Server]) -> Server:
    wait_until_empty(two_servers[0])
    return two_servers[0]


def token_of(client: Client) -> str:
    return client.received("session")[0]["token"]  # type: ignore[no-any-return]


# The same person


def test_the_token_keeps_the_history(server: Server, connect: Connect) -> None:
    anna, bert, carla = connect(server), connect(server), connect(server)
    meet(anna, bert)
    anna.call("leave-room")
    goodbye(anna)
    anna = connect(server, token=token_of(anna))
    assert anna.call("find-match")["state"] == "waiting"
    assert bert.call("find-match")["state"] == "waiting", "those two have just met"
    assert carla.call("find-match")["state"] == "matched"


def test_without_the_token_one_is_a_new_person(server: Server, connect: Connect) -> None:
    anna, bert = connect(server), connect(server)
    meet(anna, bert)
    anna.call("leave-room")
    goodbye(anna)
    anna = connect(server)
    assert anna.call("find-match")["state"] == "waiting"
    assert bert.call("find-match")["state"] == "matched"


def test_the_token_keeps_the_skip_cooldown(server: Server, connect: Connect) -> None:
    anna, bert = connect(server), connect(server)
    meet(anna, bert)
    anna.call("next-match")
    anna.call("cancel-match")
    goodbye(anna)
    anna = connect(server, token=token_of(anna))
    assert 0 < anna.call("find-match")["cooldownMs"] <= 5_000


def test_the_token_holds_on_every_server(two_servers: list[Server], server: Server, connect: Connect) -> None:
    anna, bert = connect(server), connect(server)
    meet(anna, bert)
    anna.call("leave-room")
    goodbye(anna)
    anna = connect(two_servers[1], token=token_of(anna))
    assert anna.call("find-match")["state"] == "waiting"
    assert bert.call("find-match")["state"] == "waiting"


def test_the_new_session_has_the_token_too(server: Server, connect: Connect) -> None:
    anna = connect(server)
    token = anna.wait("session")["token"]
    goodbye(anna)
    again = connect(server, token=token)
    token_again = again.wait("session")["token"]
    assert token_again.split(".")[0] == token.split(".")[0], "the same person"
    goodbye(again)
    assert connect(server, token=token_again).wait("session")["token"].split(".")[0] == token.split(".")[0]


@pytest.mark.parametrize(
    "forge",
    [
        # not the last character, of which some bits mean nothing
        lambda token: token[:-3] + ("A" if token[-3] != "A" else "B") + token[-2:],
        lambda token: ("A" if token[0] != "A" else "B") + token[1:],
        lambda token: token.rpartition(".")[0],
        lambda token: token.rpartition(".")[0] + ".",
        lambda token: token + "." + token,
        lambda token: "." + token,
        lambda token: token + " ",
        lambda token: "",
        lambda token: "nonsense",
        lambda token: "é\u0000😀." * 5,
        lambda token: "x" * 50_000,
        lambda token: 17,
        lambda token: None,
        lambda token: [token],
        lambda token: {"token": token},
        lambda token: True,
    ],
)
def test_a_token_that_does_not_verify_makes_a_new_person(server: Server, connect: Connect, forge: object) -> None:
    anna = connect(server)
    session = anna.wait("session")
    stranger = connect(server, auth={"token": forge(session["token"])})  # type: ignore[operator]
    other = stranger.wait("session")
    assert other["state"] == "idle"
    assert other["token"].split(".")[0] != session["token"].split(".")[0]
    meet(anna, stranger)
    assert "error" not in anna.events() + stranger.events()


@pytest.mark.parametrize("auth", ["token", 5, ["token"], True], ids=str)
def test_auth_that_is_no_object_makes_a_new_person(server: Server, connect: Connect, auth: object) -> None:
    anna = connect(server, kind="python", auth={})
    other = PythonClient(server.url)
    other.sio = anna.sio.__class__(reconnection=False, handle_sigint=False)  # type: ignore[attr-defined]
    other.sio.on("*", lambda event, *arguments: other.log.add(event, list(arguments)))
    try:
        other.sio.connect(server.url, auth=auth)
        assert other.wait("session")["token"] != anna.wait("session")["token"]
    finally:
        other.close()


# One connection


@pytest.mark.parametrize("server_of_the_second", [0, 1], ids=["same server", "other server"])
def test_the_newest_connection_wins_and_the_older_does_not_come_back(
    two_servers: list[Server], server: Server, connect: Connect, stock_client: str, server_of_the_second: int
) -> None:
    first = connect(server, stock_client, reconnect=True)
    token = first.wait("session")["token"]
    second = connect(two_servers[server_of_the_second], stock_client, token=token)
    assert second.wait("session")["state"] == "idle"
    assert first.wait("error")["code"] == "replaced"
    reason = first.wait("disconnect")
    if isinstance(first, NodeClient):
        assert reason == "io server disconnect", "on any other reason it would come back"
    else:
        assert first.sio.eio.state != "connected"  # type: ignore[attr-defined]
        assert first.sio._reconnect_task is None  # type: ignore[attr-defined]
    assert stats(server)["onlineUsers"] == 1
    bert = connect(server, stock_client)
    meet(second, bert)
    say(bert, second, "hello")
    assert first.events().count("session") == 1
    assert "error" not in second.events()


@pytest.mark.parametrize("server_of_the_second", [0, 1], ids=["same server", "other server"])
def test_another_tab_takes_the_chat_over_and_the_partner_notices_nothing(
    two_servers: list[Server], server: Server, connect: Connect, server_of_the_second: int
) -> None:
    first, bert = connect(server), connect(server)
    told, _ = meet(first, bert)
    say(first, bert, "one")
    second = connect(two_servers[server_of_the_second], token=token_of(first))
    session = second.wait("session")
    assert session["state"] == "chatting"
    assert session["room"]["roomId"] == told["roomId"]
    first.wait("disconnect")
    say(second, bert, "two")
    say(bert, second, "three")
    assert not {"partner-reconnecting", "partner-reconnected", "partner-disconnected"} & set(bert.events())
    assert texts(first) == []


def test_the_older_connections_goodbye_ends_nothing(server: Server, connect: Connect) -> None:
    first, bert = connect(server), connect(server)
    meet(first, bert)
    second = connect(server, token=token_of(first))
    first.wait("disconnect")
    first.close()
    say(bert, second, "still here")
    say(second, bert, "so am I")
    assert "partner-disconnected" not in bert.events()


def test_many_connections_of_one_person_at_once_leave_one(
    two_servers: list[Server], server: Server, connect: Connect
) -> None:
    with raw_clients(server, 1) as (first,):
        token = first.session["token"]
    clients = [connect(two_servers[number % 2], token=token) for number in range(6)]
    for client in clients[:-1]:
        assert client.wait("error")["code"] == "replaced"
        client.wait("disconnect")
    bert = connect(server)
    meet(clients[-1], bert)
    eventually(lambda: stats(server)["onlineUsers"] == 2)


# A reload in a chat


@pytest.mark.parametrize("server_afterwards", [0, 1], ids=["same server", "other server"])
def test_a_reload_keeps_the_chat_with_all_its_messages_in_order(
    two_servers: list[Server], server: Server, connect: Connect, stock_client: str, server_afterwards: int
) -> None:
    anna, bert = connect(server, stock_client), connect(server, stock_client)
    told, _ = meet(anna, bert)
    sent = [say(anna, bert, "a1"), say(bert, anna, "b2"), say(bert, anna, "b3"), say(anna, bert, "a4")]
    anna.drop()
    assert bert.wait("partner-reconnecting") == {"graceMs": GRACE_MS}
    anna = connect(two_servers[server_afterwards], stock_client, token=token_of(anna))
    session = anna.wait("session")
    assert session["state"] == "chatting"
    assert session["recovered"] is False
    room = session["room"]
    assert {name: room[name] for name in ("roomId", "userId", "partnerId")} == {
        name: told[name] for name in ("roomId", "userId", "partnerId")
    }
    greeting, *messages = room["messages"]
    assert (greeting["content"], greeting["seq"], greeting["type"]) == (GREETING, 0, "system")
    assert messages == sent, "as they were delivered, own ones included"
    assert bert.wait("partner-reconnected") is None
    assert bert.events().index("partner-reconnecting") < bert.events().index("partner-reconnected")
    assert say(anna, bert, "a5")["seq"] == 5
    assert say(bert, anna, "b6")["seq"] == 6
    assert texts(anna) == ["b6"], "nothing twice"
    assert not {"matched", "partner-disconnected"} & set(anna.events())


def test_both_reload_and_meet_again_in_the_room(server: Server, connect: Connect) -> None:
    anna, bert = connect(server), connect(server)
    meet(anna, bert)
    say(anna, bert, "before")
    anna.drop()
    bert.drop()
    anna, bert = connect(server, token=token_of(anna)), connect(server, token=token_of(bert))
    for client in (anna, bert):
        assert client.wait("session")["room"]["messages"][-1]["content"] == "before"
    say(anna, bert, "after")
    say(bert, anna, "indeed")


def test_a_reload_shows_that_the_partner_is_away(server: Server, connect: Connect) -> None:
    anna, bert = connect(server), connect(server)
    meet(anna, bert)
    bert.drop()
    anna.wait("partner-reconnecting")
    again = connect(server, token=token_of(anna))
    assert again.wait("session")["state"] == "chatting"
    assert 0 < again.wait("partner-reconnecting")["graceMs"] <= GRACE_MS
    connect(server, token=token_of(bert))
    assert again.wait("partner-reconnected") is None


def test_when_the_grace_is_over_the_room_is_too(two_servers: list[Server], server: Server, connect: Connect) -> None:
    anna, bert = connect(two_servers[1]), connect(server)
    meet(anna, bert)
    anna.drop()
    bert.wait("partner-reconnecting")
    assert bert.wait("partner-disconnected") == {"reason": "disconnected"}
    anna = connect(server, token=token_of(anna))
    session = anna.wait("session")
    assert session["state"] == "idle"
    assert "room" not in session
    assert anna.call("send-message", "hello?")["error"]["code"] == "not-in-room"


def test_the_partner_leaves_while_one_reloads(server: Server, connect: Connect) -> None:
    anna, bert = connect(server), connect(server)
    meet(anna, bert)
    anna.drop()
    bert.wait("partner-reconnecting")
    bert.call("leave-room")
    assert connect(server, token=token_of(anna)).wait("session")["state"] == "idle"


def test_waiting_goes_on_after_a_reload(server: Server, connect: Connect) -> None:
    anna = connect(server)
    anna.call("find-match")
    anna.drop()
    eventually(lambda: stats(server)["onlineUsers"] == 0)
    anna = connect(server, token=token_of(anna))
    assert anna.wait("session")["state"] == "waiting"
    assert anna.wait("waiting") == {"cooldownMs": 0}
    bert = connect(server)
    bert.call("find-match")
    anna.wait("matched")
    bert.wait("matched")


def test_a_goodbye_is_no_reload(server: Server, connect: Connect) -> None:
    anna, bert = connect(server), connect(server)
    meet(anna, bert)
    goodbye(anna)
    bert.wait("partner-disconnected")
    assert connect(server, token=token_of(anna)).wait("session")["state"] == "idle"


def test_a_reload_does_not_fill_the_person_s_limits(servers: Callable[..., Server], connect: Connect) -> None:
    """Limits are per person, not per connection."""
    server = servers(env={"RATE_MESSAGES": "0.1"})
    anna = connect(server, transports=["websocket"])
    token = anna.wait("session")["token"]
    assert anna.call("send-message", "x")["error"]["code"] == "not-in-room"  # the one that a burst of 10 s allows
    assert anna.call("send-message", "x")["error"]["code"] == "rate-limited"
    anna.drop()
    again = connect(server, token=token)
    again.wait("session")
    answer = again.call("send-message", "x")
    assert answer["error"]["code"] == "rate-limited"
    assert 0 < answer["error"]["retryAfterMs"] <= 10_000


# Addresses


def test_an_address_is_hidden_behind_a_hash_that_the_secret_makes() -> None:
    hide = Tokens("a secret of some length").hide_address
    assert hide("203.0.113.5") == hide("203.0.113.5")
    assert len({hide("203.0.113.5"), hide("203.0.113.6"), Tokens("another secret").hide_address("203.0.113.5")}) == 3
    assert "203" not in hide("203.0.113.5")
    assert hide("") == "", "a Unix socket has none"


def test_an_ipv6_address_counts_by_its_64_prefix() -> None:
    hide = Tokens("a secret of some length").hide_address
    assert hide("2001:db8:1:2::1") == hide("2001:db8:1:2:ffff::9")
    assert hide("2001:db8:1:2::1") != hide("2001:db8:1:3::1")
