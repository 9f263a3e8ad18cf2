"""No space is left for temporary files: the chat goes on, and everything that needs space works again later."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.servers import Server, eventually


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """Return a file system of 256 kB. Its path is short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="animochat-test-") as path:
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", path], capture_output=True)
        if mounted.returncode:
            pytest.skip("only root may mount a file system")
        yield Path(path)
        subprocess.run(["umount", "--lazy", path], check=True)


def fill(disk: Path) -> Path:
    """Write until the disk is full; return the file."""
    path = disk / "ballast"
    with path.open("ab", buffering=0) as file:
        while os.statvfs(disk).f_bavail:
            file.write(bytes(4096))
    return path


def workers_that_show_themselves(server: Server) -> int:
    """Return how many workers' numbers are in /metrics of any worker."""
    found = re.search(r"^animochat_workers(?:\{.*\})? ([0-9.]+)$", server.get("/metrics").text, re.MULTILINE)
    assert found is not None, server.get("/metrics").text
    return int(float(found[1]))


def check(server: Server, ballast: Path) -> None:
    """Check that both workers live and stay the same; with space again, each shows the numbers of both."""
    pids = server.worker_pids()
    for _ in range(20):
        assert server.get("/health/live").status_code == 200
        assert server.get("/metrics").status_code == 200
    ballast.unlink()
    eventually(lambda: [workers_that_show_themselves(server) for _ in range(10)] == [2] * 10, what="both workers")
    assert server.worker_pids() == pids


@pytest.mark.may_skip
def test_a_server_uses_another_directory_if_the_first_disk_is_full(servers: Any, small_disk: Path) -> None:
    ballast = fill(small_disk)
    check(servers(workers=2, env={"TMPDIR": str(small_disk)}), ballast)
    assert list(small_disk.iterdir()) == []


@pytest.mark.may_skip
def test_a_disk_that_fills_up_does_not_disturb_the_chat(servers: Any, small_disk: Path) -> None:
    server = servers(workers=2, env={"TMPDIR": str(small_disk)})
    eventually(lambda: workers_that_show_themselves(server) == 2)
    check(server, fill(small_disk))


@pytest.mark.may_skip
def test_workers_can_be_replaced_on_a_full_disk(servers: Any, small_disk: Path) -> None:
    server = servers(workers=2, env={"TMPDIR": str(small_disk)})
    server.expect_errors()
    before = server.worker_pids()
    ballast = fill(small_disk)
    os.kill(server.pid, signal.SIGHUP)
    eventually(lambda: len(server.worker_pids()) == 2 and not set(server.worker_pids()) & set(before), 30)
    check(server, ballast)
    complaints = re.findall(r"\[(\d+)\] \[ERROR\] The workers' metrics can't be shared", server.log())
    assert len(complaints) == len(set(complaints)), "once for each worker"
