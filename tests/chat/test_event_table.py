"""The table of events is the only place that names an event: a new one needs just a row and a handler."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from animochat.app import create_app
from animochat.chat.namespace import ChatEvents
from animochat.protocol.events import CLIENT_EVENTS
from tests.helpers.api_documents import MESSAGES, validator
from tests.helpers.servers import ROOT, Client, Server

EXTENSION = Path(__file__).with_name("ping_partner.py")


def test_every_handler_is_that_of_an_event_in_the_table() -> None:
    handlers = {name for name in vars(ChatEvents) if name.startswith("on_")}
    assert handlers == {event.handler for event in CLIENT_EVENTS}


def test_limits_are_those_of_the_table(store_url: str) -> None:
    namespace = create_app().extensions["animochat"].lobbies["main"].namespace
    assert set(namespace._rates) == {event.rate for event in CLIENT_EVENTS} - {None}


def test_an_event_is_added_with_a_row_and_a_handler(
    servers: Any, store_url: str, connect: Callable[..., Client], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [line for line in EXTENSION.read_text().splitlines()[1:] if line]
    assert len(lines) < 15
    server = Server(
        tmp_path, workers=2, env={"REDIS_URL": store_url, "PYTHONPATH": f"{ROOT}:{tmp_path}"}, command="gunicorn"
    )
    (tmp_path / "ping_partner.py").write_text(EXTENSION.read_text())
    (tmp_path / "wsgi.py").write_text(f"import ping_partner\n{(ROOT / 'wsgi.py').read_text()}")
    servers.started.append(server)
    server.start()
    monkeypatch.setitem(MESSAGES, "partner-pinged", validator({"type": "null"}))

    people = [connect(server) for _ in range(2)]
    anna, bert = people
    refused = anna.call("ping-partner")
    assert refused["error"]["code"] == "not-in-room"
    for person in people:
        person.emit("find-match")
    for person in people:
        person.wait("matched")
    for person, partner in ((anna, bert), (bert, anna)):
        assert person.call("ping-partner") == {"ok": True}
        assert partner.wait("partner-pinged") is None
    assert anna.call("ping-partner", "loudly")["error"]["code"] == "invalid-payload"
    document = server.get("/docs/asyncapi.json").json()
    assert document["operations"]["ping-partner"]["x-rate-limit"] == "RATE_TYPING"
    assert '"partner-pinged": () => void;' in server.get("/docs/animochat.d.ts").text
