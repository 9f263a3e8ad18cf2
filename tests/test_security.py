"""docs/security.md is true: everything that a stranger can send is in its list, and what it names exists."""

from __future__ import annotations

import re
from importlib import import_module
from typing import Any

import pytest
from support import ROOT
from websockets.frames import Opcode

from animochat import create_app
from animochat.documents.events import CLIENT_EVENTS
from animochat.server import packets as engine_packets
from animochat.settings import Settings
from animochat.sockets import packets as socket_packets

TEXT = (ROOT / "docs/security.md").read_text("utf-8")

#: What a session on Engine.IO is opened and used with: each transport, each method, the change from one to the other.
ENGINE_REQUESTS = {"open polling", "open WebSocket", "poll", "post", "upgrade", "preflight"}

#: Twice the sum of the rates of a person, and so no setting of its own.
DERIVED = {"RATE_FRAMES": Settings().rate_frames}


def rows(title: str) -> list[list[str]]:
    """Return for each item of the list below a heading what it is about, its limits if it has some, and its tests."""
    section = TEXT.split(f"\n## {title}\n")[1].split("\n## ")[0]
    items = re.findall(r"^- (.*?)(?=^- |^\S|\Z)", section, re.MULTILINE | re.DOTALL)
    return [re.split(r"^ +- (?:Limits|Tests):\s+", item, flags=re.MULTILINE) for item in items]


def code(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


REQUESTS = rows("Each request and each event")
NAMED = {name for what, _, _ in REQUESTS for name in code(what)}


def constants(module: Any, prefix: str) -> set[str]:
    """The names of a module's packet types."""
    return {
        f"{prefix} {name}"
        for name, value in vars(module).items()
        if name.isupper() and re.fullmatch("[0-6]", str(value))
    }


def routes() -> set[str]:
    return {
        f"{method} {rule.rule}"
        for rule in create_app(Settings(admin_token="a token of sixteen letters")).url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }


def test_everything_that_a_stranger_can_send_is_listed() -> None:
    engine, socket = constants(engine_packets, "Engine.IO"), constants(socket_packets, "Socket.IO")
    assert (len(engine), len(socket)) == (7, 7)
    events = {event.name for event in CLIENT_EVENTS}
    frames = {opcode.name for opcode in Opcode}
    assert routes() | ENGINE_REQUESTS | engine | socket | events | frames | {"connection", "request"} == NAMED


def test_nothing_is_listed_twice_and_every_item_has_a_limit_and_a_test() -> None:
    assert sum(len(code(what)) for what, _, _ in REQUESTS) == len(NAMED)
    for what, limits, tests in REQUESTS:
        assert code(limits), what
        assert code(tests), what


@pytest.mark.parametrize("limit", sorted({name for _, limits, _ in REQUESTS for name in code(limits)} - {"request"}))
def test_each_limit_exists(limit: str) -> None:
    if limit.isupper():
        assert limit in DERIVED or limit.lower() in vars(Settings())
        return
    module, _, name = limit.rpartition(".")
    assert getattr(import_module(f"animochat.{module}"), name)


def test_the_limits_on_people_and_addresses_are_on_by_default() -> None:
    for name in {
        name for _, limits, _ in REQUESTS for name in code(limits) if name.startswith(("RATE_", "MAX_", "REPORTS"))
    }:
        assert getattr(Settings(), name.lower()) > 0


@pytest.mark.parametrize("name", sorted({name for _, _, tests in REQUESTS for name in code(tests)}))
def test_each_test_exists(name: str) -> None:
    path, *names = name.split("::")
    text = (ROOT / path).read_text("utf-8")
    for part in names:
        assert re.search(rf"^ *(def|class) {part}\b", text, re.MULTILINE)


@pytest.mark.parametrize("title", ["Promises, and what proves them", "Limits"])
def test_the_tests_that_the_other_lists_name_exist(title: str) -> None:
    """There a name may be cut by an ellipsis, and one without a path is in the file that was named before it."""
    path, text = "", ""
    for cell in (row[-1] for row in rows(title)):
        for name in code(cell):
            if name.startswith(("tests/", "bench/")):
                path = name.split("::")[0]
                assert (ROOT / path).exists(), name
                files = (ROOT / path).glob("*.py") if (ROOT / path).is_dir() else [ROOT / path]
                text = "".join(file.read_text("utf-8") for file in files)
            for part in name.removeprefix(path).split("::"):
                pattern = re.escape(part.strip("…")).replace("…", ".*")
                assert re.search(pattern, text), (path, part)
