"""A worker's subscription: one connection that hears what is for this worker's people, and nothing else."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import gevent
import redis
from gevent import Greenlet

from animochat.store.cluster import find, slot_of
from animochat.store.connection import BROKEN, connect

log = logging.getLogger(__name__)

#: Seconds between attempts to subscribe again.
RETRY = 0.5


class Subscription:
    """Listens on `channels`: in a cluster at the node that has their slot, which has to be the same one for all.

    `on_message(data: bytes)` gets what is published, in the store's order. `on_subscribed()` is called after each
    (re)subscription: what was published before it is lost, so that the listener has to look at the store's state.
    Both run in this subscription's greenlet.
    """

    def __init__(
        self, url: str, channels: list[str], on_message: Callable[[bytes], None], on_subscribed: Callable[[], None]
    ) -> None:
        self._url = url
        self._channels = channels
        self._on_message = on_message
        self._on_subscribed = on_subscribed
        self._connection: Any = None
        self._greenlet: Greenlet | None = None

    def start(self) -> None:
        self._greenlet = gevent.spawn(self._run)

    def stop(self) -> None:
        if self._greenlet is not None:
            self._greenlet.kill()
            self._greenlet = None
        self._disconnect()

    def renew(self) -> None:
        """Subscribe again: the store says that nobody listens here."""
        if self._greenlet is not None and self._connection is not None:
            self.stop()
            self.start()

    def _run(self) -> None:
        while True:
            try:
                self._listen()
            except (*BROKEN, redis.RedisError) as exc:
                log.warning("The subscription is cut: %s", type(exc).__name__)
            self._disconnect()
            gevent.sleep(RETRY)

    def _listen(self) -> None:
        url, subscribe = self._where()
        connection = connect(url)
        connection.send_command(subscribe, *self._channels, check_health=False)
        for _ in self._channels:
            connection.read_response()
        self._connection = connection
        self._on_subscribed()
        while True:
            # No timeout: silence is normal here. A dead connection is noticed by the heartbeat, which asks the
            # store whether anybody listens.
            kind, _, data = connection.read_response(timeout=None)
            if kind == b"sunsubscribe":
                raise redis.ConnectionError("the channels' slot has moved")
            if kind in (b"message", b"smessage"):
                try:
                    self._on_message(data)
                except Exception:  # the outermost loop: one bad message must not end the subscription
                    log.exception("A message on the worker's channel could not be handled")

    def _where(self) -> tuple[str, str]:
        """The address to subscribe at, and the command."""
        topology = find(self._url)
        if topology is None:
            return self._url, "SUBSCRIBE"
        # With ordinary pub/sub any node would do, but scripts can only ask their own who listens.
        node = topology.slots[slot_of(self._channels[0])]
        if not node:
            raise redis.ConnectionError("no node has the channels' slot")
        return node, "SSUBSCRIBE" if topology.sharded else "SUBSCRIBE"

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.disconnect()
            self._connection = None
