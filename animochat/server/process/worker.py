"""The gunicorn worker class: ``worker_class = "animochat.server.process.worker.Worker"``.

A worker loads the application, serves HTTP with `handler`, receives connections from other workers through `handover`,
and calls ``app.extensions["animochat"]``: ``start()`` once it serves; at shutdown ``drain(seconds)``, which gradually
sends the clients to other workers (unless the shutdown is quick), and then ``stop(timeout)``. That object also has
``worker_id`` and ``engine``, the worker's `EngineServer`.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

import gevent
from gevent.event import Event
from gevent.pool import Pool
from geventwebsocket.gunicorn.workers import GeventWebSocketWorker
from gunicorn.workers.ggevent import GeventWorker

from animochat.server.http.handler import RequestHandler, RequestServer
from animochat.server.library_internals import VERSION, base_environ
from animochat.server.process.handover import Handover
from animochat.server.process.run_directory import VARIABLE, RunDirectory, RunDirectoryError
from animochat.telemetry import logs

#: Bytes of unread input that the kernel keeps per connection. By default it keeps some megabytes for each flood that is
#: throttled.
_RECEIVE_BUFFER = 64 * 1024

#: Seconds between two heartbeats to the master.
_HEARTBEAT = 1.0

#: Seconds for which the other workers of a server that can't start wait for the first one's exit.
_FIRST_EXIT = 5.0

#: Seconds for a quick stop (SIGINT, SIGQUIT, or the master is gone); gunicorn's master waits for two.
_QUICK_STOP = 1.5

#: The part of the graceful time for sending the clients elsewhere: 8 s of 25. HAProxy as in deploy/ marks a server that
#: accepts no connections as down after 8 s at the earliest, and then cuts the remaining ones.
_DRAINING = 1 / 3

#: Seconds of the graceful time that remain for closing connections after the application has stopped.
_CLOSING_TIME = 2.0


def tune_garbage_collector() -> None:
    """Keep the collector's pauses too short to show in a message's delay.

    A full collection visits all objects: 10,000 connections and the loaded modules take some 100 ms each time, without
    any result, since reference counting frees dropped objects and connections break their own circles. Objects that are
    loaded by now live as long as the process, and are excluded from collections; young objects are visited after every
    20,000 net allocations (about 1 ms), all objects only after hundreds of millions of allocations.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 1_000)


def unsupported(cfg: Any) -> str | None:
    """Return which of gunicorn's settings keeps the server from working, and a remedy; None if none does."""
    if not issubclass(cfg.worker_class, Worker):
        if not _serves_alone(cfg.worker_class):
            return (
                f"the worker class {cfg.worker_class_str} can't serve it: leave --worker-class out,"
                " or give animochat.server.process.worker.Worker"
            )
        if cfg.workers > 1:
            return (
                f"the worker class {cfg.worker_class_str} serves alone: leave --worker-class out for more than one"
                " worker, or give animochat.server.process.worker.Worker"
            )
    if cfg.preload_app:
        return "each worker has to load the application for itself: leave --preload out"
    if cfg.is_ssl:
        return "TLS is not supported: leave --certfile and --keyfile out, and end it at a proxy in front"
    if cfg.proxy_protocol not in (False, "off"):
        return (
            "--proxy-protocol is not supported: leave it out, let the proxy send X-Forwarded-For (of HTTP), and set"
            " TRUSTED_PROXIES"
        )
    return None


def _serves_alone(kind: Any) -> bool:
    """Return whether a worker class of others can serve the chat, as the only worker."""
    if issubclass(kind, GeventWebSocketWorker):
        return True
    return issubclass(kind, GeventWorker) and kind.server_class is None


class Worker(GeventWebSocketWorker):
    """Serves one Flask application on gevent."""

    server_class = RequestServer
    #: the factory leaves it to this worker
    starts_chat = True
    wsgi_handler = RequestHandler

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._quick = False
        self._wake: Event | None = None

    @classmethod
    def check_config(cls, cfg: Any, log: Any) -> None:
        """In the master, before the first worker: refuse unsupported settings, make the run directory."""
        problem = unsupported(cfg)
        if problem is not None:
            log.error("Can't start: %s", problem)
            sys.exit(1)
        try:
            directory = RunDirectory.create(cfg.uid, cfg.gid)
        except (RunDirectoryError, OSError) as error:
            log.error("Can't start: %s", error)
            sys.exit(1)
        cfg.env_orig[VARIABLE] = str(directory.path)  # for a master that SIGUSR2 starts

    # Signals. gunicorn's handlers may run between any two instructions: they only set flags.

    def handle_exit(self, sig: int, frame: Any) -> None:
        """SIGTERM: stop gracefully."""
        self.alive = False

    def handle_quit(self, sig: int, frame: Any) -> None:
        """SIGQUIT, SIGINT: stop quickly."""
        self.alive = False
        self._quick = True

    def notify(self) -> None:
        """Send a heartbeat to the master; stop if the master is gone."""
        self.tmp.notify()
        if self.ppid != os.getppid() and not self._quick:
            self.log.info("Parent changed, shutting down: %s", self)
            self.alive = False
            self._quick = True

    # Life

    def init_process(self) -> None:
        """Run first in the new process."""
        # gunicorn sets its handlers after patching; until then a forked process has the master's handlers: a SIGTERM in
        # that time would be lost, and the master would wait for the whole graceful time.
        signal.signal(signal.SIGTERM, self.handle_exit)
        signal.signal(signal.SIGQUIT, self.handle_quit)
        signal.signal(signal.SIGINT, self.handle_quit)
        super().init_process()

    def run(self) -> None:
        """Serve until a signal asks to stop."""
        chat = self._chat
        self._wake = Event()
        gevent.get_hub().print_exception = logs.uncaught
        # The C-level handler of any signal writes to this pipe: the loop wakes at once instead of at its next tick.
        pipe = gevent.get_hub().loop.io(self.PIPE[0], 1)
        pipe.start(self._signalled)
        servers = [self._server(listener) for listener in self.sockets]
        handover = Handover.join(chat.worker_id, servers[0].adopt)
        for server in servers:
            server.handover = handover
            server.start()
        try:
            if not self._start(chat, self._wake):
                return
            tune_garbage_collector()
            while self.alive:
                self.notify()
                handover.heal()
                self._wake.wait(_HEARTBEAT)
                self._wake.clear()
            self._stop(chat, servers, handover)
        finally:
            handover.close()
            pipe.stop()
            pipe.close()

    def _start(self, chat: Any, wake: Event) -> bool:
        """Start the chat. Return False if the master stops this worker because another one could not start.

        Each worker of a server that can't start exits for the same reason. gunicorn fails with a traceback if a second
        one does so while it stops: all but the first wait for it.
        """
        try:
            chat.start()
        except SystemExit:
            deadline = time.monotonic() + _FIRST_EXIT
            while self.age > 1 and self.alive and time.monotonic() < deadline:
                self.notify()
                wake.wait(_HEARTBEAT)
                wake.clear()
            if self.alive:
                raise
            return False
        return True

    def load_wsgi(self) -> None:
        """Load the application. A failure here makes gunicorn give up; a later one makes it retry."""
        super().load_wsgi()
        extensions = getattr(self.wsgi, "extensions", {})
        if "animochat" not in extensions:
            raise RuntimeError(
                'the application has no extensions["animochat"]: it has to be what create_app() returns;'
                " middleware goes around its wsgi_app"
            )
        self._chat = extensions["animochat"]

    def _server(self, listener: Any) -> RequestServer:
        listener.setblocking(1)
        if listener.family != socket.AF_UNIX:
            # Accepted connections inherit this option.
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        server = self.server_class(
            listener,
            application=self.wsgi,
            spawn=Pool(self.worker_connections),
            log=self.log,
            handler_class=self.wsgi_handler,
            environ={**base_environ(self.cfg), "wsgi.multithread": True, "SERVER_SOFTWARE": VERSION},
        )
        server.keep_alive = float(self.cfg.keepalive)
        server.on_connection = self._chat.engine.admission.connection_made
        server.on_head = self._chat.engine.admission.head_read
        server.on_request = self._count_request
        return server

    def _signalled(self) -> None:
        with contextlib.suppress(OSError):
            os.read(self.PIPE[0], 4096)
        assert self._wake is not None
        self._wake.set()

    def _count_request(self) -> None:
        self.nr += 1
        if self.nr >= self.max_requests and self.alive:
            self.log.info("Autorestarting worker after current request.")
            self.alive = False
            assert self._wake is not None
            self._wake.set()

    # The end

    def _stop(self, chat: Any, servers: list[RequestServer], handover: Handover) -> None:
        """Stop accepting, send the clients elsewhere, close the rest, all within the graceful time."""
        begun = time.monotonic()
        for server in servers:
            server.close()
        chat.engine.stopping = True

        if not self._quick:
            whole = self._time_left(begun)
            draining = gevent.spawn(chat.drain, whole * _DRAINING)
            self._wait(draining.ready, begun, keep=whole / 2)  # the store may delay the last clients
            draining.kill(block=False)
        if self._quick:
            self.cfg.worker_int(self)
            begun = time.monotonic()  # the stop may have become a quick one

        stopping = gevent.spawn(chat.stop, max(0.5, self._time_left(begun) - _CLOSING_TIME))
        self._wait(stopping.ready, begun, keep=min(_CLOSING_TIME, 0.5))
        stopping.kill(block=False)

        chat.engine.hang_up()
        # From here on the other workers answer "unknown session" for us.
        handover.close()
        for server in servers:
            server.close_idle()
        self._wait(lambda: not chat.engine.frames.connections and not any(s.busy for s in servers), begun)
        for server in servers:
            if server.busy:
                self.log.warning("Worker graceful timeout (pid:%s)", self.pid)
            server.stop(timeout=0)

    def _time_left(self, begun: float) -> float:
        graceful = float(self.cfg.graceful_timeout)
        # The master's time started a moment earlier, and it kills at the end of it.
        whole = _QUICK_STOP if self._quick else graceful - min(1.0, graceful / 4)
        return begun + whole - time.monotonic()

    def _wait(self, done: Callable[[], bool], begun: float, keep: float = 0.0) -> None:
        """Wait until `done`, but leave `keep` seconds of the remaining time. A quick stop may happen meanwhile."""
        while not done() and self._time_left(begun) > keep:
            self.notify()
            gevent.sleep(0.02)
