"""Client addresses: the true address of a request, and groups of addresses that count as one."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any


def _address(text: str) -> str | None:
    """Return an address without its port, in a usable form; None if it is not an address."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return str(getattr(address, "ipv4_mapped", None) or address)


def client_address(environ: Mapping[str, Any], trusted_proxies: int) -> str:
    """Return the true client address of a request; empty for a Unix socket without a trusted proxy.

    Each proxy appends the address of its own client to X-Forwarded-For. So the last `trusted_proxies` entries are true,
    and the first of these is the client; everything before it may be forged.
    """
    peer = str(environ.get("REMOTE_ADDR") or "")
    if trusted_proxies > 0:
        # From the end only: the forged part in front may be long.
        entries = str(environ.get("HTTP_X_FORWARDED_FOR") or "").rsplit(",", trusted_proxies)
        forwarded = _address(entries[-min(trusted_proxies, len(entries))])
        if forwarded is not None:
            return forwarded
    return _address(peer) or peer


def comes_through_proxy(environ: Mapping[str, Any]) -> bool:
    """Return whether a proxy of the operator's own network seems to have forwarded a request."""
    if not environ.get("HTTP_X_FORWARDED_FOR"):
        return False
    peer = _address(str(environ.get("REMOTE_ADDR") or ""))
    return peer is None or ipaddress.ip_address(peer).is_private  # None: a Unix socket


def group_of(address: str) -> str:
    """Return the group of an address: an IPv6 customer has a whole /64, and so has an attacker."""
    if ":" not in address:
        return address
    try:
        return str(ipaddress.ip_network((address, 64), strict=False))
    except ValueError:
        return address
