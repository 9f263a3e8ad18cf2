"""New connections, and lost ones that come back (recovery).

Each is accepted at once, identified, and registered or recovered when the store has answered.

Registering is one round trip (and one more for someone who is in a room). While the store can't be reached,
connections stay: they get `unavailable`, and are registered when it is back.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from gevent.event import Event

from animochat.chat.connections import Connection, Connections, Transport
from animochat.chat.departures import Departures
from animochat.chat.sync import Sync
from animochat.chat.tokens import Tokens, new_person
from animochat.protocol import offset, packets
from animochat.protocol.errors import Unavailable
from animochat.protocol.offset import Offset
from animochat.telemetry import tracing
from animochat.telemetry.logs import Shortened
from animochat.telemetry.metrics import METRICS

#: Seconds that a client waits for a worker which has just started to learn the secret.
SECRET_TIMEOUT = 2.0

#: Seconds after a stall in which this worker admits no one: clients that connect then may have waited for it.
WARY = 1.0


class Arrivals:
    """Lets clients into one lobby. `check_stall`: see stall.py."""

    def __init__(
        self,
        lobby: str,
        connections: Connections,
        sync: Sync,
        departures: Departures,
        check_stall: Callable[[], None],
    ) -> None:
        self._lobby = lobby
        self._connections = connections
        self._sync = sync
        self._departures = departures
        self._check_stall = check_stall
        self._secret_known = Event()
        self._stopping = False
        #: The worker admits no one until then (monotonic, in seconds).
        self._wary_until = 0.0
        #: Asked before a CONNECT is answered: the data of the application's refusal, or None.
        self.on_connect: Callable[[Connection], dict[str, Any] | None] = lambda connection: None
        #: One for all connections, which keep it.
        self._resync_later = self.resync

    # Admission

    def admit_nobody(self) -> None:
        """Send clients that connect from now on elsewhere: this worker is about to stop."""
        self._stopping = True

    def distrust_arrivals(self) -> None:
        """Make the clients that connect now connect again: this worker stood still, and they may have moved to another
        one since. The newest connection wins, and this one may not be the newest.
        """
        self._wary_until = time.monotonic() + WARY

    def _turn_away(self, connection: Connection) -> bool:
        """If this worker admits no one now, make the client reconnect. Return whether it was turned away."""
        if not self._stopping and time.monotonic() >= self._wary_until:
            return False
        connection.transport.hang_up()
        return True

    def know_secret(self, secret: str) -> None:
        """Start registering clients: the worker has the secret that all workers share."""
        self._sync.tokens = Tokens(secret, self._lobby)
        self._secret_known.set()

    # A client comes

    def open(self, transport: Transport, auth: dict[str, Any]) -> Connection:
        """Accept a Socket.IO connection. Does not wait: `session` follows when the store has answered."""
        connection = Connection(transport, self._lobby, self._resync_later)
        self._connections.by_id[connection.id] = connection
        transport.owner = connection
        connection.note("Connected from %s", Shortened(transport.remote_addr))
        self._check_stall()
        if not self._turn_away(connection):
            connection.perform(partial(self._admit, connection, auth))
        return connection

    @tracing.traced("connect")
    def _admit(self, connection: Connection, auth: dict[str, Any]) -> None:
        self._secret_known.wait(SECRET_TIMEOUT)
        tokens = self._sync.tokens
        if tokens is None and isinstance(auth.get("pid"), str):
            connection.transport.hang_up()  # the client tries again; a new session would cost it the old one
            return
        session = tokens.verify_session(auth.get("pid")) if tokens is not None else None
        known = offset.parse(auth.get("offset"))
        if session is not None:
            connection.person = session[0]
            if known is not None and tokens is not None:
                connection.device = tokens.verify_device(auth.get("device")) or ""  # else the one it had
                # Only the store can say whether the session goes on, and the answer to CONNECT has to.
                self._recover(connection, session[1], known)
                return
        else:
            connection.token = auth.get("token")
        connection.device_token = auth.get("device")
        self._identify(connection)
        if self._accept(connection):
            self._register(connection)

    def _identify(self, connection: Connection) -> None:
        tokens = self._sync.tokens
        if tokens is None:
            return
        if not connection.person:
            connection.person = tokens.verify(connection.token) or new_person()
            connection.token = None
        if not connection.device:
            connection.device = tokens.verify_device(connection.device_token) or new_person()
            connection.device_token = None

    def _accept(self, connection: Connection) -> bool:
        """Answer CONNECT. Return whether the client is in: it may be gone, or the application may refuse it."""
        if connection.closed:
            return False
        self._connections.accept(connection)
        refusal = self.on_connect(connection)
        if connection.closed:
            return False
        if refusal is not None:
            connection.note("Refused by the application")
            del self._connections.by_sid[connection.sid]
            connection.transport.send(packets.refused("/", refusal["message"], refusal.get("data")))
            connection.transport.owner = None
            self._departures.disconnect(connection)
            return False
        tokens = self._sync.tokens
        pid = tokens.issue_session(connection.person, connection.sid) if tokens is not None else None
        connection.transport.send(packets.connected(connection.sid, pid))
        return True

    def _register(self, connection: Connection) -> None:
        if not connection.closed and not self._turn_away(connection):
            self._identify(connection)
            self._sync.register(connection)

    def _recover(self, connection: Connection, session: str, known: Offset) -> None:
        """Recover a session: send the client everything that it missed."""
        if connection.closed or self._turn_away(connection):
            return
        self._connections.claim(connection)
        try:
            standing = self._sync.reconcile(connection, known, recover=session)
        except Unavailable:
            METRICS.recoveries["unavailable"] += 1
            connection.transport.hang_up()  # the client tries again, with the same session
            return
        METRICS.recoveries["new-session" if standing.session else "recovered"] += 1
        connection.note("Came back: a new session" if standing.session else "Came back: recovered")
        if not standing.session:
            connection.sid = session
        self._accept(connection)  # one that is not is closed now
        self._sync.bring(connection, known, standing)

    # It is here

    def resync(self, connection: Connection) -> None:
        """Resynchronize a connection with the store. Does not wait."""
        connection.perform(partial(self._resync, connection))

    def _resync(self, connection: Connection) -> None:
        if not connection.registered:  # by now: it may have been on its way when the resync was asked for
            self._register(connection)
        elif not connection.closed:
            self._sync.resync(connection)
