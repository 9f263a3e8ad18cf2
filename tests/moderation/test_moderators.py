"""Moderators with tokens of their own (animochat/moderation/moderators.py), and the log of their actions."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from animochat import cli
from animochat.cli.moderating import shell_user
from animochat.moderation.lobby_moderation import HOUR_MS, NOTHING, LobbyModeration, Said
from animochat.moderation.moderators import MAX_MODERATORS, Moderators, NameRefused
from animochat.moderation.service import ModerationService
from tests.helpers.operator_app import operator_app
from tests.helpers.store import TAG, Lobby

OWNER_TOKEN = "a token of at least sixteen characters"
OWN = {"Origin": "http://localhost"}


@pytest.fixture
def lobby(redis_url: str) -> Iterator[Lobby]:
    lobby = Lobby(redis_url)
    yield lobby
    lobby.close()


@pytest.fixture
def moderators(lobby: Lobby) -> Moderators:
    return Moderators(lobby.pipeline, clock=lobby.clock)  # type: ignore[arg-type]


@pytest.fixture
def client(lobby: Lobby) -> FlaskClient:
    return operator_app(lobby.pipeline, lobby.moderation, admin_token=OWNER_TOKEN).test_client()


def file(lobby: Lobby, *names: str) -> str:
    anna, _ = lobby.pair(*(names or ("anna", "bert")))
    room = anna.room
    anna.report("threat", "details", [Said("reported", lobby.now, "words")])
    assert room
    return room


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def log_of(lobby: Lobby) -> list[tuple[str, str, dict[str, str]]]:
    """Return author, action and subjects of each entry, the first one first."""
    actions = lobby.moderation.actions(100)[1]
    return [(action.by, action.what, action.on) for action in reversed(actions)]


# Tokens


def test_a_token_is_shown_once_and_the_store_has_a_digest_of_it(lobby: Lobby, moderators: Moderators) -> None:
    token = moderators.add("maria", "shell:owner")
    assert len(token) >= 43, "256 bits"
    assert [(m.name, m.since) for m in moderators.list()] == [("maria", lobby.now)]
    stored = lobby.pipeline.execute("HGETALL", f"{TAG}:moderators")
    stored += lobby.pipeline.execute("XRANGE", f"{TAG}:actions", "-", "+")
    assert token not in str(stored)
    assert moderators.add("jose", "shell:owner") != token


@pytest.mark.parametrize(
    "name", ["", "operator", "Operator", "reports", "two words", "shell:me", "x" * 33, "a\nb", "é"]
)
def test_a_name_that_would_be_mistaken_is_refused(lobby: Lobby, moderators: Moderators, name: str) -> None:
    with pytest.raises(NameRefused):
        moderators.add(name, "shell:owner")
    assert moderators.list() == []
    assert log_of(lobby) == []


def test_a_name_is_taken_once_and_there_is_a_bound(
    lobby: Lobby, moderators: Moderators, monkeypatch: pytest.MonkeyPatch
) -> None:
    moderators.add("maria", "shell:owner")
    with pytest.raises(NameRefused, match="revoke"):
        moderators.add("maria", "shell:owner")
    monkeypatch.setattr("animochat.moderation.moderators.MAX_MODERATORS", 1)
    with pytest.raises(NameRefused, match="there are 1 moderators"):
        moderators.add("jose", "shell:owner")
    assert [m.name for m in moderators.list()] == ["maria"]
    assert MAX_MODERATORS == 100


# At /admin


def test_a_moderator_logs_in_and_acts_under_the_own_name(
    lobby: Lobby, moderators: Moderators, client: FlaskClient
) -> None:
    token, report = moderators.add("maria", "shell:owner"), file(lobby)
    assert client.post("/admin/login", data={"token": token}, headers=OWN).status_code == 303
    assert client.post(f"/admin/api/reports/{report}/ban", json={"hours": 1}, headers=OWN).status_code == 200
    assert log_of(lobby)[-1][:2] == ("maria", "ban")
    assert lobby.moderation.bans(0, 1)[1][0].by == "maria"
    page = client.get("/admin?state=resolved").text
    assert "Banned by maria" in page


def test_revoking_ends_only_the_moderator_s_token_and_sessions(moderators: Moderators, client: FlaskClient) -> None:
    maria, jose = moderators.add("maria", "shell:owner"), moderators.add("jose", "shell:owner")
    assert client.post("/admin/login", data={"token": maria}, headers=OWN).status_code == 303
    assert client.get("/admin/api/bans").status_code == 200
    assert moderators.revoke("maria", "shell:owner")
    assert not moderators.revoke("maria", "shell:owner")
    assert client.get("/admin/api/bans").status_code == 401
    stranger = client.application.test_client()
    assert stranger.get("/admin/api/bans", headers=bearer(maria)).status_code == 401
    assert stranger.post("/admin/login", data={"token": maria}, headers=OWN).status_code == 401
    for token in (jose, OWNER_TOKEN):
        assert stranger.get("/admin/api/bans", headers=bearer(token)).status_code == 200
    moderators.add("maria", "shell:owner")
    assert client.get("/admin/api/bans").status_code == 401, "another token of that name opens no old session"


def test_a_session_from_before_moderators_existed_is_the_owner_s(lobby: Lobby, client: FlaskClient) -> None:
    assert client.post("/admin/login", data={"token": OWNER_TOKEN}, headers=OWN).status_code == 303
    (session,) = lobby.pipeline.execute("KEYS", f"{TAG}:operator:*")
    lobby.pipeline.execute("SET", session, 1, "KEEPTTL")
    assert client.get("/admin/api/bans").status_code == 200


def test_a_moderator_s_token_counts_as_wrong_where_too_many_wrong_ones_came_before(
    moderators: Moderators, client: FlaskClient
) -> None:
    token = moderators.add("maria", "shell:owner")
    for _ in range(10):
        assert client.get("/admin/api/bans", headers=bearer("wrong" * 4)).status_code == 401
    assert client.get("/admin/api/bans", headers=bearer(token)).status_code == 429


# The log


def test_each_action_is_in_the_log_with_who_and_on_what(
    lobby: Lobby, moderators: Moderators, client: FlaskClient
) -> None:
    token = moderators.add("maria", "shell:owner")
    first, second = file(lobby), file(lobby, "carl", "dora")
    for path, body in (
        (f"reports/{first}/dismiss", {}),
        (f"reports/{second}/ban", {"hours": 1, "note": "a note"}),
        ("announcements", {"text": "what was announced"}),
    ):
        assert client.post(f"/admin/api/{path}", json=body, headers=bearer(token)).status_code == 200
    assert client.delete("/admin/api/bans/person:dora", headers=bearer(OWNER_TOKEN)).status_code == 200
    moderators.revoke("maria", "shell:owner")
    until = str(lobby.now + HOUR_MS)
    assert log_of(lobby) == [
        ("shell:owner", "add-moderator", {"name": "maria"}),
        ("maria", "dismiss", {"report": first, "person": "bert"}),
        ("maria", "ban", {"person": "dora", "until": until, "address": "0", "report": second, "reason": ""}),
        ("maria", "announce", {}),
        ("operator", "lift", {"ban": "person:dora", "person": "dora"}),
        ("shell:owner", "revoke-moderator", {"name": "maria"}),
    ]
    assert lobby.pipeline.execute("PTTL", f"{TAG}:actions") == -1, "it does not expire"


def test_failed_actions_are_not_in_the_log(lobby: Lobby, moderators: Moderators, client: FlaskClient) -> None:
    for path, body in (
        ("reports/none/dismiss", {}),
        ("reports/none/ban", {"hours": 1}),
        ("announcements", {"text": ""}),
    ):
        client.post(f"/admin/api/{path}", json=body, headers=bearer(OWNER_TOKEN))
    client.delete("/admin/api/bans/person:unknown", headers=bearer(OWNER_TOKEN))
    assert log_of(lobby) == []


def test_the_log_is_read_from_all_lobbies_the_latest_first_and_page_by_page(lobby: Lobby) -> None:
    other = LobbyModeration(lobby.pipeline, 0, 0, lobby="other", clock=lobby.clock)  # type: ignore[arg-type]
    service = ModerationService([lobby.moderation, other])
    for number in range(5):
        (lobby.moderation, other)[number % 2].ban(f"p{number}", None, NOTHING, "")
        lobby.pass_time(1000)
    pages = [service.actions(offset, 2) for offset in (0, 2, 4, 6)]
    assert [action.on["person"] for _, page in pages for action in page] == ["p4", "p3", "p2", "p1", "p0"]
    assert [total for total, _ in pages] == [5] * 4
    assert service.actions(0, 10, "other")[0] == 2


def test_resolved_reports_are_listed_with_their_moderator_the_latest_first(lobby: Lobby, client: FlaskClient) -> None:
    first, second, left = file(lobby), file(lobby, "carl", "dora"), file(lobby, "emil", "fred")
    lobby.moderation.acting_as("maria").dismiss(first)
    lobby.pass_time(1000)
    lobby.moderation.acting_as("jose").ban_reported(second, None, NOTHING, "")
    total, reports = lobby.moderation.reports(0, 10, state="resolved")
    assert total == 2
    assert [(r.id, r.state, r.resolved_by, r.resolved_at) for r in reports] == [
        (second, "banned", "jose", lobby.now),
        (first, "dismissed", "maria", lobby.now - 1000),
    ]
    assert (reports[1].details, reports[1].evidence) == ("", []), "the words of a dismissed report are deleted"
    assert [report.id for report in lobby.moderation.reports(0, 10)[1]] == [left]
    answer = client.get("/admin/api/reports/resolved?count=1&offset=1", headers=bearer(OWNER_TOKEN)).json
    assert (answer["total"], answer["reports"][0]["id"], answer["reports"][0]["resolvedBy"]) == (2, first, "maria")
    answer = client.get("/admin/api/actions?count=1", headers=bearer(OWNER_TOKEN)).json
    assert (answer["total"], answer["actions"][0]["by"], answer["actions"][0]["what"]) == (2, "jose", "ban")
    page = client.get("/admin", headers=bearer(OWNER_TOKEN)).text
    assert "jose" in page
    assert client.get("/admin?actions=2", headers=bearer(OWNER_TOKEN)).status_code == 200


# From a shell


@pytest.fixture
def run(
    lobby: Lobby, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REDIS_URL", lobby.url)

    def run(*arguments: str) -> tuple[int, str]:
        try:
            status = cli.main(list(arguments))
        except SystemExit as error:
            status = int(error.code or 0)
        printed = capsys.readouterr()
        return status, printed.out + printed.err

    return run


def test_the_shell_adds_lists_and_revokes_and_is_in_the_log_as_the_system_s_user(
    run: Callable[..., tuple[int, str]], lobby: Lobby, client: FlaskClient
) -> None:
    status, token = run("moderators", "add", "maria")
    assert status == 0
    assert client.get("/admin/api/bans", headers=bearer(token.strip())).status_code == 200
    assert run("moderators", "add", "maria")[0] == 1
    assert run("moderators", "add", "no name")[0] == 1
    assert run("moderators", "list")[1].startswith("maria  since ")
    assert run("bans", "add", "carl", "--for-good")[0] == 0
    assert run("moderators", "revoke", "maria") == (0, "Revoked.\n")
    assert run("moderators", "revoke", "maria")[0] == 1
    assert client.get("/admin/api/bans", headers=bearer(token.strip())).status_code == 401
    status, printed = run("moderators", "log", "--json")
    entries: list[dict[str, Any]] = json.loads(printed)["actions"]
    assert [entry["what"] for entry in entries] == ["revoke-moderator", "ban", "add-moderator"]
    assert {entry["by"] for entry in entries} == {shell_user()}
    assert "3 of 3 actions" in run("moderators", "log")[1]
    assert token.strip() not in printed


def test_a_user_without_a_name_is_in_the_log_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    def nameless() -> str:
        raise KeyError

    monkeypatch.setattr("getpass.getuser", nameless)
    assert shell_user().removeprefix("shell:").isdigit()
