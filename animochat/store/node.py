"""One server of the store: a connection that is made at its first use, with the scripts loaded."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Sequence
from typing import Any

import redis

from animochat.protocol.errors import Unavailable
from animochat.store.confirmation import Confirmation
from animochat.store.connection import BROKEN, connect
from animochat.store.outages import Outages, kind_of
from animochat.store.scripts import Script
from animochat.store.url import parse
from animochat.telemetry import tracing
from animochat.telemetry.metrics import METRICS

log = logging.getLogger(__name__)

Command = tuple[Any, ...]

#: Called with a command's reply, or Unavailable.
Callback = Callable[[Any], None]

Request = tuple[Command, Callback]

#: Replies of a cluster that redirect a command, or ask to retry it: the command did not run.
REDIRECTIONS = (redis.exceptions.AskError, redis.exceptions.MovedError, redis.exceptions.TryAgainError)

#: Replies that mean "not now": the store has no memory left, is a replica, has lost its primary or part of its slots.
NOT_NOW = (
    redis.exceptions.OutOfMemoryError,
    redis.exceptions.ReadOnlyError,
    redis.exceptions.MasterDownError,
    redis.exceptions.ClusterDownError,
)
#: First words of such replies that redis-py has no class for: a script runs long, the disk is full, few replicas.
NOT_NOW_WORDS = ("BUSY", "MISCONF", "NOREPLICAS")

#: Up to Redis 6.2, a text about the script contains the error of a refused command in it.
WITHIN_SCRIPT = re.compile(r"Error running script .*: -(([A-Z]+) .+)", re.DOTALL)
WITHIN_SCRIPT_CLASSES: dict[str, type[redis.ResponseError]] = {
    "OOM": redis.exceptions.OutOfMemoryError,
    "READONLY": redis.exceptions.ReadOnlyError,
    "MASTERDOWN": redis.exceptions.MasterDownError,
    "CLUSTERDOWN": redis.exceptions.ClusterDownError,
}


class Node:
    """The server at `url` (or the primary that its Sentinels name). `in_cluster`: it may redirect to other servers.

    `wait`: STORE_WAIT, see confirmation.py.
    """

    def __init__(
        self,
        url: str,
        scripts: Sequence[Script],
        in_cluster: bool = False,
        outages: Outages | None = None,
        wait: str = "0",
    ) -> None:
        self.url = url
        self._confirmation = Confirmation(wait, {script.sha for script in scripts if script.confirmed})
        self._scripts = scripts
        self._in_cluster = in_cluster
        self._connection: Any = None
        self._outages = outages or Outages()
        #: For the log: the node in a cluster, and the part of the worker.
        self._server = parse(url).place if in_cluster else ""
        self.part = f"commands at {self._server}" if in_cluster else "commands"

    @property
    def connected(self) -> bool:
        return self._connection is not None

    def exchange(self, commands: list[Command]) -> list[Any]:
        """Send commands in one write and return their replies in order.

        A reply is a value, or an exception that is returned, not raised: Unavailable (the server can't be reached, and
        the command may have run; or it refused or did not confirm the command) or, in a cluster, one of REDIRECTIONS.
        """
        replies: list[Any] = []
        confirm = self._confirmation.commands(commands)
        unconfirmed = bool(confirm)
        try:
            if self._connection is None:
                self._connection = connect(self.url)
                self._load_scripts()
            begun = time.monotonic()
            with tracing.span("store batch", commands=len(commands)):
                self._send([*commands, *confirm])
                replies.extend(self._read() for _ in commands)
                unconfirmed = any(self._is_unconfirmed(self._read()) for _ in confirm)
            METRICS.round_trip.observe(time.monotonic() - begun)
            METRICS.batch_commands.observe(len(commands))
            # The scripts were loaded with the connection, and have been flushed since. A command that got NOSCRIPT did
            # not run, so sending it again is safe.
            missing = [i for i, reply in enumerate(replies) if isinstance(reply, redis.exceptions.NoScriptError)]
            if missing:
                self._load_scripts()
                self._send([*(commands[i] for i in missing), *confirm])
                for i in missing:
                    replies[i] = self._read()
                unconfirmed = any(self._is_unconfirmed(self._read()) for _ in confirm)
            if any(isinstance(reply, redis.exceptions.ReadOnlyError) for reply in replies):
                self.disconnect()  # it has become a replica: the next connection goes to the primary
            self._outages.works(self.part)
            self._outages.accepted(self._server)
        except (UnicodeEncodeError, redis.DataError):
            # A command that can't be encoded: nothing was sent. One bad command must not fail the others.
            if len(commands) > 1:
                return [reply for command in commands for reply in self.exchange([command])]
            log.exception("A command could not be written")
            replies = [Unavailable()]
        except (*BROKEN, redis.RedisError) as exc:
            self._outages.failed(self.part, exc, self.url, self._server)
            METRICS.store_failures["unreachable" if isinstance(exc, BROKEN) else "refused"] += 1
            self.disconnect()
            replies += [Unavailable()] * (len(commands) - len(replies))  # commands with a reply have run
        if unconfirmed:
            concerns = self._confirmation.concerns
            replies = [
                Unavailable() if concerns(command) else reply for command, reply in zip(commands, replies, strict=True)
            ]
        return [self._refused(reply) if isinstance(reply, redis.ResponseError) else reply for reply in replies]

    def _is_unconfirmed(self, reply: Any) -> bool:
        reason = self._confirmation.take(reply)
        if reason:
            METRICS.store_failures["unconfirmed"] += 1
            self._outages.refused(self._server, "unconfirmed", reason, logging.WARNING)
        return bool(reason)

    def disconnect(self) -> None:
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
            within = WITHIN_SCRIPT.search(str(exc))
            return WITHIN_SCRIPT_CLASSES.get(within[2], redis.ResponseError)(within[1]) if within else exc

    def _refused(self, error: redis.ResponseError) -> Unavailable | redis.ResponseError:
        """Log a refusal (an error for a bug in a script, else a warning); return Unavailable. Pass on redirections."""
        if self._in_cluster and isinstance(error, REDIRECTIONS):
            return error
        METRICS.store_failures["refused"] += 1
        not_now = isinstance(error, NOT_NOW) or str(error).startswith(NOT_NOW_WORDS)
        level = logging.WARNING if not_now else logging.ERROR
        self._outages.refused(self._server, kind_of(error, not_now), str(error), level)
        return Unavailable()
