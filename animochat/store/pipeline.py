"""Group commit: all commands from the greenlets of one turn of the loop go out as one write.

    pipeline = Pipeline(url, scripts=[FIND_MATCH])
    pipeline.start()
    reply = pipeline.call(FIND_MATCH, ["{lobby:main}"], ["person", "connection"])  # waits, in a greenlet
    pipeline.submit(("PUBLISH", channel, data), callback)  # does not wait: callable from the hub

One batch is under way at a time; the next one collects meanwhile, so that batches grow with the load. Commands reach
the store in the order of submission, except that collectors (the room log, which makes one command of many messages)
come first in their batch.

In a cluster each node has such a queue (cluster.py), and the order holds for each slot.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import redis
from gevent import Greenlet, spawn
from gevent.event import AsyncResult, Event

from animochat.protocol.errors import Unavailable
from animochat.store.cluster import Cluster, find, slot_of
from animochat.store.connection import BROKEN
from animochat.store.node import Callback, Command, Node, Request
from animochat.store.outages import Outages
from animochat.store.scripts import Script
from animochat.store.url import parse
from animochat.telemetry.metrics import METRICS

log = logging.getLogger(__name__)

T = TypeVar("T")

#: With more commands than this waiting, further ones are refused at once: the store is too slow, and memory is finite.
MAX_WAITING = 50_000


class Pipeline:
    """A worker's access to the store: one connection for all commands, or in a cluster one for each node.

    `wait`: STORE_WAIT, see confirmation.py. Not usable before `start()`.
    """

    def __init__(self, url: str, scripts: Sequence[Script], outages: Outages | None = None, wait: str = "0") -> None:
        self._url = url
        self._wait = wait
        self._outages = outages or Outages()
        #: The database's number, for names that databases share.
        self.database = parse(url).database
        #: Hash of a script -> the script's variant for this database.
        self._own = {script.sha: script.in_database(self.database) for script in scripts}
        self._scripts = list(self._own.values())
        #: One of the two, once the kind of store is known.
        self._node: Node | None = None
        self._cluster: Cluster | None = None
        self._waiting: list[Request] = []
        self._collectors: list[Callable[[], list[Request]]] = []
        #: Called before replies are passed on.
        self.before_replies: Callable[[], None] = lambda: None
        self._work = Event()
        self._greenlet: Greenlet | None = None

    def add_collector(self, collect: Callable[[], list[Request]]) -> None:
        """Register `collect`, which returns its commands before each batch."""
        self._collectors.append(collect)

    def start(self) -> None:
        """Begin to serve; the connection is made with the first batch."""
        self._greenlet = spawn(self._run)

    def stop(self) -> None:
        """Send nothing more. Call this once no caller waits for a reply."""
        if self._greenlet is not None:
            self._greenlet.kill()
            self._greenlet = None
        if self._node is not None:
            self._node.disconnect()
        if self._cluster is not None:
            self._cluster.stop()

    def by_topology(self, single: T, cluster: T) -> Callable[[], T]:
        """Return a function that returns the strategy for this store; `single` until the kind of store is known."""
        return lambda: single if self._cluster is None else cluster

    def by_slot(self, items: Sequence[T], key: Callable[[T], str]) -> list[list[T]]:
        """Group items by what one script may touch together: in a cluster the keys of one slot, else all."""
        if self._cluster is None or len(items) < 2:
            return [list(items)] if items else []
        slots: dict[int, list[T]] = {}
        for item in items:
            slots.setdefault(slot_of(key(item)), []).append(item)
        return list(slots.values())

    @property
    def waiting(self) -> int:
        """Return how many commands wait for the next batch, or in a cluster for their node's."""
        return len(self._waiting) + (self._cluster.waiting if self._cluster is not None else 0)

    def wake(self) -> None:
        """Announce that a collector has commands."""
        self._work.set()

    def submit(self, command: Command, callback: Callback) -> None:
        """Queue a command. `callback` runs in the pipeline's greenlet, in order of submission: it must not block."""
        if len(self._waiting) >= MAX_WAITING:
            callback(Unavailable())
            return
        self._waiting.append((command, callback))
        self._work.set()

    def execute(self, *command: Any) -> Any:
        """Run one command and wait for its reply.

        Raises Unavailable if the store can't be reached (the command may have run) or refuses it.
        """
        result: AsyncResult = AsyncResult()
        self.submit(command, result.set)
        reply = result.get()
        if isinstance(reply, BaseException):
            raise reply
        return reply

    def call(self, script: Script, keys: Sequence[str], args: Sequence[Any] = ()) -> Any:
        """Run a script and wait for its reply; raises as `execute` does."""
        return self.execute(*evalsha(self._own.get(script.sha, script), keys, args))

    def _run(self) -> None:
        while True:
            self._work.wait()
            self._work.clear()
            if self._node is None and self._cluster is None:
                self._find()
            batch = [gathered for collect in self._collectors for gathered in collect()]
            batch += self._waiting
            self._waiting = []
            if self._cluster is not None:
                for command, callback in batch:
                    self._cluster.submit(command, callback)
            elif batch:
                self._commit(batch)

    def _commit(self, batch: list[Request]) -> None:
        commands = [command for command, _ in batch]
        replies = [Unavailable() for _ in batch] if self._node is None else self._node.exchange(commands)
        self.before_replies()
        for (_, callback), reply in zip(batch, replies, strict=True):
            try:
                callback(reply)
            except Exception:  # one caller's bug must not end the worker's only connection to the store
                log.exception("A reply could not be handled")

    def _find(self) -> None:
        """Detect whether the store is a single server or a cluster."""
        try:
            topology = find(self._url)
        except (*BROKEN, redis.RedisError) as exc:
            self._outages.failed("commands", exc, self._url)
            METRICS.store_failures["unreachable" if isinstance(exc, BROKEN) else "refused"] += 1
        else:
            self._outages.works("commands")
            if topology is None:
                self._node = Node(self._url, self._scripts, outages=self._outages, wait=self._wait)
            else:
                self._cluster = Cluster(
                    self._url, topology, self._scripts, self.before_replies, self._outages, self._wait
                )


def evalsha(script: Script, keys: Sequence[str], args: Sequence[Any] = ()) -> Command:
    """Return the command that runs `script`."""
    return ("EVALSHA", script.sha, len(keys), *keys, *args)
