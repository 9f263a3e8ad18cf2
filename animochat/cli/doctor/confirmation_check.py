"""The doctor's check of STORE_WAIT: whether the store can confirm messages (animochat/store/confirmation.py)."""

from __future__ import annotations

from collections.abc import Iterator

import redis

from animochat.cli.doctor.check_result import CheckResult, Level
from animochat.cli.doctor.examined_store import ExaminedStore
from animochat.settings import Settings


def confirmation(store: ExaminedStore, settings: Settings) -> Iterator[CheckResult]:
    """Check that this user may ask for the confirmation of messages, and that the store has what confirms them."""
    if settings.store_wait == "0":
        return
    name = f"STORE_WAIT={settings.store_wait}"
    unavailable = "every message will be answered `unavailable`"
    of_disk = settings.store_wait == "aof"
    try:
        store.ask(*(("WAITAOF", 0, 0, 1) if of_disk else ("WAIT", 0, 1)))
    except redis.ResponseError as error:
        yield CheckResult(Level.ERROR, "confirmation", f"{name}, but the store says {str(error)!r}: {unavailable}")
        return
    if of_disk and store.info.get("aof_enabled") == "0":
        yield CheckResult(Level.ERROR, "confirmation", f"{name}, but no append-only file: {unavailable}")
    elif not of_disk and store.info.get("connected_slaves") == "0":
        yield CheckResult(Level.ERROR, "confirmation", f"{name}, but no replica is connected: {unavailable}")
    else:
        yield CheckResult(Level.OK, "confirmation", f"{name}: the store can confirm messages")
