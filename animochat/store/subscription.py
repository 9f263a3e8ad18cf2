"""A worker's subscription to its channels."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import gevent
import redis
from gevent import Greenlet

from animochat.store.cluster import find, slot_of
from animochat.store.connection import BROKEN, connect
from animochat.store.outages import Outages
from animochat.store.url import parse

log = logging.getLogger(__name__)

#: Seconds between attempts to subscribe again.
RETRY = 0.5

#: Seconds between two PINGs on a subscription, which may receive nothing for hours. A middlebox can drop packets in
#: both directions while the connection stays open: only a reply proves that it still carries data.
PING = 1.0

#: PINGs without a reply after which the subscription reconnects.
UNANSWERED = 2


class Listener(NamedTuple):
    """A listener on `channels`, which share a slot.

    `on_message(data: bytes)` gets the publications, in the store's order. `on_subscribed()` is called after each
    (re)subscription: earlier publications are lost, so the listener has to read the store's state.
    """

    channels: list[str]
    on_message: Callable[[bytes], None]
    on_subscribed: Callable[[], None]
    #: The channels are in no slot: what is published at any node of a cluster reaches them. The store may refuse them.
    everywhere: bool = False


class Subscriptions:
    """All listeners of a worker: over one connection, or in a cluster over one for each, since slots move and nodes
    fail one by one."""

    def __init__(self, url: str, listeners: Sequence[Listener], outages: Outages | None = None) -> None:
        self._url = url
        self._listeners = listeners
        self._everywhere: list[Listener] = []
        self._outages = outages or Outages()
        #: One subscription for each listener, or one for all; empty until the kind of store is known.
        self._subscriptions: list[Subscription] = []
        self._greenlet: Greenlet | None = None

    def add(self, listener: Listener) -> None:
        """Add a listener `everywhere`, over the connection of the first one. To be called before `start`."""
        self._everywhere.append(listener)

    def start(self) -> None:
        self._greenlet = gevent.spawn(self._begin)

    def stop(self) -> None:
        if self._greenlet is not None:
            self._greenlet.kill()
        for subscription in self._subscriptions:
            subscription.stop()

    def renew(self, number: int) -> None:
        """Subscribe again: the store reports no subscriber of this listener's channel."""
        if self._subscriptions:
            self._subscriptions[min(number, len(self._subscriptions) - 1)].renew()

    def proven(self, number: int) -> bool:
        """Return whether this listener is subscribed, over a connection that answered the last PING but one."""
        return bool(self._subscriptions) and self._subscriptions[min(number, len(self._subscriptions) - 1)].proven

    def _begin(self) -> None:
        groups = [self._listeners]
        if len(self._listeners) > 1 and self._in_cluster():
            groups = [[listener] for listener in self._listeners]
        groups[0] = [*groups[0], *self._everywhere]
        self._subscriptions = [
            Subscription(self._url, group, self._outages, f"subscription {number}")
            for number, group in enumerate(groups)
        ]
        for subscription in self._subscriptions:
            subscription.start()

    def _in_cluster(self) -> bool:
        while True:
            try:
                in_cluster = find(self._url) is not None
            except (*BROKEN, redis.RedisError) as exc:
                self._outages.failed("subscriptions", exc, self._url)
                gevent.sleep(RETRY)
            else:
                self._outages.works("subscriptions")
                return in_cluster


class Subscription:
    """One connection for some listeners: in a cluster to the node of their slot, else one for all.

    Listeners are called in this subscription's greenlet.
    """

    def __init__(
        self, url: str, listeners: Sequence[Listener], outages: Outages | None = None, part: str = "subscription"
    ) -> None:
        self._url = url
        self._listeners = listeners
        self._outages = outages or Outages()
        self._part = part
        #: The current or last address, and for the log the node in a cluster.
        self._at = (url, "")
        self._channels = [name for listener in listeners if not listener.everywhere for name in listener.channels]
        self._everywhere = [name for listener in listeners if listener.everywhere for name in listener.channels]
        self._by_channel = {name.encode(): listener for listener in listeners for name in listener.channels}
        self._subscribed = self._refused = False
        #: PINGs without a reply, and when the next one is due (monotonic, in seconds).
        self._unanswered = 0
        self._ping_at = 0.0
        self._greenlet: Greenlet | None = None

    @property
    def proven(self) -> bool:
        """Return whether it is connected and answers: one PING may be under way."""
        return self._subscribed and self._unanswered < UNANSWERED

    def start(self) -> None:
        self._greenlet = gevent.spawn(self._run)

    def stop(self) -> None:
        if self._greenlet is not None:
            self._greenlet.kill()
            self._greenlet = None

    def renew(self) -> None:
        """Subscribe again, unless that is under way: the store reports no subscriber. Does not wait."""
        if self._greenlet is not None and self._subscribed:
            self._subscribed = False
            self._greenlet.kill(block=False)
            self.start()

    def _run(self) -> None:
        while True:
            try:
                self._listen()
            except (*BROKEN, redis.RedisError) as exc:
                self._outages.failed(self._part, exc, *self._at)
            self._subscribed = False
            gevent.sleep(RETRY)

    def _listen(self) -> None:
        url, subscribe = self._where()
        connection = connect(url)
        try:
            connection.send_command(subscribe, *self._channels, check_health=False)
            for _ in self._channels:
                connection.read_response()
            early = [message for channel in self._everywhere for message in self._join(connection, channel)]
            self._subscribed = True
            self._unanswered = 0
            self._ping_at = time.monotonic() + PING
            self._outages.works(self._part)
            for listener in self._listeners:
                listener.on_subscribed()
            for message in early:
                self._hear(*message)
            while True:
                self._hear(*self._read(connection))
        finally:
            connection.disconnect()

    def _join(self, connection: Any, channel: str) -> list[Any]:
        """Subscribe to a channel that is in no slot; without it, where the store's user may not, the rest works.

        Returns what the other channels say meanwhile.
        """
        connection.send_command("SUBSCRIBE", channel, check_health=False)
        early: list[Any] = []
        while True:
            try:
                message = connection.read_response(disconnect_on_error=False)
            except redis.exceptions.NoPermissionError as exc:
                if not self._refused:
                    log.error("What is sent over the channel %s does not get here: %s", channel, exc)
                self._refused = True
                return early
            if message[0] == b"subscribe":
                return early
            early.append(message)

    def _read(self, connection: Any) -> Any:
        """Return the store's next message. Raise redis.TimeoutError if it does not answer PINGs."""
        while True:
            now = time.monotonic()
            if now >= self._ping_at:
                if self._unanswered == UNANSWERED:
                    raise redis.TimeoutError("the subscription is open and silent")
                self._unanswered += 1
                self._ping_at = now + PING
                connection.send_command("PING", check_health=False)
            try:
                return connection.read_response(timeout=self._ping_at - now, disconnect_on_error=False)
            except redis.TimeoutError:
                pass
            except redis.ResponseError:  # a refused PING is a reply, too
                self._unanswered = 0

    def _hear(self, kind: bytes, channel: bytes, data: Any = b"") -> None:
        if kind == b"pong":
            self._unanswered = 0
        elif kind == b"sunsubscribe":
            raise redis.ConnectionError("the channels' slot has moved")
        elif kind in (b"message", b"smessage"):
            try:
                self._by_channel[channel].on_message(data)
            except Exception:  # the outermost loop: one bad message must not end the subscription
                log.exception("A message on the worker's channel could not be handled")

    def _where(self) -> tuple[str, str]:
        """Return the address to subscribe at, and the command."""
        self._at = (self._url, "")
        topology = find(self._url)
        if topology is None:
            return self._url, "SUBSCRIBE"
        # With ordinary pub/sub any node would do, but scripts see only the subscribers of their own node.
        node = topology.slots[slot_of(self._channels[0])]
        if not node:
            raise redis.ConnectionError("no node has the channels' slot")
        self._at = (node, parse(node).place)
        return node, "SSUBSCRIBE" if topology.sharded else "SUBSCRIBE"
