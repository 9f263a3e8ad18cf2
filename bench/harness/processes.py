"""Start programs on their own core, and end only programs that were started here."""

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

#: Seconds that a program has to end by itself before it is killed.
STOP_TIMEOUT = 5.0

#: Lines of a failed program's output that are shown.
TAIL_LINES = 15


class ProgramFailed(Exception):
    """A program ended too early, or did not do its work."""


def cores() -> tuple[int, int]:
    """Return the core for servers and the core for the load: two different ones if there are two."""
    available = sorted(os.sched_getaffinity(0))
    return available[0], available[-1] if len(available) == 1 else available[1]


def free_port() -> int:
    """Return a TCP port of the loopback interface that is not in use."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def descendants(pid: int) -> list[int]:
    """Return `pid` and all processes below it (a gunicorn master and its workers)."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += descendants(int(child))
    return found


class Program:
    """One program in its own process group, pinned to one core; a context manager that ends it.

    Its output goes to an unnamed temporary file and is shown only after a failure.
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
        # Threads and children inherit this: no program here starts any in its first microseconds.
        os.sched_setaffinity(self.process.pid, {core})

    @property
    def pid(self) -> int:
        """Return the started process; see `descendants` for its children."""
        return self.process.pid

    def failure(self, what: str) -> ProgramFailed:
        """Return an exception that describes the failure and shows the end of the output."""
        return ProgramFailed(f"{' '.join(self.command[:4])}: {what}\n{self.tail()}")

    def tail(self) -> str:
        """Return the last lines of the output."""
        self.output.seek(0)
        return "\n".join(self.output.read().decode(errors="replace").splitlines()[-TAIL_LINES:])

    def wait_for_result(self, timeout: float) -> str:
        """Wait for the program's end and return the last line of its output.

        Raises:
            ProgramFailed: it failed, or did not end within `timeout` seconds.
        """
        try:
            status = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise self.failure(f"not over after {timeout:.0f} s") from None
        if status != 0:
            raise self.failure(f"ended with {status}")
        return self.tail().splitlines()[-1]

    def stop(self) -> None:
        """End the program and its process group. The second call does nothing."""
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
