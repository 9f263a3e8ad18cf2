"""Confirm that messages survive the loss of the store's primary, or of its memory (`STORE_WAIT`).

A batch with messages ends with WAIT or WAITAOF, in the same write: one more reply, whatever the number of messages. The
store answers it once a replica, or the disk, has everything written on this connection. Messages that are not confirmed
in time may still be stored; their senders get `unavailable`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import redis

#: Milliseconds to wait for a replica; and if none has confirmed lately, since all later commands wait as well.
REPLICA_MS, PROBE_MS = 500, 20

#: Milliseconds to wait for the disk: with `appendfsync everysec` it may take a second. Below connection.TIMEOUT.
DISK_MS = 1_500


class Confirmation:
    """One connection's confirmation of its batches. `wait`: STORE_WAIT. `scripts`: the hashes that need it."""

    def __init__(self, wait: str = "0", scripts: Collection[str] = ()) -> None:
        self._wait = wait
        self._scripts = frozenset(scripts) if wait != "0" else frozenset()
        self._confirmed = True

    def concerns(self, command: Sequence[Any]) -> bool:
        """Return whether a command's reply needs the confirmation."""
        return command[0] == "EVALSHA" and command[1] in self._scripts

    def commands(self, batch: Sequence[Sequence[Any]]) -> list[tuple[Any, ...]]:
        """Return the command to send after a batch, or none."""
        if not self._scripts or not any(map(self.concerns, batch)):
            return []
        if self._wait == "aof":
            return [("WAITAOF", 1, 0, DISK_MS)]
        return [("WAIT", 1, REPLICA_MS if self._confirmed else PROBE_MS)]

    def take(self, reply: Any) -> str:
        """Return "" if the reply confirms the batch, else the reason why it does not."""
        if isinstance(reply, redis.ResponseError):
            reason = str(reply)
        else:
            copies = reply[0] if isinstance(reply, list) else reply
            by = "disk" if self._wait == "aof" else "replica"
            reason = "" if copies else f"no {by} confirmed the messages in time"
        self._confirmed = not reason
        return reason
