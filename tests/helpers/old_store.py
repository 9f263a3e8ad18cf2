"""A store that loses its last seconds: a snapshot of all its keys, restored later."""

from __future__ import annotations

from collections.abc import Callable

import redis

from tests.helpers.servers import RedisServer


class OldStore:
    """A store that can be restored to an earlier state."""

    def __init__(self, server: RedisServer) -> None:
        self.client = redis.Redis.from_url(server.url)

    def snapshot(self) -> Callable[[], None]:
        """Return a function that restores the present state, as a failover does: all connections are cut."""
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
