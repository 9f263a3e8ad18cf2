"""A store, or a node of a cluster, that the doctor examines: one connection that only reads, and INFO's values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import redis

from animochat.store.connection import connect

#: Names of these commands in a cluster with sharded pub/sub (store/scripts.py, store/cluster.py).
SHARDED = {"PUBLISH": "SPUBLISH", "SUBSCRIBE": "SSUBSCRIBE", "PUBSUB NUMSUB": "PUBSUB SHARDNUMSUB"}


class ExaminedStore:
    """One connection, and INFO's values. In a cluster it leads to a node that has `lobbies`.

    `url`: as the operator wrote it. `names`: the names of commands that differ from those on a single server.
    """

    def __init__(self, node: str, url: str, lobbies: Sequence[str], sharded: bool) -> None:
        self.node = node
        self.url = url
        self.lobbies = lobbies
        self.sharded = sharded
        self.names = SHARDED if sharded else {}
        self.info: dict[str, str] = {}
        #: Whether it has answered anything.
        self.answered = False

    def __enter__(self) -> ExaminedStore:
        self._connection = connect(self.node)
        self.info = self._info()
        self.answered = True
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.disconnect()

    def ask(self, *command: Any) -> Any:
        """Return the reply. Raises redis.ResponseError for a refusal, or one of BROKEN."""
        self._connection.send_command(*command, check_health=False)
        return self._connection.read_response()

    def try_ask(self, *command: Any) -> Any:
        """Return the reply, or None if our user may not run the command."""
        try:
            return self.ask(*command)
        except redis.ResponseError:
            return None

    def config(self, name: str) -> str | None:
        """Return a setting of the store's, or None if our user may not read it."""
        reply = self.try_ask("CONFIG", "GET", name)
        return reply[1].decode() if reply else None

    def _info(self) -> dict[str, str]:
        lines = (self.try_ask("INFO") or b"").decode(errors="replace").splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)
