"""docs/security.md is true: everything that a stranger can send is in its list, and everything that it names exists."""

from __future__ import annotations

import re
from importlib import import_module
from typing import Any

import pytest
from websockets.frames import Opcode

from animochat import create_app
from animochat.protocol import packets as socket_packets
from animochat.protocol.events import CLIENT_EVENTS
from animochat.server.engineio import packets as engine_packets
from animochat.settings import Settings
from tests.helpers.servers import ROOT

KB = 1024

TEXT = (ROOT / "docs/security.md").read_text("utf-8")

#: Settings for the handlers of an extension.
EXTENSIONS = {"other namespaces", "own events", "binary events"}

#: The ways to open and use an Engine.IO session: each transport, each method, the change from one to the other.
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
    assert (
        routes() | ENGINE_REQUESTS | engine | socket | events | frames | EXTENSIONS | {"connection", "request"} == NAMED
    )


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


#: How a row of "Limits" begins, what it says, and the constants that say it in the code.
NUMBERS: list[tuple[str, str, dict[str, float]]] = [
    (
        "packets of a client for an extension",
        "100 at once that wait or are handled, 16 namespaces",
        {"chat.application.MAX_QUEUED": 100, "chat.application.MAX_NAMESPACES": 16},
    ),
    ("packets that a polling session", "4 kB", {"server.websocket.connection.LONG_RECV_SIZE": 4 * KB}),
    (
        "time of the event loop for throttled connections",
        "0.5 ms in 10 ms",
        {"server.throttle.TURN": 0.0005, "server.throttle.PERIOD": 0.01},
    ),
    ("time of the event loop for throttled connections", "an eighth of a burst", {"server.limits.UNHURRIED": 1 / 8}),
    ("time of the event loop for throttled connections", "64 kB", {"server.process.worker._RECEIVE_BUFFER": 64 * KB}),
    ("bytes that a client sends after its end", "1 MB", {"server.websocket.connection.MAX_DROPPED": 1024 * KB}),
    ("bytes that a client sends after its end", "after 5 s", {"server.websocket.connection.LINGER": 5}),
    ("wrong tokens at", "10 in 15 minutes", {"moderation.access.MAX_ATTEMPTS": 10}),
    ("wrong tokens at", "10 in 15 minutes", {"moderation.access.ATTEMPTS_MS": 15 * 60_000}),
    ("connects of an address", "counts for ten more", {"server.limits.PENALTY_CONNECTS": 10}),
    ("HTTP requests of an address", "ten seconds' worth", {"server.limits.BURST_SECONDS": 10}),
    ("HTTP requests of an address", "an eighth of that", {"server.limits.UNHURRIED": 1 / 8}),
    ("connections in the throttle queue", "4,000", {"server.http.admission.MAX_WAITING": 4_000}),
    ("connections that wait for a request", "4,000", {"server.http.handler.MAX_IDLE": 4_000}),
    (
        "a request's head",
        "32 kB, 100 fields",
        {"server.http.reader.MAX_HEAD": 32 * KB, "server.http.headers.MAX_FIELDS": 100},
    ),
    ("a request's head", "10 s", {"server.http.reader.HEAD_TIMEOUT": 10}),
    ("a request line", "2 kB", {"server.http.handler.MAX_REQUEST_LINE": 2 * KB}),
    ("a request's body", "20 s", {"server.http.reader.BODY_TIMEOUT": 20}),
    ("a request's body", "64 kB", {"server.http.body.MAX_DISCARDED": 64 * KB}),
    ("bodies that a worker waits for", "1,000", {"server.http.handler.MAX_BODIES": 1_000}),
    ("a body in chunks", "128 kB, 1,000 chunks", {"server.http.body.MAX_CHUNKED": 128 * KB}),
    (
        "a body in chunks",
        "1,000 chunks, 256 bytes",
        {"server.http.chunked.MAX_CHUNKS": 1_000, "server.http.chunked.MAX_LINE": 256},
    ),
    ("a body in chunks", "20 trailer fields", {"server.http.chunked.MAX_TRAILERS": 20}),
    ("the body of a polling request", "100 kB", {"server.engineio.server.MAX_PAYLOAD": 100_000}),
    ("packets of one polling request", "1,000", {"server.engineio.packets.MAX_PACKETS_IN": 1_000}),
    ("bytes that wait for a client", "1 MiB", {"server.backlog.MAX_QUEUED": 1024 * KB}),
    (
        "bytes that wait for a client",
        "64 KiB in every 10 s",
        {"server.backlog.MIN_TAKEN": 64 * KB, "server.backlog.PATIENCE": 10},
    ),
    ("bytes that wait for a client", "4 MiB", {"server.engineio.server.MAX_BACKLOG": 4 * 1024 * KB}),
    ("bytes that wait for a client", "64 MiB for all", {"server.backlog.MAX_BEHIND": 64 * 1024 * KB}),
    (
        "a session without CONNECT",
        "45 s; 10 s",
        {"chat.server.CONNECT_TIMEOUT": 45, "server.engineio.session.UPGRADE_TIMEOUT": 10},
    ),
]


@pytest.mark.parametrize(("row", "words", "constants"), NUMBERS, ids=str)
def test_the_numbers_of_the_limits_are_those_of_the_code(row: str, words: str, constants: dict[str, float]) -> None:
    limits = [" ".join(" ".join(cells).replace("**", "").split()) for cells in rows("Limits")]
    (limit,) = [text for text in limits if text.lower().startswith(row.lower())]
    assert words in limit
    for constant, value in constants.items():
        module, _, name = constant.rpartition(".")
        assert getattr(import_module(f"animochat.{module}"), name) == value


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
