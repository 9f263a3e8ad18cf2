"""A hundred rooms under traffic while workers are killed and Redis is restarted: is anything lost, doubled, misplaced?

    .venv/bin/python bench/faults.py                         # a minute of traffic, two minutes in all
    .venv/bin/python bench/faults.py --seconds 20 --rooms 20 # a look

Everybody is a stock socket.io-client that connects again by itself (tests/js/crowd.mjs). Each records what it sent,
what was acknowledged and what it received, and the checker of the tests (tests/faults/history.py) looks at the whole of
it: the same people and the same proof as in the suite, only more of them.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent.parent / "tests"
sys.path[0] = str(TESTS)  # in the place of this folder, where `faults` is this script

from faults.crowd import Crowd, Member  # noqa: E402 (found by the line above)
from people import NO_RATES, stats, status  # noqa: E402
from support import RedisServer, Server, find_redis_server  # noqa: E402

#: Seconds for everybody to have a partner, for what is on its way to arrive, and for one answer of the crowd's.
START, SETTLE, ANSWER = 60.0, 60.0, 60.0

#: What the checker's words begin with, and what that is called in the table.
KINDS = {
    "lost": "lost", "twice": "duplicated", "order": "misordered", "place": "misordered", "two rooms": "in two rooms",
    "crowd": "in two rooms",
}  # fmt: skip


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Kills workers and restarts Redis under checked conversations.")
    parser.add_argument("--rooms", type=int, default=100, metavar="N", help="conversations (default 100)")
    parser.add_argument("--workers", type=int, default=4, metavar="N", help="worker processes (default 4)")
    parser.add_argument("--seconds", type=float, default=60.0, metavar="S", help="of faults (default 60)")
    parser.add_argument("--every", type=float, default=5.0, metavar="S", help="a worker is killed (default 5)")
    parser.add_argument(
        "--interval-ms", type=int, default=500, metavar="MS", help="between two sentences (default 500)"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the choice of workers")
    return parser.parse_args()


def _until(check: Callable[[], object], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not check():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.05)


def _hurt(server: Server, store: RedisServer, arguments: argparse.Namespace) -> Counter[str]:
    """Kill a worker time and again, and, half-way through, the store; returns what was done."""
    chance, done = random.Random(arguments.seed), Counter[str]()
    begun = time.monotonic()
    while (passed := time.monotonic() - begun) < arguments.seconds:
        if passed >= arguments.seconds / 2 and not done["Redis restarted"]:
            store.stop(signal.SIGKILL)
            store.start()
            done["Redis restarted"] += 1
        # the last one may not have been replaced yet: gunicorn's master takes a moment
        _until(server.worker_pids, START, "a worker")
        os.kill(chance.choice(server.worker_pids()), signal.SIGKILL)
        done["workers killed"] += 1
        time.sleep(max(0.0, begun + done["workers killed"] * arguments.every - time.monotonic()))
    return done


def _run(directory: Path, arguments: argparse.Namespace) -> tuple[Counter[str], dict[str, int], list[str]]:
    with contextlib.ExitStack() as stack:
        (directory / "server").mkdir()
        store = RedisServer(directory, find_redis_server(), persistent=True).start()
        stack.callback(store.stop, signal.SIGKILL)
        environment = {"REDIS_URL": store.url, **NO_RATES, "RECONNECT_GRACE_MS": "60000"}
        server = Server(directory / "server", workers=arguments.workers, env=environment).start()
        stack.callback(server.kill)
        _until(lambda: status(server, "/health") == 200, START, "a server")
        _until(lambda: stats(server)["workers"] == arguments.workers, START, "all workers")
        crowd = Crowd()
        stack.callback(crowd.close)

        # One asks after the other: answers of a crowd this size take their time.
        people: list[Member] = [crowd.join(server.url, wait=False) for _ in range(2 * arguments.rooms)]
        for member in people:
            member.talk(interval_ms=arguments.interval_ms)
        crowd.until(lambda h: h.counts().get("matched", 0) >= len(people), START, "everybody has a partner")
        print(f"{arguments.rooms} rooms talk", file=sys.stderr, flush=True)
        done = _hurt(server, store, arguments)
        print("healing", file=sys.stderr, flush=True)
        for member in people:
            member._ask("hush", ANSWER)
        with contextlib.suppress(pytest.fail.Exception):  # else the violations say what is missing
            crowd.until(lambda history: not history.violations(), SETTLE)
        for member in people:
            member.settle()  # what comes too often has come by then
        if "Traceback" in server.log():
            raise RuntimeError(f"the server logged an error:\n{server.log()[-4000:]}")
        return done, crowd.history.counts(), crowd.history.violations()


def main() -> int:
    """Run it; the exit status is 1 when the checker found anything."""
    arguments = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="animochat-faults-") as directory:
        done, counts, violations = _run(Path(directory), arguments)
    found = Counter(KINDS.get(violation.partition(":")[0], "otherwise wrong") for violation in violations)
    lines = [
        ("rooms", counts["rooms"]), *done.items(), ("connections lost", counts.get("disconnect", 0)),
        ("sessions recovered", counts.get("recovered", 0)), ("messages acknowledged", counts["acknowledged"]),
        ("messages received", counts["received"]),
        *((name, found[name]) for name in ("lost", "duplicated", "misordered", "in two rooms", "otherwise wrong")),
    ]  # fmt: skip
    print(f"\n{time.monotonic() - begun:.0f} s, {arguments.workers} workers\n\n| | |\n| --- | --- |")
    for name, number in lines:
        print(f"| {name} | {number:,} |")
    for violation in violations[:20]:
        print(violation, file=sys.stderr)
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
