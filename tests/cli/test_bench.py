"""`animochat bench`: simulated users against a real server, within bounds, and how broken promises are detected. Also
that the scripts in bench/, which take too long to run here, can start.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from animochat.cli import bench
from animochat.loadtest.history import Excuse
from animochat.loadtest.run_stats import MAX_TIMES, SETTLED, Durations, RunStats
from animochat.loadtest.users import Behavior, SimulatedUser
from tests.helpers.people import running, stats
from tests.helpers.servers import ROOT, free_port


def test_simulated_users_run_against_a_real_server(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "report.json"
    line = ["--lobby", "cebu"]
    line += ["--people", "40", "--seconds", "6", "--think", "0.3", "--chat", "1.5", "--json", str(file)]
    with running(tmp_path, SKIP_COOLDOWN_MS="100", LOBBIES="main,cebu") as (server,):
        status = bench.main([server.url, *line])
        lobbies: Any = stats(server)["lobbies"]
        assert bench.main([server.url, "--lobby", "davao"]) == 2
    printed = capsys.readouterr()
    outcome = json.loads(file.read_text())
    assert (status, outcome["ok"], outcome["mistakes"]) == (0, True, {})
    assert lobbies["cebu"]["matchesTotal"] > lobbies["main"]["matchesTotal"] == 0
    assert "Unknown lobby" in printed.err
    assert outcome["refusals"] == {}
    counts = outcome["counts"]
    assert counts["connected"] >= 40
    assert counts["matched"] >= 2
    assert counts["skipped"] >= 1
    assert 0 < counts["received"] <= counts["sent"]
    for times in outcome["milliseconds"].values():
        assert 0 <= times["p50"] <= times["p90"] <= times["p99"] <= times["max"]
    assert "promises     kept" in printed.out
    assert "5/6 s" in printed.err  # no terminal: occasional lines


@pytest.mark.parametrize("script", ["capacity", "durability", "faults", "rolling_deploy", "soak"])
def test_a_bench_script_finds_its_imports_from_the_tests(script: str) -> None:
    """One of them has the name of a folder of the tests."""
    subprocess.run([sys.executable, ROOT / "bench" / f"{script}.py", "--help"], check=True, capture_output=True)


@pytest.mark.parametrize("url", ["http://192.0.2.1:3001", "http://[2001:db8::1]:3001"])
def test_a_server_on_another_machine_is_refused(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.main([url]) == 2
    assert "--yes-i-run-this-server" in capsys.readouterr().err


def test_an_impossible_run_is_refused_at_the_start(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.main(["localhost:3001"]) == 2
    assert bench.main([f"http://127.0.0.1:{free_port()}"]) == 2
    assert "ConnectionRefusedError" in capsys.readouterr().err


@pytest.mark.parametrize("line", ["--people 0", "--people 20001", "--seconds 0", "--seconds 3601", "--think 0"])
def test_options_are_bounded(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        bench.main(["http://127.0.0.1:1", *line.split()])
    assert ended.value.code == 2


NAMES = {"anna": "bert", "bert": "anna"}


@pytest.fixture
def run() -> RunStats:
    """Return a run in which anna and bert chat in the room r."""
    stats = RunStats()
    for client, partner in NAMES.items():
        stats.matched(client, {"roomId": "r", "userId": f"u-{client}", "partnerId": f"u-{partner}"})
    return stats


def say(stats: RunStats, sender: str, seq: int) -> None:
    stats.said(sender, "r", f"{sender} {seq}")
    stats.stored(sender, "r", f"{sender} {seq}", {"id": f"r-{seq}", "seq": seq}, 0.01)


def hear(stats: RunStats, receiver: str, seq: int, room: str = "r") -> None:
    sender = NAMES[receiver]
    names = {"id": f"{room}-{seq}", "roomId": room, "seq": seq, "senderId": f"u-{sender}", "type": "text"}
    stats.got(receiver, {**names, "content": f"{sender} {seq}"}, 0.01)


def end(stats: RunStats) -> dict[str, int]:
    """Let anna leave; return the mistakes by then."""
    stats.note("anna", "leaving", "r", 0.0)
    stats.ended("bert", "left", 0.0)
    stats.settle(SETTLED)
    assert not stats._rooms, "a room that is over is forgotten"
    return dict(stats.mistakes)


def test_a_conversation_that_is_right_has_no_mistakes(run: RunStats) -> None:
    for seq in (1, 3):
        say(run, "anna", seq)
        hear(run, "bert", seq)
    say(run, "bert", 2)  # anna, who left, need not have received it
    assert end(run) == {}
    assert run.excused == {Excuse.RECEIVER_LEFT: 1}


def test_broken_promises_are_noticed(run: RunStats) -> None:
    for seq in (1, 2, 3):
        say(run, "anna", seq)
    hear(run, "bert", 2)
    hear(run, "bert", 1)
    hear(run, "bert", 1)
    hear(run, "bert", 4, room="q")
    assert end(run) == {"misordered": 1, "duplicated": 1, "lost": 1, "from another room": 1, "late": 1}


def test_someone_in_two_rooms_is_noticed(run: RunStats) -> None:
    run.matched("anna", {"roomId": "q", "userId": "u-anna-q", "partnerId": "u-carl"})
    assert run.mistakes == {"in two rooms": 1}


def test_acknowledgements_under_way_are_waited_for(run: RunStats) -> None:
    run.said("anna", "r", "anna 1")
    run.note("anna", "leaving", "r", 0.0)
    run.ended("bert", "left", 0.0)
    run.settle(SETTLED - 1)
    run.stored("anna", "r", "anna 1", {"id": "r-1", "seq": 1}, 0.01)
    run.settle(SETTLED)
    assert run.mistakes == {"lost": 1}


def test_a_user_whose_connection_is_lost_comes_back_as_someone_else(run: RunStats) -> None:
    user = SimulatedUser("http://127.0.0.1:1", Behavior(), run, seed=1)
    user.name, user._room = "anna", "r"
    user._lost()
    assert user._room == ""
    say(run, "bert", 1)
    run.finish()
    assert run.mistakes == {}
    assert run.excused == {Excuse.RECEIVER_LEFT: 1}


def test_rooms_that_go_on_are_checked_at_the_end(run: RunStats) -> None:
    say(run, "anna", 1)
    run.settle(1_000.0)
    assert run.mistakes == {}
    run.finish()
    assert run.mistakes == {"lost": 1}


def test_a_long_run_keeps_its_whole_course_in_bounded_memory() -> None:
    times = Durations()
    for number in range(3 * MAX_TIMES):
        times.add(number / 1000)
    assert len(times._kept) <= MAX_TIMES
    assert times.percentiles()["p50"] == pytest.approx(1.5 * MAX_TIMES, rel=0.05)
