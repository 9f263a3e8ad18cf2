"""The one parser of the store's address: REDIS_URL as a structure (docs/stores.md has the forms).

    address = parse("rediss+sentinel://user:secret@one,two/mymaster")
    address.hosts, address.service   # (("one", 26379), ("two", 26379)), "mymaster"

Settings validate an address with it, and connections use its result: nothing else reads an address.
"""

from __future__ import annotations

import functools
import ipaddress
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from urllib.parse import parse_qsl, quote, unquote, urlencode

#: Default ports of a store and of a Sentinel.
PORT, SENTINEL_PORT = 6379, 26379

#: Options allowed after the `?` of the store's address: redis-py's names, and the form of each value.
_STORE_OPTIONS = {
    "db": r"[0-9]{1,5}",
    "username": r".+",
    "password": r".+",
    "client_name": r"[!-~]+",
    "socket_timeout": r"[0-9]{1,2}(\.[0-9]{1,6})?",
    "socket_connect_timeout": r"[0-9]{1,2}(\.[0-9]{1,6})?",
    "socket_keepalive": r"(?i:true|false|yes|no|on|off|1|0)",
}
_TLS_OPTIONS = {
    "ssl_ca_certs": r".+",
    "ssl_certfile": r".+",
    "ssl_keyfile": r".+",
    "ssl_password": r".+",
    "ssl_ca_path": r".+",
    "ssl_cert_reqs": r"required|optional|none",
    "ssl_check_hostname": r"(?i:true|false|yes|no|on|off|1|0)",
}
_SENTINEL_OPTIONS = {"sentinel_username": r".+", "sentinel_password": r".+"}
#: Options that name a file, which has to exist.
_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_ca_path")
_TRUE = ("true", "yes", "on", "1")
#: Allowed range of timeouts in seconds: a silent connection is noticed within seconds.
_TIMEOUTS = (0.1, 10.0)

#: Scheme -> kind of store, and whether it uses TLS.
_SCHEMES = {
    "redis": ("single", False),
    "rediss": ("single", True),
    "unix": ("unix", False),
    "redis+cluster": ("cluster", False),
    "rediss+cluster": ("cluster", True),
    "redis+sentinel": ("sentinel", False),
    "rediss+sentinel": ("sentinel", True),
}

#: A host and its port, if any; nothing after the colon means the default port, as in every URL.
_HOST = re.compile(r"(?:\[(?P<v6>[^\[\]]+)\]|(?P<name>[^\[\]:]+))(?::(?P<port>[0-9]*))?")


class StoreUrlError(ValueError):
    """The text says how the address should look. It never quotes the address, which may contain a password."""


@dataclass(frozen=True)
class StoreUrl:
    """The place of a store, and how to connect. `kind`: "single", "unix", "sentinel" or "cluster".

    `service`: the Sentinels' name of the primary. `options`: those after the `?` except user, password and database.
    """

    kind: str
    tls: bool = False
    hosts: tuple[tuple[str, int], ...] = ()
    path: str = ""
    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    database: int = 0
    service: str = ""
    options: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    @property
    def place(self) -> str:
        """Return the hosts and ports, or the socket's path: the part that may be shown."""
        return self.path or ",".join(f"{_bracketed(host)}:{port}" for host, port in self.hosts)

    def at(self, host: str, port: int) -> StoreUrl:
        """Return the address of one server with the same user, password and options."""
        options = tuple(option for option in self.options if option[0] not in _SENTINEL_OPTIONS)
        return replace(self, kind="single", hosts=((host, port),), path="", service="", options=options)

    def keywords(self) -> dict[str, object]:
        """Return the arguments for redis-py's connections, except host, port and path."""
        known: dict[str, object] = {"db": self.database}
        known.update({"username": self.username or None, "password": self.password or None})
        for name, value in self.options:
            if name in ("socket_keepalive", "ssl_check_hostname"):
                known[name] = value.lower() in _TRUE
            elif name in ("socket_timeout", "socket_connect_timeout"):
                known[name] = float(value)
            elif name not in _SENTINEL_OPTIONS:
                known[name] = value
        return known

    @property
    def url(self) -> str:
        """Return it as an address, secrets included."""
        scheme = next(scheme for scheme, known in _SCHEMES.items() if known == (self.kind, self.tls))
        credentials = quote(self.username, safe="") + (f":{quote(self.password, safe='')}" if self.password else "")
        hosts = ",".join(f"{_bracketed(host)}:{port}" for host, port in self.hosts)
        path = quote(self.path) or "".join([f"/{quote(self.service, safe='')}"] if self.service else [])
        options = [*self.options]
        if self.kind == "unix":
            options += [("db", str(self.database))] if self.database else []
        elif self.database:
            path += f"/{self.database}"
        query = f"?{urlencode(options)}" if options else ""
        return f"{scheme}://{credentials}{'@' if credentials else ''}{hosts}{path}{query}"


@functools.lru_cache(maxsize=1024)
def parse(url: str) -> StoreUrl:
    """Parse an address. Raise StoreUrlError."""
    scheme, divider, rest = url.partition("://")
    if not divider or scheme.lower() not in _SCHEMES:
        raise StoreUrlError("a redis://, rediss://, unix://, redis+cluster:// or redis+sentinel:// address")
    if re.search("[\x00-\x1f\x7f#]", url):
        raise StoreUrlError("a valid address: # is written as %23, and so on")
    kind, tls = _SCHEMES[scheme.lower()]
    rest, _, query = rest.partition("?")
    authority, slash, path = rest.partition("/")
    credentials, _, where = authority.rpartition("@")
    address = StoreUrl(kind, tls, options=tuple(_options(kind, tls, query)))
    username, _, password = credentials.partition(":")
    address = _with_credentials(address, _decoded(username), _decoded(password))
    if kind == "unix":
        if where or not path.strip("/"):  # unix://run/redis.sock, with a slash missing, would name /redis.sock
            raise StoreUrlError("a socket's path as in unix:///run/redis/redis.sock")
        return _with_database(replace(address, path=_decoded(slash + path)), "")
    address = replace(address, hosts=tuple(_hosts(scheme.lower(), kind, where)))
    return _READERS[kind](address, scheme.lower(), path)


def problem(url: str) -> str | None:
    """Return how the address should look; None if it is valid."""
    try:
        options = parse(url).options
    except StoreUrlError as error:
        return str(error)
    for name, value in options:
        if name in _FILES and not os.access(value, os.R_OK):
            return f"an address whose {name} names a file that can be read"
    return None


def unverified(url: str) -> str:
    """Return the address with certificate checks off, unless it sets them itself."""
    address = parse(url)
    if not address.tls or "ssl_cert_reqs" in dict(address.options):
        return url
    checks = {"ssl_check_hostname": "false", "ssl_cert_reqs": "none"}
    kept = tuple(option for option in address.options if option[0] not in checks)
    return replace(address, options=(*kept, *checks.items())).url


def masked_url(url: str) -> str:
    """Return a store's address without user, password and query, so that it can be shown, however wrong it is."""
    head, divider, rest = url.partition("://")
    if not divider or (head.lower() not in _SCHEMES and ("@" in rest or not re.fullmatch("[a-z+]+", head))):
        head, divider, rest = "", "", url
    wrong = problem(url) is not None
    before, question, query = rest.partition("?")
    if wrong and "@" in query:
        return f"{head}{divider}***"  # the password may contain a question mark
    _, at, where = before.rpartition("@")
    authority, slash, path = where.partition("/")
    if wrong:
        # A port has at most five digits: anything longer, or without a host, may be a password that lacks its @.
        authority = re.sub(r":[^:,]{6,}|^:.*[^0-9,:].*", ":***", authority, flags=re.DOTALL)
        authority = "***" if "=" in authority else authority
        path = "***" if re.search("[:=]", path) else path
    return f"{head}{divider}{'***@' if at else ''}{authority}{slash}{path}{'?***' if question else ''}"


def _single(address: StoreUrl, scheme: str, path: str) -> StoreUrl:
    """Parse `redis://[user:password@]host[:port][/database]`."""
    if not re.fullmatch(r"[0-9]{0,5}/?", path):
        raise StoreUrlError("a redis address whose path is a database number, as in redis://localhost:6379/0")
    return _with_database(address, path.rstrip("/"))


def _cluster(address: StoreUrl, scheme: str, path: str) -> StoreUrl:
    """Parse `redis+cluster://[user:password@]host[:port],…`: a cluster has one database."""
    if path.rstrip("/") in ("", "0"):
        address = _with_database(address, path.rstrip("/"))
        if address.database == 0:
            return address
    raise StoreUrlError(f"complete, as in {scheme}://node1:6379,node2:6379: a cluster has one database, 0")


def _sentinel(address: StoreUrl, scheme: str, path: str) -> StoreUrl:
    """Parse `redis+sentinel://[user:password@]host[:port],…/name[/database]`.

    python-socketio writes `/database/name`: that is accepted if only the first of the two is a number.
    """
    segments = (path.removesuffix("/") if path != "/" else "").split("/")
    if len(segments) > 2 or not all(segments):
        raise StoreUrlError(f"complete, as in {scheme}://sentinel1:26379,sentinel2:26379/mymaster")
    number = re.compile(r"[0-9]{1,5}")
    if len(segments) == 2 and not number.fullmatch(segments[1]):
        segments.reverse()
    name, database = segments[0], segments[1] if len(segments) == 2 else ""
    if database and not number.fullmatch(database):
        raise StoreUrlError(f"an address with a database number, as in {scheme}://sentinel1:26379/mymaster/0")
    return _with_database(replace(address, service=_decoded(name)), database)


_READERS = {"single": _single, "cluster": _cluster, "sentinel": _sentinel}


def _hosts(scheme: str, kind: str, where: str) -> Iterator[tuple[str, int]]:
    example = f"{scheme}://localhost:6379" if kind == "single" else f"{scheme}://one:6379,two:6379"
    for host in where.split(",") if kind != "single" else [where]:
        match = _HOST.fullmatch(host)
        if match is None:
            raise StoreUrlError(f"complete: a host is missing or malformed; it should be as in {example}")
        port = int(match["port"] or (SENTINEL_PORT if kind == "sentinel" else PORT))
        if not 0 < port <= 65_535:
            raise StoreUrlError("an address whose ports are from 1 to 65535")
        yield _ipv6(match["v6"]) if match["v6"] else _name(match["name"], example), port


def _ipv6(text: str) -> str:
    """Return an address without its brackets. A zone follows %25 (RFC 6874), or % as tools print it."""
    address, percent, zone = text.partition("%")
    zone = _decoded(zone[2:] if zone.startswith("25") and len(zone) > 2 else zone)
    try:
        ipaddress.IPv6Address(address)
    except ValueError:
        raise StoreUrlError("an address whose brackets have an IPv6 address in them") from None
    if percent and not re.fullmatch(r"[\w.~-]+", zone):
        raise StoreUrlError("an address whose IPv6 zone has a name, as in [fe80::1%25eth0]")
    return f"{address.lower()}%{zone}" if percent else address.lower()


def _name(text: str, example: str) -> str:
    """Return a name or IPv4 address."""
    name = _decoded(text)
    if not re.fullmatch(r"[\w.-]+", name):
        raise StoreUrlError(f"an address whose hosts are names or addresses, as in {example}")
    return name.lower()


def _bracketed(host: str) -> str:
    """Return a host in the form for an address, with brackets if needed."""
    return f"[{host.replace('%', '%25')}]" if ":" in host else quote(host)


def _decoded(text: str) -> str:
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise StoreUrlError("a valid address: what stands behind % has to be UTF-8") from None


def _with_credentials(address: StoreUrl, username: str, password: str) -> StoreUrl:
    """Set user and password, which may be in front of the hosts or after the `?`."""
    given = dict(address.options)
    for name, value in (("username", username), ("password", password)):
        if value and given.get(name, value) != value:
            raise StoreUrlError(f"an address that names one {name}")
    options = tuple(option for option in address.options if option[0] not in ("username", "password"))
    username, password = username or given.get("username", ""), password or given.get("password", "")
    return replace(address, username=username, password=password, options=options)


def _with_database(address: StoreUrl, database: str) -> StoreUrl:
    """Set the database's number, which may be in the path or after the `?`."""
    given = {int(number) for name, number in (("db", database), *address.options) if name == "db" and number}
    if len(given) > 1:
        raise StoreUrlError("an address that names one database")
    options = tuple(option for option in address.options if option[0] != "db")
    return replace(address, database=max(given, default=0), options=options)


def _options(kind: str, tls: bool, query: str) -> Iterator[tuple[str, str]]:
    """Parse the part after the `?`. Errors contain names but no values: a password may be one."""
    allowed = _STORE_OPTIONS | (_TLS_OPTIONS if tls else {}) | (_SENTINEL_OPTIONS if kind == "sentinel" else {})
    names = set()
    try:
        pairs = parse_qsl(query, keep_blank_values=True, errors="strict")
    except ValueError:  # not UTF-8, or far too many options
        raise StoreUrlError("a valid address: what stands behind % has to be UTF-8") from None
    for name, value in pairs:
        if name in _TLS_OPTIONS and name not in allowed:
            raise StoreUrlError(f"an address with TLS, which {name} is for: it has to begin with rediss")
        if name not in allowed:
            raise StoreUrlError("an address with options that are known here: " + ", ".join(allowed))
        low, high = _TIMEOUTS
        good = re.fullmatch(allowed[name], value) and (not name.endswith("timeout") or low <= float(value) <= high)
        if not good or name in names:
            raise StoreUrlError(f"an address with {'one' if good else 'a good value of'} {name}")
        names.add(name)
        yield name, value
