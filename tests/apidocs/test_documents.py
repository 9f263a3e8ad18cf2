"""The documents for client authors: they fit their standards, the server, and the actual traffic."""

from __future__ import annotations

import copy
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openapi_spec_validator
import pytest

from animochat.apidocs.asyncapi import asyncapi
from animochat.apidocs.openapi import ROUTES, openapi
from animochat.apidocs.typescript import typescript
from animochat.app import create_app
from animochat.protocol.errors import ChatError
from animochat.protocol.events import CLIENT_EVENTS, SERVER_EVENTS
from animochat.protocol.payloads import ErrorCode, Limits
from animochat.settings import Settings
from tests.helpers.api_documents import MESSAGES, UNDOCUMENTED, validator
from tests.helpers.people import Connect, goodbye, meet, running, wait_until_empty
from tests.helpers.servers import ROOT, WITHOUT_OFFSET, Client, Server, eventually

ADMIN_TOKEN = "only the operator has it"

PROTOCOL = (ROOT / "docs/protocol.md").read_text()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    numbers = {"SKIP_COOLDOWN_MS": "1", "RECONNECT_GRACE_MS": "60000", "MATCH_HISTORY_HOURS": "0"}
    numbers |= {"ADMIN_TOKEN": ADMIN_TOKEN, "EMBED_ORIGINS": "*"}
    with running(tmp_path_factory.mktemp("documents"), **numbers) as (server,):
        yield server


# The documents and their standards


def parsed(*documents: dict[str, Any]) -> list[dict[str, Any]]:
    """Return each document as AsyncAPI's own parser reads it, see asyncapi/parse.mjs."""
    if not (ROOT / "tests/apidocs/asyncapi/node_modules").exists():
        pytest.skip("AsyncAPI's parser is not installed: `make test` does it")
    result = subprocess.run(
        ["node", ROOT / "tests/apidocs/asyncapi/parse.mjs"], input=json.dumps(documents), capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    return list(json.loads(result.stdout))


def test_the_events_are_an_asyncapi_document_by_the_official_parser() -> None:
    """The parser's only complaint is that 3.0 is not the newest version: any parser of version 3 accepts it."""
    wrong, torn = copy.deepcopy(asyncapi()), copy.deepcopy(asyncapi())
    wrong["operations"]["find-match"]["action"] = "shout"
    torn["components"]["messages"]["matched"]["payload"]["$ref"] += "Nowhere"
    found, *broken = parsed(asyncapi(), wrong, torn)
    assert [complaint["code"] for complaint in found["diagnostics"]] == ["asyncapi-latest-version"]
    assert found["operations"] == [event.name for event in [*CLIENT_EVENTS, *SERVER_EVENTS]]
    assert set(found["messages"]) == set(MESSAGES)
    paths = [{complaint["path"] for complaint in result["diagnostics"]} for result in broken]
    assert "operations/find-match/action" in paths[0]
    assert "components/messages/matched/payload/$ref" in paths[1]


def test_the_routes_are_a_valid_openapi_document() -> None:
    openapi_spec_validator.validate(openapi())


def test_the_types_compile_and_reject_invalid_payloads(tmp_path: Path) -> None:
    result = subprocess.run(
        [ROOT / "node_modules/.bin/tsc", "-p", ROOT / "tests/apidocs/ts"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_types_in_the_repository_are_those_of_the_server() -> None:
    assert (ROOT / "docs/animochat.d.ts").read_text() == typescript(), "run `make documents`"


# The documents and the server


def test_every_error_code_is_described() -> None:
    def codes(kind: type[ChatError]) -> Iterator[str]:
        yield kind.code
        for heir in kind.__subclasses__():
            yield from codes(heir)

    assert set(codes(ChatError)) == set(ErrorCode.__args__)  # type: ignore[attr-defined]


def test_every_route_is_described() -> None:
    # except files, and the operator's pages, which are only for a browser
    left_out = {"admin.index", "admin.charts", "admin.login", "admin.logout"}
    left_out |= {"documents.static", "page.static", "page.versioned"}
    found = {
        (method.lower(), re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule))
        for rule in create_app(Settings(admin_token=ADMIN_TOKEN)).url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        if rule.endpoint not in left_out
    }
    assert found == {(method, path) for path, methods in openapi()["paths"].items() for method in methods}


@pytest.mark.parametrize("path", [route.path for route in ROUTES if not route.for_operator and route.path != "/"])
def test_every_route_answers_as_described(server: Server, path: str) -> None:
    answer = server.get(path)
    ((kind, described),) = openapi()["paths"][path]["get"]["responses"]["200"]["content"].items()
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].split(";")[0] == kind
    if "schema" in described:
        validator(described["schema"], "routes").validate(answer.json())


def test_the_operators_routes_answer_as_described(server: Server, connect: Connect) -> None:
    reporter, reported = connect(server), connect(server)

    def ask(method: str, path: str, expected: int = 200, body: object = None, **names: str) -> Any:
        headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
        answer = server.get(path.format(**names), method, headers=headers, **({"json": body} if body else {}))
        assert answer.status_code == expected
        responses = openapi()["paths"][path][method]["responses"]
        described = responses["default" if expected >= 400 else str(expected)]["content"]["application/json"]["schema"]
        validator(described, "routes").validate(answer.json())
        return answer.json()

    meet(reporter, reported)
    assert reported.call("send-message", "Buy this")["ok"]
    assert reporter.call("report-partner", {"reason": "spam", "details": "It goes on"})["ok"]
    (report,) = ask("get", "/admin/api/reports")["reports"]
    asked = {"hours": 1, "note": "spam"}
    person = ask("post", "/admin/api/reports/{report}/ban", body=asked, report=report["id"])["person"]
    assert reported.wait("error")["code"] == "banned"
    ask("post", "/admin/api/reports/{report}/dismiss", 404, report=report["id"])
    ask("post", "/admin/api/bans", body={"person": person, "hours": None})
    for ban in ask("get", "/admin/api/bans")["bans"]:
        if ban["id"].startswith("person:"):
            ask("delete", "/admin/api/bans/{subject}", subject=ban["id"])
    ask("post", "/admin/api/bans", 400, body={"person": person})
    ask("post", "/admin/api/announcements", body={"text": "Hello"})
    assert reporter.wait("announcement") == {"text": "Hello"}
    ask("get", "/admin/api/readings")


def test_errors_of_routes_are_as_described(server: Server) -> None:
    described = openapi()["paths"]["/stats"]["get"]["responses"]["default"]["content"]["application/json"]["schema"]
    validator(described, "routes").validate(server.get("/nowhere").json())


def test_the_protocol_document_names_everything() -> None:
    words = set(re.findall(r"`([^`]+)`", re.sub(r"```.*?```", "", PROTOCOL, flags=re.DOTALL)))
    names = {event.name for event in CLIENT_EVENTS} | {event.name for event in SERVER_EVENTS}
    names |= set(ErrorCode.__args__) | set(Limits.__struct_fields__)  # type: ignore[attr-defined]
    assert names - words == set()
    fields = {field for schema in asyncapi()["components"]["schemas"].values() for field in schema["properties"]}
    assert {field for field in fields if not re.search(rf"\b{field}\b", PROTOCOL)} == set()


# The documents and the wire


def test_undocumented_fields_are_noticed() -> None:
    def wrong(name: str, payload: Any) -> bool:
        return not MESSAGES[name].is_valid(payload)

    waiting = {"cooldownMs": 0}
    assert not wrong("waiting", waiting)
    assert wrong("waiting", {})
    assert wrong("waiting", {**waiting, "more": 1})
    assert wrong("waiting", {"cooldownMs": "0"})
    assert wrong("partner-disconnected", {"reason": "bored"})
    assert wrong("find-match-acknowledged", {"ok": True})
    assert wrong("find-match-acknowledged", {"ok": False})
    assert wrong("match-cancelled", {})
    message = {"id": "1", "roomId": "r", "seq": 1, "senderId": "s", "content": "", "timestamp": 1, "type": "text"}
    room = {"roomId": "r", "userId": "u", "partnerId": "p", "interests": [], "messages": [message]}
    session = {
        "token": "t",
        "device": "d",
        "recovered": False,
        "state": "chatting",
        "lobby": "main",
        "limits": {**dict.fromkeys(Limits.__struct_fields__, 1), "reportsIncludeMessages": True},
    }
    assert not wrong("session", {**session, "room": room})
    assert wrong("session", {**session, "room": {**room, "messages": [{**message, "type": "picture"}]}})


def test_every_documented_event_is_seen_as_documented(server: Server, connect: Connect, stock_client: str) -> None:
    wait_until_empty(server)
    answers: dict[str, list[bool]] = {event.name: [] for event in CLIENT_EVENTS}

    def ask(client: Client, event: str, *arguments: object) -> None:
        answers[event].append(client.call(event, *arguments)["ok"])

    clients: list[Client] = []

    def join(**options: str) -> Client:
        clients.append(connect(server, stock_client, **options))
        return clients[-1]

    anna, bert = join(), join()
    for event in CLIENT_EVENTS:  # refuse each once
        ask(anna, event.name, 5)
    ask(anna, "find-match", {"interests": ["chess"]})
    ask(anna, "cancel-match")
    anna.emit("leave-room")
    anna.wait("error")
    meet(anna, bert)
    sent = anna.call("send-message", {"content": "Hello", "clientId": "1"})
    ask(bert, "send-message", {"content": "Hello yourself", "replyTo": sent["id"]})
    assert anna.wait("message")["replyTo"]["content"] == "Hello"
    ask(anna, "typing", True)
    bert.wait("partner-typing")
    token = bert.wait("session")["token"]
    bert.drop()
    anna.wait("partner-reconnecting")
    bert = join(token=token)
    assert len(bert.wait("session")["room"]["messages"]) == 3
    anna.wait("partner-reconnected")
    ask(anna, "next-match")
    assert bert.wait("partner-disconnected") == {"reason": "skipped"}
    anna.wait("waiting")
    ask(bert, "find-match")
    for client in (anna, bert):
        client.wait("matched")
    ask(bert, "leave-room")
    carl = join()
    meet(anna, carl)
    ask(anna, "block-partner")
    meet(bert, carl)
    ask(bert, "report-partner", {"reason": "spam"})
    again = join(token=token)
    bert.wait("error", where=lambda error: error["code"] == "replaced")
    say = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
    assert server.get("/admin/api/announcements", "POST", headers=say, json={"text": "Hello"}).status_code == 200
    anna.wait("announcement")
    for client in (anna, carl, again):
        client.wait("online-count")
        goodbye(client)  # so that no grace time is pending

    seen = {event for client in clients for event in client.events()}
    # `offset` follows the events of an extension (tests/server/test_flask_socketio.py)
    assert seen - {"connect", "disconnect"} == {event.name for event in SERVER_EVENTS} - {"offset"}
    assert {name for name, outcomes in answers.items() if set(outcomes) != {True, False}} == set()
    assert UNDOCUMENTED == []


def test_an_offset_follows_exactly_the_documented_events() -> None:
    # tests/helpers/servers.py removes it from the others; one that remained would be one argument too many
    assert WITHOUT_OFFSET & set(MESSAGES) == {event.name for event in SERVER_EVENTS if not event.offset}


# The documentation routes


def test_the_documents_are_served_without_a_script_and_name_everything(server: Server) -> None:
    page = server.get("/docs")
    assert "<script" not in page.text
    assert "script-src 'self'" in page.headers["Content-Security-Policy"]
    for name in [event.name for event in CLIENT_EVENTS] + [event.name for event in SERVER_EVENTS]:
        assert f'id="{name}"' in page.text
    for link in re.findall(r'href="#([^"]+)"', page.text):
        assert f'id="{link}"' in page.text
    for link in re.findall(r'(?:href|src)="(/[^"]+)"', page.text):
        assert server.get(link).status_code == 200
    assert server.get("/docs/asyncapi.json").json() == asyncapi()
    assert server.get("/docs/openapi.json").json() == openapi()
    assert server.get("/docs/animochat.d.ts").text == typescript()
    eventually(lambda: server.get("/docs", headers={"If-None-Match": page.headers["ETag"]}).status_code == 304)
