"""Log each failure of the store once: when it begins, when its reason changes, and when it is over.

Several parts of a worker use the same server (commands, subscriptions, the cluster's map): an outage is the server's.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

import gevent
import redis

from animochat.store.connection import BROKEN
from animochat.store.reasons import is_ambiguous, reason

log = logging.getLogger(__name__)

#: Seconds after which a reason that returns within the same outage is logged again: two reasons may alternate.
REPEAT = 30.0

#: Seconds without a refused command after which the store counts as accepting: some commands succeed while it is full.
QUIET = 5.0

#: Kinds of refusal that are kept: unknown errors could be of any number of kinds.
MAX_REFUSALS = 100


@dataclass
class _Failure:
    """The reason for which a part of the worker fails. `text` is None until it is known."""

    server: str
    kind: tuple[str, str]
    text: str | None = None


class Outages:
    """One for each worker. A `server` is named as in the log: "" for the only one, or "host:port" in a cluster."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures: dict[str, _Failure] = {}
        #: Server -> reasons logged in this outage, and when.
        self._said: dict[str, dict[str, float]] = {}
        #: Server and kind -> time of the last refused command.
        self._refused: dict[tuple[str, str], float] = {}

    def failed(self, part: str, error: Exception, url: str, server: str = "") -> None:
        """Note that `part` of this worker could not use the server at `url`. Does not wait."""
        kind = (repr(error), repr(error.__cause__ or error.__context__))
        failure = self._failures.get(part)
        if failure is None or (failure.server, failure.kind) != (server, kind):
            failure = self._failures[part] = _Failure(server, kind)
            if is_ambiguous(error, url):
                gevent.spawn(self._find_reason, part, failure, error, url)
            else:
                self._find_reason(part, failure, error, url)

    def works(self, part: str) -> None:
        """Note that `part` works. Cheap: it is called for each batch of commands."""
        failure = self._failures.pop(part, None) if self._failures else None
        if failure is None or any(other.server == failure.server for other in self._failures.values()):
            return
        if self._said.pop(failure.server, None):
            log.warning("The store%s is back", _at(failure.server))

    def forget(self, part: str) -> None:
        """Note that `part` is no longer needed."""
        self._failures.pop(part, None)

    def refused(self, server: str, kind: str, text: str, level: int) -> None:
        """Note that a command was refused. Log each `kind` once, until none was refused for QUIET seconds."""
        if (server, kind) not in self._refused:
            if len(self._refused) == MAX_REFUSALS:
                return
            log.log(level, "The store%s refused a command: %s", _at(server), text)
        self._refused[server, kind] = self._clock()

    def accepted(self, server: str) -> None:
        """Note that a batch of commands was answered. Cheap: it is called for each batch."""
        if self._refused:
            now = self._clock()
            for known, last in list(self._refused.items()):
                if known[0] == server and now - last > QUIET:
                    del self._refused[known]
                    log.warning("The store%s accepts commands again (it refused some: %s)", _at(server), known[1])

    def _find_reason(self, part: str, failure: _Failure, error: Exception, url: str) -> None:
        verb = "can't be reached" if isinstance(error, BROKEN) else "refuses this worker"
        text = f"The store{_at(failure.server)} {verb}: {reason(error, url)}"
        if self._failures.get(part) is failure:  # it may be over by now
            failure.text = text
            self._say(failure)

    def _say(self, failure: _Failure) -> None:
        assert failure.text is not None
        said, now = self._said.setdefault(failure.server, {}), self._clock()
        latest = next(reversed(said), None)
        if failure.text != latest and now - said.get(failure.text, -REPEAT) >= REPEAT:
            said.pop(failure.text, None)
            said[failure.text] = now
            log.warning("%s", failure.text)


def _at(server: str) -> str:
    return f" at {server}" if server else ""


def kind_of(error: redis.ResponseError, temporary: bool) -> str:
    """Return the kind of a refusal: the store's error word, or the place in a script that is at fault."""
    if not temporary:
        return str(error)[:200]
    # redis-py raises a class of its own for some error words and removes the word from the text. The class's name
    # stands for it.
    return str(error).split(" ")[0] if type(error) is redis.ResponseError else type(error).__name__
