"""Every kind of store that docs/stores.md names as tested, by name.

with running_store("cluster", directory) as store:
    Server(…, env={"REDIS_URL": store.url})
"""

from __future__ import annotations

import contextlib
import re
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis
import trustme

from animochat.store.embedded import EmbeddedStore, find_binary
from tests.helpers.clusters import RedisCluster, StoreNode
from tests.helpers.servers import ROOT, find_redis_6, find_redis_server, free_port

#: The user that docs/stores.md recommends, line by line.
USER = re.findall(r"^user animochat (.+)$", (ROOT / "docs/stores.md").read_text(), re.MULTILINE)

#: For clusters in which no node dies: a busy machine is no reason to declare a node dead.
PATIENT = {"cluster-node-timeout": "15000"}


@dataclass
class Store:
    """A running store. `url` as in REDIS_URL; `admins` may do everything, one for each server that holds data."""

    url: str
    admins: list[redis.Redis] = field(default_factory=list)

    def everywhere(self, *command: Any) -> list[Any]:
        """Run a command on each server that holds data."""
        return [admin.execute_command(*command) for admin in self.admins]

    def refusals(self) -> set[str]:
        """Return the commands that the user of docs/stores.md was denied."""
        return {entry["object"] for entries in self.everywhere("ACL", "LOG") for entry in entries}


@contextlib.contextmanager
def running_store(kind: str, directory: Path) -> Iterator[Store]:
    """Run a store of one of the KINDS, empty, in a new directory below `directory`; stop it after the block."""
    place = directory / kind
    place.mkdir()
    with KINDS[kind](place) as store:
        yield store


@contextlib.contextmanager
def _embedded(_: Path) -> Iterator[Store]:
    store = EmbeddedStore.start()
    try:
        with redis.Redis.from_url(store.url, decode_responses=True) as admin:
            yield Store(store.url, [admin])
    finally:
        store.stop()


@contextlib.contextmanager
def _single(directory: Path, binary: str, rights: Sequence[str] = ()) -> Iterator[Store]:
    node = StoreNode(directory / "node", binary, {}, None, in_cluster=False)
    try:
        node.start_first()
        yield Store(f"redis://{_user([node], rights)}127.0.0.1:{node.port}", [node.client])
    finally:
        node.stop()


@contextlib.contextmanager
def _sentinel(directory: Path) -> Iterator[Store]:
    """Run a primary with TLS behind a Sentinel with TLS; each has its own user."""
    tls = certificates(directory)
    node = StoreNode(directory / "node", find_redis_server(), server_options(tls), tls, in_cluster=False)
    port, config = free_port(), directory / "sentinel.conf"
    lines = {"port": "0", "tls-port": str(port), "bind": "127.0.0.1", "dir": str(directory), **server_options(tls)}
    watcher = None
    try:
        node.start_first()
        add_user([node], USER[:1])
        config.write_text(
            "".join(f"{name} {value}\n" for name, value in lines.items())
            + f"sentinel monitor mymaster 127.0.0.1 {node.port} 1\n"
            + "user watcher on >hidden -@all +sentinel|masters\n"
        )
        watcher = subprocess.Popen([find_redis_server(), str(config), "--sentinel"], stdout=subprocess.DEVNULL)
        sentinel_user = "&sentinel_username=watcher&sentinel_password=hidden"
        url = f"rediss+sentinel://animochat:secret@127.0.0.1:{port}/mymaster{query(tls)}{sentinel_user}"
        yield Store(url, [node.client])
    finally:
        if watcher is not None:
            watcher.kill()
            watcher.wait()
        node.stop()


@contextlib.contextmanager
def _cluster(
    directory: Path,
    binary: str,
    replicas: int = 0,
    rights: Sequence[str] = (),
    tls: dict[str, str] | None = None,
    by_one_node: bool = False,
) -> Iterator[Store]:
    options = {**PATIENT, **({**server_options(tls), "tls-cluster": "yes"} if tls else {})}
    with RedisCluster(directory, binary, replicas=replicas, options=options, tls=tls) as cluster:
        scheme, hosts = ("rediss+cluster" if tls else "redis+cluster"), cluster.hosts
        if by_one_node:  # with a single server's address: the store itself reports that it is a cluster
            scheme, hosts = "redis", f"127.0.0.1:{cluster.nodes[1].port}"
        url = f"{scheme}://{_user(cluster.nodes, rights)}{hosts}{query(tls) if tls else ''}"
        yield Store(url, [node.client for node in cluster.primaries()])


#: Name -> function that starts the store in a directory. Clusters have three primaries.
KINDS: dict[str, Callable[[Path], contextlib.AbstractContextManager[Store]]] = {
    "valkey": _embedded,
    "redis": lambda directory: _single(directory, find_redis_server()),
    "redis-6.2": lambda directory: _single(directory, find_redis_6(), rights=USER[:1]),
    "sentinel": _sentinel,
    "cluster": lambda directory: _cluster(directory, find_redis_server(), replicas=1),
    "cluster-tls-acl": lambda directory: _cluster(
        directory, find_redis_server(), rights=USER, tls=certificates(directory)
    ),
    "valkey-cluster": lambda directory: _cluster(directory, find_binary(), replicas=1, by_one_node=True),
    # without sharded pub/sub
    "redis-6.2-cluster": lambda directory: _cluster(directory, find_redis_6(), rights=USER[:2]),
}


def _user(nodes: list[StoreNode], rights: Sequence[str]) -> str:
    """Create a user with these rights; return its part of an address. Without rights, return nothing."""
    add_user(nodes, rights)
    return "animochat:secret@" if rights else ""


def add_user(nodes: list[StoreNode], lines: Sequence[str]) -> None:
    """Create the user animochat, with the rights of these lines."""
    for node in nodes:
        for line in lines:
            node.run("ACL", "SETUSER", "animochat", *line.split())


# TLS


def certificates(directory: Path) -> dict[str, str]:
    """Return a client's options for TLS: our own authority, and a client certificate signed by it."""
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
    """Return a store's options for TLS; it requires a client certificate."""
    directory = Path(certificates["ssl_ca_certs"]).parent
    return {
        "tls-ca-cert-file": certificates["ssl_ca_certs"],
        "tls-cert-file": str(directory / "127.0.0.1.pem"),
        "tls-key-file": str(directory / "127.0.0.1.key"),
        "tls-auth-clients": "yes",
        "tls-replication": "yes",
    }


def query(certificates: dict[str, str]) -> str:
    """Return the client's options as the query of an address."""
    return "?" + "&".join(f"{name}={value}" for name, value in certificates.items())
