"""A thousand hostile connections beside a hundred honest rooms: do honest clients notice, does memory stay level?

    .venv/bin/python bench/hostile.py            # two minutes
    .venv/bin/python bench/hostile.py --quick    # half a minute, a quick try and no measurement

It runs the same conversations three times on one worker: undisturbed, during the attack (load/hostile.py), and
undisturbed again. All limits are the server's defaults. The attack comes from other addresses than the honest clients,
shares the load's core with them, and has the lowest priority there: so the server is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from harness.processes import Program, ProgramFailed, cores
from harness.servers import BENCH, KINDS, serving

#: The bounds, as factors: the honest p99 against its undisturbed value, and the growth of resident memory during the
#: attack.
P99_BOUND, MEMORY_BOUND = 2.0, 1.1

#: Seconds between two measurements of memory, from the attack's first connection to the measurement of honest clients,
#: and until the honest clients have connected, which they do before the attack.
LOOK, SETTLE, CONNECTING = 0.2, 4.0, 5.0


class Memory:
    """Resident memory of some processes together, in MB, measured at intervals."""

    def __init__(self, pids: list[int]) -> None:
        self._pids = pids
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self.most = self.now()
        self._thread.start()

    def now(self) -> float:
        lines = [line for pid in self._pids for line in Path(f"/proc/{pid}/status").read_text().splitlines()]
        return sum(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024

    def _look(self) -> None:
        while not self._ended.wait(LOOK):
            self.most = max(self.most, self.now())

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()


@contextmanager
def _conversations(url: str, arguments: argparse.Namespace, warmup: float = 2.0) -> Iterator[Program]:
    options = {
        "urls": [url],
        "rooms": arguments.rooms,
        "rate": 2 * arguments.rooms,  # everyone sends one message per second
        "warmupS": warmup,
        "seconds": arguments.seconds,
        "serverPids": [],
        "redisPid": os.getpid(),
        "awaitSession": True,
    }
    command = ["node", "load/main.js", "open-loop", json.dumps(options)]
    with Program(command, core=cores()[1], cwd=BENCH) as load:
        yield load


def _result(load: Program, arguments: argparse.Namespace) -> dict[str, float]:
    result: dict[str, float] = json.loads(load.wait_for_result(arguments.seconds + 90))
    return result


def _undisturbed(url: str, arguments: argparse.Namespace) -> dict[str, float]:
    with _conversations(url, arguments) as load:
        return _result(load, arguments)


def _attack(url: str, arguments: argparse.Namespace) -> Program:
    options = {
        "url": url, "count": arguments.hostile, "addresses": arguments.addresses, "kinds": arguments.kind,
    }  # fmt: skip
    program = Program([sys.executable, "load/hostile.py", json.dumps(options)], core=cores()[1], cwd=BENCH)
    os.sched_setscheduler(program.pid, os.SCHED_IDLE, os.sched_param(0))
    return program


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Honest conversations beside hostile connections.")
    parser.add_argument("--hostile", type=int, default=1000, metavar="N", help="hostile connections (default 1000)")
    parser.add_argument("--addresses", type=int, default=4, metavar="N", help="that they come from (default 4)")
    parser.add_argument("--rooms", type=int, default=100, metavar="N", help="honest rooms (default 100)")
    parser.add_argument("--seconds", type=float, default=30.0, metavar="S", help="of each measurement (default 30)")
    parser.add_argument("--kind", action="append", metavar="ATTACK", help="only these (see the table); repeatable")
    parser.add_argument("--quick", action="store_true", help="5 seconds each: a look, not a measurement")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.seconds = 5.0
    return arguments


def _row(*cells: object) -> str:
    return "| " + " | ".join(f"{cell:,.2f}" if isinstance(cell, float) else str(cell) for cell in cells) + " |"


def main() -> int:
    """Run it; the exit status is 1 after a failure (a missed bound is a result, not a failure)."""
    arguments = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    limits = {"RATE_MESSAGES", "RATE_TYPING", "RATE_SEARCHES", "RATE_REFUSALS", "RATE_CONNECTS", "RATE_REQUESTS"}
    limits |= {"MAX_CONNECTIONS", "MAX_CONNECTIONS_PER_ADDRESS"}
    ours = KINDS["animochat"]
    kind = replace(
        ours,
        environ=lambda port, redis_url: {
            name: "" if name in limits else value for name, value in ours.environ(port, redis_url).items()
        },
    )
    try:
        with serving(kind, 1) as running, ExitStack() as stack:
            url, memory = running.urls[0], Memory(running.pids)
            stack.callback(memory.stop)
            before, memory_before = _undisturbed(url, arguments), memory.now()
            with _conversations(url, arguments, warmup=CONNECTING + SETTLE) as load:
                time.sleep(CONNECTING)
                attack = stack.enter_context(_attack(url, arguments))
                time.sleep(SETTLE)
                memory_begun = memory.now()
                beside, memory_beside = _result(load, arguments), memory.now()
                counts: dict[str, dict[str, int]] = json.loads(attack.tail().splitlines()[-1])
            attack.stop()
            time.sleep(SETTLE)
            after, memory_after = _undisturbed(url, arguments), memory.now()
            log = running.programs[0].tail()
    except ProgramFailed as error:
        print(error, file=sys.stderr)
        return 1

    print(f"{arguments.rooms} rooms, {arguments.hostile} hostile connections from {arguments.addresses} addresses\n")
    print(_row("", "messages", "p50 ms", "p99 ms", "longest ms", "memory MB"))
    print(_row(*["---"] * 6))
    phases = (
        ("undisturbed", before, memory_before),
        ("attacked", beside, memory_beside),
        ("after", after, memory_after),
    )
    for name, result, used in phases:
        times = (float(result[key]) for key in ("p50_ms", "p99_ms", "max_ms"))
        print(_row(name, int(result["messages"]), *times, used))
    print("\n" + _row("attack", "connected in the end", "cut off", "refused"))
    print(_row(*["---"] * 4))
    for name, count in counts.items():
        print(_row(name, count["now"], count["ended"], count["refused"]))

    ratio = beside["p99_ms"] / ((before["p99_ms"] + after["p99_ms"]) / 2)
    growth = memory_beside / memory_begun
    print(f"\np99 beside the attack: {ratio:.2f} of undisturbed; bound {P99_BOUND}: {_met(ratio, P99_BOUND)}")
    print(f"memory: {growth:.2f} times what it was {SETTLE:.0f} s after the attack's begin, ", end="")
    print(f"at most {memory.most:.0f} MB; bound {MEMORY_BOUND}: ", end="")
    print(_met(growth, MEMORY_BOUND))
    if "Traceback" in log:
        print(f"\nThe server logged an error:\n{log}", file=sys.stderr)
        return 1
    return 0


def _met(value: float, bound: float) -> str:
    return "met" if value <= bound else "MISSED"


if __name__ == "__main__":
    sys.exit(main())
