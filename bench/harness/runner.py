"""Run scenarios: start servers, put load on them, stop them; kinds of server in alternating order."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping

from harness.processes import Program, ProgramFailed, cores
from harness.scenarios import WAITING, Scenario
from harness.servers import BENCH, KINDS, PROJECT, Kind, redis, serving

#: A load's output: names and numbers.
Result = dict[str, float]

#: Results by scenario name, then by kind of server, then by round; a failed round is missing.
Results = dict[str, dict[str, dict[int, Result]]]


def run_once(scenario: Scenario, kind_name: str, *, quick: bool) -> Result:
    """Run one scenario once on fresh servers, or on a fresh store if it needs no server.

    Raises:
        ProgramFailed: a server or the load failed, or the scenario found a mistake.
    """
    options = {**scenario.options, **(scenario.quick if quick else {})}
    if scenario.load == WAITING:
        line = _run_on_store(options, scenario.timeout)
    else:
        line = _run_on_servers(scenario, KINDS[kind_name], options)
    result: Result = json.loads(line)
    return result


def _run_on_servers(scenario: Scenario, kind: Kind, options: Mapping[str, object]) -> str:
    with serving(kind, scenario.servers) as running:
        where = {
            "urls": running.urls,
            "serverPids": running.pids,
            "redisPid": running.redis_pid,
            "awaitSession": kind.sends_session,
        }
        command = ["node", "load/main.js", scenario.load, json.dumps({**options, **where})]
        try:
            with Program(command, core=cores()[1], cwd=BENCH) as load:
                return load.wait_for_result(scenario.timeout)
        except ProgramFailed as error:
            last_words = "\n".join(program.tail() for program in running.programs)
            raise ProgramFailed(f"{error}\nThe servers' last words:\n{last_words}") from None


def _run_on_store(options: Mapping[str, object], timeout: float) -> str:
    """Run a scenario that measures the store: the store gets the servers' core."""
    server_core, load_core = cores()
    with redis(core=server_core) as (_, port):
        command = [sys.executable, "waiting.py", str(options["case"]), f"redis://127.0.0.1:{port}"]
        # The project need not be installed for its own benchmark.
        with Program(command, core=load_core, cwd=BENCH, env={"PYTHONPATH": str(PROJECT)}) as program:
            return program.wait_for_result(timeout)


def run_all(
    scenarios: Iterable[Scenario],
    *,
    kinds: Iterable[str],
    rounds: int,
    quick: bool,
    tell: Callable[[str], None],
) -> tuple[Results, list[str]]:
    """Run every scenario `rounds` times on each of its kinds of server; return results and failures.

    Kinds alternate in each round, and the order is reversed from round to round: so other load on the machine affects
    both alike.
    """
    results: Results = {}
    failures: list[str] = []
    groups: dict[str, list[Scenario]] = {}
    for scenario in scenarios:
        groups.setdefault(scenario.group or scenario.name, []).append(scenario)
    for group in groups.values():
        for number in range(rounds):
            for scenario in group:
                if number >= (scenario.rounds or rounds):
                    continue
                chosen = [kind for kind in scenario.kinds if kind in kinds]
                for kind in reversed(chosen) if number % 2 else chosen:
                    try:
                        result = run_once(scenario, kind, quick=quick)
                    except ProgramFailed as error:
                        failures.append(f"{scenario.name} on {kind}, round {number + 1}: {error}")
                        tell(f"{scenario.name:24} {kind:10} failed: {str(error).splitlines()[0]}")
                        continue
                    results.setdefault(scenario.name, {}).setdefault(kind, {})[number] = result
                    tell(f"{scenario.name:24} {kind:10} {result[scenario.figure]:10.3f} {scenario.unit}")
    return results, failures
