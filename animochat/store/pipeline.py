"""Group commit: what the greenlets of one turn of the loop want of the store goes out as one write.

    pipeline = Pipeline(url, scripts=[FIND_MATCH])
    pipeline.start()
    reply = pipeline.call(FIND_MATCH, ["{lobby:main}"], ["person", "connection"])  # waits, in a greenlet
    pipeline.submit(("PUBLISH", channel, data), callback)  # does not wait: callable from the hub

One batch is under way at a time; the next gathers meanwhile, so that batches grow with the load by themselves. Commands
reach the store in the order in which they were asked for, except that collectors (the room log, which makes one command
of many messages) come first in their batch.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

import redis
from gevent import Greenlet, spawn
from gevent.event import AsyncResult, Event

from animochat import tracing
from animochat.errors import Unavailable
from animochat.metrics import METRICS
from animochat.store.connection import BROKEN, connect
from animochat.store.scripts import Script

log = logging.getLogger(__name__)

Command = tuple[Any, ...]

#: Gets a command's reply, or Unavailable.
Callback = Callable[[Any], None]

#: Commands waiting beyond this are refused at once: the store is too slow, and memory isn't endless.
MAX_WAITING = 50_000


class Pipeline:
    """A worker's one connection for commands. Not usable before `start()`."""

    def __init__(self, url: str, scripts: Sequence[Script]) -> None:
        self._url = url
        self._scripts = scripts
        self._connection: Any = None
        self._waiting: list[tuple[Command, Callback]] = []
        self._collectors: list[Callable[[], list[tuple[Command, Callback]]]] = []
        self._work = Event()
        self._greenlet: Greenlet | None = None

    def add_collector(self, collect: Callable[[], list[tuple[Command, Callback]]]) -> None:
        """Register `collect`, asked before each batch for the commands it has gathered."""
        self._collectors.append(collect)

    def start(self) -> None:
        """Begin to serve; the connection is made with the first batch."""
        self._greenlet = spawn(self._run)

    def stop(self) -> None:
        """Send nothing more. Call it once nobody waits for an answer."""
        if self._greenlet is not None:
            self._greenlet.kill()
            self._greenlet = None
        self._disconnect()

    @property
    def waiting(self) -> int:
        """How many commands wait for the next batch."""
        return len(self._waiting)

    def wake(self) -> None:
        """Say that a collector has something."""
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

        Raises Unavailable when the store can't be reached (whether the command ran is then unknown) or refuses it.
        """
        result: AsyncResult = AsyncResult()
        self.submit(command, result.set)
        reply = result.get()
        if isinstance(reply, BaseException):
            raise reply
        return reply

    def call(self, script: Script, keys: Sequence[str], args: Sequence[Any] = ()) -> Any:
        """Run a script and wait for its reply; raises as `execute` does."""
        return self.execute(*evalsha(script, keys, args))

    def _run(self) -> None:
        while True:
            self._work.wait()
            self._work.clear()
            batch = [gathered for collect in self._collectors for gathered in collect()]
            batch += self._waiting
            self._waiting = []
            if not batch:
                continue
            for (_, callback), reply in zip(batch, self._exchange([command for command, _ in batch]), strict=True):
                try:
                    callback(reply)
                except Exception:  # one caller's mistake must not end the worker's only way to the store
                    log.exception("A reply could not be handled")

    def _exchange(self, commands: list[Command]) -> list[Any]:
        replies: list[Any] = []
        try:
            if self._connection is None:
                self._connect()
            begun = time.monotonic()
            with tracing.span("store batch", commands=len(commands)):
                self._send(commands)
                replies.extend(self._read() for _ in commands)
            METRICS.round_trip.observe(time.monotonic() - begun)
            METRICS.batch_commands.observe(len(commands))
            # The scripts were loaded when the connection was made; somebody flushed them since. What got NOSCRIPT
            # did not run, so it may be sent again.
            missing = [i for i, reply in enumerate(replies) if isinstance(reply, redis.exceptions.NoScriptError)]
            if missing:
                self._load_scripts()
                self._send([commands[i] for i in missing])
                for i in missing:
                    replies[i] = self._read()
            if any(isinstance(reply, redis.exceptions.ReadOnlyError) for reply in replies):
                self._disconnect()  # a replica by now: the next connection goes to the primary
        except (UnicodeEncodeError, redis.DataError):
            # A command that can't be written: nothing was sent. Whoever let it through, the others are not to suffer.
            if len(commands) > 1:
                return [reply for command in commands for reply in self._exchange([command])]
            log.exception("A command could not be written")
            replies = [Unavailable()]
        except BROKEN as exc:
            log.warning("The store can't be reached: %s", type(exc).__name__)
            METRICS.store_failures["unreachable"] += 1
            self._disconnect()
            replies += [Unavailable()] * (len(commands) - len(replies))  # what was answered was done
        except redis.RedisError as exc:
            log.warning("The store refuses this worker: %s", exc)
            METRICS.store_failures["refused"] += 1
            self._disconnect()
            replies += [Unavailable()] * (len(commands) - len(replies))  # what was answered was done
        return [_refused(reply) if isinstance(reply, redis.ResponseError) else reply for reply in replies]

    def _connect(self) -> None:
        self._connection = connect(self._url)
        self._load_scripts()

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.disconnect()
            self._connection = None

    def _load_scripts(self) -> None:
        self._send([("SCRIPT", "LOAD", script.source) for script in self._scripts])
        for reply in [self._read() for _ in self._scripts]:
            if isinstance(reply, redis.ResponseError):
                raise reply

    def _send(self, commands: list[Command]) -> None:
        self._connection.send_packed_command(self._connection.pack_commands(commands), check_health=False)

    def _read(self) -> Any:
        try:
            return self._connection.read_response(disconnect_on_error=False)
        except redis.ResponseError as exc:
            return exc


#: How answers begin that mean "not now": the store is loading or has lost its primary, is a replica, runs a long
#: script, has no memory or no disk left.
_NOT_NOW = ("BUSY", "CLUSTERDOWN", "LOADING", "MASTERDOWN", "MISCONF", "NOREPLICAS", "OOM", "READONLY", "TRYAGAIN")


def _refused(error: redis.ResponseError) -> Unavailable:
    """To the people an error is an error; to the operator a mistake in a script is another thing than a full store."""
    METRICS.store_failures["refused"] += 1
    not_now = isinstance(error, redis.exceptions.OutOfMemoryError) or str(error).startswith(_NOT_NOW)
    log.log(logging.WARNING if not_now else logging.ERROR, "The store refused a command: %s", error)
    return Unavailable()


def evalsha(script: Script, keys: Sequence[str], args: Sequence[Any] = ()) -> Command:
    """The command that runs `script`."""
    return ("EVALSHA", script.sha, len(keys), *keys, *args)
