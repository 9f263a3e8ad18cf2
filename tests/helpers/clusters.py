"""Real clusters of stores: started within a second, broken on purpose, and measured.

with RedisCluster(directory, find_redis_server(), replicas=1) as cluster:
    Server(…, env={"REDIS_URL": cluster.url})
"""

from __future__ import annotations

import contextlib
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import redis
from redis.crc import key_slot

from tests.helpers.servers import eventually, free_port

SLOTS = 16_384

#: Difference between a node's port for other nodes and its port for clients.
BUS = 10_000

#: Seconds until a new primary is elected and known, on a busy machine.
HEALED = 40.0


def _free_port_with_bus() -> int:
    """Return a free port with a free cluster bus port beside it: up to Redis 6.2 that number is fixed."""
    while True:
        port = free_port()
        with contextlib.suppress(OSError, OverflowError), socket.socket() as bus:
            bus.bind(("127.0.0.1", port + BUS))
            return port


class StoreNode:
    """One store. `options`: those of redis.conf; `tls`: its clients' options, if it uses TLS."""

    def __init__(
        self, directory: Path, binary: str, options: dict[str, str], tls: dict[str, str] | None, in_cluster: bool = True
    ) -> None:
        directory.mkdir(parents=True)
        self.directory = directory
        self.binary = binary
        self.options = options
        self.tls = tls
        self.in_cluster = in_cluster
        self.process: subprocess.Popen[bytes] | None = None
        self._choose_ports()

    def _choose_ports(self) -> None:
        self.port = _free_port_with_bus()
        self.client = redis.Redis(
            "127.0.0.1", self.port, decode_responses=True, **({"ssl": True, **self.tls} if self.tls else {})
        )
        for name in ("CLUSTER SLOTS", "CLUSTER NODES", "CLUSTER INFO"):
            self.client.set_response_callback(name, lambda reply, **_: reply)

    def start_first(self) -> None:
        """Start it and return once it answers. A free port may have been taken meanwhile: then try another one."""
        for _ in range(5):
            self.start()
            eventually(lambda: self._has_ended() or self.answers(), HEALED, "a store that answers")
            if not self._has_ended() and str(self.directory) in str(self.run("CONFIG", "GET", "dir")):
                return
            self.stop()
            self._choose_ports()
        raise AssertionError((self.directory / "log").read_text())

    def _has_ended(self) -> bool:
        return self.process is None or self.process.poll() is not None

    def start(self) -> None:
        """Start it; don't wait."""
        options = {
            "bind": "127.0.0.1",
            "dir": str(self.directory),
            **({"port": "0", "tls-port": str(self.port)} if self.tls else {"port": str(self.port)}),
            "repl-diskless-sync-delay": "0",
            "save": "",
            "appendonly": "no",
            **self.options,
        }
        if self.in_cluster:
            options |= {
                "cluster-enabled": "yes",
                "cluster-node-timeout": "1000",
                "cluster-require-full-coverage": "no",
                # a replica that has just joined may take over, too
                "cluster-replica-validity-factor": "0",
                **options,
            }
        config = self.directory / "store.conf"
        config.write_text("".join(f"{name} {value or chr(34) * 2}\n" for name, value in options.items()))
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen([self.binary, str(config)], stdin=subprocess.DEVNULL, stdout=log)

    def run(self, *command: Any) -> Any:
        """Return the reply to a command, as the store sends it."""
        return self.client.execute_command(*command)

    def answers(self) -> bool:
        with contextlib.suppress(redis.ConnectionError, redis.exceptions.BusyLoadingError):
            return bool(self.run("PING"))
        return False

    def stop(self, number: int = signal.SIGKILL) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(number)
            self.process.wait()

    @property
    def id(self) -> str:
        return str(self.run("CLUSTER", "MYID"))

    def is_primary(self) -> bool:
        return not self._has_ended() and self.run("ROLE")[0] == "master"


class RedisCluster:
    """`primaries` stores that share the slots evenly, each with `replicas` replicas; nothing on disk."""

    def __init__(
        self,
        directory: Path,
        binary: str,
        primaries: int = 3,
        replicas: int = 0,
        options: dict[str, str] | None = None,
        tls: dict[str, str] | None = None,
    ) -> None:
        count = primaries * (1 + replicas)
        self.nodes = [StoreNode(directory / f"node{n}", binary, options or {}, tls) for n in range(count)]
        self._primaries = primaries

    def __enter__(self) -> RedisCluster:
        try:
            self._form()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for node in self.nodes:
            node.stop()

    def _form(self) -> None:
        for node in self.nodes:
            node.start_first()
        for n, node in enumerate(self.nodes):
            # distinct epochs, so that the nodes need not agree on them first
            node.run("CLUSTER", "SET-CONFIG-EPOCH", n + 1)
        for n, node in enumerate(self.nodes):
            if n < self._primaries:
                end = SLOTS * (n + 1) // self._primaries
                node.run("CLUSTER", "ADDSLOTS", *range(SLOTS * n // self._primaries, end))
            for other in self.nodes[:n]:
                node.run("CLUSTER", "MEET", "127.0.0.1", other.port)
        eventually(lambda: all(self._knows_all(node) for node in self.nodes), HEALED, "nodes that know each other")
        for n, node in enumerate(self.nodes[self._primaries :]):
            node.run("CLUSTER", "REPLICATE", self.nodes[n % self._primaries].id)
        eventually(self.is_well, HEALED, "a cluster that is well")

    def _knows_all(self, node: StoreNode) -> bool:
        known = str(node.run("CLUSTER NODES"))
        return len(known.splitlines()) == len(self.nodes) and "handshake" not in known

    def is_well(self) -> bool:
        """Return whether every node serves, every replica is in sync, and all nodes agree on the roles."""
        if not all(node.answers() and self._is_well(node) for node in self.nodes):
            return False
        owners = {
            tuple(sorted((first, port) for first, _, (_, port, *_), *_ in self._slots(node))) for node in self.nodes
        }
        ports = {port for _, port in next(iter(owners))}
        return len(owners) == 1 and ports == {node.port for node in self.primaries()}

    @staticmethod
    def _slots(node: StoreNode) -> Any:
        return node.run("CLUSTER SLOTS")

    def _is_well(self, node: StoreNode) -> bool:
        if "cluster_state:ok" not in node.run("CLUSTER INFO"):
            return False
        replication: Any = node.client.info("replication")
        return replication["role"] == "master" or replication["master_link_status"] == "up"

    @property
    def hosts(self) -> str:
        return ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    @property
    def url(self) -> str:
        return f"redis+cluster://{self.hosts}"

    def primaries(self) -> list[StoreNode]:
        return [node for node in self.nodes if node.is_primary()]

    def owner(self, name: str) -> StoreNode:
        """Return the node that has a key's slot."""
        return self.owner_of_slot(key_slot(name.encode()))

    def owner_of_slot(self, slot: int) -> StoreNode:
        for node in self.primaries():
            # in node order, so that each node is asked about itself
            for first, last, (_, port, *_), *_ in self._slots(node):
                if first <= slot <= last and port == node.port:
                    return node
        raise AssertionError(f"no node has slot {slot}")

    def flush(self) -> None:
        for node in self.primaries():
            node.run("FLUSHALL")

    def move_slot(self, slot: int, target: StoreNode, keep_open: float = 0.0) -> None:
        """Move a slot as `redis-cli --cluster reshard` does, key by key; `keep_open`: pause halfway."""
        source = self.owner_of_slot(slot)
        target.run("CLUSTER", "SETSLOT", slot, "IMPORTING", source.id)
        source.run("CLUSTER", "SETSLOT", slot, "MIGRATING", target.id)
        while names := source.run("CLUSTER GETKEYSINSLOT", slot, 10):
            source.run("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *names[: 1 + len(names) // 2])
            time.sleep(keep_open)
            keep_open = 0.0
        for node in (target, source, *(n for n in self.primaries() if n not in (source, target))):
            node.run("CLUSTER", "SETSLOT", slot, "NODE", target.id)

    def reset_statistics(self) -> None:
        for node in self.primaries():
            node.run("CONFIG", "RESETSTAT")

    def calls(self, *commands: str) -> list[int]:
        """Return how often each primary has run these commands (default: all), including scripts' own calls."""
        return [
            sum(calls for name, calls in self._calls(node) if name in commands or not commands)
            for node in self.primaries()
        ]

    @staticmethod
    def _calls(node: StoreNode) -> Iterator[tuple[str, int]]:
        statistics: Any = node.client.info("commandstats")
        for name, value in statistics.items():
            yield name.removeprefix("cmdstat_"), value["calls"]

    def sent_over_the_bus(self) -> int:
        """Return how many publications nodes have sent to all others."""
        lines = [line for node in self.primaries() for line in node.run("CLUSTER INFO").split()]
        return sum(int(line.split(":")[1]) for line in lines if re.match(r"cluster_stats_messages_publish_sent:", line))
