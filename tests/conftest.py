"""The fixtures: real stores, real servers, stock clients. helpers/ has their parts.

def test_something(server, connect):
    anna, bert = connect(server), connect(server)
    anna.emit("find-match")
    ...
    assert anna.wait("matched")["partnerId"]
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from animochat.store.embedded import EmbeddedStore, find_binary
from tests.faults.crowd import Crowd
from tests.helpers.api_documents import UNDOCUMENTED
from tests.helpers.people import NodePool
from tests.helpers.servers import ROOT, Client, NodeClient, PythonClient, Server, find_redis_6, find_redis_server

#: Continuous integration installs everything that tests need, so there a skipped test is a failure.
IN_CI = os.environ.get("CI", "").lower() not in ("", "0", "false")

#: Name -> function that finds the program.
STORES = {"valkey": find_binary, "redis": find_redis_server, "redis-6.2": find_redis_6}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if IN_CI and report.skipped and not hasattr(report, "wasxfail") and not item.get_closest_marker("may_skip"):
        report.outcome = "failed"
        report.longrepr = f"skipped in CI, where everything has to be there: {report.longrepr}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if IN_CI and report.skipped:
        report.outcome = "failed"
        report.longrepr = f"skipped in CI, where everything has to be there: {report.longrepr}"
    return report


def pytest_unconfigure(config: pytest.Config) -> None:
    """Print at the end which programs skipped tests lack, and the one command that installs them."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or hasattr(config, "workerinput"):
        return
    reasons = [
        re.search(r"(\S+) is not installed", str(report.longrepr)) for report in reporter.stats.get("skipped", [])
    ]
    wanted = Counter(reason[1] for reason in reasons if reason)
    if not wanted:
        return
    reporter.write_line(
        f"{wanted.total()} skipped for want of "
        + ", ".join(f"{name} ({count})" for name, count in wanted.most_common())
    )
    command = subprocess.run([ROOT / "tools/test_packages", "--command"], capture_output=True, text=True, check=False)
    if command.stdout.strip():
        reporter.write_line(f"to install it: {command.stdout.strip()}")


@pytest.fixture(autouse=True)
def documented() -> Iterator[None]:
    """Check that everything a test's stock clients receive is documented."""
    yield
    seen, UNDOCUMENTED[:] = list(UNDOCUMENTED), []
    assert not seen, f"{len(seen)} messages differ from the documents, the first: {seen[0]}"


# Stores: one process of each kind for the whole run, emptied before each test that uses it.


@pytest.fixture(scope="session")
def store_processes() -> Iterator[Callable[[str], str]]:
    """Return a function: one of STORES -> URL of a store of that kind. It skips the test if the machine has none."""
    running: dict[str, EmbeddedStore] = {}

    def url(name: str) -> str:
        if name not in running:
            running[name] = EmbeddedStore.start(binary=STORES[name]())
        return running[name].url

    yield url
    for store in running.values():
        store.stop()


def _emptied(url: str) -> str:
    with redis.Redis.from_url(url) as client:
        client.flushall()
    return url


@pytest.fixture
def store_url(store_processes: Callable[[str], str]) -> str:
    """Return an empty store: the embedded Valkey."""
    return _emptied(store_processes("valkey"))


@pytest.fixture(params=STORES)
def redis_url(request: pytest.FixtureRequest, store_processes: Callable[[str], str]) -> str:
    """Return an empty store; the test runs on the embedded Valkey, the machine's redis-server and Redis 6.2."""
    return _emptied(store_processes(request.param))


# Servers: real processes. Each test's own are stopped after it, and must not have logged an error.


class _Servers:
    """Starts servers and stops them."""

    def __init__(self, directory: Path, default_store: Callable[[], str]) -> None:
        self.directory = directory
        self.default_store = default_store
        self.started: list[Server] = []

    def __call__(
        self, *, redis_url: str | None = "", workers: int = 1, env: dict[str, str] | None = None, **options: Any
    ) -> Server:
        """Start a server; return once it answers. `redis_url`: None: none is set; by default this test's store."""
        url = self.default_store() if redis_url == "" else redis_url
        environment = {**({"REDIS_URL": url} if url else {}), **(env or {})}
        directory = self.directory / f"server{len(self.started)}"
        directory.mkdir()
        server = Server(directory, workers=workers, env=environment, **options)
        self.started.append(server)
        server.start()
        return server

    def end(self) -> None:
        try:
            for server in self.started:
                server.stop()
        finally:
            for server in self.started:
                server.kill()
        for server in self.started:
            server.check_log()


@pytest.fixture
def servers(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[_Servers]:
    """Return a factory of servers that share this test's store (`redis_url` if the test uses it, else `store_url`)."""
    store = "redis_url" if "redis_url" in request.fixturenames else "store_url"
    factory = _Servers(tmp_path, lambda: request.getfixturevalue(store))
    yield factory
    factory.end()


@pytest.fixture
def server(servers: _Servers) -> Server:
    """Return one server with one worker."""
    return servers()


@pytest.fixture(scope="module")
def module_store() -> Iterator[str]:
    """Return a store for all tests of a module, which is never emptied: an embedded Valkey."""
    store = EmbeddedStore.start()
    yield store.url
    store.stop()


@pytest.fixture(scope="module")
def module_servers(module_store: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Servers]:
    """Return a factory of servers that live as long as the module's tests, on the module's store."""
    factory = _Servers(tmp_path_factory.mktemp("module"), lambda: module_store)
    yield factory
    factory.end()


@pytest.fixture(scope="module")
def module_server(module_servers: _Servers) -> Server:
    """Return one server for all tests of a module that leave nothing behind."""
    return module_servers()


# Clients


@pytest.fixture(scope="module")
def crowd_process() -> Iterator[Crowd]:
    """Return many stock clients in one Node process, for all tests of a module; each test disconnects its own."""
    crowd = Crowd()
    yield crowd
    crowd.close()


@pytest.fixture(scope="session")
def node_processes() -> Iterator[NodePool]:
    """Return Node processes that one test after another uses."""
    pool = NodePool()
    yield pool
    pool.close()


@pytest.fixture
def connect(node_processes: NodePool) -> Iterator[Callable[..., Client]]:
    """Return a factory of connected clients: `connect(server, kind="python" | "node", **options)`."""
    clients: list[Client] = []

    def factory(server: Server | str, kind: str = "python", **options: Any) -> Client:
        url = server if isinstance(server, str) else server.url
        client = node_processes.take(url) if kind == "node" else PythonClient(url)
        clients.append(client)
        client.connect(**options)
        return client

    yield factory
    for client in clients:
        if isinstance(client, NodeClient):
            node_processes.give_back(client)
        else:
            client.close()


@pytest.fixture(params=["python", "node"])
def stock_client(request: pytest.FixtureRequest) -> str:
    """Return a kind of client for `connect`: the test runs once with each."""
    if request.param == "node" and shutil.which("node") is None:
        pytest.skip("node is not installed")
    return str(request.param)
