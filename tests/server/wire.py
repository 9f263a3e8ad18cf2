"""Helpers of this folder's tests: a server in a thread, servers in processes, clients that send bytes.

with InThread() as server:
    client = server.websocket()
    client.send(TEXT, b"4hello")
    assert client.message() == "4hello"
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import gevent
from gevent.socket import socket as GeventSocket
from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, Side

from animochat.server.http.handler import RequestServer
from animochat.server.process.run_directory import LISTENS
from tests.helpers.servers import ROOT, children, eventually, free_port
from tests.server.echo_app import EchoApp, EchoChat

CONT, TEXT, BINARY = Opcode.CONT, Opcode.TEXT, Opcode.BINARY
CLOSE, PING, PONG = Opcode.CLOSE, Opcode.PING, Opcode.PONG

HERE = Path(__file__).parent

#: Seconds after which an event that should come at once counts as missing.
PATIENCE = 10.0

T = TypeVar("T")


class InThread:
    """The echo application on a real port, in this process: on a thread with its own event loop.

    Args:
        options: for `EngineServer`.
    """

    def __init__(self, **options: Any) -> None:
        self.chat = EchoChat(**options)
        self.engine = self.chat.engine
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.server: RequestServer

    def __enter__(self) -> InThread:
        self._thread.start()
        assert self._ready.wait(PATIENCE)
        return self

    def __exit__(self, *_: object) -> None:
        self._end.send()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        hub = gevent.get_hub()
        ended = gevent.event.Event()
        self._end = hub.loop.async_()
        self._end.start(ended.set)
        self._work = hub.loop.async_()
        self._todo: list[Callable[[], object]] = []
        self._work.start(self._do_work)
        #: failures of greenlets and callbacks; none is allowed
        self.failures: list[Any] = []
        hub.handle_error = lambda context, *error: self.failures.append(error)
        listener = GeventSocket(socket.AF_INET, socket.SOCK_STREAM)
        listener.bind(("127.0.0.1", 0))
        listener.listen(1024)
        self.port = listener.getsockname()[1]
        self.server = RequestServer(listener, application=EchoApp(self.chat), spawn=gevent.pool.Pool(), log=None)
        self.server.on_connection = self.engine.admission.connection_made
        self.server.on_head = self.engine.admission.head_read
        self.server.start()
        self._ready.set()
        ended.wait()
        self.engine.disconnect()
        self.server.close()
        self.server.close_idle()
        self.server.stop(timeout=0)
        self.engine.shutdown()
        gevent.sleep(0)
        del hub.handle_error
        hub.destroy(destroy_loop=True)

    def _do_work(self) -> None:
        while self._todo:
            gevent.spawn(self._todo.pop(0))

    def call(self, function: Callable[[], T]) -> T:
        """Run `function` on the server's thread and return its result."""
        done = threading.Event()
        results: list[T] = []

        def work() -> None:
            try:
                results.append(function())
            finally:
                done.set()

        self._todo.append(work)
        self._work.send()
        assert done.wait(PATIENCE)
        return results[0]

    def session(self, sid: str) -> Any:
        """Return the server's session with that id."""
        # A client may have read its first packet before the server's thread has run the next line.
        return eventually(lambda: self.engine.sockets.get(sid))

    def closed(self) -> list[str]:
        """Return the reasons of all sessions closed so far."""
        return [reason for _, reason in self.chat.closed]

    def connect(self, address: str = "127.0.0.1", receive_buffer: int | None = None) -> socket.socket:
        """Return a TCP connection from that loopback address (on Linux any of 127.0.0.0/8)."""
        connection = socket.socket()
        if receive_buffer is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        connection.settimeout(PATIENCE)
        connection.bind((address, 0))
        connection.connect(("127.0.0.1", self.port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def websocket(self, query: str = "EIO=4&transport=websocket", headers: str = "") -> WebSocketClient:
        """Return a WebSocket connection; of a new session the first packet is read and the ``sid`` known."""
        client = WebSocketClient(self.connect(), query, headers)
        if "sid=" not in query:
            client.sid = json.loads(client.message()[1:])["sid"]
        return client

    def http(self) -> HttpClient:
        """Return a kept-alive HTTP connection."""
        return HttpClient(self.connect())


class Response:
    """An HTTP response."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def packets(self) -> list[str]:
        return self.body.decode().split("\x1e")


class HttpClient:
    """One HTTP connection, in bytes."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._file = connection.makefile("rb")

    def send(self, data: bytes) -> None:
        self.connection.sendall(data)

    def request(self, method: str, target: str, body: bytes | None = None, headers: str = "") -> None:
        """Send a request; `headers` are whole lines, each with its end."""
        length = f"Content-Length: {len(body)}\r\n" if body is not None else ""
        self.send(
            f"{method} {target} HTTP/1.1\r\nHost: test\r\n{headers}{length}\r\n".encode("latin-1") + (body or b"")
        )

    def response(self) -> Response:
        """Return the next response."""
        line = self._file.readline()
        if not line:
            raise EOFError("the server has closed")
        status = int(line.split()[1])
        headers = {}
        while (line := self._file.readline()) not in (b"\r\n", b""):
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        body = self._file.read(int(headers.get("content-length", 0)))
        return Response(status, headers, body)

    def get(self, target: str, headers: str = "") -> Response:
        self.request("GET", target, headers=headers)
        return self.response()

    def post(self, target: str, body: bytes, headers: str = "") -> Response:
        self.request("POST", target, body, headers)
        return self.response()

    def at_end(self) -> bool:
        """Return whether the server closes without sending more."""
        try:
            return self._file.read(1) == b""
        except ConnectionResetError:
            return True

    def close(self) -> None:
        self._file.close()
        self.connection.close()


def polling(sid: str = "", extra: str = "") -> str:
    """Return the target of a polling request."""
    return "/socket.io/?EIO=4&transport=polling" + (f"&sid={sid}" if sid else "") + extra


def open_polling(client: HttpClient) -> str:
    """Open a session on long polling; return its id."""
    packets = client.get(polling()).packets
    sid: str = json.loads(packets[0][1:])["sid"]
    return sid


KEY = "dGhlIHNhbXBsZSBub25jZQ=="


def handshake(target: str, headers: str = "", key: str = KEY, version: str = "13") -> bytes:
    """Return a WebSocket handshake request."""
    return (
        f"GET {target} HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
        f"Sec-WebSocket-Version: {version}\r\nSec-WebSocket-Key: {key}\r\n{headers}\r\n"
    ).encode("latin-1")


class WebSocketClient:
    """A WebSocket client that sends anything a test asks for, valid or not."""

    sid = ""

    def __init__(self, connection: socket.socket, query: str, headers: str = "", behind: bytes = b"") -> None:
        """`behind`: bytes sent together with the handshake."""
        self.connection = connection
        self._parser = Protocol(Side.CLIENT, max_size=None)
        self._frames: list[Frame] = []
        connection.sendall(handshake("/socket.io/?" + query, headers) + behind)
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            byte = connection.recv(1)
            assert byte, head
            head += byte
        assert head.startswith(b"HTTP/1.1 101 "), head
        #: the response to the handshake
        self.head = head.decode()

    def send(self, opcode: Opcode, payload: bytes = b"", **flags: Any) -> None:
        self.connection.sendall(Frame(opcode, payload, **flags).serialize(mask=True))

    def send_raw(self, first: int, payload: bytes, length: int | None = None, mask: bool = True) -> None:
        """Send a frame that need not be valid: its first byte, and the payload length that it claims to have."""
        length = len(payload) if length is None else length
        masked = 0x80 if mask else 0
        if length < 126:
            head = struct.pack("!BB", first, masked | length)
        elif length < 65536:
            head = struct.pack("!BBH", first, masked | 126, length)
        else:
            head = struct.pack("!BBQ", first, masked | 127, length)
        self.connection.sendall(head + (b"\0\0\0\0" if mask else b"") + payload)

    def frame(self) -> Frame:
        """Return the next frame of any kind."""
        while not self._frames:
            data = self.connection.recv(65536)
            if not data:
                raise EOFError("the server has closed")
            self._parser.receive_data(data)
            self._frames += self._parser.events_received()  # type: ignore[arg-type]
        return self._frames.pop(0)

    def message(self) -> str:
        """Return the next text message; answer Engine.IO's pings on the way."""
        while True:
            frame = self.frame()
            if frame.opcode is TEXT and bytes(frame.data) == b"2":
                self.send(TEXT, b"3")
                continue
            assert frame.opcode is TEXT, frame
            return bytes(frame.data).decode()

    def close_code(self) -> int:
        """Return the server's close code; drop all frames before it. Then the connection must end."""
        while (frame := self.frame()).opcode is not CLOSE:
            pass
        assert self.at_end()
        return int(struct.unpack("!H", bytes(frame.data[:2]))[0]) if frame.data else 1005

    def at_end(self) -> bool:
        """Return whether the server has ended the connection, or does so now."""
        try:
            while self.connection.recv(65536):
                pass
        except ConnectionResetError:
            pass
        return True

    def reset(self) -> None:
        """End the connection with a TCP reset."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()


class Gunicorn:
    """The echo application under a real gunicorn with our worker class."""

    def __init__(self, directory: Path, workers: int = 4, arguments: tuple[str, ...] = (), **options: Any) -> None:
        self.directory = directory
        self.tmp = directory / "tmp"
        self.tmp.mkdir()
        self.log_path = directory / "log"
        self.events_path = directory / "events"
        self.events_path.touch()
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.workers = workers
        environ = {name: value for name, value in os.environ.items() if not name.startswith(("GUNICORN", "ANIMOCHAT"))}
        environ.update(
            PYTHONPATH=os.pathsep.join([str(ROOT), str(HERE)]),
            TMPDIR=str(self.tmp),
            ECHO_LOG=str(self.events_path),
            ECHO_OPTIONS=json.dumps(options),
        )
        command = [
            sys.executable,
            "-m",
            "gunicorn",
            "--no-control-socket",
            "-k",
            "animochat.server.process.worker.Worker",
        ]
        command += ["-w", str(workers), "-b", f"127.0.0.1:{self.port}", *arguments, "echo_app:create_app()"]
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                command, cwd=directory, env=environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip

    def start(self) -> Gunicorn:
        """Start it and wait until all workers serve."""
        eventually(lambda: len(self.sockets()) >= self.workers, 30, "workers that serve")
        return self

    def sockets(self) -> list[Path]:
        """Return the workers' hand-over sockets that have a listener."""
        found = []
        for path in self.tmp.glob("animochat-run-*/*"):
            with contextlib.suppress(FileNotFoundError):
                if path.lstat().st_mode & LISTENS:
                    found.append(path)
        return found

    def worker_pids(self) -> list[int]:
        return sorted(children(self.process.pid))

    def log(self) -> str:
        return self.log_path.read_text()

    def events(self) -> list[str]:
        """Return the application's notes, one line each: the worker's process id, and the event."""
        return self.events_path.read_text().splitlines()

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), PATIENCE)

    def http(self) -> HttpClient:
        return HttpClient(self.connect())

    def quiet_sessions(self) -> int:
        """Return the number of sessions if none has a request under way; else 0."""
        found: dict[int, dict[str, int]] = {}
        deadline = time.monotonic() + PATIENCE
        while len(found) < self.workers and time.monotonic() < deadline:
            client = self.http()
            about = json.loads(client.get("/pid").body)
            client.close()
            found[about["pid"]] = about
        sockets = sum(about["sockets"] for about in found.values())
        return sockets if sockets == sum(about["quiet"] for about in found.values()) else 0

    def session_on_each(self) -> dict[int, str]:
        """Return a polling session on each worker: {process id: session id}."""
        found: dict[int, str] = {}
        deadline = time.monotonic() + 30
        while len(found) < self.workers and time.monotonic() < deadline:
            client = self.http()  # the worker that accepts it opens the session
            sid = open_polling(client)
            pid = json.loads(client.get("/pid").body)["pid"]
            found.setdefault(pid, sid)
            client.close()
        assert len(found) == self.workers
        return found

    def kill(self) -> None:
        """End all of its processes that are left."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(PATIENCE)

    def stop(self, signum: int = signal.SIGTERM) -> None:
        """Stop it, and wait for its end."""
        self.process.send_signal(signum)
        self.process.wait(30)

    def check_log(self) -> None:
        """Check that its log has no errors."""
        wrong = re.findall(r"^.*(?:Traceback|\[ERROR\]|\[CRITICAL\]|Error:).*$", self.log(), re.MULTILINE)
        assert not wrong, self.log()
