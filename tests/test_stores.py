"""The contract's core on each kind of store behind REDIS_URL, with partners on different servers."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import redis
import test_contract as contract
import trustme
from clusters import RedisCluster, StoreNode
from people import meet, running, wait_until_empty
from support import ROOT, Client, PythonClient, find_redis_server, free_port

from animochat.commands.findings import Level
from animochat.commands.store_checks import store_findings
from animochat.embedded import find_binary
from animochat.settings import Settings
from animochat.store.cluster import find

#: The user that docs/stores.md recommends, line by line.
USER = re.findall(r"^user animochat (.+)$", (ROOT / "docs/stores.md").read_text(), re.MULTILINE)


#: For clusters in which nobody dies: a busy machine is no reason to take a node for dead.
PATIENT = {"cluster-node-timeout": "15000"}


def add_user(nodes: list[StoreNode], lines: list[str]) -> None:
    for node in nodes:
        for line in lines:
            node.run("ACL", "SETUSER", "animochat", *line.split())


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A client's options for TLS: an authority of our own, and a certificate of the client's, by that authority."""
    directory = tmp_path_factory.mktemp("certificates")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(directory / "ca.pem")
    for name in ("127.0.0.1", "animochat"):
        certificate = authority.issue_cert(name)
        certificate.private_key_pem.write_to_path(directory / f"{name}.key")
        certificate.cert_chain_pems[0].write_to_path(directory / f"{name}.pem")
    return {
        "ssl_ca_certs": str(directory / "ca.pem"),
        "ssl_certfile": str(directory / "animochat.pem"),
        "ssl_keyfile": str(directory / "animochat.key"),
    }


def server_options(certificates: dict[str, str]) -> dict[str, str]:
    """The same for a store, which lets nobody in without a certificate."""
    directory = Path(certificates["ssl_ca_certs"]).parent
    return {
        "tls-ca-cert-file": certificates["ssl_ca_certs"],
        "tls-cert-file": str(directory / "127.0.0.1.pem"),
        "tls-key-file": str(directory / "127.0.0.1.key"),
        "tls-auth-clients": "yes",
        "tls-replication": "yes",
    }


def query(certificates: dict[str, str]) -> str:
    return "?" + "&".join(f"{name}={value}" for name, value in certificates.items())


def check_contract(directory: Path, url: str, nodes: list[StoreNode]) -> None:
    """The contract's core on two servers, to whom people come in turn. The store must not have refused anything."""
    for node in nodes:
        node.run("ACL", "LOG", "RESET")
    clients: list[PythonClient] = []
    env = {"SKIP_COOLDOWN_MS": str(contract.COOLDOWN_MS), "RECONNECT_GRACE_MS": str(contract.GRACE_MS)}
    directory.mkdir()
    with running(directory, 2, store=url, **env) as servers:

        def new_client(**options: Any) -> PythonClient:
            client = PythonClient(servers[len(clients) % 2].url)
            clients.append(client)
            client.connect(**options)
            return client

        def pair() -> tuple[Client, Client]:
            anna, bert = new_client(), new_client()
            meet(anna, bert)
            return anna, bert

        def hear_each_other() -> None:
            """Right after the start a worker may not listen yet: whoever is there is matched a moment later."""
            anna, bert = new_client(), new_client()
            for client in (anna, bert):
                client.call("find-match")
            for client in (anna, bert):
                client.wait("matched")

        for check in (
            hear_each_other,
            lambda: contract.test_find_match_answers_waiting_until_there_is_a_partner_for_both(new_client),
            lambda: contract.test_next_match_leaves_and_the_partner_is_told_skipped(pair()),
            lambda: contract.test_a_client_id_is_stored_and_delivered_once(pair()),
            lambda: contract.test_each_gets_the_partners_messages_in_order_and_once_and_the_room_has_one_order(pair()),
            lambda: contract.test_typing_is_passed_on(pair()),
            lambda: contract.test_what_was_said_before_leaving_arrives_before_it(pair(), "leave-room"),
            lambda: contract.test_what_was_said_before_leaving_arrives_before_it(pair(), "next-match"),
            lambda: contract.test_a_goodbye_ends_the_room_at_once(pair(), servers[0]),
            lambda: contract.test_what_is_said_to_somebody_who_vanished_is_kept(pair(), new_client),
        ):
            wait_until_empty(servers[0])
            check()
            for client in clients:
                client.close()
    refused = [entry["object"] for node in nodes for entry in node.run("ACL", "LOG")]
    # asked for, to learn whether sharded pub/sub may be used
    assert set(refused) <= {"pubsub|shardnumsub"}


def test_the_contract_holds_on_a_cluster_with_tls_and_a_user_with_few_rights(
    tmp_path: Path, certificates: dict[str, str]
) -> None:
    options = {**server_options(certificates), "tls-cluster": "yes", **PATIENT}
    with RedisCluster(tmp_path / "store", find_redis_server(), options=options, tls=certificates) as cluster:
        add_user(cluster.nodes, USER)
        url = f"rediss+cluster://animochat:secret@{cluster.hosts}{query(certificates)}"
        check_contract(tmp_path / "servers", url, cluster.nodes)


def test_the_contract_holds_on_a_cluster_of_valkey_that_is_named_by_one_of_its_nodes(tmp_path: Path) -> None:
    with RedisCluster(tmp_path / "store", find_binary(), options=PATIENT) as cluster:
        url = f"redis://127.0.0.1:{cluster.nodes[1].port}"
        check_contract(tmp_path / "servers", url, cluster.nodes)


def test_the_contract_holds_on_a_cluster_without_sharded_pubsub(tmp_path: Path) -> None:
    """As Redis 6.2 has none: here the user may not use it."""
    with RedisCluster(tmp_path / "store", find_redis_server(), options=PATIENT) as cluster:
        add_user(cluster.nodes, USER[:2])
        url = cluster.url.replace("://", "://animochat:secret@")
        topology = find(url)
        assert topology is not None
        assert not topology.sharded
        check_contract(tmp_path / "servers", url, cluster.nodes)


def test_the_contract_holds_on_a_primary_with_tls_that_a_sentinel_with_tls_names(
    tmp_path: Path, certificates: dict[str, str]
) -> None:
    """Each has a user of its own."""
    options = server_options(certificates)
    node = StoreNode(tmp_path / "primary", find_redis_server(), options, certificates, in_cluster=False)
    node.start_first()
    port, config = free_port(), tmp_path / "sentinel.conf"
    lines = {"port": "0", "tls-port": str(port), "bind": "127.0.0.1", "dir": str(tmp_path), **options}
    config.write_text(
        "".join(f"{name} {value}\n" for name, value in lines.items())
        + f"sentinel monitor mymaster 127.0.0.1 {node.port} 1\n"
        + "user watcher on >hidden -@all +sentinel|masters\n"
    )
    watcher = subprocess.Popen([find_redis_server(), str(config), "--sentinel"], stdout=subprocess.DEVNULL)
    try:
        add_user([node], USER[:1])
        sentinel_user = "&sentinel_username=watcher&sentinel_password=hidden"
        url = f"rediss+sentinel://animochat:secret@127.0.0.1:{port}/mymaster{query(certificates)}{sentinel_user}"
        check_contract(tmp_path / "servers", url, [node])
    finally:
        watcher.kill()
        watcher.wait()
        node.stop()


def test_the_user_of_the_documents_may_run_every_command_that_the_doctor_asks_about(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as admin:
        for line in USER:
            admin.execute_command("ACL", "SETUSER", "few", *line.split())
        url = redis_url.replace("://", "://few:secret@")
        findings = {finding.check: finding for finding in store_findings(url, Settings.from_environ({}))}
        admin.acl_deluser("few")
    assert findings["permissions"].level == Level.OK, findings["permissions"]


def test_the_user_of_the_documents_may_do_nothing_else(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as admin:
        for line in USER:
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
            ["SPUBLISH", "other", "x"],
            ["CLUSTER", "RESET"],
            ["MONITOR"],
            ["ACL", "LIST"],
            ["SHUTDOWN"],
        ):
            with pytest.raises(redis.exceptions.NoPermissionError):
                client.execute_command(*command)
    with redis.Redis.from_url(redis_url) as admin:
        admin.acl_deluser("few")
