"""Configuration: the variables that are read, the protocol's defaults, and a clear line for each mistake."""

from __future__ import annotations

import dataclasses

import pytest

from animochat.apidocs.__main__ import documents
from animochat.environment import masked_url, normalized_origin
from animochat.settings import Settings, SettingsError
from animochat.store.url import parse
from tests.helpers.servers import ROOT

#: The protocol's "Configuration" table: variable, a value other than its default, its parsed form, its default.
TABLE = [
    ("PORT", "8080", 8080, 3001),
    ("HOST", "::1", "::1", "0.0.0.0"),
    ("APP_ENV", "production", "production", "development"),
    ("CLIENT_URL", "https://chat.example", ("https://chat.example",), ("http://localhost:5173",)),
    ("REDIS_URL", "rediss://user:password@store.example:6380/1", "rediss://user:password@store.example:6380/1", None),
    ("REDIS_TLS_VERIFY", "0", False, True),
    ("EMBED_ORIGINS", "https://www.example", ("https://www.example",), ()),
    ("WEB_CONCURRENCY", "4", 4, 1),
    ("PUBLIC_URL", "https://Chat.example/below", "https://chat.example/below/", None),
    ("TEXTS_DIR", "docs", "docs", None),
    ("LOBBIES", "manila, cebu-2", ("manila", "cebu-2"), ("main",)),
    ("SECRET_KEY", "0123456789abcdef", "0123456789abcdef", None),
    ("ADMIN_TOKEN", "0123456789abcdef", "0123456789abcdef", None),
    ("METRICS_TOKEN", "0123456789abcdef", "0123456789abcdef", None),
    ("LOG_LEVEL", "DEBUG", "debug", "info"),
    ("MATCH_HISTORY_HOURS", "1", 1, 24),
    ("SKIP_COOLDOWN_MS", "0", 0, 5000),
    ("INTEREST_WAIT_MS", "1000", 1000, 10000),
    ("RECONNECT_GRACE_MS", "500", 500, 10000),
    ("LOST_GRACE_MS", "500", 500, 120000),
    ("MAX_MESSAGE_LENGTH", "140", 140, 2000),
    ("STORE_MESSAGES", "0", False, True),
    ("STORE_WAIT", "replica", "replica", "0"),
    ("RATE_MESSAGES", "0.5", 0.5, 5),
    ("RATE_TYPING", "0", 0, 5),
    ("RATE_SEARCHES", "2", 2, 1),
    ("RATE_REFUSALS", "1.5", 1.5, 10),
    ("MESSAGE_QUEUE_CHANNEL", "own-queue", "own-queue", "flask-socketio"),
    ("RATE_EVENTS", "2.5", 2.5, 10),
    ("REPORTS_PER_HOUR", "0", 0, 10),
    ("REPORTS_PER_HOUR_PER_ADDRESS", "0", 0, 100),
    ("REPORT_WINDOW_MINUTES", "0", 0, 15),
    ("AUTO_SUSPEND_REPORTS", "3", 3, 0),
    ("WORD_FILTER_FILE", "words.txt", "words.txt", None),
    ("WORD_FILTER_ACTION", "refuse", "refuse", "mask"),
    ("APPEAL_URL", "https://chat.example/appeal", "https://chat.example/appeal", None),
    ("WEBHOOK_URL", "https://alerts.example/chat?key=x", "https://alerts.example/chat?key=x", None),
    ("WEBHOOK_SECRET", f"whsec_{'A' * 32}", f"whsec_{'A' * 32}", None),
    ("WEBHOOK_EVIDENCE", "1", True, False),
    ("WEBHOOK_ALLOW_PRIVATE", "1", True, False),
    ("ALERT_EMAIL", "owner@chat.example", "owner@chat.example", None),
    ("SMTP_URL", "smtp://me:secret@mail.example:587", "smtp://me:secret@mail.example:587", None),
    ("RATE_CONNECTS", "10", 10, 50),
    ("RATE_REQUESTS", "10", 10, 200),
    ("MAX_CONNECTIONS_PER_ADDRESS", "0", 0, 2000),
    ("MAX_CONNECTIONS", "500", 500, 10000),
    ("TRUSTED_PROXIES", "1", 1, 0),
]


def mistakes(**environ: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        Settings.from_environ(environ)
    return caught.value.mistakes


@pytest.mark.parametrize(("name", "text", "value", "default"), TABLE, ids=[row[0] for row in TABLE])
def test_every_variable_is_read_and_has_the_protocols_default(name, text, value, default):
    assert getattr(Settings.from_environ({name: text}), name.lower()) == value
    assert getattr(Settings.from_environ({}), name.lower()) == default
    assert getattr(Settings.from_environ({name: ""}), name.lower()) == default, "set to nothing counts as unset"
    assert getattr(Settings(), name.lower()) == default


def test_the_table_lists_every_setting():
    assert {field.name.upper() for field in dataclasses.fields(Settings)} == {row[0] for row in TABLE}


@pytest.mark.parametrize(
    "name",
    ["docs/configuration.md", ".env.example", "README.md", "docs/animochat.d.ts"],
)
def test_the_documents_agree_with_the_table(name):
    assert (ROOT / name).read_text("utf-8") == documents(ROOT)[ROOT / name], "run `make documents`"


def test_node_env_counts_where_app_env_is_unset():
    assert Settings.from_environ({"NODE_ENV": "production"}).production
    assert not Settings.from_environ({"NODE_ENV": "production", "APP_ENV": "development"}).production


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost",
        "redis://:password@[::1]:6379/0?socket_timeout=5",
        "unix:///run/redis/redis.sock?db=1",
        "redis+sentinel://user:password@one:26379,two:26379/mymaster/0",
        "rediss+sentinel://one,two/mymaster?sentinel_username=u&sentinel_password=p&ssl_check_hostname=false",
        "redis+cluster://user:password@one:7000,two:7001,three",
        f"rediss+cluster://10.0.0.1:7000/?ssl_ca_certs={__file__}&ssl_certfile={__file__}&ssl_keyfile={__file__}",
        "rediss://store.example?ssl_cert_reqs=none",
    ],
)
def test_every_form_of_the_store_s_address_is_accepted(url):
    assert Settings.from_environ({"REDIS_URL": url}).redis_url == url


def test_in_production_the_default_store_is_on_localhost():
    assert Settings.from_environ({"APP_ENV": "production"}).redis_url == "redis://localhost:6379"


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("[::1]", "::1"),
        ("0:0:0:0:0:0:0:1", "::1"),
        ("::", "::"),
        ("Chat-1.Example", "chat-1.example"),
        ("localhost", "localhost"),
        ("3com", "3com"),
    ],
)
def test_a_host_is_an_address_or_a_name(written, read):
    assert Settings.from_environ({"HOST": written}).host == read


def test_on_heroku_one_proxy_is_trusted_by_default():
    assert Settings.from_environ({"DYNO": "web.1"}).trusted_proxies == 1
    assert Settings.from_environ({"DYNO": "web.1", "TRUSTED_PROXIES": "0"}).trusted_proxies == 0
    assert Settings.from_environ({"DYNO": ""}).trusted_proxies == 0


@pytest.mark.parametrize("scheme", ["rediss", "rediss+sentinel", "rediss+cluster"])
def test_certificate_checks_can_be_switched_off(scheme):
    url = f"{scheme}://:secret@host" + ("/mymaster" if "sentinel" in scheme else "")

    def checks(url, **environ):
        options = parse(Settings.from_environ({"REDIS_URL": url, **environ}).redis_url).keywords()
        return options.get("ssl_cert_reqs"), options.get("ssl_check_hostname"), options["password"]

    assert checks(url) == checks(url, REDIS_TLS_VERIFY="1") == (None, None, "secret")
    assert checks(url, REDIS_TLS_VERIFY="0") == ("none", False, "secret")
    assert checks(f"{url}?ssl_check_hostname=true", REDIS_TLS_VERIFY="0") == ("none", False, "secret")
    assert checks(f"{url}?ssl_cert_reqs=required", REDIS_TLS_VERIFY="0") == ("required", None, "secret")


def test_without_tls_there_is_no_certificate_to_check():
    for url in ("redis://host", "unix:///run/redis.sock"):
        assert Settings.from_environ({"REDIS_URL": url, "REDIS_TLS_VERIFY": "0"}).redis_url == url


def test_settings_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().port = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "0"),
        ("PORT", "65536"),
        ("PORT", "http"),
        ("PORT", "80 81"),
        ("PORT", "٣٠٠١"),
        ("PORT", "3_001"),
        ("HOST", "localhost:3001"),
        ("HOST", "http://localhost"),
        ("HOST", "10.0.0"),
        ("HOST", "10.0.0.256"),
        ("HOST", "fe80::1%eth0"),
        ("HOST", "[::1"),
        ("HOST", "*"),
        ("HOST", "unix:/run/chat.sock"),
        ("WEB_CONCURRENCY", "0"),
        ("WEB_CONCURRENCY", "2.5"),
        ("LOBBIES", "Manila"),
        ("LOBBIES", "manila,,cebu"),
        ("LOBBIES", "manila cebu"),
        ("LOBBIES", "manila,cebu,manila"),
        ("LOBBIES", "a" * 33),
        ("LOBBIES", "caf\u00e9"),
        ("LOBBIES", ",".join(f"l{n}" for n in range(101))),
        ("APP_ENV", "prod"),
        ("NODE_ENV", "test"),
        ("LOG_LEVEL", "verbose"),
        ("SKIP_COOLDOWN_MS", "-1"),
        ("MAX_MESSAGE_LENGTH", "0"),
        ("STORE_MESSAGES", "no"),
        ("STORE_WAIT", "1"),
        ("WORD_FILTER_ACTION", "delete"),
        ("RATE_MESSAGES", "nan"),
        ("RATE_TYPING", "1e3"),
        ("TRUSTED_PROXIES", "yes"),
        ("CLIENT_URL", "chat.example"),
        ("CLIENT_URL", "https://chat.example/path"),
        ("CLIENT_URL", "https://chat.example:0"),
        ("CLIENT_URL", "ftp://chat.example"),
        ("CLIENT_URL", "wss://chat.example"),
        ("CLIENT_URL", "https://*.chat.example"),
        ("CLIENT_URL", "chrome-extension://*"),
        ("CLIENT_URL", "app://shell/page.html"),
        ("CLIENT_URL", "http://[:::]"),
        ("CLIENT_URL", "https://"),
        ("CLIENT_URL", "NULL"),
        ("EMBED_ORIGINS", "www.example"),
        ("EMBED_ORIGINS", "https://www.example; script-src *"),
        ("EMBED_ORIGINS", "https://*.example"),
        ("EMBED_ORIGINS", "null"),
        ("EMBED_ORIGINS", "capacitor://localhost"),
        ("REDIS_URL", "localhost:6379"),
        ("REDIS_URL", "http://localhost:6379"),
        ("REDIS_URL", "redis://"),
        ("REDIS_URL", "redis://localhost:port"),
        ("REDIS_URL", "redis://localhost/zero"),
        ("REDIS_URL", "unix://"),
        ("REDIS_URL", "unix://run/redis.sock"),
        ("REDIS_URL", "redis+sentinel://one:26379"),
        ("REDIS_URL", "redis+sentinel:///mymaster"),
        ("REDIS_URL", "redis+cluster://"),
        ("REDIS_URL", "redis+cluster://one:7000,:7001"),
        ("REDIS_URL", "redis+cluster://one:7000,two:70000"),
        ("REDIS_URL", "redis+cluster://one:7000/1"),
        ("REDIS_URL", "redis+rediss://one:7000"),
    ],
)
def test_a_bad_value_is_named_with_its_variable_in_one_line(name, value):
    (line,) = mistakes(**{name: value})
    assert line.startswith(f"{name}: ")
    assert repr(value) in line
    assert "\n" not in line


#: Both ends of each allowed range, and the values just beyond them.
ENDS = [
    ("PORT", ("1", "65535"), ("0", "65536")),
    ("WEB_CONCURRENCY", ("1", "1000"), ("0", "1001")),
    ("TRUSTED_PROXIES", ("0", "10"), ("11",)),
    ("MATCH_HISTORY_HOURS", ("0", "8760"), ("8761",)),
    ("SKIP_COOLDOWN_MS", ("0", "3600000"), ("3600001",)),
    ("INTEREST_WAIT_MS", ("0", "3600000"), ("3600001",)),
    ("RECONNECT_GRACE_MS", ("0", "3600000"), ("3600001",)),
    ("LOST_GRACE_MS", ("0", "3600000"), ("3600001",)),
    ("MAX_MESSAGE_LENGTH", ("1", "20000"), ("0", "20001")),
    ("RATE_MESSAGES", ("0", "0.000001", "100000"), ("100000.000001", "100001", "-1", "0.0000001")),
    ("MAX_CONNECTIONS_PER_ADDRESS", ("0", "1000000"), ("1000001",)),
    ("MAX_CONNECTIONS", ("0", "1000000"), ("1000001",)),
    ("REPORTS_PER_HOUR", ("0", "10000"), ("10001",)),
    ("REPORTS_PER_HOUR_PER_ADDRESS", ("0", "100000"), ("100001",)),
    ("REPORT_WINDOW_MINUTES", ("0", "60"), ("61", "-1", "1.5")),
    ("AUTO_SUSPEND_REPORTS", ("0", "1000"), ("1001",)),
    ("SECRET_KEY", ("x" * 16,), ("x" * 15,)),
    ("ADMIN_TOKEN", ("x" * 16,), ("x" * 15,)),
    ("METRICS_TOKEN", ("x" * 16,), ("x" * 15,)),
    ("LOBBIES", ("a" * 32, ",".join(f"l{n}" for n in range(100))), ("a" * 33, ",".join(f"l{n}" for n in range(101)))),
    ("LOBBIES", ("a-9",), ("a:9", "a{9", "a_9", "")),
    ("CLIENT_URL", ("https://a.example:1", "https://a.example:65535"), ("https://a.example:65536",)),
]


@pytest.mark.parametrize(("name", "good", "bad"), ENDS, ids=[row[0] for row in ENDS])
def test_a_range_includes_both_ends_and_nothing_beyond(name, good, bad):
    for value in good:
        assert Settings.from_environ({name: value})
    for value in filter(None, bad):
        (line,) = mistakes(**{name: value})
        assert line.startswith(f"{name}: ")


def test_surrounding_white_space_is_ignored_except_in_secrets():
    settings = Settings.from_environ({"PORT": " 80 ", "LOG_LEVEL": "error\n", "SECRET_KEY": " " + "x" * 15})
    assert (settings.port, settings.log_level, settings.secret_key) == (80, "error", " " + "x" * 15)
    assert Settings.from_environ({"PORT": "  "}).port == 3001


def test_frames_have_no_limit_if_one_of_their_rates_has_none():
    assert Settings().rate_frames == 2 * (5 + 5 + 1 + 10)
    for name in ("rate_messages", "rate_typing", "rate_searches", "rate_refusals"):
        assert Settings(**{name: 0}).rate_frames == 0
    assert Settings(max_message_length=20_000).rate_frames == pytest.approx(42 + 5 * (244_096 / 4096 - 7))


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis://host?ssl_ca_certs=/etc/hosts", "it has to begin with rediss"),
        ("rediss://host?ssl_ca_certs=/no/such/file", "ssl_ca_certs names a file that can be read"),
        ("rediss+cluster://host?ssl_cert_reqs=perhaps", "a good value of ssl_cert_reqs"),
        ("redis://host?sentinel_password=x", "options that are known here: db, "),
        ("redis://host?retries=3", "options that are known here: db, "),
    ],
)
def test_a_bad_option_of_the_store_is_named(url, said):
    (line,) = mistakes(REDIS_URL=url)
    assert said in line


def test_all_mistakes_are_named_at_once():
    lines = mistakes(PORT="x", APP_ENV="x", CLIENT_URL="x,y", SECRET_KEY="x", REDIS_URL="x")
    assert sorted(line.partition(":")[0] for line in lines) == [
        "APP_ENV",
        "CLIENT_URL",
        "CLIENT_URL",
        "PORT",
        "REDIS_URL",
        "SECRET_KEY",
    ]


def test_secrets_are_never_shown():
    text = "\n".join(
        mistakes(SECRET_KEY="hunter2", ADMIN_TOKEN="hunter2", REDIS_URL="redis://me:hunter2@:6379")
        + mistakes(REDIS_URL="redis://me:hun@ter2@host:port?password=hunter2")
    )
    assert "hun" not in text
    assert "ter2" not in text


def test_an_address_is_shown_without_user_password_and_query():
    assert masked_url("redis://me:secret@host:6379/0?password=x") == "redis://***@host:6379/0?***"
    assert masked_url("redis://localhost:6379") == "redis://localhost:6379"


def test_several_origins_are_separated_by_commas():
    settings = Settings.from_environ({"CLIENT_URL": " https://a.example/ ,HTTP://B.example:80, https://a.example:443,"})
    assert settings.client_url == ("https://a.example", "http://b.example")
    assert Settings.from_environ({"CLIENT_URL": "*"}).client_url == ("*",)


#: Origins as app shells and browser extensions send them.
SHELLS = [
    "capacitor://localhost", "ionic://localhost", "tauri://localhost", "https://tauri.localhost", "http://localhost",
    "app://-", "app://.", "app://obsidian.md", "file://", "chrome-extension://abcdefghijklmnopabcdefghijklmnop",
    "moz-extension://7a7f9f2e-1111-4c2e-9d3f-0123456789ab", "vscode-webview://1abc", "ms-appx-web://com.example.app",
    "capacitor://localhost:8100", "null",
]  # fmt: skip


def test_origins_of_app_shells_and_extensions_are_accepted_as_sent():
    assert Settings.from_environ({"CLIENT_URL": ",".join(SHELLS)}).client_url == tuple(SHELLS)


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("https://Bücher.Example:443/", "https://xn--bcher-kva.example"),
        ("https://straße.example", "https://xn--strae-oqa.example"),
        ("http://日本。example:8080", "http://xn--wgv71a.example:8080"),
        ("http://[0:0:0:0:0:0:0:1]:3001", "http://[::1]:3001"),
        ("CAPACITOR://LOCALHOST/", "capacitor://localhost"),
        ("file:///", "file://"),
        ("safari-web-extension://7A7F9F2E-1111", "safari-web-extension://7a7f9f2e-1111"),
    ],
)
def test_origins_are_written_as_people_do_and_compared_as_browsers_send_them(written, sent):
    assert Settings.from_environ({"CLIENT_URL": written}).client_url == (sent,)


@pytest.mark.parametrize(
    ("written", "normalized"),
    [
        ("https://chat.example", "https://chat.example"),
        ("https://Chat.Example:443", "https://chat.example"),
        ("http://[::1]:3001", "http://[::1]:3001"),
        ("http://localhost:080", "http://localhost"),
        ("null", None),
        ("https://", None),
        ("https://chat.example.evil.example/", None),
        ("https://chat.example@evil.example", None),
        ("https://chat.example evil", None),
    ],
)
def test_origins_are_compared_in_the_form_that_browsers_send(written, normalized):
    assert normalized_origin(written) == normalized
