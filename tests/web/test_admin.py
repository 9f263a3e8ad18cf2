"""The operator's page and API (animochat/web/admin.py): its protection and its functions, on a real store."""

from __future__ import annotations

import hashlib
import hmac
import html
import re
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from flask import Flask
from flask.testing import FlaskClient
from itsdangerous import Signer, TimestampSigner

from animochat.moderation.access import ATTEMPTS_MS, MAX_ATTEMPTS, OperatorAccess
from animochat.moderation.lobby_moderation import NOTHING, SCRIPTS, LobbyModeration, Said
from animochat.store.pipeline import Pipeline
from animochat.web import admin, operator
from tests.helpers.operator_app import operator_app
from tests.helpers.people import NO_RATES, meet
from tests.helpers.servers import Client, Server
from tests.helpers.store import TAG, Lobby, Relay, cooperative, soon

TOKEN = "correct horse battery staple"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
OWN = "http://localhost"  # the origin of Flask's test client
LISTED = "https://front.example"

#: Every route, with something for its placeholders and a body that would do something.
ROUTES: list[tuple[str, str, Any]] = [
    ("GET", "/admin", None),
    ("POST", "/admin/logout", None),
    ("GET", "/admin/api/reports", None),
    ("POST", "/admin/api/reports/{report}/dismiss", {}),
    ("POST", "/admin/api/reports/{report}/ban", {"hours": 1}),
    ("GET", "/admin/api/reports/resolved", None),
    ("GET", "/admin/api/actions", None),
    ("GET", "/admin/api/bans", None),
    ("POST", "/admin/api/bans", {"person": "carl", "hours": 1}),
    ("DELETE", "/admin/api/bans/person:dora", None),
    ("POST", "/admin/api/announcements", {"text": "hello"}),
    ("GET", "/admin/api/readings", None),
    ("GET", "/admin/charts", None),
]


@pytest.fixture
def lobby(store_url: str) -> Iterator[Lobby]:
    """With one open report, by Anna on Bert, and one ban, of Dora."""
    lobby = Lobby(store_url)
    anna, bert = lobby.people("anna", "bert")
    bert.connect(address="hidden", device="browser")
    anna.find()
    bert.find()
    lobby.report = anna.room  # type: ignore[attr-defined]
    anna.report("threat", "<b>details</b>", [Said("reported", lobby.now, "<script>alert(1)</script>")])
    lobby.moderation.ban("dora", None, NOTHING, "note")
    yield lobby
    lobby.close()


def app(lobby: Lobby, **settings: Any) -> Flask:
    """The routes as they are, on a real store, without a server."""
    return operator_app(lobby.pipeline, lobby.moderation, **{"admin_token": TOKEN, "client_url": (LISTED,), **settings})


@pytest.fixture
def client(lobby: Lobby) -> FlaskClient:
    return app(lobby).test_client()


@pytest.fixture
def browser(client: FlaskClient) -> FlaskClient:
    """One in which the operator has logged in."""
    assert log_in(client).status_code == 303
    return client


def log_in(client: FlaskClient, token: str = TOKEN, **headers: str) -> Any:
    return client.post("/admin/login", data={"token": token}, headers={"Origin": OWN, **headers})


def ask(client: FlaskClient, lobby: Lobby, route: tuple[str, str, Any], **headers: str) -> Any:
    method, path, body = route
    path = path.format(report=lobby.report)  # type: ignore[attr-defined]
    return client.open(path, method=method, json=body, headers=headers)


def state(lobby: Lobby) -> tuple[Any, Any]:
    return lobby.moderation.reports(0, 100), lobby.moderation.bans(0, 100)


# Protection


def test_the_table_of_routes_is_complete(client: FlaskClient) -> None:
    rules = {
        (method, rule.rule)
        for rule in client.application.url_map.iter_rules()
        if rule.endpoint.startswith("admin.")
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    listed = {
        (method, path.replace("{report}", "<report>").replace("person:dora", "<subject>")) for method, path, _ in ROUTES
    }
    assert rules == listed | {("POST", "/admin/login")}


@pytest.mark.parametrize("route", [*ROUTES, ("POST", "/admin/login", None), ("GET", "/admin/", None)], ids=str)
def test_without_a_token_set_there_is_no_such_page(lobby: Lobby, route: tuple[str, str, Any]) -> None:
    answer = ask(app(lobby, admin_token=None).test_client(), lobby, route, **BEARER)
    assert answer.status_code == 404


@pytest.mark.parametrize("route", ROUTES, ids=str)
def test_everything_is_refused_without_the_token(
    client: FlaskClient, lobby: Lobby, route: tuple[str, str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("animochat.moderation.access.MAX_ATTEMPTS", 1000)
    before = state(lobby)
    wrong = [TOKEN[:-1], TOKEN + " ", TOKEN.upper(), "", "x" * 5000, "Ünïcödé", "\x00"]
    headers: list[dict[str, str]] = [{}, {"Authorization": ""}, {"Authorization": "Bearer"}, {"Authorization": TOKEN}]
    headers += [{"Authorization": f"Bearer {token}".encode().decode("latin-1")} for token in wrong]
    headers += [{"Authorization": f"Basic {TOKEN}"}, {"Cookie": f"{operator.COOKIE}={TOKEN}"}]
    headers += [{"Cookie": f"{operator.COOKIE}=operator.x.y", "Origin": OWN}, {"X-Admin-Token": TOKEN}]
    for given in headers:
        answer = ask(client, lobby, route, **given)
        assert answer.status_code == 401, given
        assert answer.headers["WWW-Authenticate"].lower().startswith("bearer")
        assert TOKEN not in answer.text
        for secret in ("details", "alert", "anna", "dora"):
            assert secret not in answer.text
    assert state(lobby) == before


def test_the_token_is_never_accepted_in_a_query(client: FlaskClient) -> None:
    """Every proxy would log it."""
    assert client.get("/admin/api/reports", query_string={"token": TOKEN}).status_code == 401


@pytest.mark.parametrize("token", [TOKEN, TOKEN[:-1], "", "x" * 5000, "Ünï"], ids=lambda token: token[:9])
@pytest.mark.parametrize("way", ["header", "form"])
def test_tokens_are_compared_in_constant_time(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, token: str, way: str
) -> None:
    """By hmac.compare_digest, once, over digests: of one length whatever the token's is."""
    compared: list[tuple[bytes, bytes]] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return hmac.compare_digest(one, other)

    monkeypatch.setattr(operator, "hmac", SimpleNamespace(compare_digest=compare, digest=hmac.digest))
    if way == "header":
        header = f"Bearer {token}".encode().decode("latin-1")
        answer = client.get("/admin/api/bans", headers={"Authorization": header})
    else:
        answer = log_in(client, token)
    assert (answer.status_code < 400) is (token == TOKEN)
    ((one, other),) = compared
    assert (len(one), len(other)) == (32, 32)
    assert (one == other) is (token == TOKEN)


def test_a_token_may_have_any_letters(lobby: Lobby) -> None:
    token = "Übergrößenträger 😀"
    client = app(lobby, admin_token=token).test_client()
    header = f"Bearer {token}".encode().decode("latin-1")  # as WSGI has what was sent in UTF-8
    assert client.get("/admin/api/bans", headers={"Authorization": header}).status_code == 200
    assert log_in(client, token).status_code == 303


# Too many wrong tokens


def test_after_ten_wrong_tokens_an_address_has_to_wait(client: FlaskClient, lobby: Lobby) -> None:
    for _ in range(MAX_ATTEMPTS - 1):
        assert log_in(client, "wrong").status_code == 401
    assert client.get("/admin/api/bans", headers={"Authorization": "Bearer wrong"}).status_code == 401
    for answer in (log_in(client), client.get("/admin/api/bans", headers=BEARER)):
        assert answer.status_code == 429, "the right one too, or guessing would go on"
        assert ATTEMPTS_MS / 1000 - 60 < int(answer.headers["Retry-After"]) <= ATTEMPTS_MS / 1000 + 1
    elsewhere = {"REMOTE_ADDR": "192.0.2.7"}
    assert client.get("/admin/api/bans", headers=BEARER, environ_base=elsewhere).status_code == 200
    assert client.get("/admin/api/bans", headers=BEARER).status_code == 429
    stored = b" ".join(lobby.pipeline.execute("KEYS", "*"))
    assert b":attempts:" in stored
    assert b"127.0.0.1" not in stored


@pytest.mark.parametrize(
    ("first", "then", "counted"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("::ffff:192.0.2.7", "192.0.2.7", True),
        ("192.0.2.7", "192.0.2.8", False),
    ],
)
def test_wrong_tokens_are_counted_by_ipv6_prefix(client: FlaskClient, first: str, then: str, counted: bool) -> None:
    """An IPv6 customer has a /64, in which there is an address for every guess."""
    for _ in range(MAX_ATTEMPTS):
        wrong = {"Authorization": "Bearer wrong"}
        client.get("/admin/api/bans", headers=wrong, environ_base={"REMOTE_ADDR": first})
    answer = client.get("/admin/api/bans", headers=BEARER, environ_base={"REMOTE_ADDR": then})
    assert answer.status_code == (429 if counted else 200)


@pytest.mark.parametrize(("trusted", "status"), [(0, 429), (1, 200)])
def test_wrong_tokens_are_counted_behind_the_proxies_that_are_trusted(lobby: Lobby, trusted: int, status: int) -> None:
    client = app(lobby, trusted_proxies=trusted).test_client()
    for _ in range(MAX_ATTEMPTS):
        client.get("/admin/api/bans", headers={"Authorization": "Bearer wrong", "X-Forwarded-For": "192.0.2.7"})
    answer = client.get("/admin/api/bans", headers={**BEARER, "X-Forwarded-For": "192.0.2.8"})
    assert answer.status_code == status


def test_the_retry_time_is_never_zero(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OperatorAccess, "try_token", lambda *_: 1)
    assert client.get("/admin/api/bans", headers=BEARER).headers["Retry-After"] == "1"


def test_a_wrong_token_in_a_header_is_refused_also_where_there_is_a_session(browser: FlaskClient) -> None:
    """The header counts, so that a program with a wrong token notices."""
    assert browser.get("/admin/api/bans", headers={"Authorization": "Bearer wrong"}).status_code == 401


def test_right_tokens_are_not_counted(client: FlaskClient) -> None:
    for _ in range(MAX_ATTEMPTS + 1):
        assert client.get("/admin/api/bans", headers=BEARER).status_code == 200


def test_of_tokens_shown_at_once_no_more_are_tried_than_one_by_one(store_url: str) -> None:
    """It is counted and decided in one step: no request passes between the two."""
    lobbies = [Lobby(store_url) for _ in range(8)]
    tried: list[int] = []

    def guess(access: OperatorAccess) -> None:
        tried.extend(access.try_token("hidden", right=False) for _ in range(5))

    threads = [threading.Thread(target=guess, args=[OperatorAccess(lobby.pipeline)]) for lobby in lobbies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(tried), tried.count(0)) == (40, MAX_ATTEMPTS)
    assert OperatorAccess(lobbies[0].pipeline).try_token("hidden", right=True) > 0
    for lobby in lobbies:
        lobby.close()


def test_a_counter_of_wrong_tokens_always_has_an_end(lobby: Lobby) -> None:
    """It expires with its first wrong token; a counter without an expiry, from an older version, gets one."""
    access, key = OperatorAccess(lobby.pipeline), f"{TAG}:attempts:hidden"
    assert access.try_token("hidden", right=False) == 0
    assert ATTEMPTS_MS - 60_000 < lobby.pipeline.execute("PTTL", key) <= ATTEMPTS_MS
    lobby.pipeline.execute("PEXPIRE", key, 100_000)  # time passes
    for _ in range(MAX_ATTEMPTS - 1):
        assert access.try_token("hidden", right=False) == 0
        assert 0 < lobby.pipeline.execute("PTTL", key) <= 100_000, "the first one's"
    assert 0 < access.try_token("hidden", right=False) <= 100_000
    for count in (MAX_ATTEMPTS, 1):
        lobby.pipeline.execute("SET", key, count)
        access.try_token("hidden", right=True)
        assert 0 < lobby.pipeline.execute("PTTL", key) <= ATTEMPTS_MS


def test_a_session_goes_on_whatever_others_guess(browser: FlaskClient) -> None:
    for _ in range(MAX_ATTEMPTS):
        browser.get("/admin/api/bans", headers={"Authorization": "Bearer wrong"})
    assert browser.get("/admin/api/bans").status_code == 200


# Sessions


def test_the_page_asks_for_the_token_and_opens_a_session(client: FlaskClient) -> None:
    asked = client.get("/admin")
    assert (asked.status_code, asked.content_type) == (401, "text/html; charset=utf-8")
    assert 'action="/admin/login"' in asked.text
    wrong = log_in(client, "wrong")
    assert wrong.status_code == 401
    assert "That token is wrong." in wrong.text
    assert "Set-Cookie" not in wrong.headers
    right = log_in(client)
    assert (right.status_code, right.headers["Location"]) == (303, "/admin")
    assert client.get("/admin").status_code == 200
    assert client.post("/admin/logout", headers={"Origin": OWN}).status_code == 303
    assert client.get("/admin").status_code == 401


@pytest.mark.parametrize(
    ("asked_for", "location"),
    [("admin.charts", "/admin/charts"), ("admin.logout", "/admin"), ("//evil.example", "/admin")],
)
def test_the_login_leads_to_the_requested_page(client: FlaskClient, asked_for: str, location: str) -> None:
    form = {"token": TOKEN, "asked_for": asked_for}
    assert client.post("/admin/login", data=form, headers={"Origin": OWN}).headers["Location"] == location


@pytest.mark.parametrize(
    ("origin", "base", "secure"),
    [
        (OWN, OWN, False),
        ("https://localhost", OWN, True),  # TLS ends at a proxy
        ("https://localhost", "https://localhost", True),
        (None, "https://localhost", True),
    ],
)
def test_the_cookie_is_for_this_page_alone(client: FlaskClient, origin: str | None, base: str, secure: bool) -> None:
    headers = {"Origin": origin} if origin else {"Sec-Fetch-Site": "same-origin"}
    answer = client.post("/admin/login", base_url=base, data={"token": TOKEN}, headers=headers)
    cookie = answer.headers["Set-Cookie"]
    parts = {part.strip() for part in cookie.split(";")[1:]}
    assert {"HttpOnly", "SameSite=Strict", "Path=/admin"} <= parts
    assert ("Secure" in parts) is secure
    assert TOKEN not in cookie


def sessions(lobby: Lobby) -> list[bytes]:
    """The keys of the sessions that are open."""
    keys: list[bytes] = lobby.pipeline.execute("KEYS", f"{TAG}:operator:*")
    return keys


def test_a_session_ends_at_the_server_by_itself(browser: FlaskClient, lobby: Lobby) -> None:
    (session,) = sessions(lobby)
    left = lobby.pipeline.execute("PTTL", session)
    assert operator.SESSION_SECONDS * 1000 - 60_000 < left <= operator.SESSION_SECONDS * 1000 == 12 * 3600 * 1000
    assert browser.get("/admin/api/bans").status_code == 200
    assert lobby.pipeline.execute("PTTL", session) <= left, "using it doesn't make it last longer"
    lobby.pipeline.execute("PEXPIREAT", session, 1)
    assert browser.get("/admin/api/bans").status_code == 401
    assert browser.get("/admin").status_code == 401


def cookie_of(browser: FlaskClient) -> str:
    cookie = browser.get_cookie(operator.COOKIE, path="/admin")
    assert cookie is not None
    return cookie.value


def test_logging_out_ends_the_session_at_the_server_and_no_other_one(lobby: Lobby) -> None:
    """A copy of the cookie is worth nothing from then on."""
    one, other, thief = (app(lobby).test_client() for _ in range(3))
    log_in(one)
    log_in(other)
    thief.set_cookie(operator.COOKIE, cookie_of(one), path="/admin")
    assert thief.get("/admin/api/bans").status_code == 200
    assert one.post("/admin/logout", headers={"Origin": OWN}).status_code == 303
    assert one.get_cookie(operator.COOKIE, path="/admin") is None
    assert thief.get("/admin/api/bans").status_code == 401
    assert thief.post("/admin/logout", headers={"Origin": OWN}).status_code == 401
    assert other.get("/admin/api/bans").status_code == 200
    assert len(sessions(lobby)) == 1


def test_a_cookie_unknown_to_the_store_is_no_session(client: FlaskClient, lobby: Lobby) -> None:
    """Not even one that the token has signed, as earlier versions made them."""
    for signer in (Signer, TimestampSigner):
        made = signer(TOKEN, salt="animochat.admin", digest_method=hashlib.sha256).sign(b"operator").decode()
        client.set_cookie(operator.COOKIE, made, path="/admin")
        assert client.get("/admin/api/bans").status_code == 401
    assert sessions(lobby) == []


def test_no_session_is_in_the_store_as_the_cookie_has_it(browser: FlaskClient, lobby: Lobby) -> None:
    """A reader of the store must not become the operator."""
    (session,) = sessions(lobby)
    browser.set_cookie(operator.COOKIE, session.decode().rpartition(":")[2], path="/admin")
    assert browser.get("/admin/api/bans").status_code == 401


@cooperative
def test_while_the_store_is_away_a_session_is_unavailable_and_not_over(store_url: str) -> None:
    way = Relay(store_url)
    pipeline = Pipeline(way.url, SCRIPTS)
    pipeline.start()
    client = operator_app(pipeline, LobbyModeration(pipeline, 0, 0), admin_token=TOKEN).test_client()
    log_in(client)
    way.close()
    for answer in (
        client.get("/admin"),
        client.get("/admin/api/bans"),
        client.post("/admin/logout", headers={"Origin": OWN}),
        client.get("/admin/api/bans", headers=BEARER),
        log_in(client),
        log_in(client, "wrong"),
    ):
        assert answer.status_code == 503
        assert answer.json["error"]["code"] == "unavailable"
        assert "Set-Cookie" not in answer.headers
    way.reopen()
    soon(lambda: client.get("/admin/api/bans").status_code != 503)
    assert client.get("/admin/api/bans").status_code == 200
    pipeline.stop()
    way.close()


def test_another_token_ends_all_sessions(browser: FlaskClient, lobby: Lobby) -> None:
    other = app(lobby, admin_token="another token, as long").test_client()
    other.set_cookie(operator.COOKIE, cookie_of(browser), path="/admin")
    assert other.get("/admin/api/bans").status_code == 401


# Other pages

FOREIGN_REQUESTS = [
    {},
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": LISTED},
    {"Origin": "http://localhost:5173"},
    {"Origin": "http://localhost.evil.example"},
    {"Origin": OWN, "Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "none"},
    {"Referer": OWN + "/admin"},
]


@pytest.mark.parametrize("headers", FOREIGN_REQUESTS, ids=str)
def test_another_page_can_not_use_the_session(browser: FlaskClient, lobby: Lobby, headers: dict[str, str]) -> None:
    before = state(lobby)
    for route in ROUTES:
        if route[0] != "GET":
            assert ask(browser, lobby, route, **headers).status_code == 403, route
    assert state(lobby) == before
    assert browser.get("/admin").status_code == 200, "still logged in"


@pytest.mark.parametrize("headers", FOREIGN_REQUESTS, ids=str)
def test_another_page_can_not_log_anyone_in(client: FlaskClient, headers: dict[str, str]) -> None:
    answer = client.post("/admin/login", data={"token": TOKEN}, headers=headers)
    assert answer.status_code == 403
    assert "Set-Cookie" not in answer.headers


@pytest.mark.parametrize(
    "headers", [{"Origin": OWN}, {"Sec-Fetch-Site": "same-origin"}, {"Origin": OWN, "Sec-Fetch-Site": "same-origin"}]
)
def test_the_operators_page_can(browser: FlaskClient, headers: dict[str, str]) -> None:
    assert browser.post("/admin/api/announcements", json={"text": "hi"}, headers=headers).status_code == 200


def test_a_form_can_not_be_taken_for_json(browser: FlaskClient) -> None:
    answer = browser.post("/admin/api/announcements", data='{"text": "hi"}', headers={"Origin": OWN})
    assert answer.status_code == 415


def test_no_other_origin_may_read_or_ask(lobby: Lobby) -> None:
    client = app(lobby, client_url=("*",)).test_client()
    for method in ("GET", "OPTIONS"):
        headers = {"Origin": LISTED, "Access-Control-Request-Method": "GET", **BEARER}
        answer = client.open("/admin/api/reports", method=method, headers=headers)
        assert not [name for name, _ in answer.headers if name.startswith("Access-Control")]


def test_the_page_may_load_and_run_its_own_files_only(browser: FlaskClient) -> None:
    for path in ("/admin", "/admin/charts", "/admin/api/bans"):
        headers = browser.get(path).headers
        assert "script-src 'self';" in headers["Content-Security-Policy"]
        assert "default-src 'none';" in headers["Content-Security-Policy"]
        assert "; base-uri 'none'; form-action 'self'; frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert headers["Cache-Control"] == "no-store"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "same-origin"


def test_texts_of_people_are_never_markup_on_the_page(browser: FlaskClient) -> None:
    page = browser.get("/admin").text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "&lt;b&gt;details&lt;/b&gt;" in page
    assert "<script>alert" not in page


# Functions


def test_open_reports_come_with_their_evidence(client: FlaskClient, lobby: Lobby) -> None:
    assert client.get("/admin/api/reports", headers=BEARER).json == {
        "open": 1,
        "reports": [
            {
                "id": lobby.report,  # type: ignore[attr-defined]
                "lobby": "main",
                "filedAt": lobby.now,
                "state": "open",
                "reason": "threat",
                "details": "<b>details</b>",
                "reporter": "anna",
                "reported": "bert",
                "evidence": [{"sender": "reported", "timestamp": lobby.now, "content": "<script>alert(1)</script>"}],
                "hasAddress": True,
                "hasDevice": True,
                "reports": 1,
                "banned": False,
                "bannedUntil": None,
            }
        ],
    }


def test_a_report_is_dismissed(client: FlaskClient, lobby: Lobby) -> None:
    assert ask(client, lobby, ROUTES[3], **BEARER).json == {"ok": True}
    assert ask(client, lobby, ROUTES[3], **BEARER).status_code == 404
    assert client.get("/admin/api/reports", headers=BEARER).json == {"open": 0, "reports": []}


@pytest.mark.parametrize(("hours", "until"), [(1, 3_600_000), (0.5, 1_800_000), (None, None)])
@pytest.mark.parametrize(("address", "device"), [(True, None), (False, None), (True, False), (False, True)])
def test_a_reported_person_is_banned(
    client: FlaskClient, lobby: Lobby, hours: float | None, until: int | None, address: bool, device: bool | None
) -> None:
    """With the device, unless the operator says otherwise."""
    body = {"hours": hours, "address": address, "note": " threats "}
    if device is not None:
        body["device"] = device
    path = f"/admin/api/reports/{lobby.report}/ban"  # type: ignore[attr-defined]
    answer = client.post(path, json=body, headers=BEARER)
    with_device = device is not False
    banned = {"addressBanned": address, "deviceBanned": with_device}
    assert answer.json == {"ok": True, "person": "bert", **banned}
    bans = {ban["id"]: ban for ban in client.get("/admin/api/bans", headers=BEARER).json["bans"]}
    also = {
        subject for subject, is_banned in (("address:hidden", address), ("device:browser", with_device)) if is_banned
    }
    assert set(bans) == {"person:dora", "person:bert", *also}
    assert bans["person:bert"] == {
        "id": "person:bert",
        "lobby": "main",
        "person": "bert",
        "since": lobby.now,
        "until": until and lobby.now + until,
        "by": "operator",
        "note": "threats",
        "report": lobby.report,  # type: ignore[attr-defined]
    }
    assert client.get("/admin/api/reports", headers=BEARER).json["open"] == 0


def test_bans_are_made_and_lifted(client: FlaskClient, lobby: Lobby) -> None:
    body = {"person": "carl", "hours": 24, "note": "asked to be"}
    assert client.post("/admin/api/bans", json=body, headers=BEARER).json["person"] == "carl"
    assert client.get("/admin/api/bans", headers=BEARER).json["total"] == 2
    for subject in ("person:carl", "person:dora"):
        assert client.delete(f"/admin/api/bans/{subject}", headers=BEARER).json == {"ok": True}
        assert client.delete(f"/admin/api/bans/{subject}", headers=BEARER).status_code == 404
    assert client.get("/admin/api/bans", headers=BEARER).json == {"total": 0, "bans": []}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("bans", {}),
        ("bans", {"person": "carl"}),
        ("bans", {"hours": 1}),
        ("bans", {"person": "carl", "hours": 0}),
        ("bans", {"person": "carl", "hours": -1}),
        ("bans", {"person": "carl", "hours": "1"}),
        ("bans", {"person": "carl", "hours": 1e9}),
        ("bans", {"person": "carl", "hours": 87_600.1}),
        ("bans", {"person": "x" * 65, "hours": 1}),
        ("bans", {"person": "a b", "hours": 1}),
        ("bans", {"person": "", "hours": 1}),
        ("bans", {"person": "carl", "hours": 1, "address": "yes"}),
        ("bans", {"person": "carl", "hours": 1, "note": "x" * 1001}),
        ("reports/x/ban", {}),
        ("announcements", {}),
        ("announcements", {"text": " "}),
        ("announcements", {"text": "x" * 501}),
        ("announcements", ["text"]),
    ],
)
def test_a_bad_request_gets_the_reason_and_changes_nothing(
    client: FlaskClient, lobby: Lobby, path: str, body: Any
) -> None:
    before = state(lobby)
    answer = client.post(f"/admin/api/{path}", json=body, headers=BEARER)
    assert answer.status_code == 400
    assert answer.json["error"]["code"] == "bad-request"
    assert answer.json["error"]["message"]
    assert state(lobby) == before


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("bans", {"person": "x" * 64, "hours": 87_600, "note": "x" * 1000}),
        ("bans", {"person": "a-Z_9", "hours": 1e-9}),
        ("announcements", {"text": "x" * 500}),
    ],
)
def test_requests_just_within_the_bounds_are_accepted(client: FlaskClient, lobby: Lobby, path: str, body: Any) -> None:
    assert client.post(f"/admin/api/{path}", json=body, headers=BEARER).status_code == 200
    if path == "bans":
        (until,) = [until for subject, until in lobby.moderation.ban_order() if subject == f"person:{body['person']}"]
        assert until == pytest.approx(lobby.now + max(1, body["hours"] * 3_600_000), abs=1)


@pytest.mark.parametrize("query", ["offset=0&count=1", "count=100", "offset=1000000000"])
def test_a_list_may_be_requested_up_to_its_bounds(client: FlaskClient, query: str) -> None:
    for path in ("reports", "bans"):
        assert client.get(f"/admin/api/{path}?{query}", headers=BEARER).status_code == 200


def test_a_lobby_that_is_not_there_is_not_found(client: FlaskClient, lobby: Lobby) -> None:
    before = state(lobby)
    for path in ("", "/api/reports", "/api/bans"):
        assert client.get(f"/admin{path}?lobby=nowhere", headers=BEARER).status_code == 404
    for path, body in (("announcements", {"text": "hi"}), ("bans", {"person": "carl", "hours": 1})):
        answer = client.post(f"/admin/api/{path}", json={**body, "lobby": "nowhere"}, headers=BEARER)
        assert answer.status_code == 404
    assert state(lobby) == before


def test_a_body_has_a_bound(client: FlaskClient) -> None:
    answer = client.post("/admin/api/announcements", json={"text": "x" * 100_000}, headers=BEARER)
    assert answer.status_code == 413


def reports_by(lobby: Lobby, count: int) -> list[str]:
    """Further reports, one a millisecond. Returns their ids."""
    rooms = []
    for number in range(count):
        lobby.pass_time(1)
        anna, _ = lobby.pair(f"a{number}", f"b{number}")
        rooms.append(anna.room or "")
        anna.report(details=f"report-{number}")
    return rooms


def shown(page: str) -> list[str]:
    return re.findall(r"report-\d+", page)


def link(page: str, rel: str) -> str | None:
    """Return the target of the link to the next or previous page, or None."""
    found = re.search(rf'href="([^"]+)" rel="{rel}"', page)
    return html.unescape(found[1]) if found else None


def test_the_operator_pages_through_all_open_reports_and_bans(
    browser: FlaskClient, lobby: Lobby, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admin, "PORTION", 3)
    monkeypatch.setattr(admin, "MAX_PORTION", 2)
    reports_by(lobby, 6)  # beside the first one
    for number in range(2):
        lobby.moderation.ban(f"p{number}", 1000 + number, NOTHING, "")
    expected = [f"report-{number}" for number in range(6)]
    first = browser.get("/admin").text
    assert (shown(first), link(first, "prev")) == (expected[:2], None)
    assert "1 to 3 of 7" in first
    second = browser.get(link(first, "next")).text
    assert shown(second) == expected[2:5]
    third = browser.get(link(second, "next")).text
    assert shown(third) == expected[5:]
    assert "7 to 7 of 7" in third
    assert shown(browser.get(link(third, "prev")).text) == expected[2:5]
    assert shown(browser.get("/admin?reports=1").text) == expected[:3]
    assert shown(browser.get(link(browser.get("/admin?reports=1").text, "prev")).text) == expected[:2]
    assert "p0" in first
    assert '"auto">note<' not in first
    bans = browser.get("/admin?reports=3&bans=2").text
    assert '"auto">note<' in bans
    assert shown(bans) == expected[2:5], "each list has its own page"
    assert "bans=2" in (link(bans, "next") or "")


def test_a_page_beyond_the_end_is_the_last_one(
    browser: FlaskClient, lobby: Lobby, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last entry of a page is dealt with, and the page is asked for again."""
    monkeypatch.setattr(admin, "PORTION", 3)
    rooms = reports_by(lobby, 3)
    assert shown(browser.get("/admin?reports=3").text) == ["report-2"]
    lobby.moderation.dismiss(rooms[2])
    assert shown(browser.get("/admin?reports=3").text) == ["report-0", "report-1"]
    assert "rel=" not in browser.get("/admin?reports=3").text.split("<main>")[1]
    for report in [*rooms[:2], lobby.report]:  # type: ignore[attr-defined]
        lobby.moderation.dismiss(report)
    assert "No open reports." in browser.get("/admin?reports=3").text


@pytest.mark.parametrize("query", ["reports=-1", "reports=1000000001", "bans=-1", "bans=1000000001"])
def test_a_page_has_bounds(browser: FlaskClient, query: str) -> None:
    assert browser.get(f"/admin?{query}").status_code == 400


def test_the_api_pages_through_all_open_reports(client: FlaskClient, lobby: Lobby) -> None:
    rooms = [lobby.report, *reports_by(lobby, 4)]  # type: ignore[attr-defined]
    for offset in range(0, 6, 2):
        answer = client.get(f"/admin/api/reports?offset={offset}&count=2", headers=BEARER).json
        assert answer["open"] == 5
        assert [report["id"] for report in answer["reports"]] == rooms[offset : offset + 2]


@pytest.mark.parametrize("query", ["offset=-1", "count=0", "count=101", "offset=1000000001"])
def test_a_portion_has_bounds(client: FlaskClient, query: str) -> None:
    for path in ("reports", "bans"):
        assert client.get(f"/admin/api/{path}?{query}", headers=BEARER).status_code == 400


# A whole server

AnyClient = Callable[..., Client]


@pytest.fixture(scope="module")
def server(module_servers: Callable[..., Server]) -> Server:
    env = {**NO_RATES, "ADMIN_TOKEN": TOKEN, "TRUSTED_PROXIES": "1", "RECONNECT_GRACE_MS": "1000"}
    env["REPORTS_PER_HOUR_PER_ADDRESS"] = "3"
    return module_servers(workers=2, env=env)


def test_from_the_report_to_the_ban_and_back(server: Server, connect: AnyClient) -> None:
    """With two workers: the banned person, and everyone at the address, is closed on both of them.

    Nothing of it is logged, and no address is in the store.
    """
    at_berts = {"X-Forwarded-For": "203.0.113.5"}
    anna = connect(server, headers={"X-Forwarded-For": "203.0.113.4"})
    bert, flatmate = connect(server, headers=at_berts), connect(server, headers=at_berts)
    for client in (anna, bert, flatmate):
        client.wait("session")
    meet(anna, bert)
    bert.call("send-message", "give me your password")
    anna.wait("message", where=lambda message: message["seq"] == 1)
    assert anna.call("report-partner", {"reason": "spam", "details": "phishing"}) == {"ok": True}
    (report,) = server.get("/admin/api/reports", headers=BEARER).json()["reports"]
    assert (report["reason"], report["details"]) == ("spam", "phishing")
    assert [(said["sender"], said["content"]) for said in report["evidence"]] == [("reported", "give me your password")]

    path = f"/admin/api/reports/{report['id']}/ban"
    answer = server.get(path, "POST", headers=BEARER, json={"hours": 1, "address": True})
    assert answer.json()["addressBanned"] is True
    for client in (bert, flatmate):
        assert client.wait("error")["code"] == "banned"
        client.wait("disconnect")
    somebody_else = connect(server, headers=at_berts)
    assert 0 < somebody_else.wait("error")["retryAfterMs"] <= 3_600_000
    assert anna.call("no-such-event")["ok"] is False, "others are undisturbed"

    assert server.get(f"/admin/api/bans/person:{report['reported']}", "DELETE", headers=BEARER).json() == {"ok": True}
    assert connect(server, headers=at_berts).wait("session")["state"] == "idle"

    server.get("/admin/api/bans", headers={"Authorization": "Bearer my wrong guess"})
    for secret in (TOKEN, "my wrong guess", "203.0.113", "password", "phishing"):
        assert secret not in server.log()
    with redis.Redis.from_url(server.redis_url) as store:
        assert b"203.0.113" not in b"".join(key + (store.dump(key) or b"") for key in store.keys("*"))


def test_reports_are_counted_by_address_on_all_workers_together(server: Server, connect: AnyClient) -> None:
    """An IPv6 address counts by its /64: one customer has all of it."""

    def report_from(address: str) -> dict[str, Any]:
        anna, bert = connect(server, headers={"X-Forwarded-For": address}), connect(server)
        meet(anna, bert)
        answer: dict[str, Any] = anna.call("report-partner", {"reason": "spam"})
        if not answer["ok"]:
            assert anna.call("block-partner") == {"ok": True}, "blocking is always allowed"
        return answer

    for number in range(3):
        assert report_from(f"2001:db8:0:1::{number + 1}") == {"ok": True}
    error = report_from("2001:db8:0:1:ffff::")["error"]
    assert error["code"] == "rate-limited"
    assert 3_500_000 < error["retryAfterMs"] <= 3_600_000
    assert report_from("2001:db8:0:2::1") == {"ok": True}


def test_an_announcement_reaches_people_on_every_worker(server: Server, connect: AnyClient) -> None:
    people = [connect(server, transports=["websocket"]) for _ in range(6)]
    for client in people:
        client.wait("session")
    answer = server.get("/admin/api/announcements", "POST", headers=BEARER, json={"text": "Tea at five"})
    assert answer.json() == {"ok": True}
    for client in people:
        assert client.wait("announcement") == {"text": "Tea at five"}
