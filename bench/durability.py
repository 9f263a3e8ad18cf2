"""The cost of STORE_WAIT per message, and the losses of a failover without it: a primary and a replica on this machine.

    .venv/bin/python bench/durability.py                          # 100 conversations, 5 s for each row; half a minute
    .venv/bin/python bench/durability.py --rooms 10 --seconds 2   # a quick try

Each conversation has one unacknowledged message at a time. Then the replica takes over while the primary continues for
a moment, as if the network between the two were cut. The acknowledged messages that the replica lacks are counted:
those from before the takeover, with the age of the oldest, and those from after it.
"""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import argparse  # noqa: E402 (the standard library is patched before anything uses it)
import contextlib  # noqa: E402
import signal  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from pathlib import Path  # noqa: E402

import gevent  # noqa: E402
from gevent.event import AsyncResult  # noqa: E402

sys.path.insert(0, str(Path(__file__).parents[1]))

from animochat.rooms.appending import NewMessage  # noqa: E402
from animochat.rooms.service import SCRIPTS, Rooms  # noqa: E402
from animochat.store.pipeline import Pipeline  # noqa: E402
from tests.helpers.servers import RedisServer, eventually  # noqa: E402

#: Name of a row, STORE_WAIT, appendfsync ("" for no append-only file).
ROWS = [
    ("0", "0", ""),
    ("replica", "replica", ""),
    ("0, appendfsync always", "0", "always"),
    ("aof, appendfsync always", "aof", "always"),
    ("aof, appendfsync everysec", "aof", "everysec"),
]

#: Seconds for which the primary continues after the takeover.
BEHIND = 0.2

WORKER = "bench"


class Conversations:
    """Rooms in which a person sends the next message once the last one is acknowledged."""

    def __init__(self, url: str, wait: str, rooms: int) -> None:
        self._pipeline = Pipeline(url, SCRIPTS, wait=wait)
        self._rooms = Rooms(self._pipeline, WORKER)
        self._pipeline.start()
        self._names = [f"{number:016x}" for number in range(rooms)]
        for name in self._names:
            self._rooms.life.open(name, "a", 1)
        #: Room and seq -> time of the acknowledgement, and time until it (both in seconds).
        self.acknowledged: dict[tuple[str, int], tuple[float, float]] = {}
        self._talking = [gevent.spawn(self._talk, name) for name in self._names]

    def _talk(self, room: str) -> None:
        while True:
            answer: AsyncResult = AsyncResult()
            begun = time.monotonic()

            def done(seq: int, *_: object, answer: AsyncResult = answer) -> None:
                answer.set(seq)

            self._rooms.append(
                NewMessage(room, "a", "partner", WORKER, 0, 1, "", '"senderId":"u","content":"hello"', done)
            )
            seq = answer.get()
            if seq:
                now = time.monotonic()
                self.acknowledged[room, seq] = now, now - begun

    def stop(self) -> None:
        """Stop them all."""
        gevent.killall(self._talking)
        self._pipeline.stop()


def _measure(directory: Path, wait: str, fsync: str, options: argparse.Namespace) -> str:
    with contextlib.ExitStack() as stack:
        stores = []
        for name in ("primary", "replica"):
            (directory / name).mkdir()
            stores.append(RedisServer(directory / name, persistent=bool(fsync)).start())
            stack.callback(stores[-1].stop, signal.SIGKILL)
        primary, replica = (stack.enter_context(store.client()) for store in stores)
        primary.config_set("repl-diskless-sync-delay", 0)
        if fsync:
            primary.config_set("appendfsync", fsync)
        replica.execute_command("REPLICAOF", "127.0.0.1", stores[0].port)
        eventually(lambda: replica.info("replication")["master_link_status"] == "up", what="a replica")
        talk = Conversations(stores[0].url, wait, options.rooms)
        gevent.sleep(options.seconds)
        times = sorted(took for _, took in talk.acknowledged.values())
        took_over = time.monotonic()
        replica.execute_command("REPLICAOF", "NO", "ONE")
        gevent.sleep(BEHIND)
        talk.stop()
        missing = []
        for room in {room for room, _ in talk.acknowledged}:
            last = replica.hget(f"{{room:{room}}}:meta", "seq")
            missing += [
                at for (name, seq), (at, _) in talk.acknowledged.items() if name == room and seq > int(last or 0)
            ]
    before = [took_over - at for at in missing if at <= took_over]
    p50, p99 = (1000 * times[int(share * (len(times) - 1))] for share in (0.5, 0.99)) if times else (0.0, 0.0)
    window = f"{1000 * max(before, default=0.0):.1f}"
    rate = f"{len(times) / options.seconds:,.0f}"
    return f"{rate} | {p50:.2f} | {p99:.2f} | {len(before):,} | {window} | {len(missing) - len(before):,}"


def main() -> int:
    """Print a row for each choice."""
    parser = argparse.ArgumentParser(description="Measure what STORE_WAIT costs, and what a failover loses without.")
    parser.add_argument("--rooms", type=int, default=100, help="conversations (default 100)")
    parser.add_argument("--seconds", type=float, default=5.0, help="for each row (default 5)")
    options = parser.parse_args()
    print("| STORE_WAIT | messages/s | p50 ms | p99 ms | lost from before | their age, ms | lost from after |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name, wait, fsync in ROWS:
        with tempfile.TemporaryDirectory(prefix="animochat-durability-") as directory:
            print(f"| {name} | {_measure(Path(directory), wait, fsync, options)} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
