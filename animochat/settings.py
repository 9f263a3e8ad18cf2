"""What an operator can configure: every variable, its default, its bounds, and one complete list of what is wrong.

The variables are those of the protocol's "Configuration" section. Nothing else in the package reads the environment.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from animochat.store_url import problem

#: TCP port: where Node chat servers listen by custom, so that an existing page finds us.
DEFAULT_PORT = 3001
#: Origins allowed by CORS: the usual development server of a separate front end.
DEFAULT_CLIENT_URL = "http://localhost:5173"
#: Store in production, where no embedded one is started.
DEFAULT_REDIS_URL = "redis://localhost:6379"
#: Worker processes: one is right for a laptop; platforms set WEB_CONCURRENCY by the machine's size.
DEFAULT_WEB_CONCURRENCY = 1
#: The lobby that there is where the operator names none.
MAIN_LOBBY = "main"
#: How many there may be at most: each worker sends every lobby a heartbeat and ticks, five scripts a second.
MAX_LOBBIES = 100
#: Hours during which two people who met are not matched again: meeting a stranger means a new one.
DEFAULT_MATCH_HISTORY_HOURS = 24
#: Milliseconds that somebody who skips waits: long enough to make a look at the partner worth it.
DEFAULT_SKIP_COOLDOWN_MS = 5_000
#: Milliseconds during which a shared interest is insisted on; longer, and people leave instead.
DEFAULT_INTEREST_WAIT_MS = 10_000
#: Milliseconds that a vanished connection keeps its room: a phone's change of network takes a few seconds.
DEFAULT_RECONNECT_GRACE_MS = 10_000
#: Code points in one message: a page of text, and far below what one frame may carry.
DEFAULT_MAX_MESSAGE_LENGTH = 2_000
#: Messages a second and person: no one types faster, and ten seconds' worth may be pasted at once.
DEFAULT_RATE_MESSAGES = 5.0
#: Typing notices a second and person: clients send one at the start and one at the end of typing.
DEFAULT_RATE_TYPING = 5.0
#: Searches (find, next) a second and person: each costs the store a draw from the pool.
DEFAULT_RATE_SEARCHES = 1.0
#: Refused requests a second and person, beyond which it is no use to refuse: what a clumsy client sends stays below, a
#: flood does not.
DEFAULT_RATE_REFUSALS = 10.0
#: Reports an hour and person: who meets that many who deserve one is the exception, who makes them up isn't.
DEFAULT_REPORTS_PER_HOUR = 10
#: Reports an hour and address, in each lobby: a campus that shares one, where ten people in the same hour file all that
#: a person may. One that floods takes up 7 MiB of the store in an hour, and no more than an operator can read.
DEFAULT_REPORTS_PER_HOUR_PER_ADDRESS = 100
#: Different people whose reports within a day suspend somebody for an hour: none, unless the operator wants it.
DEFAULT_AUTO_SUSPEND_REPORTS = 0
#: What the word filter does to what matches: whoever says it may go on, without it.
DEFAULT_WORD_FILTER_ACTION = "mask"
#: New connections a second and address: a campus or a mobile carrier may share one address.
DEFAULT_RATE_CONNECTS = 50.0
#: Connections of one address at a time, for the same reason.
DEFAULT_MAX_CONNECTIONS_PER_ADDRESS = 2_000
#: Connections of one worker at a time: what a core can serve, and what the usual limits on open files allow.
DEFAULT_MAX_CONNECTIONS = 10_000
#: Messages are stored, so that nobody who comes back misses one, wherever it lands.
DEFAULT_STORE_MESSAGES = True
#: Proxies in front whose X-Forwarded-For entry is believed: none, since anybody can send that header.
DEFAULT_TRUSTED_PROXIES = 0

#: Log lines from this level on: what an operator may have to act upon, and what the server itself does.
DEFAULT_LOG_LEVEL = "info"

#: Characters that SECRET_KEY, ADMIN_TOKEN and METRICS_TOKEN need at least: 16 random ones can't be guessed offline.
MIN_SECRET_KEY_LENGTH = 16

LOG_LEVELS = ("debug", "info", "warning", "error")

_HOUR_MS = 3_600_000
_LOBBY = re.compile(r"[a-z0-9-]{1,32}", re.ASCII)
_ORIGIN = re.compile(r"(https?)://(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::([0-9]{1,5}))?", re.ASCII)
_DEFAULT_PORTS = {"http": 80, "https": 443}


class SettingsError(Exception):
    """The environment holds mistakes; `mistakes` has one line for each, fit to be shown to the operator."""

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("; ".join(mistakes))
        self.mistakes = mistakes


@dataclass(frozen=True)
class Settings:
    """The checked configuration; `Settings()` has the defaults of development. Each time is in the unit of its name."""

    port: int = DEFAULT_PORT
    #: "development" or "production"
    app_env: str = "development"
    #: Origins in the form that browsers send ("https://chat.example"), or "*".
    client_url: tuple[str, ...] = (DEFAULT_CLIENT_URL,)
    #: None only in development: whoever starts the workers starts an embedded store and sets REDIS_URL for them.
    redis_url: str | None = None
    web_concurrency: int = DEFAULT_WEB_CONCURRENCY
    #: Names, each once; the first is where people go who name none.
    lobbies: tuple[str, ...] = (MAIN_LOBBY,)
    #: None: one is made and shared through the store.
    secret_key: str | None = None
    #: What the operator shows at /admin; None: there is no such page.
    admin_token: str | None = None
    #: What `GET /metrics` asks for; None: nothing.
    metrics_token: str | None = None
    #: "debug", "info", "warning" or "error"
    log_level: str = DEFAULT_LOG_LEVEL
    match_history_hours: int = DEFAULT_MATCH_HISTORY_HOURS
    skip_cooldown_ms: int = DEFAULT_SKIP_COOLDOWN_MS
    interest_wait_ms: int = DEFAULT_INTEREST_WAIT_MS
    reconnect_grace_ms: int = DEFAULT_RECONNECT_GRACE_MS
    max_message_length: int = DEFAULT_MAX_MESSAGE_LENGTH
    #: False: what is said never gets into the store.
    store_messages: bool = DEFAULT_STORE_MESSAGES
    #: A second; 0 means no limit, here and below.
    rate_messages: float = DEFAULT_RATE_MESSAGES
    rate_typing: float = DEFAULT_RATE_TYPING
    rate_searches: float = DEFAULT_RATE_SEARCHES
    rate_refusals: float = DEFAULT_RATE_REFUSALS
    reports_per_hour: int = DEFAULT_REPORTS_PER_HOUR
    reports_per_hour_per_address: int = DEFAULT_REPORTS_PER_HOUR_PER_ADDRESS
    auto_suspend_reports: int = DEFAULT_AUTO_SUSPEND_REPORTS
    #: Path of a file of patterns, read when the server starts (moderation/words.py); None: nothing is filtered.
    word_filter_file: str | None = None
    #: "mask" or "refuse"
    word_filter_action: str = DEFAULT_WORD_FILTER_ACTION
    rate_connects: float = DEFAULT_RATE_CONNECTS
    max_connections_per_address: int = DEFAULT_MAX_CONNECTIONS_PER_ADDRESS
    max_connections: int = DEFAULT_MAX_CONNECTIONS
    trusted_proxies: int = DEFAULT_TRUSTED_PROXIES

    @property
    def rate_frames(self) -> float:
        """WebSocket frames a second and connection, whatever is in them: twice what may be asked for or refused."""
        rates = (self.rate_messages, self.rate_typing, self.rate_searches, self.rate_refusals)
        return 2 * sum(rates) if all(rates) else 0

    @property
    def production(self) -> bool:
        return self.app_env == "production"

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Settings:
        """Reads and checks everything. A variable set to nothing counts as unset, as compose files write it.

        Raises SettingsError naming every mistake at once.
        """
        read = _Reader(environ)
        app_env = read.app_env()
        settings = cls(
            port=read.integer("PORT", DEFAULT_PORT, 1, 65_535),
            app_env=app_env,
            client_url=read.origins("CLIENT_URL", DEFAULT_CLIENT_URL),
            redis_url=read.redis_url("REDIS_URL", DEFAULT_REDIS_URL if app_env == "production" else None),
            web_concurrency=read.integer("WEB_CONCURRENCY", DEFAULT_WEB_CONCURRENCY, 1, 1_000),
            lobbies=read.lobbies("LOBBIES", MAIN_LOBBY),
            secret_key=read.secret("SECRET_KEY"),
            admin_token=read.secret("ADMIN_TOKEN"),
            metrics_token=read.secret("METRICS_TOKEN"),
            log_level=read.choice("LOG_LEVEL", DEFAULT_LOG_LEVEL, LOG_LEVELS),
            match_history_hours=read.integer("MATCH_HISTORY_HOURS", DEFAULT_MATCH_HISTORY_HOURS, 0, 8_760),
            skip_cooldown_ms=read.integer("SKIP_COOLDOWN_MS", DEFAULT_SKIP_COOLDOWN_MS, 0, _HOUR_MS),
            interest_wait_ms=read.integer("INTEREST_WAIT_MS", DEFAULT_INTEREST_WAIT_MS, 0, _HOUR_MS),
            reconnect_grace_ms=read.integer("RECONNECT_GRACE_MS", DEFAULT_RECONNECT_GRACE_MS, 0, _HOUR_MS),
            max_message_length=read.integer("MAX_MESSAGE_LENGTH", DEFAULT_MAX_MESSAGE_LENGTH, 1, 20_000),
            store_messages=read.flag("STORE_MESSAGES", DEFAULT_STORE_MESSAGES),
            rate_messages=read.rate("RATE_MESSAGES", DEFAULT_RATE_MESSAGES),
            rate_typing=read.rate("RATE_TYPING", DEFAULT_RATE_TYPING),
            rate_searches=read.rate("RATE_SEARCHES", DEFAULT_RATE_SEARCHES),
            rate_refusals=read.rate("RATE_REFUSALS", DEFAULT_RATE_REFUSALS),
            reports_per_hour=read.integer("REPORTS_PER_HOUR", DEFAULT_REPORTS_PER_HOUR, 0, 10_000),
            reports_per_hour_per_address=read.integer(
                "REPORTS_PER_HOUR_PER_ADDRESS", DEFAULT_REPORTS_PER_HOUR_PER_ADDRESS, 0, 100_000
            ),
            auto_suspend_reports=read.integer("AUTO_SUSPEND_REPORTS", DEFAULT_AUTO_SUSPEND_REPORTS, 0, 1_000),
            word_filter_file=read.text("WORD_FILTER_FILE"),
            word_filter_action=read.choice("WORD_FILTER_ACTION", DEFAULT_WORD_FILTER_ACTION, ("mask", "refuse")),
            rate_connects=read.rate("RATE_CONNECTS", DEFAULT_RATE_CONNECTS),
            max_connections_per_address=read.integer(
                "MAX_CONNECTIONS_PER_ADDRESS", DEFAULT_MAX_CONNECTIONS_PER_ADDRESS, 0, 1_000_000
            ),
            max_connections=read.integer("MAX_CONNECTIONS", DEFAULT_MAX_CONNECTIONS, 0, 1_000_000),
            trusted_proxies=read.integer("TRUSTED_PROXIES", DEFAULT_TRUSTED_PROXIES, 0, 10),
        )
        if read.mistakes:
            raise SettingsError(read.mistakes)
        return settings


class _Reader:
    """Reads one variable after the other and collects what is wrong; a wrong one yields its default meanwhile."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ
        self.mistakes: list[str] = []

    def text(self, name: str) -> str | None:
        return self.environ.get(name, "").strip() or None

    def mistake(self, name: str, value: str, allowed: str) -> None:
        self.mistakes.append(f"{name}: {value} is not {allowed}")

    def app_env(self) -> str:
        # NODE_ENV is what platforms and compose files made for a Node server already set.
        name = "NODE_ENV" if self.text("APP_ENV") is None else "APP_ENV"
        value = self.text(name) or "development"
        if value not in ("development", "production"):
            hint = "; set APP_ENV to say otherwise" if name == "NODE_ENV" else ""
            self.mistake(name, repr(value), f"one of development, production{hint}")
        return value

    def choice(self, name: str, default: str, choices: tuple[str, ...]) -> str:
        value = (self.text(name) or default).lower()
        if value not in choices:
            self.mistake(name, repr(value), f"one of {', '.join(choices)}")
        return value

    def integer(self, name: str, default: int, low: int, high: int) -> int:
        value = self.text(name)
        if value is None:
            return default
        # int() alone would take "1_000", "+5" and other scripts' digits.
        if re.fullmatch(r"[0-9]{1,12}", value) and low <= int(value) <= high:
            return int(value)
        self.mistake(name, repr(value), f"a whole number from {low} to {high}")
        return default

    def flag(self, name: str, default: bool) -> bool:
        value = self.text(name)
        if value is None or value in ("0", "1"):
            return default if value is None else value == "1"
        self.mistake(name, repr(value), "0 or 1")
        return default

    def rate(self, name: str, default: float) -> float:
        value = self.text(name)
        if value is None:
            return default
        if re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?", value) and float(value) <= 100_000:
            return float(value)
        self.mistake(name, repr(value), "a number from 0 (no limit) to 100000, a second")
        return default

    def secret(self, name: str) -> str | None:
        value = self.environ.get(name) or None
        if value is not None and len(value) < MIN_SECRET_KEY_LENGTH:
            self.mistake(name, f"a value of {len(value)} characters", f"at least {MIN_SECRET_KEY_LENGTH} long")
        return value

    def origins(self, name: str, default: str) -> tuple[str, ...]:
        entries = [entry.strip() for entry in (self.text(name) or default).split(",") if entry.strip()]
        origins: list[str] = []
        for entry in entries:
            origin = "*" if entry == "*" else normalized_origin(entry.rstrip("/"))
            if origin is None:
                self.mistake(name, repr(entry), "an origin like https://chat.example or http://localhost:5173, or *")
            elif origin not in origins:
                origins.append(origin)
        return tuple(origins)

    def lobbies(self, name: str, default: str) -> tuple[str, ...]:
        value = self.text(name) or default
        names = tuple(entry.strip() for entry in value.split(","))
        if all(map(_LOBBY.fullmatch, names)) and len(set(names)) == len(names) <= MAX_LOBBIES:
            return names
        allowed = f"up to {MAX_LOBBIES} names of 1 to 32 lower-case letters, digits and -, comma separated, none twice"
        self.mistake(name, repr(value), allowed)
        return (default,)

    def redis_url(self, name: str, default: str | None) -> str | None:
        value = self.text(name)
        if value is None:
            return default
        wrong = problem(value)
        if wrong:
            self.mistake(name, repr(masked_url(value)), wrong)
        return value


def normalized_origin(origin: str) -> str | None:
    """The form in which browsers send an origin: lower case, no default port. None if it isn't an http(s) origin."""
    match = _ORIGIN.fullmatch(origin.lower())
    if match is None:
        return None
    scheme, host, port = match[1], match[2], match[3]
    if port is None or int(port) == _DEFAULT_PORTS[scheme]:
        return f"{scheme}://{host}"
    return f"{scheme}://{host}:{int(port)}" if 1 <= int(port) <= 65_535 else None


def masked_url(url: str) -> str:
    """A store's address that can be shown: without user, password and query (redis-py reads a password there too)."""
    return re.sub(r"\?.*", "?***", re.sub(r"//.*@", "//***@", url, flags=re.DOTALL), flags=re.DOTALL)
