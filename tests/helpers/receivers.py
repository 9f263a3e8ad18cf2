"""Real receivers of alerts: an HTTP server and a mail server, each in a thread of its own."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from standardwebhooks import Webhook

from tests.helpers.servers import PATIENCE

#: A secret as an operator makes one.
SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"


@dataclass
class Delivery:
    """A request that arrived. `status`: how it was answered; None where it was not."""

    headers: dict[str, str]
    body: bytes
    status: int | None

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    def verified(self) -> Any:
        """Return the payload; raises where the stock library does not accept the signature."""
        return Webhook(SECRET).verify(self.body, self.headers)


class Receiver:
    """An HTTP server that answers with the next of `answers` (200 when there is none); None: it never answers."""

    def __init__(self, *answers: int | None) -> None:
        self.deliveries: list[Delivery] = []
        self._answers = list(answers)
        self._changed = threading.Condition()
        self._closed = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver._receive(self)

            def log_message(self, *arguments: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/alerts?key=hidden-in-the-address"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def _receive(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers["Content-Length"]))
        with self._changed:
            status = self._answers.pop(0) if self._answers else 200
            self.deliveries.append(Delivery({k.lower(): v for k, v in request.headers.items()}, body, status))
            self._changed.notify_all()
        if status is None:
            self._closed.wait()
            return
        request.send_response(status)
        if 300 <= status < 400:
            request.send_header("Location", f"http://127.0.0.1:{self.port}/elsewhere")
        request.send_header("Content-Length", "0")
        request.end_headers()

    def wait(self, check: Callable[[list[Delivery]], Any], what: str) -> list[Delivery]:
        """Return the deliveries as soon as `check` is true of them."""
        with self._changed:
            if not self._changed.wait_for(lambda: check(self.deliveries), PATIENCE):
                pytest.fail(f"not within {PATIENCE} s: {what}; so far: {self.deliveries}")
            return list(self.deliveries)

    def accepted(self) -> list[Delivery]:
        return [delivery for delivery in self.deliveries if delivery.status == 200]

    def close(self) -> None:
        self._closed.set()
        self._server.shutdown()
        self._server.server_close()


class MailServer:
    """An SMTP server without TLS that takes every message, or answers a recipient with `refusals` first."""

    def __init__(self, *refusals: bytes) -> None:
        self.messages: list[str] = []
        self.commands: list[bytes] = []
        self._refusals = list(refusals)
        outer = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                outer._talk(self)

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"smtp://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def _talk(self, connection: socketserver.StreamRequestHandler) -> None:
        connection.wfile.write(b"220 mail.example ESMTP\r\n")
        for line in connection.rfile:
            command = line.strip().upper()
            self.commands.append(command)
            if command.startswith(b"RCPT") and self._refusals:
                connection.wfile.write(self._refusals.pop(0) + b"\r\n")
            elif command == b"DATA":
                connection.wfile.write(b"354 go on\r\n")
                lines = iter(connection.rfile.readline, b".\r\n")
                self.messages.append(b"".join(lines).decode())
                connection.wfile.write(b"250 taken\r\n")
            elif command == b"QUIT":
                connection.wfile.write(b"221 bye\r\n")
                return
            else:
                connection.wfile.write(b"250 ok\r\n")

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
