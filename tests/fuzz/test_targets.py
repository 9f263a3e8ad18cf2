"""The fuzz targets: their seeds, a short run of each with fixed numbers, and whether they notice faults."""

from __future__ import annotations

import importlib.metadata
import json
import re
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from packaging.requirements import Requirement

from animochat.protocol import packets as socketio_packets
from animochat.server.engineio import packets
from animochat.server.http import headers
from animochat.server.websocket import connection, frames
from tests.fuzz import chat
from tests.fuzz.targets import TARGETS
from tests.helpers.servers import ROOT

#: Inputs of each target's run, which takes a second or two.
RUNS = {"frames": 60, "heads": 150, "payloads": 100, "packet": 2000, "arguments": 1500, "credentials": 1500}


def for_this_platform() -> bool:
    """Return whether setup.cfg requires atheris here: it has wheels for some platforms only."""
    requirements = [Requirement(text) for text in importlib.metadata.requires("animochat") or []]
    (atheris,) = [requirement for requirement in requirements if requirement.name == "atheris"]
    return atheris.marker is not None and atheris.marker.evaluate({"extra": "dev"})


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_finds_nothing_wrong_with_its_seeds(name: str) -> None:
    for seed in TARGETS[name].seeds:
        TARGETS[name].check(seed)


NEEDED = [] if for_this_platform() else [pytest.mark.skip("no atheris for this platform"), pytest.mark.may_skip]


@pytest.mark.parametrize("name", [pytest.param(name, marks=NEEDED) for name in TARGETS])
def test_fuzzing_finds_nothing(name: str, tmp_path: Path) -> None:
    script = ROOT / "tests/fuzz/targets.py"
    command = [sys.executable, script, name, "--runs", str(RUNS[name]), "--seed", "1", "--corpus", tmp_path / "corpus"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert f"Done {RUNS[name]} runs" in result.stderr
    covered = re.findall(r"cov: (\d+)", result.stderr)
    assert int(covered[-1]) > 5, "libFuzzer sees the code"


def lenient(data: bytes) -> str | None:
    """Do the same as `whole_message`, but accept invalid UTF-8."""
    is_whole = len(data) > 6 and data[0] == 0x81 and len(data) == 6 + (data[1] & 0x7F)
    return data[6:].decode("utf-8", "replace") if is_whole else None


@pytest.mark.parametrize(
    ("name", "place", "attribute", "broken"),
    [
        ("frames", connection, "whole_message", lenient),
        ("frames", frames.FrameReader, "remembers_nothing", lambda parser: True),
        ("heads", headers.Headers, "_check_length", lambda self: None),
        ("heads", headers, "_FIELD", re.compile(rb"([^:]+):([^\x00\r]*)\r?\Z")),
        ("payloads", packets, "encode_payload", lambda received: b"4"),
        ("packet", socketio_packets, "decode", json.loads),
        ("packet", socketio_packets, "_HEAD", re.compile(r"(?:(\d{1,2})-)?(?:(/[^,]*),?)?(\d{1,15})?\d*")),
        ("arguments", msgspec, "convert", partial(msgspec.convert, strict=False)),
        ("credentials", chat.TOKENS, "_signer", chat.TOKENS._sessions),
    ],
)
def test_a_target_notices(name: str, place: Any, attribute: str, broken: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(place, attribute, broken)
    with pytest.raises((AssertionError, ValueError)):
        test_a_target_finds_nothing_wrong_with_its_seeds(name)
