"""A store that comes back a few seconds older: a snapshot of all its keys, restored later."""

from __future__ import annotations

from collections.abc import Callable

import redis

from tests.helpers.servers import RedisServer


class OldStore:
    """A store that can be set back."""

    def __init__(self, server: RedisServer) -> None:
        self.client = redis.Redis.from_url(server.url)

    def snapshot(self) -> Callable[[], None]:
        """Returns what brings the store back to how it is now, as a failover does: all connections are cut."""
        kept = [(key, self.client.dump(key), max(0, self.client.pttl(key))) for key in self.client.keys("*")]

        def restore() -> None:
            with self.client.pipeline(transaction=True) as batch:
                batch.flushall()
                for key, value, life in kept:
                    if value is not None:
                        batch.restore(key, life, value, replace=True)
                batch.execute()
            for kind in ("normal", "pubsub"):
                self.client.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")

        return restore
