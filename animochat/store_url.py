"""What may be in REDIS_URL (docs/stores.md has the forms), and what is wrong with it, in the operator's words."""

from __future__ import annotations

import os
import re
from urllib.parse import SplitResult, parse_qsl, urlsplit

#: What may stand behind the `?` of the store's address: redis-py's names. Where a value has a form, that is here too.
_STORE_OPTIONS = {
    "db": r"[0-9]{1,5}",
    "username": r".+",
    "password": r".+",
    "client_name": r"\S+",
    "socket_timeout": r"[0-9]+(\.[0-9]+)?",
    "socket_connect_timeout": r"[0-9]+(\.[0-9]+)?",
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
#: Options that name a file, which has to be there.
_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")

_SCHEMES = ("redis", "rediss", "redis+cluster", "rediss+cluster", "redis+sentinel", "rediss+sentinel", "unix")


def problem(url: str) -> str | None:
    """What the address should have been; None when it is good."""
    try:
        parts = urlsplit(url)
        if parts.scheme not in _SCHEMES:
            return "a redis://, rediss://, unix://, redis+cluster:// or redis+sentinel:// address"
        if "+" in parts.scheme:
            wrong = _several_hosts_problem(parts)
        else:
            host, _ = parts.hostname, parts.port  # reading `port` checks it
            if parts.scheme == "unix":
                # unix://run/redis.sock, a slash short, would name /redis.sock
                whole = parts.path.strip("/") and not host
                wrong = None if whole else "a socket's path as in unix:///run/redis/redis.sock"
            else:
                wrong = _one_host_problem(parts)
    except ValueError:
        return "a valid address"
    return wrong or _options_problem(parts)


def _one_host_problem(parts: SplitResult) -> str | None:
    """As `problem`, for `redis://[user:password@]host[:port][/database]`."""
    if not parts.hostname:
        return f"complete: a host is missing, as in {parts.scheme}://localhost:6379"
    if not re.fullmatch(r"(/[0-9]{0,5})?", parts.path):
        return "a redis address whose path is a database number, as in redis://localhost:6379/0"
    return None


def _several_hosts_problem(parts: SplitResult) -> str | None:
    """As `problem`, for `redis+sentinel://[user:password@]host[:port],…/name[/database]` and
    `redis+cluster://[user:password@]host[:port],…`: a cluster has one database.
    """
    hosts = parts.netloc.rpartition("@")[2].split(",")
    whole = all(
        (match := re.fullmatch(r"[\w.-]+(?::([0-9]{1,5}))?", host, re.ASCII)) and 0 < int(match[1] or 1) <= 65_535
        for host in hosts
    )
    if parts.scheme.endswith("+cluster"):
        if whole and parts.path in ("", "/", "/0"):
            return None
        return f"complete, as in {parts.scheme}://node1:6379,node2:6379"
    if whole and re.fullmatch(r"/[^/]+(/[0-9]{1,5})?", parts.path):
        return None
    return f"complete, as in {parts.scheme}://sentinel1:26379,sentinel2:26379/mymaster"


def _options_problem(parts: SplitResult) -> str | None:
    """What is wrong behind the `?`. Names are shown, values are not: a password may be one."""
    allowed = dict(_STORE_OPTIONS)
    if parts.scheme.startswith("rediss"):
        allowed.update(_TLS_OPTIONS)
    if parts.scheme.endswith("+sentinel"):
        allowed.update(_SENTINEL_OPTIONS)
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name in _TLS_OPTIONS and name not in allowed:
            return f"an address with TLS, which {name} is for: it has to begin with rediss"
        if name not in allowed:
            return "an address with options that are known here: " + ", ".join(allowed)
        if not re.fullmatch(allowed[name], value):
            return f"an address with a good value of {name}"
        if name in _FILES and not os.access(value, os.R_OK):
            return f"an address whose {name} names a file that can be read"
    return None
