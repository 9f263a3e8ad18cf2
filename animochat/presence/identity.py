"""What all workers of a lobby should have in common, and what is wrong where they do not.

Each records it in the store, where every other one, and `animochat doctor`, compares it with its own.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable

#: Counts the changes of what is in the store, or on its channels, that versions from before can't work with.
SCHEMA = 1


def identity(secret: str, storing: bool, version: str) -> str:
    """Return the record: schema, a keyed hash that tells secrets apart and nothing else, STORE_MESSAGES, version."""
    fingerprint = hmac.new(secret.encode(), b"animochat deployment", hashlib.sha256).hexdigest()[:16]
    return f"{SCHEMA} {fingerprint} {int(storing)} {version}"


def disagreements(mine: str, others: Iterable[str]) -> dict[str, str]:
    """Return what is wrong between this worker (or the doctor's settings) and others: a line for each kind."""
    schema, secret, storing, version = mine.split(" ")
    wrong: dict[str, str] = {}
    for other in others:
        fields = other.split(" ")
        if len(fields) < 4:
            wrong["older"] = (
                "another server on this store records nothing of itself, as versions before this one: bring all of them"
                f" to version {version}"
            )
            continue
        if fields[0] != schema:
            wrong["schema"] = (
                f"another server on this store runs version {fields[3]}, with data of schema {fields[0]}; this one,"
                f" version {version}, has schema {schema}: run one of them alone"
            )
            continue
        if fields[1] != secret:
            wrong["secret"] = (
                "another server on this store signs with another secret: each takes the other's people for new ones,"
                " and neither knows the other's banned addresses. Give all the same SECRET_KEY, or each deployment a"
                " store, or database number, of its own"
            )
        if fields[2] != storing:
            wrong["storing"] = "another server on this store has another STORE_MESSAGES: set the same on all"
    return wrong
