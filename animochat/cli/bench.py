"""`animochat bench URL`: simulate people to measure what a deployment can serve."""

from __future__ import annotations

import argparse
import ipaddress
import resource
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import gevent
import msgspec

from animochat.loadtest.client import Client, Refused
from animochat.loadtest.report import report, text
from animochat.loadtest.run_stats import RunStats
from animochat.loadtest.users import Behavior, SimulatedUser

#: The server broke a promise of the protocol.
EXIT_BROKEN = 1
EXIT_USAGE = 2

MAX_PEOPLE = 20_000
MAX_SECONDS = 3_600

#: Open files besides connections.
OTHER_FILES = 50

#: Seconds at the end, in which messages under way arrive.
DRAIN = 2.0

#: Seconds between two lines if the output is no terminal.
LINE_EVERY = 5

DESCRIPTION = """\
Simulate people who connect, search, chat, skip, leave and lose their connection. Report rates, waiting and delivery
times, and whether each message arrived once and in order and every room had two people. The run ends by itself shortly
after --seconds. Servers on other machines are refused unless you confirm that you run them.
"""

EPILOG = """\
All connections come from one address: set RATE_CONNECTS=0, RATE_REQUESTS=0 and MAX_CONNECTIONS_PER_ADDRESS=0 on the
server meanwhile, or stay below these limits. Exit status: 0 if the server kept every promise, 1 if it broke one, 2 if
the run was not possible.
"""


def main(arguments: list[str]) -> int:
    """Return the exit status."""
    options = _parser().parse_args(arguments)
    problem = _problem(options)
    if problem:
        print(f"animochat: {problem}", file=sys.stderr)
        return EXIT_USAGE
    habits = Behavior(think=options.think, chat=options.chat)
    tally = RunStats()
    people = [
        SimulatedUser(options.url, habits, tally, options.seed + number, options.lobby)
        for number in range(options.people)
    ]
    outcome = _run(people, tally, options)
    print(text(outcome))
    if options.json is not None:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(outcome)) + b"\n")
    return 0 if outcome["ok"] else EXIT_BROKEN


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="animochat bench",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("url", help="address of the server, such as http://localhost:3001")
    parser.add_argument("--lobby", metavar="NAME", help="lobby to join (default: the server's default)")
    parser.add_argument("--people", type=_bounded(1, MAX_PEOPLE), default=100, help="number of people (default: 100)")
    parser.add_argument("--seconds", type=_bounded(1, MAX_SECONDS), default=60, help="duration (default: 60)")
    help_ = "people who connect per second until all have (default: 40, below a server's RATE_CONNECTS)"
    parser.add_argument("--arrivals", type=_bounded(1, 1_000), default=40, help=help_)
    help_ = "mean seconds between two messages of a person (default: 6)"
    parser.add_argument("--think", type=_positive, default=Behavior.think, help=help_)
    help_ = "mean seconds until a person leaves a partner (default: 90)"
    parser.add_argument("--chat", type=_positive, default=Behavior.chat, help=help_)
    parser.add_argument("--seed", type=int, default=1, help="seed of the random choices (default: 1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the report to this file as JSON")
    parser.add_argument("--yes-i-run-this-server", action="store_true", help="allow a server on another machine")
    return parser


def _bounded(low: int, high: int) -> Callable[[str], int]:
    def number(word: str) -> int:
        value = int(word)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{value} is not between {low} and {high}")
        return value

    return number


def _positive(word: str) -> float:
    value = float(word)
    if not 0.01 <= value <= 86_400:
        raise argparse.ArgumentTypeError(f"{word} is not between 0.01 and 86400")
    return value


def _problem(options: argparse.Namespace) -> str | None:
    """Return why the run is not possible, or None."""
    try:
        parts = urlsplit(options.url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if host is None or parts.scheme not in ("http", "https"):
        return f"{options.url!r} is not an address like http://localhost:3001"
    try:
        addresses = {found[4][0] for found in socket.getaddrinfo(host, port or 80, type=socket.SOCK_STREAM)}
    except OSError as error:
        return f"{host} can't be found: {error.strerror}"
    own = all(ipaddress.ip_address(str(address).partition("%")[0]).is_loopback for address in addresses)
    if not own and not options.yes_i_run_this_server:
        return f"{host} is another machine: if you run that server, add --yes-i-run-this-server"
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if allowed != resource.RLIM_INFINITY and options.people + OTHER_FILES > allowed:
        return f"{options.people} people need {options.people + OTHER_FILES} open files, but `ulimit -n` is {allowed}"
    if options.json is not None and not options.json.parent.is_dir():
        return f"{options.json.parent} is not a folder, so the report can't be written there"
    try:
        client = Client(options.url, lambda *_: None, options.lobby)
        client.connect()
        client.goodbye()
    except Refused as refused:
        return f"no chat at {options.url}: {refused}"
    return None


def _run(people: list[SimulatedUser], tally: RunStats, options: argparse.Namespace) -> dict[str, object]:
    """Run the users for the given time, and end them."""
    display = _Display(people, tally, options.seconds)
    started, cpu = time.monotonic(), time.process_time()
    lives = [gevent.spawn_later(number / options.arrivals, person.live) for number, person in enumerate(people)]
    late = 0.0
    try:
        for second in range(1, options.seconds + 1):
            due = started + second
            gevent.sleep(max(0.0, due - time.monotonic()))
            late = max(late, time.monotonic() - due)
            tally.settle(time.monotonic())
            display.show(second)
    except KeyboardInterrupt:
        print("\nStopped early.", file=sys.stderr)
    seconds = time.monotonic() - started
    gevent.killall(lives)
    gevent.sleep(DRAIN)  # no user sends any more: messages under way arrive
    tally.finish()
    for person in people:
        person.quit()
    gevent.sleep(0)
    display.clear()
    used = (time.process_time() - cpu) / max(seconds, 0.001)
    return report(tally, options.url, options.people, seconds, 1000 * late, used)


class _Display:
    """The progress, on stderr: a block that is overwritten on a terminal, occasional lines elsewhere."""

    def __init__(self, people: list[SimulatedUser], tally: RunStats, seconds: int) -> None:
        self._people = people
        self._tally = tally
        self._seconds = seconds
        self._terminal = sys.stderr.isatty()
        self._height = 0
        self._before = tally.counts.copy()

    def show(self, second: int) -> None:
        if not self._terminal and second % LINE_EVERY:
            return
        span = 1 if self._terminal else LINE_EVERY
        counts = self._tally.counts
        states = [person.state for person in self._people]
        rates = {
            name: (counts[name] - self._before[name]) / span for name in ("connected", "matched", "sent", "received")
        }
        self._before = counts.copy()
        wait, deliver = self._tally.waiting.percentiles(), self._tally.delivering.percentiles()
        done = round(30 * second / self._seconds)
        lines = [
            f"[{'#' * done}{'.' * (30 - done)}] {second}/{self._seconds} s",
            "people   "
            + ", ".join(f"{states.count(s)} {s}" for s in ("connecting", "idle", "waiting", "chatting", "away")),
            f"rate/s   {rates['connected']:.0f} connects, {rates['matched'] / 2:.0f} matches, {rates['sent']:.0f} sent,"
            f" {rates['received']:.0f} received",
            f"wait     {_short(wait)}",
            f"deliver  {_short(deliver)}",
            f"refused  {sum(self._tally.refusals.values())}, broken promises {sum(self._tally.mistakes.values())}",
        ]
        if self._terminal:
            self.clear()
            self._height = len(lines)
            print("\n".join(lines), file=sys.stderr, flush=True)
        else:
            print("; ".join(" ".join(line.split()) for line in lines), file=sys.stderr, flush=True)

    def clear(self) -> None:
        if self._height:
            print(f"\x1b[{self._height}F\x1b[J", end="", file=sys.stderr, flush=True)
            self._height = 0


def _short(times: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:,.1f} ms" for name, value in times.items()) or "-"
