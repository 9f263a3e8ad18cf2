"""Check tests/model/chat.pml with SPIN: every configuration holds, and every mutation is caught.

    python tests/model/check.py                    all of it; exits with 1 if something is not as expected
    python tests/model/check.py drop LATE_WORDS    some of it

SPIN writes one C program for all of them; compiled, it checks every state. A violation is printed as a sequence of the
clients' events, the store's scripts, and the answers and notices that workers received.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

MODEL = Path(__file__).with_name("chat.pml")

#: Seconds, and megabytes, that one configuration may take. They need a tenth of it.
TIMEOUT = 300
MEMORY_MB = 2000

IN_A_ROOM = "MET=1 HOME1=1 "
MEETING = "FINDS=1 HOME1=1 SAYS0=1 RETRIES=1 "

#: Name -> the switches. Decision 0013 says what each is for.
CONFIGURATIONS = {
    "meet": MEETING + "ENDS0=1",
    "lost-answer": MEETING + "LOSSES=1",
    "cut": MEETING + "CUTS=1",
    "last-words": "MET=1 SAYS0=2 ENDS0=1 RETRIES=1",
    "both-end": IN_A_ROOM + "SAYS0=1 ENDS0=1 ENDS1=1 RETRIES=1",
    "lost-end": IN_A_ROOM + "LOSSES=1 CUTS=1 ENDS0=1 SAYS0=1 RETRIES=1",
    "lost-leave": IN_A_ROOM + "LOSSES=1 ENDS0=1 SAYS1=1 RETRIES=1",
    "drop": IN_A_ROOM + "DROPS=1 ENDS1=1",
    "move": IN_A_ROOM + "DROPS=1 SAYS1=1 RETRIES=1",
    "stop": IN_A_ROOM + "DROPS=1 STOPS=1 SAYS0=2",
    "wait": IN_A_ROOM + "DROPS=2 STOPS=1",
    "death": IN_A_ROOM + "DEATHS=1 SAYS0=1 SAYS1=1 RETRIES=1",
    "gone": IN_A_ROOM + "DEATHS=1 GONE=1 SAYS1=1 RETRIES=1",
    "ban": IN_A_ROOM + "BANS=1 SAYS0=1 SAYS1=1 RETRIES=1",
    "repeat": IN_A_ROOM + "DROPS=1 STOPS=1 SAYS0=1 RETRIES=1",
}

#: Mutation -> the configuration that catches it.
MUTATIONS = {
    "ACK_EARLY": "meet",
    "LATE_WORDS": "stop",
    "LAST_WORDS": "last-words",
    "SEARCH_ENDS": "both-end",
    "RESYNC_STEALS": "stop",
    "NO_DEFER": "meet",
    "NO_VERSIONS": "meet",
    "NO_RESYNC": "cut",
    "NO_STALE": "lost-end",
    "NO_WARY": "wait",
    "NO_CLOSE": "both-end",
    "CLOSE_LOST": "lost-leave",
    "NO_ROUTE": "move",
    "NO_REAPER": "gone",
    "NO_LOOK": "stop",
}

#: Switch -> the configuration: a violation that the model finds without an assumption about time that the code does
#: not ensure. Decision 0013 describes it.
OPEN = {"SLOW_CONNECT": "wait"}

#: A bound of the model was too small: the search proves nothing about the protocol.
TOO_SMALL = re.compile(r"q_full|rooms<")


@dataclass(frozen=True)
class Outcome:
    """`violated`: the property that does not hold, or "" where all do. `complete`: every state was looked at."""

    violated: str
    complete: bool
    states: int
    seconds: float
    story: str


class Model:
    """The compiled model, as a context manager."""

    def __init__(self) -> None:
        self._directory = tempfile.TemporaryDirectory()
        self._here = Path(self._directory.name)

    def __enter__(self) -> Model:
        (self._here / MODEL.name).write_bytes(MODEL.read_bytes())  # SPIN's files stand beside it
        output = self._run("spin", "-a", MODEL.name)
        if not (self._here / "pan.c").exists():
            raise RuntimeError(f"the model is not valid: {output}")
        # Without optimization: the compiler would take longer than the program.
        options = ["-w", "-DSAFETY", "-DNOFAIR", "-DCOLLAPSE", f"-DMEMLIM={MEMORY_MB}", "-DVECTORSZ=2048"]
        output = self._run("cc", *options, "-o", "pan", "pan.c")
        if not (self._here / "pan").exists():
            raise RuntimeError(f"SPIN's program can't be compiled: {output[-2000:]}")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._directory.cleanup()

    def _run(self, *command: str, switches: str = "") -> str:
        environment = {**os.environ, **dict(switch.split("=") for switch in switches.split())}
        done = subprocess.run(
            command, cwd=self._here, env=environment, capture_output=True, text=True, check=False, timeout=TIMEOUT
        )
        return done.stdout + done.stderr

    def check(self, switches: str) -> Outcome:
        """Search every state of the model with these switches, as in CONFIGURATIONS."""
        output = self._run("./pan", "-E", "-m20000", "-w20", switches=switches)
        violated = re.search(r"pan:1: (.*) \(at depth", output)
        states = re.search(r"(\d+) states, stored", output)
        seconds = re.search(r"elapsed time ([\d.e+-]+) seconds", output)
        story = self._run("./pan", "-r", switches=switches) if violated else ""
        return Outcome(
            violated[1] if violated else "",
            "Search not completed" not in output and "max search depth too small" not in output and states is not None,
            int(states[1]) if states else 0,
            float(seconds[1]) if seconds else 0.0,
            "\n".join(line for line in story.splitlines() if re.match(r"(store|worker|pan:1)\b", line)),
        )


def caught(outcome: Outcome) -> bool:
    """Return whether a property of the protocol is violated, not a bound of the model."""
    return "assertion violated" in outcome.violated and not TOO_SMALL.search(outcome.violated)


def switches_of(name: str) -> str:
    """Return the switches of a configuration, a mutation or an open assumption."""
    if name in CONFIGURATIONS:
        return CONFIGURATIONS[name]
    return f"{CONFIGURATIONS[{**MUTATIONS, **OPEN}[name]]} {name}=1"


def main(names: list[str]) -> int:
    """Check these, or all; print a line for each. Return 1 if something is not as expected."""
    wrong = 0
    with Model() as model:
        for name in names or [*CONFIGURATIONS, *MUTATIONS, *OPEN]:
            outcome = model.check(switches_of(name))
            holds = outcome.complete and not outcome.violated
            right = holds if name in CONFIGURATIONS else caught(outcome)
            wrong += not right
            result = "holds" if holds else outcome.violated or "not searched through"
            print(f"{'ok ' if right else 'BAD'} {name:13} {outcome.states:8} states {outcome.seconds:6.1f} s  {result}")
            if outcome.story and (names or not right):
                print(outcome.story)
            sys.stdout.flush()
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
