"""Servers on one store: those that belong together agree, and those that must not know each other do not."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from animochat import __version__
from animochat.cli.doctor.check_result import CheckResult, Level
from animochat.cli.doctor.store_checks import store_findings
from animochat.moderation.lobby_moderation import NOTHING, LobbyModeration
from animochat.presence.identity import SCHEMA, disagreements, identity, misfit
from animochat.presence.service import Presence
from animochat.settings import Settings
from tests.helpers.people import Connect, meet, running, say
from tests.helpers.servers import RedisServer, Server, eventually, find_redis_server
from tests.helpers.store import DirectPipeline

ONE, OTHER = "a secret of 32 characters, or so.", "another secret of 32 characters."
START = 1_900_000_000_000


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RedisServer]:
    directory = tmp_path / "store"
    directory.mkdir()
    store = RedisServer(directory, find_redis_server()).start()
    yield store
    store.stop(signal.SIGKILL)


def findings(url: str, **settings: object) -> dict[str, list[CheckResult]]:
    found: dict[str, list[CheckResult]] = {}
    for finding in store_findings(url, Settings(redis_url=url, **settings)):  # type: ignore[arg-type]
        found.setdefault(finding.check, []).append(finding)
    return found


# The comparison


def test_a_worker_receives_the_identities_of_live_workers(redis_url: str) -> None:
    now = START
    pipeline = DirectPipeline(redis_url)
    one, other, older = (Presence(pipeline, name, clock=lambda: now) for name in ("one", "other", "older"))
    for worker in (one, other, older):
        worker.heartbeat(0)
    assert one.identify("1 x") == ["", ""], "neither has recorded one"
    assert sorted(other.identify("1 y")) == ["", "1 x"]
    assert sorted(one.identify("1 x")) == ["", "1 y"]
    now += 6_000
    one.heartbeat(0)
    assert one.identify("1 x") == []
    assert pipeline.execute("HKEYS", "{lobby:main}:identities") == [b"one"]


def test_secrets_schemas_and_storing_must_agree_but_versions_may_differ() -> None:
    mine = identity(ONE, True, __version__)
    assert ONE not in mine
    assert disagreements(mine, [mine, mine.replace(__version__, "9.9.9")]) == {}
    assert list(disagreements(mine, [mine, identity(OTHER, True, __version__)])) == ["secret"]
    assert list(disagreements(mine, [identity(ONE, False, __version__)])) == ["storing"]
    wrong = disagreements(mine, [f"{SCHEMA + 1} {'0' * 16} 1 7.0.0"])
    assert list(wrong) == ["schema"]
    assert "version 7.0.0" in wrong["schema"]
    assert list(disagreements(mine, [""])) == ["older"]


def test_a_newcomer_of_another_schema_does_not_fit() -> None:
    other = f"{SCHEMA + 1} {'0' * 16} 1 7.0.0"
    assert "version 7.0.0" in misfit(__version__, ["", other])
    assert misfit(__version__, [other, identity(ONE, True, __version__)]) == "", "it is the other one that came later"
    assert misfit(__version__, []) == misfit(__version__, [""]) == ""


# Whole servers


def test_a_server_of_another_schema_is_refused_in_one_line_and_changes_nothing(
    tmp_path: Path, store: RedisServer
) -> None:
    with store.client() as admin:
        admin.zadd("{lobby:main}:workers", {"other": 2 * START})  # it lives throughout
        admin.hset("{lobby:main}:identities", "other", f"{SCHEMA + 1} {'0' * 16} 1 7.0.0")
        server = Server(tmp_path, workers=2, env={"REDIS_URL": store.url}).start(wait=False)
        try:
            eventually(lambda: server.exit_status() is not None, 40, "its end")
            lines = [line for line in server.log().splitlines() if "Can't start: another server on this store" in line]
            assert lines
            assert "version 7.0.0" in lines[0]
            assert "Traceback" not in server.log()
            assert admin.zrange("{lobby:main}:workers", 0, -1) == ["other"]
            assert list(admin.hgetall("{lobby:main}:identities")) == ["other"]
        finally:
            server.kill()


def test_a_version_that_records_nothing_is_logged_once(tmp_path: Path, store: RedisServer) -> None:
    with running(tmp_path, 1, store.url) as (server,), store.client() as admin:
        server.expect_errors()

        def told() -> bool:
            seconds, microseconds = admin.time()  # its heartbeat
            admin.zadd("{lobby:main}:workers", {"0ld": seconds * 1000 + microseconds // 1000})
            return "which doesn't record its settings" in server.log()

        eventually(told, 40, "the line")
    assert server.log().count("Wrong set-up") == 1


def test_two_secrets_on_one_store_are_reported_once_by_each_worker_and_by_doctor(
    tmp_path: Path, store: RedisServer
) -> None:
    with running(tmp_path, 1, store.url, SECRET_KEY=ONE) as (one,):
        one.expect_errors()
        assert [finding.level for finding in findings(store.url, secret_key=ONE)["agreement"]] == [Level.OK]
        (wrong,) = findings(store.url, secret_key=OTHER)["agreement"]
        assert (wrong.level, "SECRET_KEY" in wrong.text) == (Level.ERROR, True)
        place = tmp_path / "another"
        place.mkdir()
        with running(place, 1, store.url, SECRET_KEY=OTHER, STORE_MESSAGES="0") as (another,):
            another.expect_errors()
            for server in (one, another):
                eventually(lambda server=server: "SECRET_KEY" in server.log(), 30, "the line")
            told = [finding.text for finding in findings(store.url, secret_key=ONE)["agreement"]]
            assert any("SECRET_KEY" in text for text in told)
            assert any("STORE_MESSAGES" in text for text in told)
        assert one.log().count("has a different secret") == another.log().count("has a different secret") == 1
        assert ONE not in one.log() + another.log()


def test_two_deployments_in_two_databases_of_one_store_do_not_know_each_other(
    tmp_path: Path, store: RedisServer, connect: Connect
) -> None:
    servers: list[Server] = []
    for number, secret in enumerate((ONE, OTHER)):
        place = tmp_path / f"deployment{number}"
        place.mkdir()
        env = {"REDIS_URL": f"{store.url}/{number}", "SECRET_KEY": secret, "ADMIN_TOKEN": secret, "RATE_SEARCHES": "0"}
        servers.append(Server(place, env=env).start())
    try:
        for server in servers:
            eventually(lambda server=server: server.get("/health").status_code == 200)
        anna, bert = connect(servers[0]), connect(servers[0])
        carla, dora = connect(servers[1]), connect(servers[1])
        meet(anna, bert)
        meet(carla, dora)
        for server, secret, text in zip(servers, (ONE, OTHER), ("to the first", "to the second"), strict=True):
            headers = {"Authorization": f"Bearer {secret}"}
            answer = server.get("/admin/api/announcements", method="POST", json={"text": text}, headers=headers)
            assert answer.json() == {"ok": True}
        for client, text in ((anna, "to the first"), (carla, "to the second")):
            assert client.wait("announcement")["text"] == text
        for pair in ((anna, bert), (carla, dora)):
            say(*pair, "and nothing else has come")
        assert len(anna.received("announcement")) == len(carla.received("announcement")) == 1
        assert [server.get("/stats").json()["onlineUsers"] for server in servers] == [2, 2]
        for url, secret in ((f"{store.url}/0", ONE), (f"{store.url}/1", OTHER)):
            assert [finding.level for finding in findings(url, secret_key=secret)["agreement"]] == [Level.OK]
        assert "another" not in servers[0].log() + servers[1].log()
    finally:
        for server in servers:
            server.stop()


# Bans that a restart of the store would end


@pytest.mark.parametrize(("command", "told"), [(["CONFIG", "SET", "appendonly", "no"], True), (["SAVE"], False)])
def test_bans_in_a_store_without_persistence_are_logged_at_the_start_in_production(
    tmp_path: Path, store: RedisServer, command: list[str], told: bool
) -> None:
    LobbyModeration(DirectPipeline(store.url), 10, 0).ban("carl", None, NOTHING, "note")  # type: ignore[arg-type]
    with store.client() as admin:
        admin.execute_command(*command)
        if not told:
            admin.execute_command("BGSAVE")
            eventually(lambda: admin.info("persistence")["rdb_last_bgsave_time_sec"] >= 0)
    with running(tmp_path, 1, store.url, APP_ENV="production", SECRET_KEY=ONE) as (server,):
        # by then it has looked
        with redis.Redis.from_url(store.url) as client:
            eventually(lambda: client.hlen("{lobby:main}:identities") == 1)
        if told:
            eventually(lambda: "ends all bans, 1 now" in server.log())
    assert ("ends all bans" in server.log()) is told
    (finding,) = findings(store.url)["persistence"]
    assert finding.level is Level.WARNING
    assert "1 ban" in finding.text
