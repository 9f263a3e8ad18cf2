"""Decide which HTTP requests are answered at once, which wait in the throttle queue, and which are refused.

A request is counted as soon as its head has arrived, before any of it is parsed, for its client's address. If an
address sends too fast, each of its requests waits in the queue; beyond its burst it is refused after the wait. So a
flood costs the worker at most the queue's share of time, whatever it requests; and since addresses alternate in the
queue, it does not delay other addresses for long.
"""

from __future__ import annotations

import json
import re
from collections.abc import Container
from typing import Any

from animochat.server.addresses import client_address, group_of
from animochat.server.http.reader import RequestReader
from animochat.server.limits import ConnectionLimits, Pace
from animochat.server.throttle import ThrottleQueue
from animochat.telemetry.metrics import METRICS

#: Connections that wait in the queue; more are closed without a response. Each holds a request's head, 32 kB at most.
MAX_WAITING = 4_000

_BODY = json.dumps({"error": {"code": "too-many-requests", "message": "Too many requests from this address"}}).encode()
_REFUSAL = (
    b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nContent-Type: application/json\r\nCache-Control: no-store\r\n"
    b"Connection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(_BODY), _BODY)
)

# Load balancers request these, and would remove a server that refuses. The answers are short.
_PROBE = re.compile(rb"(?:GET|HEAD) /health(?:/live)?[? ]")

_SESSION = re.compile(rb"[A-Z]+ [^ ?]*/socket\.io/?\?(?:[^ ]*&)?sid=([A-Za-z0-9_.~]{1,64}-[A-Za-z0-9_-]{1,64})")


class Admission:
    """One for each worker.

    Args:
        sessions: ids of the worker's open sessions. Their number and their packets have limits of their own: requests
            of an open session are not refused.
        worker_id: prefix of the ids of the worker's sessions; requests for other sessions go to their owners.
    """

    def __init__(
        self,
        limits: ConnectionLimits,
        throttle_queue: ThrottleQueue,
        sessions: Container[str],
        worker_id: str,
        trusted_proxies: int,
    ) -> None:
        self._limits = limits
        self._throttle_queue = throttle_queue
        self._sessions = sessions
        self._own = worker_id + "-"
        self._trusted_proxies = trusted_proxies

    def connection_made(self, peer: Any) -> None:
        """Let a new connection of a penalized address wait; `peer` is the address from `accept()`.

        Raises:
            ConnectionAbortedError: too many connections wait.
        """
        if self._trusted_proxies or not isinstance(peer, tuple):
            return  # the client's address is in a request's head
        address = client_address({"REMOTE_ADDR": peer[0]}, 0)
        if self._limits.is_penalized(address):
            self._wait(address)

    def head_read(self, peer: Any, reader: RequestReader, pipelined: bool) -> bytes | None:
        """Count a request whose head is in `reader`. Return the response that refuses it, or None.

        `pipelined`: it was sent before the last one was answered. No browser does that; without the queue a client
        could get hundreds of answers in one turn of the loop.

        Raises:
            ConnectionAbortedError: too many connections wait.
        """
        environ = {"REMOTE_ADDR": peer[0] if isinstance(peer, tuple) else ""}
        if self._trusted_proxies:
            environ["HTTP_X_FORWARDED_FOR"] = reader.forwarded_for()
        address = client_address(environ, self._trusted_proxies)
        pace = self._limits.request(address)
        if pace is Pace.FREE and not pipelined:
            return None
        line = reader.request_line()
        is_probe = _PROBE.match(line) is not None
        if not (is_probe and self._limits.probe(address)):
            self._wait(address)
        if pace is not Pace.REFUSED or is_probe or self._is_of_session(line):
            return None
        METRICS.requests_refused += 1
        return _REFUSAL

    def _is_of_session(self, line: bytes) -> bool:
        match = _SESSION.match(line)
        return match is not None and ((sid := match[1].decode()) in self._sessions or not sid.startswith(self._own))

    def _wait(self, address: str) -> None:
        if self._throttle_queue.waiting >= MAX_WAITING:
            raise ConnectionAbortedError
        self._throttle_queue.wait(group_of(address) or None)
