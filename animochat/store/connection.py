"""How a worker reaches Redis: one way to make a connection, used by the pipeline and by the subscription."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote, urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError, Sentinel

#: Seconds to wait for a connection, and for an answer on it. Longer than any script runs, shorter than people wait.
TIMEOUT = 2.0

#: What a broken connection raises, from the network up to the protocol.
BROKEN = (redis.ConnectionError, redis.TimeoutError, MasterNotFoundError, OSError)

#: The port of a Sentinel whose address names none.
SENTINEL_PORT = 26379


def connect(url: str, timeout: float = TIMEOUT) -> Any:
    """Open a connection to the store at `url` (`redis://`, `rediss://`, `unix://`, `redis+sentinel://`), ready for use.

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
    if url.startswith("redis+sentinel://"):
        url = _primary(url, timeout)
    connection: Any = redis.ConnectionPool.from_url(url, **options).make_connection()
    connection.connect()
    return connection


def _primary(url: str, timeout: float) -> str:
    """The address of the present primary, from any of the Sentinels in
    `redis+sentinel://[user:password@]host[:port],host[:port]…/name[/database]`. User and password are the primary's.
    """
    parts = urlsplit(url)
    credentials, at, hosts = parts.netloc.rpartition("@")
    name, _, database = parts.path.strip("/").partition("/")
    addresses = []
    for address in hosts.split(","):
        host, _, port = address.rpartition(":") if ":" in address else (address, "", str(SENTINEL_PORT))
        addresses.append((host, int(port)))
    make: Any = Sentinel  # its constructor has no types
    sentinels = make(addresses, socket_timeout=timeout, socket_connect_timeout=timeout)
    try:
        host, port = sentinels.discover_master(unquote(name))
    finally:
        for client in sentinels.sentinels:
            client.close()
    return f"redis://{credentials}{at}{host}:{port}/{database or 0}"
