"""Starting programs on a core of their own and ending what was started, nothing else."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

#: Seconds that a program gets to end by itself before it is killed.
STOP_TIMEOUT = 5.0

#: Lines of a program's output that are shown when it failed.
TAIL_LINES = 15


class ProgramFailed(Exception):
    """A program ended when it should not have, or did not do what it was started for."""


def cores() -> tuple[int, int]:
    """The core for servers and the core for the load: two different ones wherever there are two."""
    available = sorted(os.sched_getaffinity(0))
    return available[0], available[-1] if len(available) == 1 else available[1]


def free_port() -> int:
    """A TCP port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def descendants(pid: int) -> list[int]:
    """`pid` and every process below it (a gunicorn master and its workers)."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += descendants(int(child))
    return found


class Program:
    """One program in a process group of its own, pinned to one core; a context manager that ends it.

    Its output goes to an unnamed temporary file and is shown only when something failed.
    """

    def __init__(self, command: Sequence[str], *, core: int, cwd: Path, env: Mapping[str, str] | None = None) -> None:
        self.command = command
        self.output = tempfile.TemporaryFile()  # noqa: SIM115 (closed by `stop`)
        self.process = subprocess.Popen(
            command,
            cwd=cwd,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=self.output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        # Threads and children come after this moment: no program here starts either in its first microseconds.
        os.sched_setaffinity(self.process.pid, {core})

    @property
    def pid(self) -> int:
        """The process that was started; see `descendants` for those that it started."""
        return self.process.pid

    def failure(self, what: str) -> ProgramFailed:
        """An exception that says what went wrong and shows the end of the output."""
        return ProgramFailed(f"{' '.join(self.command[:4])}: {what}\n{self.tail()}")

    def tail(self) -> str:
        """The last lines of the output."""
        self.output.seek(0)
        return "\n".join(self.output.read().decode(errors="replace").splitlines()[-TAIL_LINES:])

    def wait_for_result(self, timeout: float) -> str:
        """Wait for the program's end and give the last line of its output.

        Raises:
            ProgramFailed: it failed, or was not over after `timeout` seconds.
        """
        try:
            status = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise self.failure(f"not over after {timeout:.0f} s") from None
        if status != 0:
            raise self.failure(f"ended with {status}")
        return self.tail().splitlines()[-1]

    def stop(self) -> None:
        """End the program and everything in its process group. Nothing happens the second time."""
        if self.output.closed:
            return
        if self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(STOP_TIMEOUT)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.process.wait()
        self.output.close()

    def __enter__(self) -> Program:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
