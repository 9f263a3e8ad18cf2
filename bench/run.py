"""Run AniMoChat and the Node reference server side by side, and print how they compare.

    python bench/run.py                         # everything, three rounds
    python bench/run.py --quick                 # everything, one short round
    python bench/run.py --scenario relay --scenario storm-1000 --rounds 5
    python bench/run.py --kind node             # the reference alone

See bench/README.md for what each scenario measures.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from pathlib import Path

from harness.processes import cores
from harness.report import beside_table, main_table
from harness.runner import run_all
from harness.scenarios import SCENARIOS
from harness.servers import KINDS


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="AniMoChat and the Node reference server, side by side.")
    names = [scenario.name for scenario in SCENARIOS]
    parser.add_argument(
        "--scenario", action="append", choices=names, metavar="NAME", help="repeatable: " + ", ".join(names)
    )
    parser.add_argument("--kind", action="append", choices=list(KINDS), help="only these servers; repeatable")
    parser.add_argument("--rounds", type=int, default=None, metavar="N", help="default 3, or 1 with --quick")
    parser.add_argument("--quick", action="store_true", help="short windows, small crowds: a look, not a measurement")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every single result here as well")
    return parser.parse_args()


def main() -> int:
    """Run the chosen scenarios; the exit status is 1 if a run failed (a missed bound is a result, not a failure)."""
    arguments = _arguments()
    # Without this a SIGTERM would leave the servers behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    rounds = arguments.rounds or (1 if arguments.quick else 3)
    chosen = [scenario for scenario in SCENARIOS if not arguments.scenario or scenario.name in arguments.scenario]
    server_core, load_core = cores()
    if server_core == load_core:
        print("Only one core: servers and load share it, and rates mean nothing.", file=sys.stderr)
    results, failures = run_all(
        chosen,
        kinds=arguments.kind or list(KINDS),
        rounds=rounds,
        quick=arguments.quick,
        tell=lambda line: print(line, file=sys.stderr, flush=True),
    )
    print(f"{rounds} round{'s' if rounds > 1 else ''}; median (lowest–highest).\n")
    print(main_table(chosen, results))
    print("\nBeside it (medians):\n")
    print(beside_table(chosen, results))
    for failure in failures:
        print(f"\nFailed: {failure}")
    if arguments.json:
        arguments.json.write_text(json.dumps({"rounds": rounds, "results": results, "failures": failures}, indent=2))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
