"""Hand connections to the worker that owns the session: any number of workers without a sticky load balancer.

Every worker listens on a Unix stream socket, named by the worker's id, in a directory that only our user can enter. It
checks both with each heartbeat, because cleaners of temporary files may remove them. A worker that reads a request for
another worker's session sends the connection's descriptor there (SCM_RIGHTS), with the client's address and all bytes
that it has read. Once the owner has confirmed, the connection belongs to the owner.
"""

from __future__ import annotations

import array
import contextlib
import json
import logging
import math
import os
import re
import socket
import struct
import sys
import time
from collections.abc import Callable
from typing import Any

import gevent
from gevent.server import StreamServer
from gevent.socket import socket as Socket

from animochat.server.library_internals import native_socket
from animochat.server.process.run_directory import LISTENS, RunDirectory
from animochat.telemetry.metrics import METRICS

log = logging.getLogger(__name__)

#: Seconds in which another worker has to accept and confirm. A living worker's loop has never been that late.
HANDOVER_TIMEOUT = 5.0

#: Seconds in which all workers notice that the run directory was removed: two heartbeats.
HEALING_TIME = 2.0

#: Connections that may wait in a worker's socket; a datagram socket or a short queue loses some under load.
_BACKLOG = 4096

_HEADER = struct.Struct("!II")
_CONFIRMED = b"+"
_OWNER = re.compile(rb"[A-Z]+ [^ ?]*/socket\.io/?\?(?:[^ ]*&)?sid=([A-Za-z0-9_.~]{1,64})-")

Address = Any  # the peer's address from accept(): a tuple, or a string for a Unix socket
Adopt = Callable[[Socket, Address, bytes], object]


def owner_of(request_line: bytes) -> str | None:
    """Return the id of the worker that owns the request's session."""
    match = _OWNER.match(request_line)
    return match[1].decode() if match else None


class Handover:
    """This worker's end. :meth:`join` makes it, :meth:`pass_on` runs before each request, :meth:`close` ends it."""

    def __init__(self, directory: RunDirectory | None, worker_id: str, adopt: Adopt) -> None:
        self.worker_id = worker_id
        self._adopt = adopt
        self._directory = directory
        self._server: StreamServer | None = None
        self._status: os.stat_result | None = None  # of our socket, taken after binding
        self._healed_at = -math.inf
        self._failed = self._closed = False

    @classmethod
    def join(cls, worker_id: str, adopt: Adopt) -> Handover:
        """Begin to receive connections; `adopt` gets each with its peer's address and the bytes read from it.

        Without a run directory (no gunicorn master has made one) this worker answers all requests itself.
        """
        handover = cls(RunDirectory.inherited(), worker_id, adopt)
        handover.heal()
        if handover._directory is not None:
            handover._directory.remove_dead()  # sockets of killed predecessors
        return handover

    def heal(self) -> None:
        """Listen again if our socket is missing. Call this with each heartbeat; never raises."""
        if self._directory is None or self._closed:
            return
        try:
            removed = self._directory.ensure()
            if not self._is_there():
                removed = removed or self._server is not None
                self._listen(self._directory)
        except OSError as error:
            if not self._failed:
                log.error("Requests for other workers' sessions can't be handed over: %s", error)
            self._failed = True
            return
        self._failed = False
        if removed:
            self._healed_at = time.monotonic()
            log.warning("The run directory or a file in it was removed, and is created again")

    def _is_there(self) -> bool:
        if self._directory is None or self._status is None:
            return False
        try:
            return os.path.samestat(os.lstat(self._directory.path_of(self.worker_id)), self._status)
        except OSError:
            return False

    def _listen(self, directory: RunDirectory) -> None:
        path = directory.path_of(self.worker_id)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        listener = Socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # Bind under the final name: cleaners ask the kernel for the names of live sockets.
            listener.bind(path)
            listener.listen(_BACKLOG)
            os.chmod(path, 0o700 | LISTENS)
            self._status = os.lstat(path)
        except OSError:
            listener.close()
            raise
        self._stop_listening()
        self._server = StreamServer(listener, self._receive)
        self._server.start()

    def _stop_listening(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.close()

    def close(self) -> None:
        """Stop receiving; leave nothing behind."""
        if self._directory is None or self._closed:
            return
        self._closed = True
        self._stop_listening()
        with contextlib.suppress(OSError):
            os.unlink(self._directory.path_of(self.worker_id))
        self._directory.leave()

    # Sending

    def pass_on(self, request_line: bytes, connection: Socket, address: Address, received: bytes) -> bool:
        """Hand a connection to the worker that owns the session of its next request.

        Return whether that worker has it; the caller then closes its own copy. False: the session is this worker's, or
        doesn't exist (any more), so this worker answers the request.
        """
        owner = owner_of(request_line)
        if owner is None or owner == self.worker_id or self._directory is None:
            return False
        meta = json.dumps(address).encode()
        try:
            with Socket(socket.AF_UNIX, socket.SOCK_STREAM) as channel:
                channel.settimeout(HANDOVER_TIMEOUT)
                self._connect(channel, owner)
                _send(channel, connection.fileno(), _HEADER.pack(len(meta), len(received)) + meta + received)
                taken = bool(channel.recv(1) == _CONFIRMED)
                METRICS.handovers["taken" if taken else "gone"] += 1
                return taken
        except TimeoutError:
            # It may still accept: two answers would be worse than none.
            log.warning("worker %s did not take a connection in %.0f s", owner, HANDOVER_TIMEOUT)
            METRICS.handovers["late"] += 1
            return True
        except OSError:
            METRICS.handovers["gone"] += 1
            return False  # it has ended, or is ending

    def _connect(self, channel: Socket, owner: str) -> None:
        """Connect to a worker; wait while its queue is full, or while its socket may be about to return.

        For a full queue the kernel says "try again" without a time. A missing socket may return if ours was missing.
        """
        assert self._directory is not None
        path = self._directory.path_of(owner)
        with gevent.Timeout(HANDOVER_TIMEOUT, TimeoutError):
            while True:
                try:
                    native_socket(channel).connect(path)
                    return
                except BlockingIOError:
                    gevent.sleep(0.002)
                except (FileNotFoundError, ConnectionRefusedError):
                    self.heal()
                    if time.monotonic() - self._healed_at > HEALING_TIME:
                        raise
                    gevent.sleep(0.05)

    # Receiving

    def _receive(self, channel: Socket, _address: object) -> None:
        connection: Socket | None = None
        try:
            channel.settimeout(HANDOVER_TIMEOUT)
            if not _is_ours(channel):
                return
            data, ancillary, _flags, _ = channel.recvmsg(64 * 1024, socket.CMSG_SPACE(4))
            connection = _connection_in(ancillary)
            while len(data) < _HEADER.size and (more := channel.recv(64 * 1024)):
                data += more
            meta_size, received_size = _HEADER.unpack_from(data)
            while len(data) < _HEADER.size + meta_size + received_size and (more := channel.recv(64 * 1024)):
                data += more
            meta = data[_HEADER.size : _HEADER.size + meta_size]
            received = data[_HEADER.size + meta_size :]
            if connection is None or len(received) != received_size:
                raise OSError("incomplete")
            address = json.loads(meta)
            channel.sendall(_CONFIRMED)
        except (OSError, struct.error, ValueError):
            # The sender died halfway; its own copy of the client's connection has ended, too.
            if connection is not None:
                connection.close()
            return
        self._adopt(connection, tuple(address) if isinstance(address, list) else address, received)


def _send(channel: Socket, descriptor: int, data: bytes) -> None:
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [descriptor]))]
    sent = channel.sendmsg([data], rights)
    if sent < len(data):
        channel.sendall(data[sent:])


def _connection_in(ancillary: list[tuple[int, int, bytes]]) -> Socket | None:
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS and len(content) >= 4:
            return Socket(fileno=struct.unpack("i", content[:4])[0])
    return None


def _is_ours(channel: Socket) -> bool:
    """Return whether the other end runs as our user. The directory's mode ensures that, except for root."""
    if not sys.platform.startswith("linux"):
        return True
    _pid, uid, _gid = struct.unpack("3i", channel.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return bool(uid == os.geteuid())
