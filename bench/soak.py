"""Check that nothing grows: simulated users chat for a long time, with occasional faults, and everything is counted.

    .venv/bin/python bench/soak.py                                # 500 people, 30 minutes
    .venv/bin/python bench/soak.py --people 50 --seconds 120      # a quick try
    .venv/bin/python bench/soak.py --json soak.json               # with every sample

It counts each worker's memory, descriptors and greenlets, the store's memory, and its keys by pattern. A fault is a
subscription or all connections cut by the store, a pause of the store, or the death of the last worker (the others live
throughout). Everything has to be level: over the second half of the run the straight line through the samples may rise
by no more than the samples scatter around it, or by 2 % of their mean. Ended rooms are kept for 15 minutes, so a run of
less than 30 shows nothing about them. A person's record and match history are kept for an hour and more, so the store's
memory grows with them. The exit status is 1 if anything else rises, or if a promise was broken
(animochat/loadtest/history.py).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import redis

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.helpers.people import NO_RATES
from tests.helpers.servers import ROOT, RedisServer, Server, find_redis_server

#: Seconds in which everything has to end after the people's own time.
MARGIN = 60

#: Share of a mean, and number, that count as level.
LEVEL, FEW = 0.02, 3.0

#: Series that become level once the first rooms are forgotten, and the seconds until then; and those that never do.
SLOW, ROOM_LIFE = re.compile(r"store: keys (\{room:|.*:past:)"), 900
GROWING = re.compile(r"store: (memory|keys .*:(met|person):)")

#: The random part of a key's name, which its pattern replaces by `*`.
IDS = re.compile(
    r"(?<=\{room:)[^}]+|(?<=:person:).+|(?<=:room:).+|(?<=:worker:).+|(?<=:history:).+|(?<=:interest:).+|(?<=:met:).+|(?<=:past:).+"
)

#: The application, with a file that says how many greenlets the worker has.
APPLICATION = """
exec(compile(open({path!r}).read(), {path!r}, "exec"))

import gc
import os

import gevent
import greenlet


def _count():
    while True:
        number = sum(isinstance(thing, greenlet.greenlet) for thing in gc.get_objects())
        with open("greenlets." + str(os.getpid()), "w") as file:
            file.write(str(number))
        gevent.sleep({every})


gevent.spawn(_count)
"""

Samples = dict[str, list[tuple[float, float]]]


def _worker(pid: int, directory: Path) -> dict[str, float]:
    status = Path(f"/proc/{pid}/status").read_text()
    found = {"memory, MB": int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) / 1024}
    with contextlib.suppress(FileNotFoundError, ValueError):
        found["greenlets"] = int((directory / f"greenlets.{pid}").read_text())
    return found


def _sample(server: Server, store: RedisServer, samples: Samples, at: float) -> None:
    descriptors = 0
    for pid in server.worker_pids():
        with contextlib.suppress(FileNotFoundError):  # it has just ended
            descriptors += len(os.listdir(f"/proc/{pid}/fd"))
            for name, value in _worker(pid, server.directory).items():
                samples[f"worker {pid}: {name}"].append((at, value))
    samples["workers: descriptors"].append((at, descriptors))  # together: people change worker
    with contextlib.suppress(redis.RedisError), store.client() as client:
        samples["store: memory, MB"].append((at, client.info("memory")["used_memory"] / 2**20))
        patterns = Counter(IDS.sub("*", key) for key in client.scan_iter(count=1_000))
        for pattern in {*patterns, *(name.partition(": keys ")[2] for name in samples if ": keys " in name)}:
            samples[f"store: keys {pattern}"].append((at, patterns[pattern]))


def _break(server: Server, store: RedisServer, chance: random.Random, done: Counter[str]) -> None:
    fault = chance.choice(["subscriptions cut", "connections cut", "pauses of the store", "workers killed"])
    pids = server.worker_pids()
    with contextlib.suppress(redis.RedisError, ProcessLookupError), store.client() as client:
        if fault == "workers killed" and len(pids) > 1:
            os.kill(pids[-1], signal.SIGKILL)
        elif fault == "pauses of the store":
            client.execute_command("CLIENT", "PAUSE", 1_000, "ALL")
        else:
            for kind in ["pubsub"] if fault == "subscriptions cut" else ["normal", "pubsub"]:
                client.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")
        done[fault] += 1


def rise(samples: list[tuple[float, float]]) -> tuple[float, bool]:
    """Return the rise of the line through the samples from first to last, and whether that counts as level."""
    times, values = zip(*samples, strict=True)
    line = statistics.linear_regression(times, values)
    total = line.slope * (times[-1] - times[0])
    scatter = statistics.pstdev(value - line.slope * at - line.intercept for at, value in samples)
    return total, total <= max(2 * scatter, LEVEL * statistics.fmean(values), FEW)


def _report(samples: Samples, seconds: float) -> bool:
    """Print a row for each lasting series; return whether all are level."""
    fine = True
    print("| | first | last | rise in the second half | |\n| --- | --- | --- | --- | --- |")
    for name, series in sorted(samples.items()):
        late = [(at, value) for at, value in series if at >= seconds / 2]
        if len(late) < 5 or late[0][0] > seconds * 0.6:
            continue  # a killed worker, or its replacement
        total, level = rise(late)
        verdict = "level" if level else "RISES"
        if GROWING.match(name) or (SLOW.match(name) and seconds < 2 * ROOM_LIFE):
            verdict = "not judged"
        fine &= verdict != "RISES"
        print(f"| {name} | {series[0][1]:,.1f} | {series[-1][1]:,.1f} | {total:+,.1f} | {verdict} |")
    return fine


def _run(directory: Path, options: argparse.Namespace) -> tuple[Samples, Counter[str], dict[str, Any]]:
    """Run everyone for the given time; return the samples, the faults, and the people's report."""
    every = max(2.0, options.seconds / 120)
    samples: Samples = defaultdict(list)
    done: Counter[str] = Counter()
    chance = random.Random(options.seed)
    with contextlib.ExitStack() as stack:
        store = RedisServer(directory, find_redis_server()).start()
        stack.callback(store.stop, signal.SIGKILL)
        (directory / "wsgi.py").write_text(APPLICATION.format(path=str(ROOT / "wsgi.py"), every=every))
        environment = {**NO_RATES, "REDIS_URL": store.url, "RECONNECT_GRACE_MS": "3000"}
        server = Server(directory, workers=options.workers, env=environment, command="gunicorn").start()
        stack.callback(server.stop)
        file = directory / "report.json"
        bench = [sys.executable, "-m", "animochat", "bench", server.url, "--json", str(file)]
        bench += ["--people", str(options.people), "--seconds", str(options.seconds), "--think", "2", "--chat", "20"]
        people = subprocess.Popen(bench, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        stack.callback(people.kill)
        begun = time.monotonic()
        fault_at = options.every
        while people.poll() is None:
            at = time.monotonic() - begun
            if at > options.seconds + MARGIN:
                raise TimeoutError("the people do not end")
            if at < options.seconds:
                _sample(server, store, samples, at)
            if fault_at <= at < options.seconds * 0.9:
                _break(server, store, chance, done)
                fault_at += options.every
            time.sleep(every)
        report: dict[str, Any] = json.loads(file.read_text())
        return samples, done, report


def main() -> int:
    """Run it; the exit status is 1 if a series rises or a promise was broken."""
    parser = argparse.ArgumentParser(description="Count what may grow while simulated users talk for a long time.")
    parser.add_argument("--people", type=int, default=500, help="simulated users (default 500)")
    parser.add_argument("--seconds", type=int, default=1_800, help="of the run (default 1800)")
    parser.add_argument("--workers", type=int, default=2, help="worker processes (default 2)")
    parser.add_argument("--every", type=float, default=60.0, help="seconds between two faults (default 60)")
    parser.add_argument("--seed", type=int, default=1, help="of the choice of faults")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every sample to this file")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="animochat-soak-") as directory:
        samples, done, report = _run(Path(directory), options)
    print(f"\n{options.people} people for {options.seconds} s, {options.workers} workers; faults: {dict(done)}\n")
    fine = _report(samples, options.seconds)
    print(f"\nmessages: {report['counts'].get('sent', 0):,}; broken promises: {report['mistakes'] or 'none'}")
    for reason, count in report["excused"].items():
        print(f"excused: {count:,}: {reason}")
    if options.json is not None:
        options.json.write_text(json.dumps({"samples": samples, "report": report}))
    return 0 if fine and report["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
