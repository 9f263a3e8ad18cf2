"""The doctor's checks of a store's workers."""

from __future__ import annotations

from collections.abc import Iterator

from animochat import __version__
from animochat.cli.doctor.check_result import CheckResult, Level
from animochat.cli.doctor.examined_store import ExaminedStore
from animochat.presence.identity import disagreements, identity
from animochat.settings import Settings
from animochat.store import keys

#: Milliseconds without a heartbeat after which a worker counts as dead (presence/scripts/include/workers.lua).
LEASE_MS = 5_000


def agreement(store: ExaminedStore, settings: Settings, lobby: str) -> Iterator[CheckResult]:
    """Check whether the live workers agree with each other and with these settings."""
    living = [name for name, age in _ages(store, lobby).items() if age <= LEASE_MS]
    recorded = [store.try_ask("HGET", keys.lobby(lobby) + ":identities", name) for name in living]
    others = [other.decode() for other in recorded if other is not None]
    shared = store.try_ask("GET", keys.SECRET) if settings.secret_key is None else None
    secret = settings.secret_key or (shared.decode() if shared else None)
    if not others:
        return  # no worker to compare with, or only workers that record nothing
    mine = identity(secret, settings.store_messages, __version__) if secret is not None else others[0]
    wrong = disagreements(mine, others)
    for text in wrong.values():
        yield CheckResult(Level.ERROR, "agreement", text)
    if not wrong:
        where = f" of {lobby}" if len(store.lobbies) > 1 else ""
        yield CheckResult(Level.OK, "agreement", f"the live workers{where} have the same secret and settings as here")


def _ages(store: ExaminedStore, lobby: str) -> dict[str, int]:
    """Return the milliseconds since each worker's last heartbeat; none if our user may not read them."""
    reply, now = store.try_ask("ZRANGE", keys.lobby(lobby) + ":workers", 0, -1, "WITHSCORES"), store.try_ask("TIME")
    if reply is None or now is None:
        return {}
    present = int(now[0]) * 1000 + int(now[1]) // 1000
    return {name.decode(): present - int(float(beat)) for name, beat in zip(reply[::2], reply[1::2], strict=True)}


def heartbeats(store: ExaminedStore, lobby: str) -> Iterator[CheckResult]:
    ages = _ages(store, lobby)
    where = f" in {lobby}" if len(store.lobbies) > 1 else ""
    silent = {name: age for name, age in ages.items() if age > LEASE_MS}
    living = len(ages) - len(silent)
    if silent and living:
        names = ", ".join(sorted(silent)[:3])
        text = f"{living} live{where}, and {len(silent)} without heartbeats ({names}): check their logs"
        yield CheckResult(Level.WARNING, "heartbeats", text)
    elif silent:
        text = f"no live worker{where}; {len(silent)} ended without deregistering"
        yield CheckResult(Level.OK, "heartbeats", f"{text}, which the next server cleans up at its start")
    else:
        text = f"{living} live workers" if living else "no worker runs yet"
        yield CheckResult(Level.OK, "heartbeats", text + where)
