"""Bans, blocks and matching by device, against a real store: a browser is the same one in every tab and lobby."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import gevent
import pytest

from animochat.matchmaking.service import Matchmaking
from animochat.moderation.lobby_moderation import BLOCK_MS, NOTHING, SCRIPTS, LobbyModeration, Origin
from animochat.moderation.service import ModerationService
from animochat.store import keys
from animochat.store.pipeline import Pipeline
from tests.helpers.store import HOUR_MS, TAG, Lobby, Person, Relay, cooperative, soon

LOBBIES = ("main", "cebu", "davao")


@pytest.fixture
def lobby(redis_url: str) -> Iterator[Lobby]:
    with contextlib.closing(Lobby(redis_url)) as lobby:
        yield lobby


def without_history(lobby: Lobby) -> None:
    """The server runs with MATCH_HISTORY_HOURS=0 and without a cooldown."""
    seed = lobby.matchmaking._seed
    lobby.matchmaking = Matchmaking(lobby.pipeline, 0, 0, 0, clock=lobby.clock, seed=seed)  # type: ignore[arg-type]


def everywhere(lobby: Lobby) -> tuple[ModerationService, dict[str, LobbyModeration]]:
    lobbies = {
        name: LobbyModeration(lobby.pipeline, 0, 0, name, lobby.clock)  # type: ignore[arg-type]
        for name in LOBBIES
    }
    lobby.moderation = lobbies["main"]
    return ModerationService(list(lobbies.values())), lobbies


def newcomer(lobby: Lobby, name: str, device: str, interests: tuple[str, ...] = ()) -> Person:
    """A person without a token, who waits."""
    person = Person(lobby, name)
    person.connect(device=device)
    person.find(*interests)
    return person


# Never with oneself


@pytest.mark.parametrize("interests", [(), ("chess",), ("chess", "go")])
def test_two_tabs_of_a_device_never_meet_and_someone_else_meets_either(
    lobby: Lobby, interests: tuple[str, ...]
) -> None:
    without_history(lobby)
    tabs = [newcomer(lobby, f"tab{number}", "browser", interests) for number in range(2)]
    lobby.run(2000)
    assert all(tab.waiting for tab in tabs)
    other = newcomer(lobby, "other", "another", interests)
    assert other.partner in ("tab0", "tab1")


def test_a_crowd_of_one_device_s_tabs_keeps_no_one_from_being_matched(lobby: Lobby) -> None:
    without_history(lobby)
    for number in range(250):
        newcomer(lobby, f"tab{number}", "browser")
    assert lobby.rooms() == []
    last = newcomer(lobby, "last tab", "browser")
    other = newcomer(lobby, "other", "another")
    assert other.room is not None
    lobby.run(1000)
    assert last.waiting or last.room == other.room
    assert len(lobby.rooms()) == 1


def test_people_whose_device_is_unknown_meet_each_other(lobby: Lobby) -> None:
    newcomer(lobby, "anna", "")
    assert newcomer(lobby, "bert", "").partner == "anna"


# Blocks


@pytest.mark.parametrize("blocker", ["anna", "bert"])
@pytest.mark.parametrize("how", ["block", "report", "block later"])
def test_a_blocked_pair_of_devices_does_not_meet_in_200_searches_by_new_people(
    lobby: Lobby, blocker: str, how: str
) -> None:
    without_history(lobby)
    people = {"anna": newcomer(lobby, "anna", "annas"), "bert": newcomer(lobby, "bert", "berts")}
    room = people["anna"].room or ""
    if how == "block later":
        people["bert"].leave()
        people[blocker].block(room)
    else:
        getattr(people[blocker], how)()
    for number in range(100):
        pair = [newcomer(lobby, f"{device} {number}", device) for device in ("annas", "berts")[:: 1 - 2 * (number % 2)]]
        assert [person.room for person in pair] == [None, None]
        for person in pair:
            person.goodbye()
    lobby.pass_time(BLOCK_MS)
    newcomer(lobby, "annas last", "annas")
    assert newcomer(lobby, "berts last", "berts").room is not None, "90 days are over"


@cooperative
def test_a_block_holds_in_every_lobby(lobby: Lobby) -> None:
    everywhere(lobby)
    anna, _ = newcomer(lobby, "anna", "annas"), newcomer(lobby, "bert", "berts")
    anna.block()
    for name in LOBBIES:
        for one, other in (("annas", "berts"), ("berts", "annas")):
            key = f"{keys.lobby(name)}:blocked:{one}"
            until = soon(lambda key=key, other=other: lobby.pipeline.execute("ZSCORE", key, other), key)
            assert float(until) == lobby.now + BLOCK_MS
            assert 0 < lobby.pipeline.execute("PTTL", key) <= BLOCK_MS + HOUR_MS


@cooperative
def test_a_block_arrives_in_a_lobby_that_could_not_be_reached_as_soon_as_it_can(store_url: str) -> None:
    relay = Relay(store_url)
    pipeline = Pipeline(relay.url, SCRIPTS)
    pipeline.start()
    with contextlib.closing(Lobby(store_url)) as lobby:
        home = LobbyModeration(lobby.pipeline, 0, 0, "main", lobby.clock)  # type: ignore[arg-type]
        lobby.moderation = home
        service = ModerationService([home, LobbyModeration(pipeline, 0, 0, "cebu", lobby.clock)])
        relay.close()
        anna, _ = newcomer(lobby, "anna", "annas"), newcomer(lobby, "bert", "berts")
        assert anna.block().state == "left", "which no other lobby's node can prevent"
        gevent.sleep(0)
        service.retry_blocks()
        key = f"{keys.lobby('cebu')}:blocked:annas"
        assert lobby.pipeline.execute("EXISTS", key) == 0
        relay.reopen()
        soon(lambda: service.retry_blocks() or lobby.pipeline.execute("EXISTS", key))
        assert service._blocks == []
    pipeline.stop()
    relay.close()


# Bans


@cooperative
def test_a_banned_device_does_not_get_in_in_50_tries_by_new_tabs_reloads_and_other_lobbies(lobby: Lobby) -> None:
    service, _ = everywhere(lobby)
    newcomer(lobby, "anna", "annas")
    bert = newcomer(lobby, "bert", "berts")
    report = bert.room or ""
    lobby.moderation.report_partner(report, "threat", "", [], "anna", "conn1")
    assert service.ban_reported(report, HOUR_MS, "", address=False, device=True) == ("bert", Origin("", "berts"))
    for number in range(50):
        name = "bert" if number % 2 else f"no token {number}"
        presence = type(lobby.worker.presence)(
            lobby.pipeline,  # type: ignore[arg-type]
            "worker",
            LOBBIES[number % 3],
            lobby.clock,
        )
        registration = presence.connect(name, f"try {number}", device="berts")
        assert (registration.state, registration.banned_ms) == ("banned", HOUR_MS)
    assert newcomer(lobby, "carl", "carls").waiting
    assert service.lift("person:bert")
    assert service.bans(0, 1) == (0, [])
    assert Person(lobby, "bert").connect(device="berts").state == "idle"


def test_a_ban_closes_every_tab_of_the_device_on_every_worker(lobby: Lobby) -> None:
    newcomer(lobby, "bert", "berts")
    lobby.ear.subscribe(keys.everybody())
    lobby.moderation.ban("bert", HOUR_MS, Origin("", "berts"), "")
    assert b'"device":"berts"' in lobby.ear.messages()[-1][1]


def test_without_the_device_the_person_alone_is_banned(lobby: Lobby) -> None:
    newcomer(lobby, "bert", "berts")
    lobby.moderation.ban("bert", HOUR_MS, NOTHING, "")
    assert Person(lobby, "bert").connect(device="berts").state == "banned"
    assert Person(lobby, "new").connect(device="berts").state == "idle"


def test_lifting_one_person_s_ban_leaves_the_device_that_another_was_banned_with(lobby: Lobby) -> None:
    for name in ("anna", "bert"):
        newcomer(lobby, name, "shared")
        lobby.moderation.ban(name, HOUR_MS, Origin("", "shared"), "")
    assert lobby.moderation.lift("person:anna")
    assert [ban.id for ban in lobby.moderation.bans(0, 10)[1]] == ["device:shared", "person:bert"]


def test_a_suspension_by_reports_takes_the_device_too(lobby: Lobby) -> None:
    lobby.moderation = LobbyModeration(lobby.pipeline, 0, 1, clock=lobby.clock)  # type: ignore[arg-type]
    newcomer(lobby, "bert", "berts")
    newcomer(lobby, "anna", "annas").report()
    assert Person(lobby, "another tab").connect(device="berts").state == "banned"


def test_the_device_that_is_banned_is_the_one_in_the_room(lobby: Lobby) -> None:
    bert, anna = newcomer(lobby, "bert", "then"), newcomer(lobby, "anna", "annas")
    room = anna.room or ""
    bert.leave()
    bert.connect(device="now")
    anna.report(room=room)
    assert lobby.moderation.subject("", room) == ("bert", Origin("", "then"))
    assert lobby.moderation.reports(0, 1)[1][0].has_device


# Which device a person has


def test_a_client_that_sends_no_device_keeps_the_one_it_had_only_in_a_recovered_session(lobby: Lobby) -> None:
    presence = lobby.worker.presence
    assert presence.connect("anna", "one", device="annas").device == "annas"
    assert presence.connect("anna", "two", new_device="other").device == "annas", "as a recovery asks"
    assert presence.connect("anna", "three", device="new").device == "new"
    assert presence.connect("bert", "four", new_device="first").device == "first"
    assert lobby.hash(":person:anna")["device"] == "new"


def test_no_device_outlives_its_use(lobby: Lobby) -> None:
    newcomer(lobby, "bert", "berts")
    anna = newcomer(lobby, "anna", "annas")
    anna.block()
    for name in lobby.pipeline.execute("KEYS", f"{TAG}:blocked:*"):
        assert lobby.pipeline.execute("PTTL", name) > 0
    for name in lobby.pipeline.execute("KEYS", f"{TAG}:past:*"):
        assert lobby.pipeline.execute("PTTL", name) > 0
