"""Settings that all workers of a lobby share, and messages for an operator about workers that differ.

Each worker records its identity in the store; the other workers, and `animochat doctor`, compare it with their own.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable

#: Counts the incompatible changes of the data in the store and on its channels.
SCHEMA = 1


def identity(secret: str, storing: bool, version: str) -> str:
    """Return the record: schema, a keyed hash that only tells secrets apart, STORE_MESSAGES, version."""
    fingerprint = hmac.new(secret.encode(), b"animochat deployment", hashlib.sha256).hexdigest()[:16]
    return f"{SCHEMA} {fingerprint} {int(storing)} {version}"


def misfit(version: str, others: Iterable[str]) -> str:
    """Return why a worker of this version must not start beside the others, "" if it may.

    It may where one of the others fits: then it is not the newcomer.
    """
    known = [other.split(" ") for other in others if other]
    if not known or any(fields[0] == str(SCHEMA) for fields in known):
        return ""
    return _other_schema(version, known[0])


def _other_schema(version: str, other: list[str]) -> str:
    return (
        f"another server on this store runs version {other[3]}, with data of schema {other[0]}; this one, version"
        f" {version}, has schema {SCHEMA}: run only one of these versions"
    )


def disagreements(mine: str, others: Iterable[str]) -> dict[str, str]:
    """Return one line for each kind of difference between this worker (or the doctor's settings) and the others."""
    schema, secret, storing, version = mine.split(" ")
    wrong: dict[str, str] = {}
    for other in others:
        fields = other.split(" ")
        if len(fields) < 4:
            wrong["older"] = (
                "another server on this store runs an older version, which doesn't record its settings: update all"
                f" servers to version {version}"
            )
            continue
        if fields[0] != schema:
            wrong["schema"] = _other_schema(version, fields)
            continue
        if fields[1] != secret:
            wrong["secret"] = (
                "another server on this store has a different secret: each treats the other's people as new and"
                " ignores its banned addresses. Set the same SECRET_KEY on all servers, or use a separate store (or"
                " database number) for each deployment"
            )
        if fields[2] != storing:
            wrong["storing"] = (
                "another server on this store has a different STORE_MESSAGES: set the same value on all servers"
            )
    return wrong
