"""Users with few rights on a store: which rights are enough, and that they have no others. tests/chat/test_contract.py
runs the contract on every kind of store.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import redis

from animochat.cli.doctor.check_result import Level
from animochat.cli.doctor.store_checks import store_findings
from animochat.settings import Settings
from animochat.store.cluster import find
from tests.helpers.clusters import RedisCluster
from tests.helpers.servers import find_redis_server
from tests.helpers.store_kinds import PATIENT, USER, add_user


@pytest.mark.parametrize(("lines", "sharded"), [(USER, True), (USER[:2], False)], ids=["with it", "without it"])
def test_sharded_pubsub_is_used_if_the_user_may(tmp_path: Path, lines: list[str], sharded: bool) -> None:
    with RedisCluster(tmp_path / "store", find_redis_server(), primaries=1, options=PATIENT) as cluster:
        add_user(cluster.nodes, lines)
        topology = find(cluster.url.replace("://", "://animochat:secret@"))
    assert topology is not None
    assert topology.sharded is sharded


def rights(admin: redis.Redis) -> list[str]:
    """Return the user's lines in the documents that fit this store: the last one is for sharded pub/sub."""
    return USER if "spublish" in admin.acl_cat("pubsub") else USER[:2]


def test_the_documented_user_may_run_every_command_that_the_doctor_checks(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url, decode_responses=True) as admin:
        lines = rights(admin)
        for line in lines:
            admin.execute_command("ACL", "SETUSER", "few", *line.split())
        url = redis_url.replace("://", "://few:secret@")
        findings = {finding.check: finding for finding in store_findings(url, Settings.from_environ({}))}
        admin.acl_deluser("few")
    told = Level.OK if lines == USER else Level.SKIPPED  # Redis 6.2 does not report a user's rights
    assert findings["permissions"].level == told, findings["permissions"]


def test_the_documented_user_may_do_nothing_else(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url, decode_responses=True) as admin:
        lines = rights(admin)
        for line in lines:
            admin.execute_command("ACL", "SETUSER", "few", *line.split())
    with redis.Redis.from_url(redis_url, username="few", password="secret") as client:
        for command in (
            ["GET", "other"],
            ["SET", "other", "x"],
            ["KEYS", "*"],
            ["SCAN", "0"],
            ["FLUSHALL"],
            ["CONFIG", "GET", "*"],
            ["EVAL", "return 1", "0"],
            ["SCRIPT", "FLUSH"],
            ["PUBLISH", "other", "x"],
            *([["SPUBLISH", "other", "x"]] if lines == USER else []),
            ["CLUSTER", "RESET"],
            ["MONITOR"],
            ["ACL", "LIST"],
            ["SHUTDOWN"],
        ):
            with pytest.raises(redis.exceptions.NoPermissionError):
                client.execute_command(*command)
    with redis.Redis.from_url(redis_url) as admin:
        admin.acl_deluser("few")
