"""The HTTP routes: health and statistics, JSON errors, whose pages may read the answers, and the page's protection."""

from __future__ import annotations

import gzip
import json
import re
import socket
import struct
from types import SimpleNamespace
from urllib.parse import urljoin

import gevent
import pytest
import requests
from flask import Flask

from animochat import __version__, create_app, web
from animochat.chat.worker import Chat
from animochat.protocol.errors import Unavailable
from animochat.settings import Settings
from animochat.web.cors import MAX_LOGGED, origin_check
from tests.helpers.servers import ROOT, RedisServer, eventually

LANGUAGES = ROOT / "animochat/web/static/lang"
TEXTS = {path.stem: json.loads(path.read_text("utf-8")) for path in sorted(LANGUAGES.glob("*.json"))}
OWN = "http://localhost"  # the origin of Flask's test client
LISTED = "https://front.example"
FOREIGN = "https://evil.example"
DOCUMENTS = ["/docs", "/docs/asyncapi.json", "/docs/openapi.json", "/docs/animochat.d.ts", "/docs/static/documents.css"]


def unavailable():
    raise Unavailable


def app_with(settings=None, **chat):
    """Return an app with this project's routes, on a chat with only the test's parts."""
    app = Flask("animochat", static_folder=None)
    app.extensions["animochat"] = SimpleNamespace(settings=settings or Settings(client_url=(LISTED,)), **chat)
    web.register(app)
    return app


@pytest.fixture
def client():
    return app_with(health=lambda: {"status": "ok"}, stats=lambda: {"onlineUsers": 1}).test_client()


# Health and statistics


def test_health_says_that_server_and_store_work(module_server):
    answer = eventually(lambda: (ready := module_server.get("/health")).status_code == 200 and ready)
    uptime = answer.json()["uptimeSeconds"]
    assert isinstance(uptime, int)
    assert answer.json() == {"status": "ok", "redis": "ok", "version": __version__, "uptimeSeconds": uptime}


def test_stats_are_whole_numbers_of_the_whole_system(module_server):
    answer = module_server.get("/stats")
    assert answer.status_code == 200
    assert answer.json() == {
        "onlineUsers": 0,
        "waitingUsers": 0,
        "activeRooms": 0,
        "workers": 1,
        "matchesTotal": 0,
        "messagesTotal": 0,
        "lobbies": {
            "main": {"onlineUsers": 0, "waitingUsers": 0, "activeRooms": 0, "matchesTotal": 0, "messagesTotal": 0}
        },
    }


def test_a_lobby_without_an_answer_is_named_and_in_no_number():
    names = ("onlineUsers", "waitingUsers", "activeRooms", "workers", "matchesTotal", "messagesTotal")
    there = Settings(lobbies=("main", "cebu", "manila"))
    chat = Chat(there)
    chat.lobbies["main"].presence.stats = lambda: dict.fromkeys(names, 2)
    chat.lobbies["cebu"].presence.stats = unavailable
    chat.lobbies["manila"].presence.stats = lambda: dict.fromkeys(names, 3)
    numbers = chat.stats()
    assert (numbers["onlineUsers"], numbers["workers"], numbers["missing"]) == (5, 3, ["cebu"])
    assert list(numbers["lobbies"]) == ["main", "manila"]
    for lobby in chat.lobbies.values():
        lobby.presence.stats = unavailable
    with pytest.raises(Unavailable):
        chat.stats()


@pytest.mark.parametrize("path", ["/health", "/health/live", "/stats"])
def test_answers_about_this_moment_are_not_cached(client, path):
    assert client.get(path).headers["Cache-Control"] == "no-store"


def test_a_store_that_fails_makes_health_and_stats_unavailable_but_not_the_process():
    client = app_with(health=unavailable, stats=unavailable).test_client()
    answer = client.get("/health")
    assert answer.status_code == 503
    assert answer.json["status"] == "unavailable"
    answer = client.get("/stats")
    assert answer.status_code == 503
    assert answer.json["error"]["code"] == "unavailable"
    assert client.get("/health/live").status_code == 200


@pytest.mark.parametrize("path", ["/health", "/stats"])
def test_a_store_that_does_not_answer_within_a_second_is_unavailable(monkeypatch, path):
    monkeypatch.setattr("animochat.web.health.STORE_TIMEOUT", 0.01)
    monkeypatch.setattr("animochat.web.stats.STORE_TIMEOUT", 0.01)
    client = app_with(health=lambda: gevent.sleep(60), stats=lambda: gevent.sleep(60)).test_client()
    assert client.get(path).status_code == 503


def test_in_production_a_server_starts_without_its_store_and_recovers_when_it_comes(servers, tmp_path):
    store = RedisServer(tmp_path)
    server = servers(redis_url=store.url, env={"APP_ENV": "production"})
    server.expect_errors()
    assert server.get("/health").status_code == 503
    assert server.get("/health").json()["status"] == "unavailable"
    assert server.get("/health/live").status_code == 200
    try:
        store.start()
        eventually(lambda: server.get("/health").status_code == 200, what="health with the store")
        store.stop()
        eventually(lambda: server.get("/health").status_code == 503, what="no health without the store")
        assert server.get("/health/live").status_code == 200
    finally:
        store.stop()


# Errors


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "not-found"),
        ("GET", "/static/nowhere.js", 404, "not-found"),
        ("GET", "/static/../settings.py", 404, "not-found"),
        ("POST", "/health", 405, "method-not-allowed"),
        ("DELETE", "/", 405, "method-not-allowed"),
    ],
)
def test_errors_are_json(client, method, path, status, code):
    answer = client.open(path, method=method)
    assert answer.status_code == status
    assert answer.content_type == "application/json"
    assert set(answer.json) == {"error"}
    assert answer.json["error"]["code"] == code
    assert answer.json["error"]["message"]


@pytest.mark.parametrize("path", ["/health", "/admin/login"])
def test_a_body_that_cannot_be_read_is_no_fault_of_ours(module_servers, path):
    server = module_servers(env={"ADMIN_TOKEN": "correct horse battery staple"})
    with socket.create_connection(("127.0.0.1", server.port), 10) as connection:
        head = f"POST {path} HTTP/1.1\r\nHost: localhost:{server.port}\r\nOrigin: {server.url}\r\n"
        form = "Content-Type: application/x-www-form-urlencoded\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n"
        connection.sendall((head + form).encode())
        answer = b"".join(iter(lambda: connection.recv(4096), b""))
    assert answer.startswith(b"HTTP/1.1 40"), answer


def test_a_browser_gets_a_page_where_nothing_is_in_its_language_and_below_a_path(client):
    asked = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8", "Accept-Language": "es"}
    for path, root in (("/nowhere", "./"), ("/a/b/nowhere", "../../"), ("/static/nowhere.js", "../")):
        answer = client.get(path, headers=asked)
        assert (answer.status_code, answer.content_type) == (404, "text/html; charset=utf-8")
        assert answer.headers["Cache-Control"] == "no-store"
        assert {"Accept", "Accept-Language", "Cookie"} <= set(answer.headers["Vary"].split(", "))
        assert f'<a class="button primary" href="{root}">{TEXTS["es"]["closed.toStart"]}</a>' in answer.text
        (sheet, _) = re.findall(r'<link rel="stylesheet" href="([^"]+)"', answer.text)
        assert client.get(urljoin(path, sheet)).status_code == 200
    assert client.get("/" + "a/" * 50, headers=asked).content_type == "application/json"


def test_libraries_that_are_missing_are_logged_at_the_start(monkeypatch, caplog, tmp_path):
    monkeypatch.setattr(web.page, "VENDOR", tmp_path)
    app_with()
    (record,) = caplog.records
    assert record.levelname == "ERROR"
    assert "socket.io.esm.min.js" in record.getMessage()
    for name in web.page.LIBRARIES:
        (tmp_path / name).touch()
    caplog.clear()
    app_with()
    assert not caplog.records


def test_a_refused_method_gets_the_allowed_ones(client):
    assert set(client.post("/health").headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}


def test_an_internal_error_is_json_logged_and_reveals_nothing(caplog):
    app = app_with(stats=lambda: {}["secret"])
    answer = app.test_client().get("/stats")
    assert answer.status_code == 500
    assert answer.json["error"]["code"] == "internal-server-error"
    assert "secret" not in answer.text
    assert "KeyError" in caplog.text


# CORS: one rule, used here and by the Socket.IO server


def check(origin, settings=None, **environ):
    environ = {"HTTP_HOST": "chat.example", "wsgi.url_scheme": "http", **environ}
    return origin_check(settings or Settings(client_url=(LISTED,)))(origin, environ)


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        (None, True),  # no browser's page
        (LISTED, True),
        ("https://FRONT.example:443", True),
        ("http://front.example", False),
        ("https://front.example.evil.example", False),
        ("https://front.example:8443", False),
        ("http://chat.example", True),
        ("https://chat.example", True),  # TLS ends at a proxy
        ("http://chat.example:3001", False),
        (FOREIGN, False),
        ("null", False),
        ("", False),
        ("file://", False),
        ("https://front.example, https://evil.example", False),
    ],
)
def test_own_and_listed_origins_are_allowed_and_nothing_else(origin, allowed):
    assert check(origin) is allowed


def test_an_unencrypted_page_is_not_the_own_one_of_an_encrypted_server():
    assert not check("http://chat.example", **{"wsgi.url_scheme": "https"})
    assert check("https://chat.example", **{"wsgi.url_scheme": "https"})


def test_the_own_port_counts():
    assert check("http://chat.example:3001", HTTP_HOST="chat.example:3001")
    assert not check("http://chat.example", HTTP_HOST="chat.example:3001")
    assert check("http://[::1]:3001", HTTP_HOST="[::1]:3001")


def test_any_origin_is_allowed_with_a_star():
    assert check(FOREIGN, Settings(client_url=("*",)))


@pytest.mark.parametrize("origin", ["capacitor://localhost", "file://", "chrome-extension://abcdef", "null"])
def test_the_origin_of_an_app_shell_is_allowed_where_it_is_listed(origin):
    assert not check(origin)
    assert check(origin, Settings(client_url=(origin,)))
    assert check(origin, Settings(client_url=("*",)))
    assert not check(f"{origin}.evil", Settings(client_url=(origin,)))


def test_the_own_page_is_known_behind_a_proxy_that_replaces_the_host():
    behind = {"HTTP_HOST": "127.0.0.1:3001", "HTTP_SEC_FETCH_SITE": "same-origin"}  # which no page can forge
    assert check("https://chat.example", **behind)
    assert not check("null", **behind)
    assert not check("", **behind)
    for site in ("same-site", "cross-site", "none"):
        assert not check("https://chat.example", **{**behind, "HTTP_SEC_FETCH_SITE": site})


def test_a_refused_origin_is_logged_once_and_says_which_header_is_missing(caplog):
    allowed = origin_check(Settings(client_url=(LISTED,)))
    environ = {"HTTP_HOST": "127.0.0.1:3001", "wsgi.url_scheme": "http"}
    for _ in range(3):
        assert not allowed("https://Chat.example:443", environ)
    (record,) = caplog.records
    assert "'https://chat.example'" in record.getMessage()
    assert "'127.0.0.1:3001'" in record.getMessage()
    assert "has to pass the header Host on" in record.getMessage()
    caplog.clear()
    assert not allowed("null", {**environ, "HTTP_X_FORWARDED_HOST": "chat.example"})
    assert "set TRUSTED_PROXIES" in caplog.text
    caplog.clear()
    assert allowed(LISTED, environ)
    assert allowed(None, environ)
    assert not caplog.records


def test_made_up_origins_fill_neither_the_log_nor_the_memory(caplog):
    now = 0.0
    allowed = origin_check(Settings(client_url=(LISTED,)), clock=lambda: now)
    for number in range(1000):
        allowed(f"https://{number}.{'x' * 1000}.example\r\nforged line", {"HTTP_HOST": "y" * 1000})
    assert len(caplog.records) == MAX_LOGGED + 1
    assert max(len(record.getMessage()) for record in caplog.records) < 500
    assert "\n" not in "".join(record.getMessage() for record in caplog.records)
    caplog.clear()
    now = 3600.0
    allowed("https://later.example", {})
    assert "https://later.example" in caplog.text
    for number in range(1000):
        allowed(f"https://later{number}.example", {})
    assert len(caplog.records) == MAX_LOGGED + 1


def test_forwarding_headers_count_only_from_trusted_proxies():
    forwarded = {"HTTP_X_FORWARDED_HOST": "public.example", "HTTP_X_FORWARDED_PROTO": "https"}
    trusting = Settings(client_url=(LISTED,), trusted_proxies=1)
    assert not check("https://public.example", **forwarded)
    assert check("https://public.example", trusting, **forwarded)
    assert not check("http://public.example", trusting, **forwarded)
    # a client can put entries in front of the proxy's
    forwarded["HTTP_X_FORWARDED_HOST"] = "evil.example, public.example"
    assert not check("http://evil.example", trusting, **forwarded)
    assert not check("https://evil.example", trusting, **forwarded)
    assert check("https://public.example", trusting, **forwarded)


def test_of_several_trusted_proxies_the_outermost_knows_the_public_name():
    trusting = Settings(client_url=(LISTED,), trusted_proxies=2)
    for entries in ("evil.example, public.example, inner.example", "public.example, inner.example"):
        assert check("https://public.example", trusting, HTTP_X_FORWARDED_HOST=entries)
        assert not check("https://inner.example", trusting, HTTP_X_FORWARDED_HOST=entries)
        assert not check("https://evil.example", trusting, HTTP_X_FORWARDED_HOST=entries)


@pytest.mark.parametrize(
    ("forwarded", "same"), [("ws", "http"), ("wss", "https"), ("WSS", "https"), ("http", "http"), ("https", "https")]
)
def test_a_proxy_may_name_the_scheme_of_the_websocket_or_of_the_page(forwarded, same):
    trusting = Settings(client_url=(LISTED,), trusted_proxies=1)
    assert check(f"{same}://chat.example", trusting, HTTP_X_FORWARDED_PROTO=forwarded)
    assert check("https://chat.example", trusting, HTTP_X_FORWARDED_PROTO=forwarded)
    assert check("http://chat.example", trusting, HTTP_X_FORWARDED_PROTO=forwarded) is (same == "http")


@pytest.mark.parametrize("origin", [LISTED, OWN])
def test_an_allowed_origin_is_named_in_the_answer(client, origin):
    answer = client.get("/stats", headers={"Origin": origin})
    assert answer.headers["Access-Control-Allow-Origin"] == origin
    assert "Origin" in answer.headers["Vary"]


def test_a_foreign_origin_gets_no_cors_header(client):
    for method in ("GET", "OPTIONS"):
        headers = {"Origin": FOREIGN, "Access-Control-Request-Method": "GET"}
        answer = client.open("/stats", method=method, headers=headers)
        assert not [name for name, _ in answer.headers if name.startswith("Access-Control")]
        assert "Origin" in answer.headers["Vary"]


@pytest.mark.parametrize("headers", [{}, {"Origin": LISTED}, {"Origin": FOREIGN}])
def test_no_cache_mixes_up_the_answers_to_different_origins(client, headers):
    assert "Origin" in client.get("/stats", headers=headers).headers["Vary"]


def test_only_a_preflight_request_gets_the_allowed_methods(client):
    answer = client.options("/stats", headers={"Origin": LISTED})
    assert not [name for name, _ in answer.headers if name.startswith(("Access-Control-Allow-M", "Access-Control-M"))]


def test_a_preflight_request_is_answered(client):
    headers = {"Origin": LISTED, "Access-Control-Request-Method": "GET"}
    answer = client.options("/stats", headers=headers)
    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] == LISTED
    assert "GET" in answer.headers["Access-Control-Allow-Methods"]


def test_errors_can_be_read_by_allowed_origins_too(client):
    assert client.get("/nowhere", headers={"Origin": LISTED}).headers["Access-Control-Allow-Origin"] == LISTED


@pytest.mark.parametrize("transport", ["polling", "websocket"])
def test_the_same_rule_holds_for_socket_io(module_server, transport):
    def status(origin):
        headers = {"Origin": origin}
        if transport == "websocket":
            key = "dGhlIHNhbXBsZSBub25jZQ=="
            headers |= {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Key": key}
            headers["Sec-WebSocket-Version"] = "13"
        query = f"?EIO=4&transport={transport}"
        with requests.get(f"{module_server.url}/socket.io/{query}", headers=headers, stream=True, timeout=10) as answer:
            return answer.status_code

    accepted = 101 if transport == "websocket" else 200
    assert status(module_server.url) == accepted
    assert status("http://localhost:5173") == accepted
    assert status(FOREIGN) in (400, 403)


# The page


def files_of(page):
    return [f"/{path}" for path in re.findall(r'(?:src|href)="(static/[^"]+)"', page.text)]


def test_the_page_is_cached_but_always_checked(client):
    page = client.get("/")
    assert page.status_code == 200
    assert page.content_type == "text/html; charset=utf-8"
    assert page.headers["Cache-Control"] == "no-cache"
    again = client.get("/", headers={"If-None-Match": page.headers["ETag"]})
    assert again.status_code == 304
    assert not again.data
    assert page.headers["ETag"].startswith('W/"'), "one for both codings"
    assert client.get("/", headers={"If-None-Match": "*"}).status_code == 304
    assert client.get("/", headers={"If-None-Match": '"another"'}).status_code == 200


def test_a_page_that_is_not_there_is_not_taken_from_a_cache(client):
    page = client.get("/?lobby=nowhere")
    assert page.status_code == 404
    assert client.get("/?lobby=nowhere", headers={"If-None-Match": page.headers["ETag"]}).status_code == 404


@pytest.mark.parametrize("language", TEXTS)
def test_the_page_promises_that_reports_are_read_only_where_an_operator_page_exists(language):
    texts = TEXTS[language]
    for token, shown in ((None, "welcome.leave"), ("correct horse battery staple", "welcome.leaveRead")):
        page = create_app(Settings(admin_token=token)).test_client().get("/", headers={"Accept-Language": language})
        assert f'data-say="{shown}">{texts[shown]}</li>' in page.text


def test_files_are_cached_for_a_year_under_an_address_that_changes_with_them(client):
    files = files_of(client.get("/"))
    assert len(files) > 20
    for path in files:
        answer = client.get(path)
        assert answer.status_code == 200, path
        assert answer.headers["Cache-Control"] == "max-age=31536000, public, immutable"


@pytest.mark.parametrize("path", ["/static/main.js", "/static/icons/192.png", "/static/v/0123456789ab/main.js"])
def test_a_file_under_another_address_is_always_checked(client, path):
    answer = client.get(path)
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-cache"
    again = client.get(path, headers={"If-None-Match": answer.headers["ETag"]})
    assert again.status_code == 304
    assert not again.data


@pytest.mark.parametrize("path", ["/", "/static/main.js", "/static/page.css", "/static/lang/es.json"])
def test_text_is_compressed_for_clients_that_accept_it(client, path):
    plain, small = client.get(path), client.get(path, headers={"Accept-Encoding": "br, gzip"})
    assert "Content-Encoding" not in plain.headers
    assert small.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(small.data) == plain.data
    assert len(small.data) < len(plain.data)
    assert int(small.headers["Content-Length"]) == len(small.data)
    for answer in (plain, small):
        assert "Accept-Encoding" in answer.headers["Vary"]
    # one ETag for both, so that either can be checked
    again = client.get(path, headers={"If-None-Match": plain.headers["ETag"], "Accept-Encoding": "gzip"})
    assert again.status_code == 304


@pytest.mark.parametrize(
    ("header", "cookie", "language"),
    [
        (None, None, "en"),
        ("fr", None, "en"),
        ("es-MX, en;q=0.5", None, "es"),
        ("fil-PH", None, "fil"),
        ("tl", None, "fil"),
        ("es", "fil", "fil"),
        ("es", "xx", "es"),
        ("fil, es", None, "fil"),
        ("*", None, "en"),
        ("es;q=0, en;q=0.1", None, "en"),
        ("en;q=0.8, fil;q=0.9,es;q=0.8", None, "fil"),
        (",;q=x, es", None, "es"),
    ],
)
def test_the_page_is_in_the_chosen_language_or_the_browsers(client, header, cookie, language):
    if cookie:
        client.set_cookie("language", cookie)
    page = client.get("/", headers={"Accept-Language": header} if header else {})
    assert f'<html lang="{language}" dir="ltr">' in page.text
    assert {"Accept-Language", "Cookie"} <= set(page.headers["Vary"].split(", "))


@pytest.mark.parametrize(
    ("header", "taken"),
    [
        ("gzip", True), ("br, GZIP ;q=0.5", True), ("x-gzip", True), ("*", True), ("identity;q=1, *;q=0.1", True),
        ("", False), ("br", False), ("gzip;q=0", False), ("gzip; q=0.000, br", False), ("*;q=0", False),
        ("*, gzip;q=0", False), ("gzip;q=0, *", False), ("notgzip", False), ("gzip-like", False),
    ],
)  # fmt: skip
def test_the_clients_accept_encoding_counts(client, header, taken):
    answer = client.get("/static/main.js", headers={"Accept-Encoding": header})
    assert ("Content-Encoding" in answer.headers) == taken


def test_a_cookie_is_found_among_those_of_other_applications():
    client = app_with().test_client(use_cookies=False)
    others = "; ".join(f"other{number}={'x' * 100}" for number in range(50))
    for cookies in (f"{others}; language=es", f"language=es;{others}", f"mylanguage=fil; language=es; {others}"):
        assert '<html lang="es"' in client.get("/", headers={"Cookie": cookies}).text


@pytest.mark.parametrize("path", ["/", "/?lobby=nowhere", "/static/main.js", "/static/icons/192.png", *DOCUMENTS])
def test_constant_answers_are_made_once(path, monkeypatch):
    def fail(*_, **__):
        raise AssertionError("made again")

    client = create_app(Settings()).test_client()
    codings = [{"Accept-Encoding": coding} for coding in ("gzip", "")]
    first = [client.get(path, headers=coding) for coding in codings]
    for target in ("page.render_template", "cached.gzip.compress", "cached.hashlib.sha256"):
        monkeypatch.setattr(f"animochat.web.{target}", fail)
    for target in ("render_template", "asyncapi", "openapi", "typescript"):
        monkeypatch.setattr(f"animochat.apidocs.routes.{target}", fail)
    monkeypatch.setattr("pathlib.Path.read_bytes", fail)
    again = [client.get(path, headers=coding) for coding in codings]
    assert [answer.data for answer in again] == [answer.data for answer in first]
    if first[0].status_code == 200:
        known = client.get(path, headers={"If-None-Match": f'"other", {first[0].headers["ETag"]}'})
        assert (known.status_code, known.data) == (304, b"")
        assert {"ETag", "Cache-Control"} <= {name for name, _ in known.headers}


@pytest.mark.parametrize("name", ["nowhere.js", "../page.py", "..%2fpage.py", "%2e%2e/page.py", "icons", "", "lang/"])
def test_only_the_pages_own_files_are_served(client, name):
    assert client.get(f"/static/{name}").status_code == 404
    assert client.get(f"/static/v/0123456789ab/{name}").status_code == 404


def test_every_language_has_every_text_with_the_same_blanks():
    def blanks(text):
        return set(re.findall(r"{\w+}", str(text)))

    english, *others = ({key: blanks(text) for key, text in texts.items()} for texts in TEXTS.values())
    for other in others:
        assert other == english


def test_no_text_is_missing_or_unused():
    static = ROOT / "animochat/web/static"
    templates = [static / "../templates" / name for name in ("index.html", "missing.html", "text.html")]
    code = "".join(path.read_text() for path in [*static.glob("*.js"), *templates])
    named = set(re.findall(r"""(?:say|notice|toast|data-say[a-z-]*)(?:\(|=)["']([\w.-]+)["']""", code))
    assert named - set(TEXTS["en"]) == set()
    put_together = re.compile(r"(ended|partner|message|error|report|closed|settings)\..+")
    assert [
        key for key in TEXTS["en"] if not re.search(f"[\"']{key}[\"']", code) and not put_together.fullmatch(key)
    ] == []


def test_all_of_its_addresses_are_relative_so_that_it_can_be_served_below_a_path(client):
    for page in (client.get("/"), client.get("/?lobby=nowhere")):
        addresses = re.findall(r'(?:src|href|action)="([^"]*)"', page.text)
        assert len(addresses) > 3
        assert not [address for address in addresses if address.startswith("/") or ":" in address]


def test_a_path_that_a_proxy_did_not_take_away_is_logged_once(client, caplog):
    for path in ("/chat/", "/chat/", "/some/chat/socket.io/"):
        assert client.get(path).status_code == 404
    (record,) = caplog.records
    assert "nothing is at '/chat/'" in record.getMessage()
    assert "proxy_pass" in record.getMessage()


@pytest.mark.parametrize("path", ["/wp-login.php", "/nowhere", "/static/nowhere.js", "/a%0Ab/", "/" + "x" * 500 + "/"])
def test_other_paths_that_are_not_there_are_not_logged(client, caplog, path):
    assert client.get(path).status_code == 404
    assert not caplog.records


def test_it_can_be_installed(client):
    page = client.get("/")
    (address,) = (path for path in files_of(page) if path.endswith(".webmanifest"))
    answer = client.get(address)
    assert answer.content_type == "application/manifest+json"
    manifest = json.loads(answer.data)
    for target in (manifest["start_url"], manifest["scope"]):  # the page, wherever it is
        assert urljoin(f"https://chat.example{address}", target) == "https://chat.example/"
        assert urljoin(f"https://chat.example/below{address}", target) == "https://chat.example/below/"
    assert manifest["display"] == "standalone"
    sizes = {}
    for icon in manifest["icons"]:
        image = client.get(address.rsplit("/", 1)[0] + "/" + icon["src"])
        assert image.status_code == 200
        assert image.content_type.split(";")[0] == icon["type"]
        if icon["type"] == "image/png":
            width, height = struct.unpack(">II", image.data[16:24])
            assert icon["sizes"] == f"{width}x{height}"
            sizes[icon.get("purpose", "any"), width] = len(image.data)
    assert set(sizes) == {("any", 192), ("any", 512), ("maskable", 512)}


def test_every_answer_has_the_strict_headers(client):
    for path in ("/", "/health", "/nowhere", "/static/main.js"):
        headers = client.get(path).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert headers["Permissions-Policy"] == "camera=(), geolocation=(), microphone=(), payment=(), usb=()"


@pytest.mark.parametrize(
    ("proxies", "headers", "base", "told"),
    [
        (0, {}, OWN, False),
        (0, {}, "https://localhost", True),
        (0, {"X-Forwarded-Proto": "https"}, OWN, False),  # anyone may send it
        (1, {"X-Forwarded-Proto": "https"}, OWN, True),
        (1, {"X-Forwarded-Proto": "https, http"}, OWN, False),  # the client made the first one up
        (2, {"X-Forwarded-Proto": "https, http"}, OWN, True),
        (1, {"X-Forwarded-Proto": "http"}, "https://localhost", False),
    ],
)
def test_browsers_are_bound_to_tls_where_tls_is_known(proxies, headers, base, told):
    client = app_with(Settings(trusted_proxies=proxies), health=lambda: {"status": "ok"}).test_client()
    for path in ("/", "/health", "/nowhere"):
        answer = client.get(path, base_url=base, headers=headers)
        assert answer.headers.get("Strict-Transport-Security") == ("max-age=31536000" if told else None)


def policy(answer):
    return dict(part.strip().split(" ", 1) for part in answer.headers["Content-Security-Policy"].split(";"))


def test_the_page_may_load_and_run_its_own_files_only(client):
    assert policy(client.get("/", headers={"Host": "chat.example:3001"})) == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' data:",
        "connect-src": "'self' ws://chat.example:3001 wss://chat.example:3001",
        "manifest-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }


EMBEDDER = "https://www.example"


def test_only_the_chat_stands_in_frames_and_only_in_those_that_are_named():
    settings = Settings(embed_origins=(EMBEDDER, "http://b.example:8080"), admin_token="a token of sixteen letters")
    client = create_app(settings).test_client()
    for path in ("/", "/?lobby=main", "/?lobby=nowhere"):
        answer = client.get(path)
        assert policy(answer)["frame-ancestors"] == f"'self' {EMBEDDER} http://b.example:8080"
        assert "X-Frame-Options" not in answer.headers
    for path in ("/admin", "/health/live", "/docs", "/nowhere", "/static/main.js", "/widget.js"):
        answer = client.get(path)
        assert policy(answer)["frame-ancestors"] == "'none'"
        assert answer.headers["X-Frame-Options"] == "DENY"


@pytest.mark.parametrize(
    ("embedders", "origin", "granted"),
    [
        ((EMBEDDER,), EMBEDDER, EMBEDDER),
        ((EMBEDDER,), "https://WWW.example:443", EMBEDDER),
        ((EMBEDDER,), FOREIGN, None),
        ((EMBEDDER,), LISTED, None),  # CLIENT_URL is about another thing
        ((EMBEDDER,), "null", None),
        ((EMBEDDER,), None, None),
        (("*",), FOREIGN, FOREIGN),
    ],
)
def test_the_element_is_for_the_pages_that_may_have_it(embedders, origin, granted, caplog):
    client = app_with(Settings(embed_origins=embedders, client_url=(LISTED,))).test_client()
    answer = client.get("/widget.js", headers={"Origin": origin} if origin else {})
    assert answer.status_code == 200
    assert answer.content_type.startswith("text/javascript")
    assert answer.headers.get("Access-Control-Allow-Origin") == granted
    assert "Origin" in answer.headers["Vary"]
    assert not caplog.records


def test_without_pages_that_may_have_it_there_is_no_element(client):
    assert client.get("/widget.js").status_code == 404


def test_a_file_opened_as_a_document_may_do_nothing(client):
    for path in ("/static/favicon.svg", "/static/main.js"):
        assert policy(client.get(path)) == {"default-src": "'none'", "frame-ancestors": "'none'"}


@pytest.mark.parametrize("host", ["a;script-src *", "a b", "a,b", "*", ""])
def test_a_host_header_cannot_widen_the_policy(client, host):
    found = policy(client.get("/health/live", headers={"Host": host}))
    assert found["script-src"] == "'self'"
    assert "*" not in "".join(found.values())
