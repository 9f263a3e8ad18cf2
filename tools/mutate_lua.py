"""Change the Lua scripts in one place at a time, and print the changes that no test notices.

    python tools/mutate_lua.py                           # all folders; continues an interrupted run
    python tools/mutate_lua.py --folder moderation       # one folder
    python tools/mutate_lua.py --file ban_address        # the files whose names begin like this
    python tools/mutate_lua.py --survivors               # changes that no test noticed before, with every test
    python tools/mutate_lua.py --minutes 10              # as many as fit into that time, spread over everything

The tests are collected once. Then the tests that run a script try each of its mutants in a fork of this process, on a
store of its own: those that noticed most come first. No server is started. Results are kept in .mutation/lua.jsonl
until the file concerned changes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import re
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pytest
import redis
from _pytest.runner import runtestprotocol
from lua_mutants import Mutant, mutants

from animochat.matchmaking import service as matchmaking
from animochat.moderation import lobby_moderation as moderation
from animochat.presence import service as presence
from animochat.rooms import service as rooms
from animochat.store import scripts
from animochat.store.embedded import EmbeddedStore
from animochat.telemetry import history as readings

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / ".mutation" / "lua.jsonl"
SLOW_TESTS = ROOT / ".mutation" / "slow.txt"
#: Changes without an effect: `file: line: change`, with the reason above.
WITHOUT_EFFECT = ROOT / "tools" / "lua_without_effect.txt"

FOLDERS = ("matchmaking", "rooms", "presence", "moderation")
SCRIPTS = presence.SCRIPTS + matchmaking.SCRIPTS + rooms.SCRIPTS + moderation.SCRIPTS + readings.SCRIPTS
TESTS = ("moderation", "matching", "rooms", "presence", "lobbies", "admin", "state_machine")

#: Tests with one of these fixtures start programs, which is too slow.
OTHER_FIXTURES = {"servers", "server", "module_servers", "module_store", "connect", "crowd_process"}
#: Seconds: tests that take longer are left out.
SLOW = 1.0
#: Tests per mutant; --survivors tries the mutants that these did not notice with all tests.
MOST = 100
#: Seconds that a mutant may take, besides three times the time of its tests, before the store is checked for a hang.
PATIENCE = 10.0

EVALSHA = re.compile(rb"EVALSHA\r\n\$40\r\n([0-9a-f]{40})")

SURVIVED, NOTICED, INVALID, FAILED = 0, 1, 2, 3


@dataclass
class Test:
    """A test, its time in seconds, and the scripts that it runs."""

    item: Any
    seconds: float = 0.0
    scripts: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Case:
    """A mutant of a file, and the scripts that include the file."""

    path: Path
    mutant: Mutant
    scripts: frozenset[str]
    key: str

    @property
    def name(self) -> str:
        return f"{self.path.relative_to(scripts.PACKAGE)}: {self.mutant.code}: {self.mutant.change}"

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.mutant.line}: {self.mutant.change}"


class Store:
    """A store for one mutant after another; it is replaced if a mutant hangs in it."""

    def __init__(self) -> None:
        self._start()

    def _start(self) -> None:
        self._store = EmbeddedStore.start()
        self.url = self._store.url
        self.load()

    def stop(self) -> None:
        """Do nothing: the tests stop their store, but this one continues."""

    def load(self) -> None:
        with redis.Redis.from_url(self.url) as client:
            client.script_flush()
            for script in SCRIPTS:
                client.script_load(script.source)

    def forget(self) -> None:
        """End the subscriptions that the last mutant left behind."""
        with redis.Redis.from_url(self.url) as client:
            client.client_kill_filter(_type="pubsub")

    def hangs(self) -> bool:
        """Return whether a script runs endlessly."""
        try:
            with redis.Redis.from_url(self.url, socket_timeout=10, retry=None) as client:
                return not client.ping()
        except redis.RedisError:  # busy with a script
            return True

    def exchange(self) -> None:
        os.kill(self._store.pid, signal.SIGKILL)
        self._store.stop()
        self._start()

    def end(self) -> None:
        self._store.stop()


def in_fork(action: Callable[[int], int]) -> tuple[int, int]:
    """Run it in a fork of this process, silently. Return the process id and a descriptor with its output."""
    reading, writing = os.pipe()
    process = os.fork()
    if process == 0:
        os.close(reading)
        nothing = os.open(os.devnull, os.O_RDWR)
        for descriptor in (1, 2):
            os.dup2(nothing, descriptor)
        status = FAILED
        try:
            status = action(writing)
        except BaseException as error:  # noqa: BLE001 - the fork must not go on as if it were this process
            os.write(writing, repr(error).encode())
        os._exit(status)
    os.close(writing)
    return process, reading


def run_items(items: list[Any], after: Callable[[Any, bool, float], int | None]) -> int | None:
    """Run tests in this order until `after(item, passed, seconds)` returns a value; return that value."""
    for item, following in zip_longest(items, items[1:]):
        begun = time.monotonic()
        reports = runtestprotocol(item, nextitem=following, log=False)
        done = after(item, not any(report.failed for report in reports), time.monotonic() - begun)
        if done is not None:
            return done
    return None


class Mutation:
    """A pytest plugin that replaces its loop over the tests."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.tests: dict[str, Test] = {}
        #: How many mutants of a file a test has noticed.
        self.noticed: Counter[tuple[str, str]] = Counter()
        self.results: dict[str, bool] = {}
        self.exempt = exempt()

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        items[:] = [item for item in items if concerns_the_store(item)]

    def pytest_runtestloop(self, session: Any) -> bool:
        RESULTS.parent.mkdir(exist_ok=True)
        stores = [Store() for _ in range(self.options.jobs)]
        try:
            self.measure(session.items, stores[0])
            self.read_results()
            cases = [case for case in self.cases() if self.is_wanted(case)]
            print(f"{len(self.tests)} tests, {len(cases)} mutants to try", flush=True)
            self.try_all(cases, stores)
            self.report()
        finally:
            for store in stores:
                store.end()
        return True

    # Tests and mutants

    def measure(self, items: list[Any], store: Store) -> None:
        """Measure the tests' times, and which scripts they run. All tests must pass."""
        by_sha = {script.sha: script.name for script in SCRIPTS}
        slow = set(SLOW_TESTS.read_text().split("\n")) if SLOW_TESTS.exists() else set()
        of = {item.nodeid: item for item in items if item.nodeid not in slow}

        def action(writing: int) -> int:
            ran = watch_scripts()

            def after(item: Any, passed: bool, seconds: float) -> None:
                names = sorted({by_sha[sha] for sha in ran if sha in by_sha})
                ran.clear()
                os.write(writing, (json.dumps([item.nodeid, passed, seconds, names]) + "\n").encode())

            use(store)
            run_items(list(of.values()), after)
            return SURVIVED

        process, reading = in_fork(action)
        with os.fdopen(reading) as lines:
            found = [json.loads(line) for line in lines]
        os.waitpid(process, 0)
        failed = [nodeid for nodeid, passed, _, _ in found if not passed]
        if failed or len(found) < len(of):
            sys.exit(f"these fail without a mutant: {failed or 'the run ended early'}")
        for nodeid, _, seconds, names in found:
            if seconds < SLOW and names:
                self.tests[nodeid] = Test(of[nodeid], seconds, set(names))
            elif seconds > 2 * SLOW:
                slow.add(nodeid)
        SLOW_TESTS.write_text("\n".join(sorted(slow)))

    def cases(self) -> list[Case]:
        """Return all mutants of the chosen files, in an order that spreads over all of them."""
        result = []
        for folder in self.options.folder or FOLDERS:
            for path in sorted((scripts.PACKAGE / folder / "scripts").rglob(f"{self.options.file or ''}*.lua")):
                source = path.read_text()
                digest = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()[:10]
                parts = frozenset(script.name for script in SCRIPTS if path in files_of(script.name))
                result += [
                    Case(path, mutant, parts, f"{path.relative_to(ROOT)}:{digest}:{mutant.start}:{mutant.change}")
                    for mutant in mutants(source)
                ]
        random.Random(1).shuffle(result)
        return [case for case in result if case.name not in self.exempt]

    def is_wanted(self, case: Case) -> bool:
        return self.results.get(case.key) is (False if self.options.survivors else None)

    def read_results(self) -> None:
        if RESULTS.exists():
            for line in RESULTS.read_text().splitlines():
                found = json.loads(line)
                self.results[found["key"]] = found["noticed"]
                self.noticed[found["key"].partition(":")[0], found["by"]] += 1

    # Trials

    def try_all(self, cases: list[Case], stores: list[Store]) -> None:
        deadline = time.monotonic() + self.options.minutes * 60
        waiting, free, running = list(cases), list(stores), {}
        done = 0
        with RESULTS.open("a") as results:
            while running or (waiting and time.monotonic() < deadline):
                while free and waiting and time.monotonic() < deadline:
                    store, case = free.pop(), waiting.pop()
                    process, reading, patience = self.begin(case, store)
                    running[process] = case, store, reading, time.monotonic() + patience
                process, status = os.waitpid(-1, os.WNOHANG)
                if process in running:
                    case, store, reading, _ = running.pop(process)
                    with os.fdopen(reading) as lines:
                        by = lines.read()
                    self.finish(case, os.waitstatus_to_exitcode(status), by, results)
                    store.forget()
                    done += 1
                    if done % 200 == 0:
                        store.load()
                        print(f"{done} tried, {len(waiting)} left", flush=True)
                    free.append(store)
                    continue
                for process, (case, store, reading, limit) in running.items():
                    if time.monotonic() > limit:
                        if store.hangs():
                            os.kill(process, signal.SIGKILL)
                            store.exchange()
                        running[process] = case, store, reading, time.monotonic() + PATIENCE
                time.sleep(0.002)

    def begin(self, case: Case, store: Store) -> tuple[int, int, float]:
        chosen = [test for test in self.tests.values() if test.scripts & case.scripts]
        file = case.key.partition(":")[0]
        chosen.sort(key=lambda test: (-self.noticed[file, test.item.nodeid], test.seconds))
        if not self.options.survivors:
            chosen = chosen[:MOST]

        def action(writing: int) -> int:
            use(store)
            if not mutate(case, store):
                return INVALID

            def after(item: Any, passed: bool, _: float) -> int | None:
                if passed:
                    return None
                os.write(writing, item.nodeid.encode())
                return NOTICED

            return run_items([test.item for test in chosen], after) or SURVIVED

        return *in_fork(action), PATIENCE + 3 * sum(test.seconds for test in chosen)

    def finish(self, case: Case, status: int, by: str, results: Any) -> None:
        if status == FAILED:
            sys.exit(f"{case}: {by}")
        if status == INVALID:
            return
        noticed = status != SURVIVED
        self.noticed[case.key.partition(":")[0], by] += noticed
        self.results[case.key] = noticed
        line = {"key": case.key, "noticed": noticed, "by": by or ("the time limit" if noticed else "")}
        print(json.dumps(line), file=results, flush=True)

    def report(self) -> None:
        total: Counter[str] = Counter()
        noticed: Counter[str] = Counter()
        for case in sorted(self.cases(), key=str):
            if case.key in self.results:
                folder = case.path.relative_to(scripts.PACKAGE).parts[0]
                total[folder] += 1
                noticed[folder] += self.results[case.key]
                if not self.results[case.key]:
                    print(f"not noticed: {case}")
        for folder in total:
            print(f"{folder}: {noticed[folder]} of {total[folder]} noticed, {noticed[folder] / total[folder]:.1%}")
        if total:
            share = noticed.total() / total.total()
            print(f"together: {noticed.total()} of {total.total()} noticed, {share:.1%}; {len(self.exempt)} left out")


def exempt() -> set[str]:
    """Return the changes listed in WITHOUT_EFFECT."""
    lines = WITHOUT_EFFECT.read_text().splitlines() if WITHOUT_EFFECT.exists() else []
    return {line for line in lines if line and not line.startswith(("#", " "))}


def concerns_the_store(item: Any) -> bool:
    names = set(item.fixturenames)
    kind = getattr(item, "callspec", None) and item.callspec.params.get("redis_url", "valkey")
    return bool(names & {"store_url", "redis_url"}) and not names & OTHER_FIXTURES and kind in (None, "valkey")


def watch_scripts() -> set[str]:
    """Return a set that collects the digests of the scripts that run from now on."""
    ran: set[str] = set()
    send = redis.connection.AbstractConnection.send_packed_command

    def watched(self: Any, command: Any, check_health: bool = True) -> None:
        for piece in [command] if isinstance(command, bytes) else command:
            ran.update(sha.decode() for sha in EVALSHA.findall(bytes(piece)))
        send(self, command, check_health)

    redis.connection.AbstractConnection.send_packed_command = watched  # type: ignore[method-assign]
    return ran


def use(store: Store) -> None:
    """Let the tests use this store."""
    EmbeddedStore.start = classmethod(lambda cls, binary=None: store)  # type: ignore[assignment,method-assign]


def files_of(script: str) -> set[Path]:
    """Return the file of a script and its includes."""
    folder, name = script.split("/")
    found, waiting = set(), [scripts.PACKAGE / folder / "scripts" / f"{name}.lua"]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            for inner, include in scripts.INCLUDE.findall(path.read_text()):
                waiting.append(scripts.PACKAGE / inner / "scripts" / "include" / f"{include}.lua")
    return found


def mutate(case: Case, store: Store) -> bool:
    """Replace each script that includes the mutant's file, in this process. Return False if it is not valid Lua."""
    original = scripts.PACKAGE
    with tempfile.TemporaryDirectory() as directory, redis.Redis.from_url(store.url) as client:
        scripts.PACKAGE = Path(directory)
        for path in original.glob("*/scripts/**/*.lua"):
            copy = scripts.PACKAGE / path.relative_to(original)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(case.mutant.apply(path.read_text()) if path == case.path else path.read_text())
        scripts._include.cache_clear()
        for script in SCRIPTS:
            if script.name in case.scripts:
                changed = scripts.load(script.name)
                try:
                    client.script_load(changed.source)
                except redis.ResponseError:
                    return False
                # the one object that services and tests share
                object.__setattr__(script, "source", changed.source)
                object.__setattr__(script, "sha", changed.sha)
    scripts.PACKAGE = original
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description="Mutation testing of the Lua scripts.")
    parser.add_argument("--folder", action="append", choices=FOLDERS)
    parser.add_argument("--file", help="the beginning of the files' names")
    parser.add_argument("--survivors", action="store_true", help="only those that nothing noticed before")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    tests = [str(next(ROOT.glob(f"tests/*/test_{name}.py"))) for name in TESTS]
    plugins = ["-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:randomly", "-q", "--capture=no"]
    return int(pytest.main([*plugins, *tests], plugins=[Mutation(options)]))


if __name__ == "__main__":
    sys.exit(main())
