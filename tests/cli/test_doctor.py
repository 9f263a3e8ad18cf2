"""`animochat doctor`: one line for each check, advice, and an exit status."""

from __future__ import annotations

import contextlib
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from animochat import __version__
from animochat.cli import doctor
from animochat.cli.doctor import host_checks, store_checks
from animochat.settings import Settings
from animochat.store import keys
from tests.helpers.servers import ROOT, RedisServer, Server, eventually, find_redis_server, free_port

Examine = Callable[..., tuple[int, dict[str, str]]]


@pytest.fixture(scope="module")
def store_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    store = RedisServer(tmp_path_factory.mktemp("store"), find_redis_server(), persistent=True).start()
    yield store
    store.stop()


@pytest.fixture
def store(store_process: RedisServer) -> Iterator[redis.Redis]:
    """Return a client of a well configured store; a test's changes are undone."""
    names = ["maxmemory", "maxmemory-policy", "appendonly", "slowlog-log-slower-than"]
    with store_process.client() as client:
        client.flushall()
        before = {name: client.config_get(name)[name] for name in names}
        yield client
        client.replicaof("NO", "ONE")
        for user in set(client.acl_users()) - {"default"}:
            client.acl_deluser(user)
        for name, value in before.items():
            if client.config_get(name)[name] != value:
                client.config_set(name, value)
        # A store that has just switched on a file can't be stopped before it has written it.
        writing = ("aof_rewrite_in_progress", "aof_rewrite_scheduled")
        eventually(lambda: not any(client.info("persistence")[name] for name in writing), what="the append-only file")


@pytest.fixture
def examine(
    store_process: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Examine:
    """Return a function that runs the doctor with settings: it returns the exit status, and each check's line."""

    def run(**settings: str) -> tuple[int, dict[str, str]]:
        monkeypatch.chdir(tmp_path)  # no .env here
        usual = {"REDIS_URL": store_process.url, "PORT": str(free_port()), "APP_ENV": "production"}
        usual["ADMIN_TOKEN"] = "correct horse battery staple"
        for name, value in {**usual, "MAX_CONNECTIONS": "100", **settings}.items():
            monkeypatch.setenv(name, value)
        status = doctor.main([])
        lines = [line.split(None, 1) for line in capsys.readouterr().out.splitlines()]
        return status, {rest[:12].strip(): f"{level}: {rest[12:].strip()}" for level, rest in lines}

    return run


def test_a_good_environment_has_a_good_line_for_each_check(store: redis.Redis, examine: Examine) -> None:
    status, lines = examine()
    assert status == 0
    assert {line.split(":")[0] for line in lines.values()} == {"ok"}
    assert {"settings", "open files", "port", "proxies", "store", "latency", "eviction", "persistence"} <= lines.keys()
    assert {"permissions", "clock", "heartbeats"} <= lines.keys()


def test_the_doctor_runs_as_a_program_with_the_embedded_store(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "animochat", "doctor"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PORT": str(free_port()), "MAX_CONNECTIONS": "100"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "embedded" in result.stdout
    assert "unix://" in result.stdout


def test_every_mistake_in_the_settings_is_an_error(examine: Examine, capsys: pytest.CaptureFixture[str]) -> None:
    status, lines = examine(PORT="http", SECRET_KEY="hunter2")
    assert status == 2
    assert "SECRET_KEY" in lines["settings"]  # the last mistake
    assert "hunter2" not in str(lines)
    assert lines["the rest"].startswith("skipped")


def test_a_missing_store_is_an_error(examine: Examine) -> None:
    status, lines = examine(REDIS_URL=f"redis://anna:hunter2@127.0.0.1:{free_port()}")
    assert status == 2
    assert "can't be reached" in lines["store"]
    assert "hunter2" not in str(lines)


def test_a_wrong_password_is_reported_and_not_shown(
    store: redis.Redis, store_process: RedisServer, examine: Examine
) -> None:
    status, lines = examine(REDIS_URL=store_process.url.replace("//", "//anna:hunter2@"))
    assert status == 2
    assert "user or password" in lines["store"]
    assert "hunter2" not in str(lines)
    assert "anna" not in str(lines)


def test_an_evicting_store_is_an_error(store: redis.Redis, examine: Examine) -> None:
    store.config_set("maxmemory", "100mb")
    store.config_set("maxmemory-policy", "volatile-lru")
    status, lines = examine()
    assert status == 2
    assert lines["eviction"].startswith("error")
    assert "set it to noeviction" in lines["eviction"]


def test_an_evicting_store_without_a_bound_is_a_warning(store: redis.Redis, examine: Examine) -> None:
    store.config_set("maxmemory-policy", "allkeys-lru")
    status, lines = examine()
    assert status == 1
    assert lines["eviction"].startswith("warning")


def test_a_store_that_is_nearly_full_is_a_warning(store: redis.Redis, examine: Examine) -> None:
    store.config_set("maxmemory", str(int(store.info("memory")["used_memory"] * 1.1)))
    status, lines = examine()
    assert status == 1
    assert "raise maxmemory" in lines["memory"]


@pytest.mark.parametrize(("environment", "expected"), [("production", "warning"), ("development", "ok")])
def test_a_store_without_persistence_is_a_warning_in_production(
    store: redis.Redis, examine: Examine, environment: str, expected: str
) -> None:
    store.config_set("appendonly", "no")
    status, lines = examine(APP_ENV=environment)
    assert lines["persistence"].startswith(expected)
    assert "a restart loses everything" in lines["persistence"]
    assert status == (1 if expected == "warning" else 0)


def test_a_replica_is_an_error(store: redis.Redis, examine: Examine) -> None:
    store.replicaof("127.0.0.1", "1")
    status, lines = examine()
    assert status == 2
    assert "replica" in lines["role"]


def test_a_user_with_too_few_rights_is_an_error(
    store: redis.Redis, store_process: RedisServer, examine: Examine
) -> None:
    store.acl_setuser("clerk", enabled=True, passwords=["+hunter2"], keys=["*"], channels=["*"], commands=["+@all"])
    url = store_process.url.replace("//", "//clerk:hunter2@")
    assert examine(REDIS_URL=url)[0] == 0
    store.execute_command("ACL", "SETUSER", "clerk", "-zadd", "-pubsub|numsub", "-set")
    status, lines = examine(REDIS_URL=url)
    assert status == 2
    for refused in ("ZADD on {lobby:*", "PUBSUB NUMSUB on the server", "SET on animochat:secret"):
        assert refused in lines["permissions"]
    store.execute_command("ACL", "SETUSER", "clerk", "+@all", "resetchannels", "resetkeys", "~{lobby:*")
    status, lines = examine(REDIS_URL=url)
    assert status == 2
    for refused in (
        "PUBLISH, SUBSCRIBE on {lobby:main}:channel:*",
        "PUBLISH, SUBSCRIBE on {lobby:main}:everybody",
        "more on {room:*",
        "on animochat:secret",
    ):
        assert refused in lines["permissions"]
    assert "{lobby:*" not in lines["permissions"]
    store.execute_command("ACL", "SETUSER", "clerk", "allkeys", "-evalsha")
    assert "EVALSHA" in examine(REDIS_URL=url)[1]["permissions"]


def test_checks_without_permission_are_skipped(
    store: redis.Redis, store_process: RedisServer, examine: Examine
) -> None:
    commands = ["+@all", "-info", "-config"]
    store.acl_setuser("clerk", enabled=True, passwords=["+hunter2"], keys=["*"], channels=["*"], commands=commands)
    status, lines = examine(REDIS_URL=store_process.url.replace("//", "//clerk:hunter2@"))
    assert status == 0
    assert lines["store"].startswith("skipped")
    assert lines["permissions"].startswith("ok")


def test_every_command_of_scripts_and_python_is_checked() -> None:
    asked = {command for _, command, _ in store_checks._wanted({}, ["main"])}
    assert {"ZADD", "XADD", "PUBSUB NUMSUB", "ZRANDMEMBER", "TIME"} <= asked
    sources = [path.read_text() for path in (ROOT / "animochat").rglob("*.py") if path.parent.name != "commands"]
    sent = {command for source in sources for command in re.findall(r'(?:execute|submit)\(\(?"([A-Z]+)"', source)}
    assert {"HEXISTS", "PUBLISH"} <= sent
    assert sent <= asked


def test_every_lobby_is_checked(store: redis.Redis, store_process: RedisServer, examine: Examine) -> None:
    store.zadd(keys.lobby("cebu") + ":workers", {"silent": 1, "living": 4_000_000_000_000})
    store.acl_setuser("few", enabled=True, nopass=True, keys=["{lobby:main}*", "{room:*", "animochat:*"],
                      channels=["{lobby:*"], categories=["+@all"])  # fmt: skip
    status, lines = examine(LOBBIES="main,cebu")
    assert status == 1
    assert "1 live in cebu, and 1 without heartbeats" in lines["heartbeats"]
    url = store_process.url.replace("//", "//few:x@")
    status, lines = examine(LOBBIES="main", REDIS_URL=url)
    assert lines["permissions"].startswith("ok")
    status, lines = examine(LOBBIES="main,cebu", REDIS_URL=url)
    assert status == 2
    assert "{lobby:*" in lines["permissions"]


def test_nothing_is_written_to_the_store(store: redis.Redis, examine: Examine) -> None:
    examine()
    assert store.dbsize() == 0


def test_a_slow_log_that_keeps_message_text_is_a_warning(store: redis.Redis, examine: Examine) -> None:
    assert "slow log" not in examine()[1]
    status, lines = examine(STORE_MESSAGES="0")
    assert status == 1
    assert "slowlog-log-slower-than -1" in lines["slow log"]
    store.config_set("slowlog-log-slower-than", "-1")
    assert examine(STORE_MESSAGES="0")[0] == 0


def test_a_cluster_that_does_not_serve_every_slot_is_an_error(tmp_path: Path, examine: Examine) -> None:
    port = free_port()
    command = [find_redis_server(), "--port", str(port), "--dir", str(tmp_path), "--save", "", "--appendonly", "no"]
    node = subprocess.Popen(
        [*command, "--bind", "127.0.0.1", "--cluster-enabled", "yes", "--cluster-port", str(free_port())],
        stdout=subprocess.DEVNULL,
    )
    try:
        with redis.Redis(port=port) as client:

            def answers() -> bool:
                with contextlib.suppress(redis.ConnectionError):
                    return bool(client.ping())
                return False

            eventually(answers, what="a cluster's node")
        status, lines = examine(REDIS_URL=f"redis://127.0.0.1:{port}")
    finally:
        node.terminate()
        node.wait()
    assert status == 2
    assert lines["cluster"].startswith("error")
    assert "0 of 16384 slots" in lines["cluster"]


def test_a_silent_worker_beside_live_ones_is_a_warning(store: redis.Redis, examine: Examine) -> None:
    now = time.time() * 1000
    workers = f"{keys.lobby()}:workers"
    store.zadd(workers, {"quiet": now - 60_000})
    assert examine()[1]["heartbeats"].startswith("ok")
    store.zadd(workers, {"lively": now})
    status, lines = examine()
    assert status == 1
    assert "quiet" in lines["heartbeats"]
    assert "lively" not in lines["heartbeats"]


def test_a_port_of_another_program_is_an_error(store: redis.Redis, examine: Examine) -> None:
    with socket.create_server(("0.0.0.0", 0)) as other, pytest.MonkeyPatch.context() as patience:
        patience.setattr(host_checks, "PORT_TIMEOUT", 0.1)  # it listens, and never answers
        status, lines = examine(PORT=str(other.getsockname()[1]))
    assert status == 2
    assert "another program" in lines["port"]


def test_a_port_of_our_server_is_fine(module_server: Server, store: redis.Redis, examine: Examine) -> None:
    status, lines = examine(PORT=str(module_server.port))
    assert status == 0
    assert lines["port"] == f"ok: AniMoChat {__version__} runs on port {module_server.port}"


def test_an_untrusted_proxy_of_the_platform_is_a_warning(store: redis.Redis, examine: Examine) -> None:
    status, lines = examine(RENDER="true")
    assert status == 1
    assert "TRUSTED_PROXIES=1" in lines["proxies"]
    assert examine(RENDER="true", TRUSTED_PROXIES="1")[0] == 0


def test_heroku_s_router_is_trusted_by_default(store: redis.Redis, examine: Examine) -> None:
    status, lines = examine(DYNO="web.1")
    assert status == 0
    assert lines["proxies"].startswith("ok: 1 trusted")
    assert examine(DYNO="web.1", TRUSTED_PROXIES="0")[0] == 1


def test_a_port_that_is_open_beside_the_proxy_is_a_warning(
    store: redis.Redis, examine: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_checks, "_in_container", lambda: False)
    for every in ("0.0.0.0", "::"):
        status, lines = examine(TRUSTED_PROXIES="1", HOST=every)
        assert (status, lines["proxies"].split(":")[0]) == (1, "warning")
    assert examine(TRUSTED_PROXIES="1", HOST="127.0.0.1")[0] == 0
    assert examine(TRUSTED_PROXIES="1", APP_ENV="development")[0] == 0
    monkeypatch.setattr(host_checks, "_in_container", lambda: True)
    assert examine(TRUSTED_PROXIES="1")[0] == 0


def test_a_foreign_listen_address_is_an_error(store: redis.Redis, examine: Examine) -> None:
    for host, said in (("192.0.2.1", "no address of this machine"), ("host.invalid", "is not known here")):
        status, lines = examine(HOST=host)
        assert status == 2
        assert said in lines["port"]


def test_an_unchecked_certificate_is_a_warning_except_on_heroku() -> None:
    def certificate(url: str, **environ: str) -> str:
        settings = Settings.from_environ({"REDIS_URL": url, **environ})
        findings = host_checks.machine_findings(settings, environ)
        return "; ".join(f"{it.level.name} {it.text}" for it in findings if it.check == "certificate")

    assert certificate("redis://host", REDIS_TLS_VERIFY="0") == ""
    assert certificate("rediss://host") == "OK that of the store is checked"
    unchecked = certificate("rediss://host", REDIS_TLS_VERIFY="0")
    assert unchecked.startswith("WARNING that of the store is not checked (REDIS_TLS_VERIFY=0")
    assert certificate("rediss://host?ssl_cert_reqs=none") == unchecked
    assert certificate("rediss://host", REDIS_TLS_VERIFY="0", DYNO="web.1").startswith("OK ")


def test_reports_that_no_page_shows_are_a_warning_in_production(store: redis.Redis, examine: Examine) -> None:
    status, lines = examine(ADMIN_TOKEN="")
    assert status == 1
    assert "set ADMIN_TOKEN" in lines["reports"]
    assert examine(ADMIN_TOKEN="", APP_ENV="development")[0] == 0


def test_fewer_open_files_than_a_full_worker_needs_are_a_warning(store: redis.Redis, examine: Examine) -> None:
    status, lines = examine(MAX_CONNECTIONS="1000000")
    assert status == 1
    assert "ulimit -n 1000100" in lines["open files"]
