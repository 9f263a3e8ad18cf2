"""`animochat bench`: a crowd against a real server, within bounds, and what it takes for a broken promise. And that the
scripts in bench/ start, which take too long to be run here.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from animochat.cli import bench
from animochat.loadtest.run_stats import MAX_TIMES, SETTLED, RunStats, Times
from tests.helpers.people import running, stats
from tests.helpers.servers import ROOT, free_port


def test_a_crowd_lives_against_a_real_server_and_its_report_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
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
    assert "5/6 s" in printed.err  # no terminal: a line now and then


@pytest.mark.parametrize("script", ["capacity", "faults", "rolling_deploy"])
def test_what_a_script_of_bench_takes_from_the_tests_is_found(script: str) -> None:
    """One of them has the name of a folder of the tests."""
    subprocess.run([sys.executable, ROOT / "bench" / f"{script}.py", "--help"], check=True, capture_output=True)


@pytest.mark.parametrize("url", ["http://192.0.2.1:3001", "http://[2001:db8::1]:3001"])
def test_a_server_elsewhere_is_left_alone(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.main([url]) == 2
    assert "--yes-i-run-this-server" in capsys.readouterr().err


def test_what_can_not_run_is_told_before_anything_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.main(["localhost:3001"]) == 2
    assert bench.main([f"http://127.0.0.1:{free_port()}"]) == 2
    assert "ConnectionRefusedError" in capsys.readouterr().err


@pytest.mark.parametrize("line", ["--people 0", "--people 20001", "--seconds 0", "--seconds 3601", "--think 0"])
def test_it_is_bounded(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        bench.main(["http://127.0.0.1:1", *line.split()])
    assert ended.value.code == 2


@pytest.fixture
def room() -> RunStats:
    """anna and bert chat in the room r."""
    tally = RunStats()
    tally.matched("r", "anna", "bert")
    tally.matched("r", "bert", "anna")
    return tally


def end(tally: RunStats) -> dict[str, int]:
    tally.left_behind("r", "bert", 0.0)
    tally.settle(SETTLED)
    return dict(tally.mistakes)


def test_a_conversation_as_it_should_be_has_no_mistakes(room: RunStats) -> None:
    for seq in (1, 3):
        room.stored("r", "anna", seq, 0.01)
        room.got("r", "bert", "anna", seq, 0.01)
    room.stored("r", "bert", 2, 0.01)  # anna, who left, need not have got it
    assert end(room) == {}


def test_broken_promises_are_noticed(room: RunStats) -> None:
    room.got("r", "bert", "anna", 2, 0.01)
    room.got("r", "bert", "anna", 1, 0.01)
    room.got("r", "bert", "anna", 1, 0.01)
    room.got("r", "bert", "carl", 4, None)
    room.got("q", "", "anna", 5, 0.01)
    room.stored("r", "anna", 3, 0.01)
    room.stored("r", "anna", 3, 0.01)
    room.matched("r", "carl", "anna")
    room.matched("r", "carl", "anna")
    room.matched("q", "dora", "emma")
    room.matched("q", "emma", "anna")
    assert end(room) == {
        "messages arrived out of order": 1,
        "a message arrived twice": 1,
        "a message from someone other than the partner": 1,
        "a message that no one here sent": 1,
        "a message from another room": 1,
        "two messages have the same seq": 1,
        "an acknowledged message was lost": 1,
        "a room has more than two people": 2,
        "a person is in a room twice": 1,
        "two people in a room name different partners": 1,
    }


def test_an_answer_that_is_still_under_way_is_waited_for(room: RunStats) -> None:
    room.stored("r", "anna", 1, 0.01)
    room.left_behind("r", "bert", 0.0)
    room.settle(SETTLED - 1)
    room.got("r", "bert", "anna", 1, 0.01)
    room.settle(SETTLED)
    assert room.mistakes == {}


def test_a_long_run_keeps_its_whole_course_in_bounded_memory() -> None:
    times = Times()
    for number in range(3 * MAX_TIMES):
        times.add(number / 1000)
    assert len(times._kept) <= MAX_TIMES
    assert times.percentiles()["p50"] == pytest.approx(1.5 * MAX_TIMES, rel=0.05)
