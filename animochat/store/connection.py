"""How a worker reaches Redis: what REDIS_URL may say, and one way to make a connection.

An address names one server, or the nodes of a cluster, or the Sentinels that know where the primary is; docs/stores.md
has the forms. User, password and options (`ssl_ca_certs=…`) hold for every server that it leads to.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError, Sentinel

#: Seconds to wait for a connection, and for an answer on it. Longer than any script runs, shorter than people wait.
TIMEOUT = 2.0

#: What a broken connection raises, from the network up to the protocol.
BROKEN = (redis.ConnectionError, redis.TimeoutError, MasterNotFoundError, OSError)

#: The ports of a store and of a Sentinel whose addresses name none.
PORT, SENTINEL_PORT = 6379, 26379

#: Options of a Sentinel's address that are for the Sentinels themselves.
SENTINEL_OPTIONS = {"sentinel_username": "username", "sentinel_password": "password"}


def connect(url: str, timeout: float = TIMEOUT) -> Any:
    """Open a connection to the store at `url` (one server, or a Sentinel's primary), ready for use.

    It never repeats a command by itself: whether a script may run twice is not for the network layer to decide.

    Raises one of BROKEN when the store can't be reached within `timeout` seconds, redis.RedisError (a ResponseError,
    say) when it refuses us.
    """
    options: dict[str, Any] = {
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
        "driver_info": None,
    }
    if "+sentinel:" in url:
        url = _primary(url, timeout)
    connection: Any = redis.ConnectionPool.from_url(url, **options).make_connection()
    connection.connect()
    return connection


def seeds(url: str) -> list[str]:
    """The addresses of the single servers that an address of a cluster names; the address itself where it names one."""
    parts = urlsplit(url)
    scheme, _, kind = parts.scheme.partition("+")
    if kind != "cluster":
        return [url]
    credentials, at, _ = parts.netloc.rpartition("@")
    return [
        parts._replace(scheme=scheme, netloc=f"{credentials}{at}{_bracketed(host)}:{port}").geturl()
        for host, port in _hosts(parts.netloc, PORT)
    ]


def neighbour(url: str, host: str, port: int) -> str:
    """The address of another server that is reached as the one at `url` is: with its user, password and options."""
    parts = urlsplit(url)
    if parts.scheme == "unix":  # known by its socket here; others call it by a name
        parts = parts._replace(scheme="redis", path="")
    credentials, at, _ = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{credentials}{at}{_bracketed(host)}:{port}").geturl()


def _primary(url: str, timeout: float) -> str:
    """The address of the present primary, from any of the Sentinels in
    `redis+sentinel://[user:password@]host[:port],host[:port]…/name[/database][?options]`. User and password are the
    primary's.
    """
    parts = urlsplit(url)
    scheme = parts.scheme.partition("+")[0]
    credentials, at, _ = parts.netloc.rpartition("@")
    name, _, database = parts.path.strip("/").partition("/")
    options = parse_qsl(parts.query)
    common = urlencode([(option, value) for option, value in options if option not in SENTINEL_OPTIONS])
    # redis-py knows what type each option has
    parse_url: Any = redis.connection.parse_url  # no types
    known = parse_url(f"{scheme}://sentinel?{common}")
    known.pop("host")
    ssl = {"ssl": True} if known.pop("connection_class", None) is redis.SSLConnection else {}
    known.update({SENTINEL_OPTIONS[option]: value for option, value in options if option in SENTINEL_OPTIONS})
    make: Any = Sentinel  # its constructor has no types
    sentinels = make(
        _hosts(parts.netloc, SENTINEL_PORT),
        sentinel_kwargs={"socket_timeout": timeout, "socket_connect_timeout": timeout, **ssl, **known},
    )
    try:
        host, port = sentinels.discover_master(unquote(name))
    finally:
        for client in sentinels.sentinels:
            client.close()
    query = f"?{common}" if common else ""
    return f"{scheme}://{credentials}{at}{_bracketed(host)}:{port}/{database or 0}{query}"


def _hosts(netloc: str, default_port: int) -> list[tuple[str, int]]:
    """The hosts and ports of `[user:password@]host[:port],[host]:port,…`."""
    hosts = []
    for address in netloc.rpartition("@")[2].split(","):
        one = urlsplit(f"//{address}")
        hosts.append((one.hostname or "", one.port or default_port))
    return hosts


def _bracketed(host: str) -> str:
    """As a host stands in an address."""
    return f"[{host}]" if ":" in host else host
