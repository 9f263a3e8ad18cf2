"""Fixtures of this folder: echo servers, in a thread or under gunicorn."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.server.wire import Gunicorn, HttpClient, InThread


@pytest.fixture
def serve(capfd: pytest.CaptureFixture[str]) -> Iterator[Callable[..., InThread]]:
    """Return a factory of echo servers in threads. Whatever a test does to them, they log nothing and nothing fails."""
    started: list[InThread] = []

    def start(**options: Any) -> InThread:
        server = InThread(**options)
        server.__enter__()
        started.append(server)
        return server

    yield start
    for server in started:
        server.__exit__()
        assert server.failures == []
    assert capfd.readouterr().err == ""


@pytest.fixture
def server(serve: Callable[..., InThread]) -> InThread:
    """Return an echo server in a thread."""
    return serve()


@pytest.fixture
def http(server: InThread) -> Iterator[HttpClient]:
    """Return a connection to `server`."""
    client = server.http()
    yield client
    client.close()


@pytest.fixture(scope="session")
def short_directory() -> Iterator[Callable[[], Path]]:
    """Return a factory of empty directories with short names: pytest's are too long for a Unix socket in them."""
    with tempfile.TemporaryDirectory(prefix="animochat-test-") as base:
        yield lambda: Path(tempfile.mkdtemp(dir=base))


@pytest.fixture
def gunicorn(short_directory: Callable[[], Path]) -> Iterator[Callable[..., Gunicorn]]:
    """Return a factory of gunicorns. Each must stop on request, without errors and without leaving anything behind."""
    started: list[Gunicorn] = []

    def start(**options: Any) -> Gunicorn:
        server = Gunicorn(short_directory(), **options)
        started.append(server)
        return server.start()

    try:
        yield start
        for server in started:
            if server.process.poll() is None:
                server.stop()
                server.check_log()
                assert list(server.tmp.iterdir()) == []
    finally:
        for server in started:
            server.kill()
