"""Lobbies: each is a separate chat, whose people meet no one of another; all have the same operator."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
import socketio
from prometheus_client.parser import text_string_to_metric_families

from animochat.chat.tokens import Tokens
from animochat.moderation.lobby_moderation import NOTHING, SCRIPTS, LobbyModeration, Origin
from animochat.moderation.service import ModerationService
from animochat.protocol.errors import Unavailable
from animochat.store.gather import gather
from animochat.store.pipeline import Pipeline
from tests.helpers.people import RawClient, goodbye, meet, running, say, stats, texts, wait_until_empty
from tests.helpers.servers import Client, Server, eventually, free_port
from tests.helpers.store import Lobby, cooperative

Connect = Callable[..., Client]

ADMIN_TOKEN = "only the operator has it"


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Server]]:
    """Start two servers of one worker each. Clients that name no lobby are in `manila`."""
    env = {"LOBBIES": "manila,cebu,main", "ADMIN_TOKEN": ADMIN_TOKEN, "TRUSTED_PROXIES": "1"}
    with running(tmp_path_factory.mktemp("lobbies"), 2, **env) as servers:
        yield servers


@pytest.fixture
def server(servers: list[Server]) -> Server:
    """The first server, without clients."""
    wait_until_empty(servers[0])
    return servers[0]


@pytest.fixture
def join(server: Server, connect: Connect) -> Iterator[Callable[..., Client]]:
    """Return `join(lobby)`, which connects a client there; it disconnects after the test."""
    clients: list[Client] = []

    def factory(lobby: str, token: str | None = None, at: Server = server, **options: Any) -> Client:
        client = connect(at, token=token, auth={"lobby": lobby}, **options)
        clients.append(client)
        return client

    yield factory
    for client in clients:
        if any(error["code"] == "banned" for error in client.received("error")):
            eventually(lambda client=client: "disconnect" in client.events())  # the server closes it by itself
        elif "disconnect" not in client.events():
            goodbye(client)


Join = Callable[..., Client]


def token_of(client: Client) -> str:
    return str(client.wait("session")["token"])


# Separate lobbies


def test_no_one_meets_across_lobbies(join: Join) -> None:
    anna, bert = join("manila"), join("cebu")
    for client in (anna, bert):
        assert client.call("find-match")["state"] == "waiting"
        client.settle()
    dora = join("cebu")
    assert dora.call("find-match")["state"] == "matched"
    bert.wait("matched")
    assert "matched" not in anna.events()


def test_the_session_says_which_lobby_it_is(server: Server, join: Join, connect: Connect, stock_client: str) -> None:
    assert join("cebu", kind=stock_client).wait("session")["lobby"] == "cebu"
    unnamed = connect(server, stock_client)
    assert unnamed.wait("session")["lobby"] == "manila"
    goodbye(unnamed)


def test_each_lobby_counts_its_own(server: Server, join: Join) -> None:
    anna, bert = join("manila"), join("manila")
    dora = join("cebu")
    assert dora.wait("online-count") == 1
    eventually(lambda: anna.received("online-count")[-1:] == [2], what="both of manila")
    dora.call("find-match")
    meet(anna, bert)
    say(anna, bert, "hello")
    now: Any = eventually(
        lambda: (now := stats(server)) and now["lobbies"]["manila"]["messagesTotal"] == 1 and now, what="the message"
    )
    names = ("onlineUsers", "waitingUsers", "activeRooms", "matchesTotal", "messagesTotal")
    lobbies: Any = now["lobbies"]
    assert [lobbies["main"][name] for name in names] == [0] * 5
    assert [lobbies["cebu"][name] for name in names[:3]] == [1, 1, 0]
    assert [lobbies["manila"][name] for name in names[:3]] == [2, 0, 1]
    assert {name: now[name] for name in names} == {name: sum(n[name] for n in lobbies.values()) for name in names}
    assert now["workers"] == 2
    samples = [
        sample for family in text_string_to_metric_families(server.get("/metrics").text) for sample in family.samples
    ]
    told = {s.labels["lobby"]: s.value for s in samples if s.name == "animochat_system_people_online"}
    assert told == {"manila": 2, "cebu": 1, "main": 0}
    assert dora.received("online-count") == [1]


def test_people_talk_in_two_lobbies_of_one_worker_and_between_two(servers: list[Server], join: Join) -> None:
    pairs = [(join("manila"), join("manila")), (join("cebu"), join("cebu", at=servers[1]))]
    for anna, bert in pairs:
        meet(anna, bert)
    for number in range(3):
        for anna, bert in pairs:
            say(anna, bert, f"{number}")
            say(bert, anna, f"answer {number}")
    for anna, bert in pairs:
        assert (texts(bert), texts(anna)) == (["0", "1", "2"], ["answer 0", "answer 1", "answer 2"])


# Identities


def test_a_token_of_another_lobby_makes_a_new_person(join: Join) -> None:
    anna, bert = join("manila"), join("manila")
    tokens = [token_of(client) for client in (anna, bert)]
    meet(anna, bert)
    elsewhere = [join("cebu", token=token) for token in tokens]
    assert [token_of(client) in tokens for client in elsewhere] == [False, False]
    meet(*elsewhere)  # these two have met in manila, and never here
    for client in (anna, bert):
        client.settle()
        assert "error" not in client.events()  # one has a live connection in each
    say(anna, bert, "still here")
    assert anna.call("leave-room")["ok"]
    again = [join("manila", token=token) for token in tokens]
    assert [token_of(client) for client in again] == tokens
    for client in again:
        assert client.call("find-match")["state"] == "waiting"


def test_tokens_from_before_there_were_lobbies_are_those_of_main() -> None:
    before, elsewhere = Tokens("a secret of some length"), Tokens("a secret of some length", "manila")
    token, pid = before.issue("anna"), before.issue_session("anna", "session")
    main = Tokens("a secret of some length", "main")
    assert (main.verify(token), main.verify_session(pid)) == ("anna", ("anna", "session"))
    assert (elsewhere.verify(token), elsewhere.verify_session(pid)) == (None, None)
    assert (main.verify(elsewhere.issue("anna")), elsewhere.verify(elsewhere.issue("anna"))) == (None, "anna")
    assert main.hide_address("203.0.113.5") == elsewhere.hide_address("203.0.113.5")


def accepted(client: RawClient, auth: dict[str, Any]) -> dict[str, Any]:
    """Connect; return the answer to CONNECT."""
    client.send("40" + json.dumps(auth))
    return json.loads(client.wait_frame("40")[2:])  # type: ignore[no-any-return]


def test_a_session_is_taken_up_again_in_its_lobby_on_another_server(servers: list[Server], join: Join) -> None:
    bert, anna = join("cebu"), RawClient(servers[0], connected=False)
    known = accepted(anna, {"lobby": "cebu"})
    anna.wait_event("session")
    anna.call("find-match")
    assert bert.call("find-match")["state"] == "matched"
    offset = json.loads(anna.wait_frame('42["message"')[2:])[2]
    anna.drop()
    bert.wait("partner-reconnecting")
    assert bert.call("send-message", "are you there?")["ok"]
    auth = {"pid": known["pid"], "offset": offset}

    elsewhere = RawClient(servers[1], connected=False)
    assert accepted(elsewhere, {**auth, "lobby": "main"})["sid"] != known["sid"]
    assert elsewhere.wait_event("session")["state"] == "idle"
    elsewhere.send("41")
    elsewhere.drop()

    anna = RawClient(servers[1], connected=False)
    assert accepted(anna, {**auth, "lobby": "cebu"}) == known
    assert anna.wait_event("message")["content"] == "are you there?"
    anna.send("41")
    bert.wait("partner-disconnected")
    anna.drop()


# A lobby that isn't there


@pytest.mark.parametrize("transport", ["websocket", "polling"])
def test_an_unknown_lobby_is_refused_and_nothing_is_changed(server: Server, transport: str) -> None:
    told: list[Any] = []
    client = socketio.Client(reconnection=False, handle_sigint=False)
    client.on("connect_error", told.append)
    with pytest.raises(socketio.exceptions.ConnectionError):
        client.connect(server.url, auth={"lobby": "davao"}, transports=[transport])
    client.shutdown()
    code = {"code": "unknown-lobby", "message": "Unknown lobby"}
    assert told == [{"message": "Unknown lobby", "data": code}]
    assert stats(server)["onlineUsers"] == 0


def test_the_stock_browser_client_gets_the_reason_of_a_refusal(server: Server, connect: Connect) -> None:
    with pytest.raises(AssertionError, match="Unknown lobby"):
        connect(server, "node", auth={"lobby": "davao"})


@pytest.mark.parametrize("name", [None, 5, True, [], {}, ["manila"]], ids=str)
def test_an_invalid_lobby_name_is_refused_and_another_may_follow(server: Server, name: object) -> None:
    client = RawClient(server, connected=False)
    client.send("40" + json.dumps({"lobby": name}))
    assert json.loads(client.wait_frame("44")[2:])["data"]["code"] == "invalid-payload"
    accepted(client, {"lobby": "cebu"})
    assert client.wait_event("session")["lobby"] == "cebu"
    client.send("41")
    client.drop()


# The operator


def ask(server: Server, method: str, path: str, **options: Any) -> Any:
    headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
    answer: requests.Response = server.get(f"/admin/api/{path}", method, headers=headers, **options)
    return answer.json()


def from_address(address: str) -> dict[str, Any]:
    return {"headers": {"X-Forwarded-For": address}}


def test_an_address_that_is_banned_is_banned_in_every_lobby(servers: list[Server], server: Server, join: Join) -> None:
    anna, bert = join("cebu"), join("cebu", **from_address("203.0.113.5"))
    same_address = join("manila", at=servers[1], **from_address("203.0.113.5"))
    other_address = join("manila", **from_address("203.0.113.6"))
    meet(anna, bert)
    assert anna.call("report-partner", {"reason": "spam"})["ok"]
    (report,) = ask(server, "GET", "reports")["reports"]
    assert report["lobby"] == "cebu"
    done = ask(server, "POST", f"reports/{report['id']}/ban", json={"hours": 1, "address": True})
    assert done == {"ok": True, "person": report["reported"], "addressBanned": True, "deviceBanned": True}
    for client in (bert, same_address):
        assert client.wait("error")["code"] == "banned"
    late = join("main", **from_address("203.0.113.5"))
    assert late.wait("error")["code"] == "banned"
    other_address.settle()

    bans = ask(server, "GET", "bans")
    assert bans["total"] == 3
    assert {(ban["id"].partition(":")[0], ban["lobby"]) for ban in bans["bans"]} == {
        ("person", "cebu"),
        ("address", "cebu"),
        ("device", "cebu"),
    }
    assert ask(server, "GET", "reports?lobby=manila") == {"open": 0, "reports": []}
    assert ask(server, "GET", "bans?lobby=davao")["error"]["code"] == "not-found"
    assert ask(server, "DELETE", f"bans/person:{report['reported']}") == {"ok": True}
    assert ask(server, "GET", "bans")["total"] == 0
    for lobby in ("manila", "cebu", "main"):
        join(lobby, **from_address("203.0.113.5")).wait("session")


def test_an_announcement_goes_to_all_lobbies_or_to_one(server: Server, join: Join) -> None:
    anna, bert = join("manila"), join("cebu")
    for client in (anna, bert):
        client.wait("session")
    assert ask(server, "POST", "announcements", json={"text": "cebu only", "lobby": "cebu"}) == {"ok": True}
    assert ask(server, "POST", "announcements", json={"text": "everybody"}) == {"ok": True}
    for client in (anna, bert):
        client.wait("announcement", where=lambda said: said["text"] == "everybody")
    assert [said["text"] for said in bert.received("announcement")] == ["cebu only", "everybody"]
    assert [said["text"] for said in anna.received("announcement")] == ["everybody"]
    answer = ask(server, "POST", "announcements", json={"text": "nobody", "lobby": "davao"})
    assert answer["error"]["code"] == "not-found"


@pytest.fixture
def lobby(store_url: str) -> Iterator[Lobby]:
    """The lobby `main`, with people in every state."""
    lobby = Lobby(store_url)
    yield lobby
    lobby.close()


@pytest.fixture
def all_lobbies(lobby: Lobby) -> dict[str, LobbyModeration]:
    return {
        name: LobbyModeration(lobby.pipeline, 3, 0, name, lobby.clock)  # type: ignore[arg-type]
        for name in ("cebu", "main", "davao")
    }


@cooperative
def test_the_operator_s_lists_are_one_and_in_order(lobby: Lobby, all_lobbies: dict[str, LobbyModeration]) -> None:
    oversight = ModerationService(list(all_lobbies.values()))
    hour = 3_600_000
    for number, name in enumerate(["main", "cebu", "cebu", "davao", "main", "cebu"]):
        all_lobbies[name].ban(f"p{number}", None if number == 5 else (number + 1) * hour, NOTHING, "")
    everything = oversight.bans(0, 10)
    assert [(ban.person, ban.lobby) for ban in everything[1]] == [
        ("p0", "main"), ("p1", "cebu"), ("p2", "cebu"), ("p3", "davao"), ("p4", "main"), ("p5", "cebu"),
    ]  # fmt: skip
    for offset in range(7):
        for count in (1, 3):
            assert oversight.bans(offset, count) == (6, everything[1][offset : offset + count])
    assert [ban.person for ban in oversight.bans(0, 10, "cebu")[1]] == ["p1", "p2", "p5"]
    lobby.now += hour
    assert [ban.person for ban in oversight.bans(0, 2)[1]] == ["p1", "p2"]


@cooperative
def test_a_person_is_banned_in_the_own_lobby_and_an_unknown_one_in_all(
    lobby: Lobby, all_lobbies: dict[str, LobbyModeration]
) -> None:
    oversight = ModerationService(list(all_lobbies.values()))
    lobby.people("anna")
    assert oversight.ban("anna", None, "", address=False, device=True) == ("anna", NOTHING)
    oversight.ban("nobody", None, "", address=False, device=True)
    oversight.ban("bert", None, "", "davao", address=False, device=True)
    banned = {name: {ban.person for ban in m.bans(0, 10)[1]} for name, m in all_lobbies.items()}
    assert banned == {"cebu": {"nobody"}, "main": {"anna", "nobody"}, "davao": {"nobody", "bert"}}
    assert oversight.lift("person:nobody")
    assert not oversight.lift("person:nobody")
    assert oversight.bans(0, 10)[0] == 2


@cooperative
def test_a_ban_that_reached_some_lobbies_is_repeated_and_lifted_as_a_whole(
    lobby: Lobby, all_lobbies: dict[str, LobbyModeration]
) -> None:
    """One lobby can't be reached: the others apply the ban, the operator gets an error and repeats it."""
    gone = Pipeline(f"redis://127.0.0.1:{free_port()}", SCRIPTS)
    gone.start()
    some = ModerationService([all_lobbies["main"], all_lobbies["cebu"], LobbyModeration(gone, 3, 0, "davao")])
    every = ModerationService(list(all_lobbies.values()))
    anna, bert = lobby.people("anna", "bert")
    bert.connect(address="hidden", device="browser")
    origin = Origin("hidden", "browser")
    along = {"address:hidden", "device:browser"}
    anna.find()
    bert.find()
    report = str(anna.room)
    anna.report()

    def subjects() -> dict[str, set[str]]:
        return {name: {ban.id for ban in moderation.bans(0, 10)[1]} for name, moderation in all_lobbies.items()}

    def attempt(action: Callable[[], object]) -> bool:
        return isinstance(gather([action])[0], Unavailable)

    assert attempt(lambda: some.ban_reported(report, None, "spam", address=True, device=True))
    assert subjects() == {"cebu": along, "main": {*along, "person:bert"}, "davao": set()}
    assert every.ban_reported(report, None, "spam", address=True, device=True) == ("bert", origin)
    both = {"cebu": along, "main": {*along, "person:bert"}, "davao": along}
    assert subjects() == both
    assert every.bans(0, 10)[0] == 3
    assert attempt(lambda: some.lift("person:bert"))
    assert subjects() == both
    assert every.lift("person:bert")
    assert subjects() == {"cebu": set(), "main": set(), "davao": set()}
    gone.stop()


@cooperative
def test_lifting_one_person_s_ban_leaves_the_address_that_another_was_banned_with(
    lobby: Lobby, all_lobbies: dict[str, LobbyModeration]
) -> None:
    every = ModerationService(list(all_lobbies.values()))
    people = lobby.people("bert", "carl")
    for person in people:
        person.connect(address="hidden")
    for person in people:
        assert every.ban(person.name, None, "", address=True, device=True) == (person.name, Origin("hidden"))
    assert every.lift("person:bert")
    assert {ban.id for ban in all_lobbies["cebu"].bans(0, 10)[1]} == {"address:hidden"}
    assert every.lift("address:hidden")
    assert [ban.id for ban in every.bans(0, 10)[1]] == ["person:carl"]
