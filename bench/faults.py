"""A hundred rooms under faults: is any message lost, duplicated, misplaced, late, or acknowledged in an ended room?

    .venv/bin/python bench/faults.py                         # a minute of faults, two minutes in all
    .venv/bin/python bench/faults.py --seconds 20 --rooms 20 # a quick try

There are two servers of two workers each. Workers are killed and stopped for 15 s (SIGSTOP), networks are cut or lose
connections, Redis closes connections, does not respond for a while, and is killed once (tests/faults/nemesis.py).

All people are stock socket.io-clients that reconnect by themselves (tests/helpers/js/crowd.mjs). Each records what it
sent, what was acknowledged and what it received, and animochat/loadtest/history.py checks all of it: the same clients
and the same proof as in the test suite, but more of them. The table counts what was excused, with the reasons.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path[0] = str(Path(__file__).resolve().parents[1])  # not this folder, in which `faults` is this script

from animochat.loadtest.history import KINDS, History  # noqa: E402 (found by the line above)
from tests.faults.crowd import Crowd, Member  # noqa: E402
from tests.faults.nemesis import Nemesis  # noqa: E402
from tests.faults.network import Network  # noqa: E402
from tests.helpers.people import NO_RATES, stats, status  # noqa: E402
from tests.helpers.servers import RedisServer, Server, find_redis_server  # noqa: E402

#: Seconds until everyone has a partner, until messages under way have arrived, and for one answer of the clients'.
START, SETTLE, ANSWER = 60.0, 60.0, 60.0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Breaks what can break under checked conversations.")
    parser.add_argument("--rooms", type=int, default=100, metavar="N", help="conversations (default 100)")
    parser.add_argument("--servers", type=int, default=2, metavar="N", help="servers (default 2)")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="worker processes of each (default 2)")
    parser.add_argument("--seconds", type=float, default=60.0, metavar="S", help="of faults (default 60)")
    parser.add_argument("--every", type=float, default=2.0, metavar="S", help="something breaks (default 2)")
    parser.add_argument(
        "--interval-ms", type=int, default=500, metavar="MS", help="between two sentences (default 500)"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the choice of faults")
    return parser.parse_args()


def _until(check: Callable[[], object], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not check():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.05)


def _hurt(nemesis: Nemesis, store: RedisServer, arguments: argparse.Namespace) -> Counter[str]:
    """Run the nemesis, and kill the store halfway; return the counts of its faults."""
    done = nemesis.rage(arguments.seconds / 2, arguments.every)
    store.stop(signal.SIGKILL)
    store.start()
    return done + Counter({"Redis restarted": 1}) + nemesis.rage(arguments.seconds / 2, arguments.every)


def _run(directory: Path, arguments: argparse.Namespace) -> tuple[Counter[str], History, list[str]]:
    with contextlib.ExitStack() as stack:
        store = RedisServer(directory, find_redis_server(), persistent=True).start()
        stack.callback(store.stop, signal.SIGKILL)
        environment = {"REDIS_URL": store.url, **NO_RATES, "RECONNECT_GRACE_MS": "60000", "SKIP_COOLDOWN_MS": "100"}
        servers = []
        for number in range(arguments.servers):
            (directory / f"server{number}").mkdir()
            server = Server(directory / f"server{number}", workers=arguments.workers, env=environment).start()
            stack.callback(server.kill)
            servers.append((server, stack.enter_context(Network(server.url))))
        for server, _ in servers:
            _until(lambda server=server: status(server, "/health") == 200, START, "a server")
        workers = arguments.servers * arguments.workers
        _until(lambda: stats(servers[0][0])["workers"] == workers, START, "all workers")
        crowd = Crowd()
        stack.callback(crowd.close)

        # One request after another: answers of a crowd this size take their time.
        people: list[Member] = [
            crowd.join(servers[number % len(servers)][1].url, wait=False) for number in range(2 * arguments.rooms)
        ]
        for number, member in enumerate(people):
            # one in ten skips now and then, one in four sends nothing twice
            skip_after = 25 if number % 10 == 0 else 0
            member.talk(interval_ms=arguments.interval_ms, skip_after=skip_after, once=number % 4 == 1)
        crowd.until(lambda h: h.counts().get("matched", 0) >= len(people), START, "everybody has a partner")
        print(f"{arguments.rooms} rooms talk", file=sys.stderr, flush=True)
        done = _hurt(Nemesis(servers, store, arguments.seed), store, arguments)
        print("healing", file=sys.stderr, flush=True)
        for member in people:
            member._ask("hush", ANSWER)
        with contextlib.suppress(pytest.fail.Exception):  # on a timeout, the violations list the missing messages
            crowd.until(lambda history: not history.violations(), SETTLE)
        for member in people:
            member.settle()  # duplicates have arrived by then
        for server, _ in servers:
            if "Traceback" in server.log():
                raise RuntimeError(f"the server logged an error:\n{server.log()[-4000:]}")
        return done, crowd.history, crowd.history.violations()


def main() -> int:
    """Run it; the exit status is 1 if the checker found a violation."""
    arguments = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="animochat-faults-") as directory:
        done, history, violations = _run(Path(directory), arguments)
    counts = history.counts()
    found = Counter(KINDS[violation.partition(":")[0]] for violation in violations)
    lines = [
        ("rooms", counts["rooms"]), *done.items(), ("connections lost", counts.get("disconnect", 0)),
        ("sessions recovered", counts.get("recovered", 0)), ("messages acknowledged", counts["acknowledged"]),
        ("messages received", counts["received"]),
        *((name, found[name]) for name in dict.fromkeys(KINDS.values())),
        *((f"excused: {excuse.value}", number) for excuse, number in history.excused.items()),
    ]  # fmt: skip
    where = f"{arguments.servers} servers with {arguments.workers} workers each"
    print(f"\n{time.monotonic() - begun:.0f} s, {where}\n\n| | |\n| --- | --- |")
    for name, number in lines:
        print(f"| {name} | {number:,} |")
    for violation in violations[:20]:
        print(violation, file=sys.stderr)
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
