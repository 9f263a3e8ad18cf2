"""Connections to Redis: one way to make them, for every kind of store that REDIS_URL may name (url.py)."""

from __future__ import annotations

from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError, Sentinel

from animochat.store.url import StoreUrl, parse

#: Seconds to wait for a connection, and for a reply on it. Longer than any script runs, shorter than people wait.
TIMEOUT = 2.0

#: Exceptions of a broken connection, from the network up to the protocol.
BROKEN = (redis.ConnectionError, redis.TimeoutError, MasterNotFoundError, OSError)


def connect(url: str, timeout: float = TIMEOUT) -> Any:
    """Open a connection to the store at `url` (one server, or a Sentinel's primary), ready for use.

    The connection never repeats a command: whether a script may run twice is not for the network layer to decide.

    Raises one of BROKEN if the store can't be reached within `timeout` seconds, redis.RedisError (such as a
    ResponseError) if it refuses us.
    """
    address = parse(url)
    if address.kind == "sentinel":
        address = _primary(address, timeout)
    return open_connection(address, timeout)


def open_connection(address: StoreUrl, timeout: float) -> Any:
    """Do the same as `connect` for the address of a single server."""
    options: dict[str, Any] = {
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
        "driver_info": None,
        **({"ssl_check_hostname": True} if address.tls else {}),
        **address.keywords(),
    }
    make: Any = redis.SSLConnection if address.tls else redis.Connection  # their constructors have no types
    if address.kind == "unix":
        make, options["path"] = redis.UnixDomainSocketConnection, address.path
    else:
        options["host"], options["port"] = address.hosts[0]
    connection: Any = redis.ConnectionPool(connection_class=make, **options).make_connection()
    connection.connect()
    return connection


def seeds(url: str) -> list[str]:
    """Return the addresses of the servers in a cluster's address; for any other address, the address itself."""
    address = parse(url)
    if address.kind != "cluster":
        return [url]
    return [address.at(host, port).url for host, port in address.hosts]


def neighbour(url: str, host: str, port: int) -> str:
    """Return the address of another server, reached with the same options as the one at `url`.

    `host`: the name that a node reports; "" stands for the one at `url`. A socket has no host: others use a name.
    """
    address = parse(url)
    return address.at(host or (address.hosts[0][0] if address.hosts else "localhost"), port).url


def _primary(address: StoreUrl, timeout: float) -> StoreUrl:
    """Return the address of the current primary, from any of the Sentinels. User and password are the primary's."""
    shared = {name: value for name, value in address.keywords().items() if name.startswith(("ssl_", "socket_"))}
    own = {name.removeprefix("sentinel_"): value for name, value in address.options if name.startswith("sentinel_")}
    make: Any = Sentinel  # its constructor has no types
    sentinels = make(
        address.hosts,
        sentinel_kwargs={
            "socket_timeout": timeout,
            "socket_connect_timeout": timeout,
            **({"ssl": True} if address.tls else {}),
            **shared,
            **own,
        },
    )
    try:
        host, port = sentinels.discover_master(address.service)
    finally:
        for client in sentinels.sentinels:
            client.close()
    return address.at(host, port)
