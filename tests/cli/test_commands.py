"""`animochat announce`, `bans` and `reports`: the operator's actions, from a shell, on the store itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from animochat import cli
from animochat.moderation.lobby_moderation import LobbyModeration, Said
from tests.helpers.servers import ROOT, PythonClient, Server, eventually, free_port
from tests.helpers.store import Lobby

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def lobby(store_url: str) -> Iterator[Lobby]:
    lobby = Lobby(store_url)
    lobby.moderation = LobbyModeration(lobby.pipeline, 0, 0)  # type: ignore[arg-type]  # by the store's clock, as commands go
    yield lobby
    lobby.close()


@pytest.fixture
def run(store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Return a function that runs a command line: it returns the exit status and the output."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REDIS_URL", store_url)

    def run(*arguments: str) -> tuple[int, str]:
        try:
            status = cli.main(list(arguments))
        except SystemExit as error:
            status = int(error.code or 0)
        printed = capsys.readouterr()
        return status, printed.out + printed.err

    return run


@pytest.fixture
def report(lobby: Lobby) -> str:
    """Return the id of anna's report on bert, who sent an insult."""
    anna, _ = lobby.pair("anna", "bert")
    evidence = [Said("reported", 1_900_000_000_000, "Look \x1b[2J\nreporter: me")]
    anna.report("spam", "he \x1b]0;sells", evidence)
    _, (filed,) = lobby.moderation.reports(0, 10)
    return filed.id


def test_reports_are_listed_with_their_evidence_and_nothing_in_them_can_steer_the_terminal(
    run: Run, report: str
) -> None:
    status, printed = run("reports", "list")
    assert status == 0
    assert report in printed
    assert r"reported: Look \x1b[2J\x0areporter: me" in printed
    assert r"details: he \x1b]0;sells" in printed
    assert "\x1b" not in printed
    assert "1 of 1 open reports" in printed


def test_lists_are_json_for_programs(run: Run, report: str) -> None:
    status, printed = run("reports", "list", "--json")
    answer = json.loads(printed)
    assert (status, answer["open"], answer["reports"][0]["id"]) == (0, 1, report)
    assert json.loads(run("bans", "list", "--json")[1]) == {"total": 0, "bans": []}
    assert json.loads(run("reports", "list", "--json", "--offset", "1")[1])["reports"] == []


def test_a_reported_person_is_banned_and_the_ban_is_lifted(run: Run, report: str, lobby: Lobby) -> None:
    assert run("reports", "ban", report, "--hours", "2", "--note", " sells ") == (
        0,
        "bert is banned for 2 hours.\nNo device of this person is known.\n",
    )
    assert lobby.moderation.reports(0, 10)[0] == 0
    _, (ban,) = lobby.moderation.bans(0, 10)
    assert (ban.person, ban.note, ban.report) == ("bert", "sells", report)
    status, printed = run("bans", "list")
    assert status == 0
    assert ban.id in printed
    assert "sells" in printed
    assert run("bans", "lift", ban.id) == (0, "Lifted.\n")
    assert lobby.moderation.bans(0, 10) == (0, [])


def test_a_report_is_dismissed_once(run: Run, report: str, lobby: Lobby) -> None:
    assert run("reports", "dismiss", report) == (0, "Dismissed.\n")
    assert lobby.moderation.reports(0, 10)[0] == 0
    status, printed = run("reports", "dismiss", report)
    assert status == 1
    assert f"no open report has the id {report}" in printed


def test_a_permanent_ban_needs_an_explicit_option(run: Run, lobby: Lobby) -> None:
    assert run("bans", "add", "carl")[0] == 2
    assert run("bans", "add", "carl", "--hours", "1", "--for-good")[0] == 2
    assert lobby.moderation.bans(0, 10) == (0, [])
    assert run("bans", "add", "carl", "--for-good")[0] == 0
    _, (ban,) = lobby.moderation.bans(0, 10)
    assert (ban.person, ban.until) == ("carl", None)


def test_an_announcement_is_published_to_everyone(run: Run, lobby: Lobby) -> None:
    lobby.ear.subscribe("flask-socketio")
    assert run("announce", " Back in five minutes ") == (0, "Sent.\n")
    ((_, message),) = lobby.ear.messages()
    assert json.loads(message)["data"] == [{"text": "Back in five minutes"}]


def test_commands_concern_every_lobby_or_one(run: Run, lobby: Lobby, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOBBIES", "main,cebu")
    lobby.ear.subscribe("flask-socketio")
    assert run("announce", "to all")[0] == run("announce", "--lobby", "cebu", "to some")[0] == 0
    assert [json.loads(message)["room"] for _, message in lobby.ear.messages()] == [None, "lobby:cebu"]
    assert run("bans", "add", "carl", "--for-good", "--lobby", "cebu")[0] == 0
    assert "person:carl  cebu  permanently" in run("bans", "list")[1]
    assert run("bans", "list", "--lobby", "main") == (0, "0 of 0 bans\n")
    assert run("bans", "lift", "person:carl")[0] == 0
    assert run("announce", "--lobby", "davao", "to no one") == (
        2,
        "animochat: unknown lobby davao: LOBBIES is main, cebu\n",
    )


@pytest.mark.parametrize(
    "line",
    ["announce", "announce ''", "bans add carl --hours 0", "bans add c!rl --hours 1", "bans list --count 101", "bans"],
)
def test_a_mistake_on_the_command_line_changes_nothing(run: Run, lobby: Lobby, line: str) -> None:
    status, printed = run(*(word.strip("'") for word in line.split(" ")))
    assert status == 2
    assert "usage:" in printed
    assert lobby.moderation.bans(0, 10) == (0, [])


def test_a_missing_ban_and_a_missing_store_are_errors(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("bans", "lift", "person:unknown") == (1, "animochat: no ban has the id person:unknown\n")
    assert run("reports", "ban", "none", "--hours", "1")[0] == 1
    monkeypatch.setenv("REDIS_URL", f"redis://127.0.0.1:{free_port()}")
    assert run("bans", "list")[0] == 1


def test_a_command_runs_as_a_program(store_url: str, tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "animochat", "bans", "list"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "REDIS_URL": store_url, "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "0 of 0 bans\n", "")


def test_without_an_address_the_store_is_that_of_the_server_in_this_folder(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REDIS_URL")
    none = (
        1,
        "animochat: no server runs in this folder with an embedded store: set REDIS_URL to its address\n",
    )
    assert run("bans", "list") == none
    (tmp_path / "elsewhere").mkdir()
    server, second = Server(tmp_path), Server(tmp_path)
    elsewhere = Server(tmp_path / "elsewhere")
    try:
        elsewhere.start()
        assert run("bans", "list") == none
        server.start()
        eventually(lambda: server.get("/health").status_code == 200)  # announcements arrive from then on
        client = PythonClient(server.url)
        client.connect()
        assert run("announce", "Back in five minutes") == (0, "Sent.\n")
        assert client.wait("announcement") == {"text": "Back in five minutes"}
        client.close()
        second.start()
        status, printed = run("reports", "list")
        assert status == 1
        assert "several servers run in this folder" in printed
        server.stop()
        assert run("bans", "list") == (0, "0 of 0 bans\n")
        second.kill()  # its store's files may stay behind
        eventually(lambda: run("bans", "list") == none, what="end of the store")
    finally:
        for running in (server, second, elsewhere):
            running.stop()
