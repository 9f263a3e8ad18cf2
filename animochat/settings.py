"""What an operator can configure: every variable, its default, its bounds, and one complete list of what is wrong.

The variables are those of the protocol's "Configuration" section. Nothing else in the package reads the environment.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

#: TCP port: where Node chat servers listen by custom, so that an existing page finds us.
DEFAULT_PORT = 3001
#: Origins allowed by CORS: the usual development server of a separate front end.
DEFAULT_CLIENT_URL = "http://localhost:5173"
#: Store in production, where no embedded one is started.
DEFAULT_REDIS_URL = "redis://localhost:6379"
#: Worker processes: one is right for a laptop; platforms set WEB_CONCURRENCY by the machine's size.
DEFAULT_WEB_CONCURRENCY = 1
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
DEFAULT_RATE_REFUSALS = 20.0
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

#: Characters that SECRET_KEY and METRICS_TOKEN need at least: 16 random ones can't be guessed offline.
MIN_SECRET_KEY_LENGTH = 16

LOG_LEVELS = ("debug", "info", "warning", "error")

_HOUR_MS = 3_600_000
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
    #: None: one is made and shared through the store.
    secret_key: str | None = None
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
    rate_connects: float = DEFAULT_RATE_CONNECTS
    max_connections_per_address: int = DEFAULT_MAX_CONNECTIONS_PER_ADDRESS
    max_connections: int = DEFAULT_MAX_CONNECTIONS
    trusted_proxies: int = DEFAULT_TRUSTED_PROXIES

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
            secret_key=read.secret("SECRET_KEY"),
            metrics_token=read.secret("METRICS_TOKEN"),
            log_level=read.log_level("LOG_LEVEL", DEFAULT_LOG_LEVEL),
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

    def log_level(self, name: str, default: str) -> str:
        value = (self.text(name) or default).lower()
        if value not in LOG_LEVELS:
            self.mistake(name, repr(value), f"one of {', '.join(LOG_LEVELS)}")
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

    def redis_url(self, name: str, default: str | None) -> str | None:
        value = self.text(name)
        if value is None:
            return default
        problem = _redis_url_problem(value)
        if problem:
            self.mistake(name, repr(masked_url(value)), problem)
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


def _redis_url_problem(url: str) -> str | None:
    """What the address should have been; None when it is good."""
    try:
        parts = urlsplit(url)
        if parts.scheme == "redis+sentinel":
            return _sentinel_problem(parts)
        host, _ = parts.hostname, parts.port  # reading `port` checks it
    except ValueError:
        return "a valid address"
    if parts.scheme == "unix":
        # unix://run/redis.sock, a slash short, would name /redis.sock
        return None if parts.path.strip("/") and not host else "a socket's path as in unix:///run/redis/redis.sock"
    if parts.scheme not in ("redis", "rediss"):
        return "a redis://, rediss://, unix:// or redis+sentinel:// address"
    if not host:
        return f"complete: a host is missing, as in {parts.scheme}://localhost:6379"
    if not re.fullmatch(r"(/[0-9]{0,5})?", parts.path):
        return "a redis address whose path is a database number, as in redis://localhost:6379/0"
    return None


def _sentinel_problem(parts: SplitResult) -> str | None:
    """As `_redis_url_problem`, for `redis+sentinel://[user:password@]host[:port],…/name[/database]`."""
    hosts = parts.netloc.rpartition("@")[2].split(",")
    if all(re.fullmatch(r"[\w.-]+(:[0-9]{1,5})?", host, re.ASCII) for host in hosts) and re.fullmatch(
        r"/[^/]+(/[0-9]{1,5})?", parts.path
    ):
        return None
    return "complete, as in redis+sentinel://sentinel1:26379,sentinel2:26379/mymaster"
