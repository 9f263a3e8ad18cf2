"""A cluster of stores: a map of slots to nodes, a queue for each node, and the handling of slots that move.

A node's commands go out as one write at a time, as on a single server. The nodes don't wait for each other, so a node
that is gone or slow delays only its own commands. Commands for one slot run in the order of submission, even if the
slot moves meanwhile.

A script names its hash tag as its key, and the tag itself is never a key in the store. So while a slot's keys move to
another node, the old node answers ASK to every script and runs none: no script sees only half of its keys. Such a
command is held until the slot has arrived (MOVED), and then runs there.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import gevent
import redis
from gevent import Greenlet
from gevent.event import Event
from redis.crc import key_slot

from animochat.protocol.errors import Unavailable
from animochat.store import keys
from animochat.store.connection import BROKEN, connect, neighbour, seeds
from animochat.store.node import REDIRECTIONS, Callback, Command, Node
from animochat.store.outages import Outages
from animochat.store.scripts import Script
from animochat.store.url import parse
from animochat.telemetry.metrics import METRICS

log = logging.getLogger(__name__)

#: Number of slots in a cluster.
SLOTS = 16_384

#: Seconds that a command may take in a cluster that changes, before it is refused.
PATIENCE = 2.0

#: Seconds until a held command is tried again: the few keys of a slot move within that time.
PAUSE = 0.02

#: Seconds between two reads of the cluster's map while something is wrong.
REFRESH = 0.1

#: Seconds that a node may take to return the map: others can be asked.
MAP_TIMEOUT = 1.0

#: Seconds without a command after which a PING checks a node's connection: rooms may be silent, and a connection that
#: is open but dead would fail the next command.
IDLE = 2.0

#: With more commands than this waiting for one node, further ones are refused at once, as in pipeline.py.
MAX_WAITING = 50_000

#: Publishes to the subscribers at every node, whereas PUBLISH becomes sharded. (Servers ignore the case of a command.)
PUBLISH_EVERYWHERE = "publish"

#: Commands without a key go to the node of the lobby `main`: any node would do.
WITHOUT_KEY = {"PING", "ECHO", "TIME", "INFO"}


class Topology(NamedTuple):
    """`slots`: the address of the node of each of the 16384 slots, "" for none. `sharded`: whether the cluster has
    sharded pub/sub (Redis 7, Valkey) and permits us to use it.
    """

    slots: list[str]
    sharded: bool


def find(url: str, timeout: float = MAP_TIMEOUT) -> Topology | None:
    """Return the cluster's topology, or None for a single server.

    Raises one of BROKEN if no server can be reached, redis.RedisError if we are refused.
    """
    kind = parse(url).kind
    if kind == "sentinel":
        return None
    topology = _find(random.sample(seeds(url), len(seeds(url))), timeout)
    if topology is None and kind == "cluster":
        raise redis.RedisError("it is no cluster, or does not say that it is one (INFO)")
    return topology


def _find(urls: Sequence[str], timeout: float) -> Topology | None:
    """Query nodes in order until one responds."""
    for i, url in enumerate(urls):
        try:
            connection = connect(url, timeout)
            try:
                return _topology(connection, url)
            finally:
                connection.disconnect()
        except BROKEN:
            if i == len(urls) - 1:
                raise
    raise redis.ConnectionError("no node is known")


def _topology(connection: Any, url: str) -> Topology | None:
    def ask(*command: str) -> Any:
        connection.send_command(*command, check_health=False)
        return connection.read_response()

    try:
        if b"cluster_enabled:1" not in ask("INFO", "cluster"):
            return None
    except redis.exceptions.NoPermissionError:
        return None
    slots = [""] * SLOTS
    for first, last, (host, port, *_), *_ in ask("CLUSTER", "SLOTS"):
        # A node without a name of its own is reached under the name of the queried one.
        node = neighbour(url, host.decode() if host else "", port)
        slots[first : last + 1] = [node] * (last - first + 1)
    try:
        ask("PUBSUB", "SHARDNUMSUB")
    except redis.ResponseError:
        return Topology(slots, False)
    return Topology(slots, True)


def slot_of(name: str) -> int:
    """Return the slot of a key or channel."""
    return key_slot(name.encode())


class _SubmittedCommand:
    """A submitted command. `until`: when to give up (monotonic, in seconds). `redirected`: it was sent elsewhere."""

    __slots__ = ("callback", "command", "redirected", "slot", "until")

    def __init__(self, command: Command, callback: Callback, slot: int) -> None:
        self.command = command
        self.callback = callback
        self.slot = slot
        self.until = time.monotonic() + PATIENCE
        self.redirected = False

    def answer(self, reply: Any) -> None:
        try:
            self.callback(reply)
        except Exception:  # one caller's bug must not end the worker's only connection to the store
            log.exception("A reply could not be handled")


class Cluster:
    """A worker's connections to a cluster's primaries, each made at its first use."""

    def __init__(
        self,
        url: str,
        topology: Topology,
        scripts: Sequence[Script],
        before_replies: Callable[[], None] = lambda: None,
        outages: Outages | None = None,
        wait: str = "0",
    ) -> None:
        self._url = url
        self.wait = wait
        self.outages = outages or Outages()
        self._before_replies = before_replies
        self._slots = topology.slots
        #: Script name on a single server -> name here.
        self._names: dict[str, str] = {}
        if topology.sharded:
            self._names = {"PUBLISH": "SPUBLISH", **{script.sha: script.sharded.sha for script in scripts}}
            scripts = [script.sharded for script in scripts]
        self._scripts = scripts
        self._primaries: dict[str, _Primary] = {}
        #: Commands for slots that are moving.
        self._held: dict[int, list[_SubmittedCommand]] = {}
        self._refreshing: Greenlet | None = None
        self._lobby_slot = slot_of(keys.lobby())

    def submit(self, command: Command, callback: Callback) -> None:
        """Queue a command for the node that has its key. `callback` as for Pipeline.submit."""
        name = command[0]
        if name == "EVALSHA":
            slot = slot_of(command[3])
            command = (name, self._names.get(command[1], command[1]), *command[2:])
        elif name in WITHOUT_KEY:
            slot = self._lobby_slot
        else:
            slot = slot_of(command[1])
            command = (self._names.get(name, name), *command[1:])
        self._route(_SubmittedCommand(command, callback, slot))

    @property
    def waiting(self) -> int:
        """Return how many commands wait for their node's next batch, or for their slot to arrive."""
        queues = [primary.waiting for primary in self._primaries.values()]
        return sum(map(len, [*queues, *self._held.values()]))

    def stop(self) -> None:
        gevent.killall([primary.greenlet for primary in self._primaries.values()])
        for primary in self._primaries.values():
            primary.node.disconnect()
        if self._refreshing is not None:
            self._refreshing.kill()

    def _route(self, request: _SubmittedCommand) -> None:
        url = self._slots[request.slot]
        if request.slot in self._held:
            self._held[request.slot].append(request)
        elif not url:
            METRICS.store_failures["unreachable"] += 1
            request.answer(Unavailable())
            self._refresh()
        else:
            if url not in self._primaries:
                self._primaries[url] = _Primary(self, url, self._scripts)
            self._primaries[url].push(request)

    def answered(self, primary: _Primary, batch: list[_SubmittedCommand], replies: list[Any]) -> None:
        """Pass on a node's replies, and send the commands that it did not run elsewhere."""
        self._before_replies()
        redirected: dict[int, list[_SubmittedCommand]] = {}
        for request, reply in zip(batch, replies, strict=True):
            if not isinstance(reply, REDIRECTIONS):
                request.answer(reply)
                continue
            if isinstance(reply, redis.exceptions.MovedError) and not request.redirected:
                self._slots[request.slot] = neighbour(primary.node.url, reply.host, reply.port)
                request.redirected = True
            elif request.slot not in self._held:  # the slot is moving; or two nodes redirect to each other
                self._held[request.slot] = []
                gevent.spawn_later(PAUSE, self._release, request.slot)
            redirected.setdefault(request.slot, []).append(request)
        for slot, requests in redirected.items():
            requests += primary.take(slot)  # these were submitted after the ones sent already
            requests += self._held.get(slot, [])
            if slot in self._held:
                self._held[slot] = requests
            else:
                for request in requests:
                    self._route(request)
        if redirected or not primary.node.connected:
            self._refresh()

    def _release(self, slot: int) -> None:
        now = time.monotonic()
        for request in self._held.pop(slot):
            if request.until < now:
                request.answer(Unavailable())
            else:
                self._route(request)

    def _refresh(self) -> None:
        """Read the map again, soon and without waiting."""
        if self._refreshing is None or self._refreshing.ready():
            self._refreshing = gevent.spawn(self._read_map)

    def _read_map(self) -> None:
        # Start with the nodes that responded last: one that hangs costs a second.
        known = set(filter(None, self._slots))
        well = {url for url in known if url in self._primaries and self._primaries[url].node.connected}
        urls = [*random.sample(sorted(well), len(well)), *(known - well), *(set(seeds(self._url)) - known)]
        try:
            topology = _find(urls, MAP_TIMEOUT)
        except (*BROKEN, redis.RedisError) as exc:
            self.outages.failed("map", exc, self._url)
            topology = None
        else:
            self.outages.works("map")
        if topology is not None:
            self._slots = topology.slots
            for url in self._primaries.keys() - set(topology.slots):
                for request in self._primaries.pop(url).retire():
                    self._route(request)
        gevent.sleep(REFRESH)


class _Primary:
    """A node and its queue: one batch is under way at a time, the next one collects meanwhile."""

    def __init__(self, cluster: Cluster, url: str, scripts: Sequence[Script]) -> None:
        self.node = Node(url, scripts, in_cluster=True, outages=cluster.outages, wait=cluster.wait)
        self._cluster = cluster
        self.waiting: list[_SubmittedCommand] = []
        self._work = Event()
        self._retired = False
        self.greenlet = gevent.spawn(self._run)

    def push(self, request: _SubmittedCommand) -> None:
        if len(self.waiting) >= MAX_WAITING:
            request.answer(Unavailable())
            return
        self.waiting.append(request)
        self._work.set()

    def take(self, slot: int) -> list[_SubmittedCommand]:
        """Remove and return the commands that wait for a slot."""
        taken = [request for request in self.waiting if request.slot == slot]
        self.waiting = [request for request in self.waiting if request.slot != slot]
        return taken

    def retire(self) -> list[_SubmittedCommand]:
        """Stop after the current batch; return the waiting commands."""
        self._retired = True
        self._work.set()
        waiting, self.waiting = self.waiting, []
        return waiting

    def _run(self) -> None:
        while not self._retired:
            asked = self._work.wait(IDLE)
            self._work.clear()
            batch, self.waiting = self.waiting, []
            if batch:
                self._cluster.answered(self, batch, self.node.exchange([request.command for request in batch]))
            elif not asked and self.node.connected:
                self._cluster.answered(self, [], self.node.exchange([("PING",)])[:0])
        self.node.disconnect()
        self._cluster.outages.forget(self.node.part)
