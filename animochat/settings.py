"""Every setting, in one table: field, kind of value, default, and help in the operator's words.

A setting's environment variable is its field's name in capitals. `docs/configuration.md`,
`.env.example` and the README's table are written from here (`make documents`). Nothing else in the
package reads the environment.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from animochat.environment import (
    BadValue,
    Kind,
    choice,
    directory,
    embedders,
    flag,
    host,
    integer,
    lobbies,
    mailbox,
    name,
    origins,
    page_address,
    rate,
    secret,
    store_url,
    text,
    url,
    webhook_secret,
)
from animochat.store.url import unverified

#: The store in production, where no embedded one is started.
DEFAULT_REDIS_URL = "redis://localhost:6379"
#: The lobby that exists where the operator names none.
MAIN_LOBBY = "main"
#: Lobbies at most: each worker sends every lobby a heartbeat and ticks, five scripts a second.
MAX_LOBBIES = 100

#: Bytes of an event around the text of its message, at most.
FRAME_OVERHEAD = 4 * 1024
#: Bytes of a long frame that count as much as a frame of its own.
FRAME_PIECE = 4 * 1024

_HOUR_MS = 3_600_000


class SettingsError(Exception):
    """The environment holds mistakes. `mistakes` has one line for each, fit for the operator to read."""

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("; ".join(mistakes))
        self.mistakes = mistakes


@dataclass(frozen=True)
class Setting:
    """A row of the table.

    `summary` is one line, `details` follow it. `fallback` is a variable that is read where this one is
    unset. `default_note` describes an unset variable where the default alone does not. `essential`
    rows are in the README.
    """

    kind: Kind
    group: str
    summary: str
    details: str = ""
    fallback: str = ""
    default_note: str = ""
    essential: bool = False


def _setting(default: Any, kind: Kind, group: str, summary: str, details: str = "", **options: Any) -> Any:
    return dataclasses.field(default=default, metadata={"setting": Setting(kind, group, summary, details, **options)})


@dataclass(frozen=True)
class Settings:
    """The checked configuration; `Settings()` has the defaults of development. Each time is in the unit of its name."""

    # A comment above a default gives its reason.

    # The usual port of Node chat servers, so that an existing page finds this one.
    port: int = _setting(3001, integer(1, 65_535), "Server", "TCP port.", essential=True)
    # A container and a laptop are reached from outside; where a proxy is on the same machine, it alone is.
    host: str = _setting(
        "0.0.0.0",
        host(),
        "Server",
        "Address to listen on; `0.0.0.0` is all IPv4 addresses, `::` is all addresses.",
        "Behind a proxy on the same machine set `127.0.0.1`, so that clients can't bypass the proxy, its TLS, and the "
        "client addresses that it sets.",
        essential=True,
    )
    app_env: str = _setting(
        "development",
        choice("development", "production"),
        "Server",
        "`development` or `production`.",
        "`NODE_ENV` is read where `APP_ENV` is unset, as platforms and compose files made for a Node server set it. In "
        "development without `REDIS_URL` an embedded store starts.",
        fallback="NODE_ENV",
        essential=True,
    )
    # The usual development server of a separate front end.
    client_url: tuple[str, ...] = _setting(
        ("http://localhost:5173",),
        origins(),
        "Server",
        "Origins of other pages that may use the server, comma separated; `*` for any.",
        "The server's own page is always allowed. App shells and extensions have origins too: "
        "`capacitor://localhost`, `https://tauri.localhost`, `app://-`, `file://`, `chrome-extension://<id>`. "
        "`null` is that of every local file and sandboxed frame, of any author. A refused origin is logged once.",
        essential=True,
    )
    # None: what needs an absolute address is left relative, or comes from the request.
    public_url: str | None = _setting(
        None,
        page_address(),
        "Server",
        "Address at which people open the page, such as `https://chat.example`.",
        "Link previews and `security.txt` name it.",
        default_note="previews have no picture where they need an absolute address",
    )
    # None: a small server has texts that are true without any work.
    texts_dir: str | None = _setting(
        None,
        directory(),
        "Server",
        "Directory of the operator's own texts.",
        "`terms.md`, `privacy.md` and `contact.md` (or `terms.es.md` and so on for one language) in Markdown, "
        "`security.txt`, `robots.txt` and `favicon.ico` as they are. Read at the start.",
        default_note="short texts made from the settings",
    )
    # A page that others may frame can be laid under a page that lures people into clicking.
    embed_origins: tuple[str, ...] = _setting(
        (),
        embedders(),
        "Server",
        "Origins of other pages that may show the chat in a frame, comma separated; `*` for any.",
        "They load `/widget.js` and have the element `<animochat-chat>` ([page.md](page.md#on-another-page)).",
        default_note="none, and there is no `/widget.js`",
    )
    # One is right for a laptop; platforms set it by the machine's size.
    web_concurrency: int = _setting(
        1, integer(1, 1_000), "Server", "Worker processes.", "One for each core is right.", essential=True
    )
    # Proxies that are believed: none, since anyone can send the header.
    trusted_proxies: int = _setting(
        0,
        integer(0, 10),
        "Server",
        "Number of proxies in front that may be believed in `X-Forwarded-For`.",
        "The same proxies are believed in `X-Forwarded-Proto` and `X-Forwarded-Host`. Set 1 behind nginx or "
        "HAProxy as in `deploy/`. On Heroku (where `DYNO` is set) the default is 1.",
        essential=True,
    )
    # Every line that an operator may have to act on, and what the server itself does.
    log_level: str = _setting(
        "info",
        choice("debug", "info", "warning", "error"),
        "Server",
        "Lowest level of the lines in the log.",
        "At `debug` there is a line for each connection that comes and goes. Message text is in none.",
    )
    # None only in development: the master starts an embedded store and sets REDIS_URL for the workers.
    redis_url: str | None = _setting(
        None,
        store_url(),
        "Store",
        "Address of the store.",
        "`redis://`, `unix://`, `redis+sentinel://host:port,…/name` or `redis+cluster://host:port,…`; with "
        "TLS `rediss://` and so on. [stores.md](stores.md) has users, certificates and options. All servers "
        "that share a store are one chat.",
        default_note=f"in development an embedded store; in production {DEFAULT_REDIS_URL}",
        essential=True,
    )
    # Flask-SocketIO's own name, so that other processes need to know only the store.
    message_queue_channel: str = _setting(
        "flask-socketio",
        name(),
        "Store",
        "Channel on which Socket.IO processes reach each other's clients ([extending.md](extending.md)).",
        "The databases of a store share it: deployments in different databases that other processes emit to need "
        "different ones.",
    )
    # An unchecked certificate does not protect from attackers on the way.
    redis_tls_verify: bool = _setting(
        True,
        flag(),
        "Store",
        "Whether the store's TLS certificate is checked, where `REDIS_URL` begins with `rediss`.",
        "0: any certificate is accepted, so that anyone on the way to the store can read and change everything. "
        "Heroku's Redis needs it: its certificate is self-signed. Elsewhere name the authority in `ssl_ca_certs` "
        "([stores.md](stores.md)). `ssl_cert_reqs` in `REDIS_URL` wins.",
    )
    # Messages are stored, so that anyone who comes back misses none, on whichever worker.
    store_messages: bool = _setting(
        True,
        flag(),
        "Store",
        "Whether messages are stored until their room is over.",
        "1: the last 200 messages of each room are in the store, for people who reconnect. 0: messages are "
        "never in the store, and a person who reconnects to another worker misses the messages of the "
        "meantime (see [Not storing](architecture.md#not-storing)).",
    )
    # Most operators of a chat accept that a failover may lose the last milliseconds.
    store_wait: str = _setting(
        "0",
        choice("0", "replica", "aof"),
        "Store",
        "What has to have a message before it is acknowledged: `0` the store's memory, `replica` also a replica, "
        "`aof` also the disk.",
        "With `replica` or `aof` no acknowledged message is lost with the primary, or with its memory, and each "
        "acknowledgement takes longer. Without a confirmation in time the sender gets `unavailable` "
        "([stores.md](stores.md#acknowledged-means)).",
    )
    secret_key: str | None = _setting(
        None,
        secret(),
        "Store",
        "Signs the tokens by which people are recognized after a reload.",
        "All servers have the same.",
        default_note="one is made and shared through the store, and lasts as long as the store's data",
        essential=True,
    )
    lobbies: tuple[str, ...] = _setting(
        (MAIN_LOBBY,),
        lobbies(MAX_LOBBIES),
        "Matching",
        "Names of lobbies, comma separated. People in different lobbies never meet.",
        "A client that names no lobby joins the first. All servers have the same. [scaling.md](scaling.md) "
        "says how many are good.",
    )
    # Meeting a stranger means a new one.
    match_history_hours: int = _setting(
        24, integer(0, 8_760), "Matching", "Hours from a match during which its two people are not matched again."
    )
    # Long enough that a person looks at the partner before skipping.
    skip_cooldown_ms: int = _setting(5_000, integer(0, _HOUR_MS), "Matching", "Cooldown after a skip, in milliseconds.")
    # Any longer, and people leave instead.
    interest_wait_ms: int = _setting(
        10_000,
        integer(0, _HOUR_MS),
        "Matching",
        "Milliseconds during which a person who named interests meets only people who share one.",
    )
    # A phone's change of network takes a few seconds.
    reconnect_grace_ms: int = _setting(
        10_000,
        integer(0, _HOUR_MS),
        "Matching",
        "Milliseconds that a closed connection keeps its place.",
        "A browser closes its connection when a tab is closed or reloaded.",
    )
    # A phone in a pocket, or in a tunnel.
    lost_grace_ms: int = _setting(
        120_000,
        integer(0, _HOUR_MS),
        "Matching",
        "Milliseconds that a lost connection keeps its place.",
        "A connection is lost where no close frame came: the network is gone, the phone sleeps, the worker died.",
    )
    # A page of text, and far below the size of one frame.
    max_message_length: int = _setting(2_000, integer(1, 20_000), "Messages", "Length of a message, in code points.")
    # No one types faster, and ten seconds' worth may be pasted at once.
    rate_messages: float = _setting(
        5.0, rate(), "Limits", "Messages per second and person, with a burst of ten seconds' worth."
    )
    # Clients send one at the start and one at the end of typing.
    rate_typing: float = _setting(5.0, rate(), "Limits", "Typing notices per second and person, likewise.")
    # Each costs the store a draw from the pool.
    rate_searches: float = _setting(
        1.0, rate(), "Limits", "Searches (`find-match`, `next-match`) per second and person, likewise."
    )
    # A clumsy client stays below, a flood does not.
    rate_refusals: float = _setting(
        10.0, rate(), "Limits", "Refused requests per second and person, likewise; beyond, the client is disconnected."
    )
    # A handler of an extension's costs ten times what a message does.
    rate_events: float = _setting(
        10.0,
        rate(),
        "Limits",
        "Packets per second and client for an extension; beyond, it is disconnected.",
    )
    # A campus or a mobile carrier may share one address.
    rate_connects: float = _setting(
        50.0,
        rate(),
        "Limits",
        "New connections per second and address, with a burst of ten seconds' worth.",
        "An IPv6 address counts by its /64. Each worker counts for itself. A campus or a mobile carrier may "
        "share one address.",
    )
    # Of an address: two hundred people on long polling, or seven first visits a second, of thirty files each.
    rate_requests: float = _setting(
        200.0,
        rate(),
        "Limits",
        "HTTP requests per second and address, with a burst of ten seconds' worth; beyond, 429.",
        "Each worker counts for itself. Beyond an eighth of the rate, and of the burst, requests wait for their turn "
        "beside those of addresses that hurry less. The requests of open polling sessions and of load balancers "
        "(`/health`, `/health/live`) count, and are never refused.",
    )
    max_connections_per_address: int = _setting(
        2_000, integer(0, 1_000_000), "Limits", "Open connections of one address on one worker; 0 = no limit."
    )
    # As a core can serve, and as the usual limits on open files allow.
    max_connections: int = _setting(
        10_000,
        integer(0, 1_000_000),
        "Limits",
        "Open connections of one worker; new ones beyond are answered 503; 0 = no limit.",
        "Keep it below `ulimit -n`.",
    )
    admin_token: str | None = _setting(
        None,
        secret(),
        "Moderation",
        "Opens the operator's page at `/admin`, and its API.",
        "`openssl rand -base64 24` makes one.",
        default_note="there is no such page",
        essential=True,
    )
    # A person who meets more people who deserve one in an hour is the exception, one who makes them up is not.
    reports_per_hour: int = _setting(
        10, integer(0, 10_000), "Moderation", "Reports that one person may file within an hour; 0 = no limit."
    )
    # A campus that shares one, where ten people in the same hour file all that a person may. An address that
    # floods takes up 7 MiB of the store in an hour, and no more than an operator can read.
    reports_per_hour_per_address: int = _setting(
        100,
        integer(0, 100_000),
        "Moderation",
        "Reports that all people of one address may file within an hour in a lobby; 0 = no limit.",
        "An IPv6 address counts by its /64. A campus or a mobile carrier may share one address.",
    )
    # Off unless the operator wants it.
    # Time to think about it, and not much longer for the messages to be kept.
    report_window_minutes: int = _setting(
        15,
        integer(0, 60),
        "Moderation",
        "Minutes after the end of a room during which its people can still report and block each other.",
        "The room's messages are stored for as long, and then deleted. 0: only while the room lasts.",
    )
    auto_suspend_reports: int = _setting(
        0,
        integer(0, 1_000),
        "Moderation",
        "Number of different people whose reports within a day suspend a person for an hour; 0 = never.",
        "Different people come from different addresses. See [moderation.md](moderation.md) before you switch it on.",
    )
    word_filter_file: str | None = _setting(
        None,
        text(),
        "Moderation",
        "Path of a file of patterns, one per line, that messages must not contain.",
        "Read at the start. [moderation.md](moderation.md) has the form.",
        default_note="nothing is filtered",
    )
    word_filter_action: str = _setting(
        "mask",
        choice("mask", "refuse"),
        "Moderation",
        "`mask` the match with asterisks, or `refuse` the message with `invalid-payload`.",
    )
    appeal_url: str | None = _setting(
        None,
        url("http", "https"),
        "Moderation",
        "Address of a page where banned people can appeal.",
        "`banned` errors have it, and the chat page links to it.",
        default_note="banned people are not told how to appeal",
    )
    webhook_url: str | None = _setting(
        None,
        url("http", "https"),
        "Moderation",
        "Address to which reports and bans are posted, signed by the Standard Webhooks scheme.",
        "[moderation.md](moderation.md#alerts) has the events. It needs `WEBHOOK_SECRET`. Redirects are not followed.",
        default_note="nothing is posted",
        essential=True,
    )
    webhook_secret: str | None = _setting(
        None,
        webhook_secret(),
        "Moderation",
        "Signs what is posted to `WEBHOOK_URL`; the receiver has the same.",
        '`echo "whsec_$(openssl rand -base64 32)"` makes one.',
        default_note="nothing is posted",
    )
    # People's texts go to no other system unless the operator wants it.
    webhook_evidence: bool = _setting(
        False,
        flag(),
        "Moderation",
        "Whether alerts of reports have the reporter's words and the messages of the chat.",
        "The receiver then has to delete them in time too.",
    )
    # The receiver is on the internet; an internal address is more often a mistake, or an attack through DNS.
    webhook_allow_private: bool = _setting(
        False,
        flag(),
        "Moderation",
        "Whether `WEBHOOK_URL` may lead to a private, loopback or link-local address.",
        "0: such an address is refused, also where a name leads to it.",
    )
    alert_email: str | None = _setting(
        None,
        mailbox(),
        "Moderation",
        "Mailbox that gets the same alerts where `WEBHOOK_URL` is unset.",
        "It needs `SMTP_URL`, and is the sender too.",
        default_note="no e-mail is sent",
        essential=True,
    )
    smtp_url: str | None = _setting(
        None,
        url("smtp", "smtps", credentials=True),
        "Moderation",
        "The mail server for `ALERT_EMAIL`: `smtp://user:password@host:587`, or `smtps://` for TLS at once.",
        "With `smtp://` STARTTLS is used where the server has it; a password is never sent without TLS.",
        default_note="no e-mail is sent",
    )
    metrics_token: str | None = _setting(
        None,
        secret(),
        "Monitoring",
        "Bearer token that `GET /metrics` asks for.",
        default_note="the route is open to anyone who reaches the port",
    )

    @property
    def longest_frame(self) -> int:
        """Bytes of the longest message with what comes with it, from a client that escapes everything beyond ASCII."""
        return 12 * self.max_message_length + FRAME_OVERHEAD

    @property
    def rate_frames(self) -> float:
        """WebSocket frames per second and connection: twice the rates of a person, and the pieces of long messages.

        A piece of a long frame counts as much as a frame; twice the rates have room for messages of seven pieces.
        """
        rates = (self.rate_messages, self.rate_typing, self.rate_searches, self.rate_refusals)
        if not all(rates):
            return 0
        return 2 * sum(rates) + self.rate_messages * max(0.0, self.longest_frame / FRAME_PIECE - 7)

    @property
    def production(self) -> bool:
        return self.app_env == "production"

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Settings:
        """Read and check everything. A variable set to nothing counts as unset, as compose files write it.

        Raises SettingsError, which names every mistake at once.
        """
        mistakes: list[str] = []
        values: dict[str, Any] = {}
        for field, setting in table():
            name, value = field.name.upper(), _value(environ, field.name.upper(), setting)
            if value is None and setting.fallback:
                name, value = setting.fallback, _value(environ, setting.fallback, setting)
            if value is None:
                continue
            try:
                values[field.name] = setting.kind.read(value)
            except BadValue as error:
                hint = f"; set {field.name.upper()} to say otherwise" if name == setting.fallback else ""
                mistakes += [f"{name}: {problem}{hint}" for problem in error.problems]
        if mistakes:
            raise SettingsError(mistakes)
        if values.get("app_env") == "production":
            values.setdefault("redis_url", DEFAULT_REDIS_URL)
        if environ.get("DYNO"):
            values.setdefault("trusted_proxies", 1)  # Heroku's router, the only way in
        if "redis_url" in values and not values.get("redis_tls_verify", True):
            values["redis_url"] = unverified(values["redis_url"])
        return cls(**values)


def table() -> list[tuple[dataclasses.Field[Any], Setting]]:
    """Return every setting: its field in Settings, and its row."""
    return [(field, field.metadata["setting"]) for field in dataclasses.fields(Settings)]


def _value(environ: Mapping[str, str], name: str, setting: Setting) -> str | None:
    value = environ.get(name, "")
    return (value if setting.kind.secret else value.strip()) or None
