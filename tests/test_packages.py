"""`make test` installs the programs that tests need, if it may; otherwise it lists the missing ones at the end."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.servers import ROOT

SCRIPT = ROOT / "tools/test_packages"

#: Package -> its program, for which the script looks. (Daemons' programs may be outside PATH.)
PROGRAMS = {
    "redis-server": "redis-server",
    "chromium": "chromium",
    "prometheus": "promtool",
    "systemd": "systemd-analyze",
    "lua-check": "luacheck",
    "spin": "spin",
}

#: Replaces apt-get: records its calls, refuses $REFUSED, and creates the programs of other packages in its folder.
APT = r"""#!/usr/bin/env bash
echo "$*" >>"$HERE/calls"
[[ $* = *" $REFUSED"* ]] && exit 100
[[ $* = *" install "* ]] || exit 0
for word in "$@"; do
  case $word in
    prometheus) word=promtool ;; systemd) word=systemd-analyze ;; lua-check) word=luacheck ;;
  esac
  [[ $word = -* || $word = install ]] && continue
  printf '#!/bin/sh\n' >"$HERE/${word##*/}" && chmod +x "$HERE/${word##*/}"
done
exit 0
"""


class Machine:
    """A PATH without any of the programs, for root or another user."""

    def __init__(self, directory: Path, user: int) -> None:
        self.directory = directory
        for program in ("bash", "cat", "chmod", "dirname", "env", "grep", "sed"):
            (directory / program).symlink_to(shutil.which(program) or pytest.fail(program))
        self.write("id", f"#!/usr/bin/env bash\necho {user}\n")
        self.write("apt-get", APT)

    def write(self, name: str, text: str) -> None:
        (self.directory / name).write_text(text)
        (self.directory / name).chmod(0o755)

    def run(self, *arguments: str, refused: str = "nothing") -> subprocess.CompletedProcess[str]:
        here = str(self.directory)
        environ = {"PATH": here, "HOME": here, "HERE": here, "REFUSED": refused}
        return subprocess.run([SCRIPT, *arguments], env=environ, capture_output=True, text=True, check=False)

    @property
    def calls(self) -> list[str]:
        file = self.directory / "calls"
        return file.read_text().splitlines() if file.exists() else []

    def has(self, package: str) -> bool:
        return (self.directory / PROGRAMS[package]).exists()


@pytest.fixture
def root(tmp_path: Path) -> Machine:
    return Machine(tmp_path, 0)


@pytest.fixture
def anyone(tmp_path: Path) -> Machine:
    return Machine(tmp_path, 1000)


def test_root_installs_missing_programs_once(root: Machine) -> None:
    assert root.run().returncode == 0
    installed = set(root.calls[-1].split())
    assert installed >= set(PROGRAMS)
    calls = len(root.calls)
    before = {package for package in PROGRAMS if root.has(package)}
    assert before == set(PROGRAMS)
    root.run()
    assert not [call for call in root.calls[calls:] if set(call.split()) & set(PROGRAMS)]


def test_an_unavailable_package_does_not_prevent_others(root: Machine) -> None:
    result = root.run(refused="prometheus")
    assert result.returncode == 1
    assert "can't be installed: prometheus" in result.stderr
    assert {package for package in PROGRAMS if not root.has(package)} == {"prometheus"}


def test_failed_updates_of_package_lists_do_not_prevent_installing(root: Machine) -> None:
    assert root.run(refused="update").returncode == 0
    assert all(root.has(package) for package in PROGRAMS)


@pytest.mark.parametrize("apt", [True, False])
def test_other_users_get_one_line_and_the_command(anyone: Machine, apt: bool) -> None:
    if not apt:
        (anyone.directory / "apt-get").unlink()
    result = anyone.run()
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1
    command = anyone.run("--command").stdout
    assert len(command.splitlines()) == 1
    assert "apt-get install" in command
    for package in PROGRAMS:
        assert package in result.stderr
        assert package in command
    assert not anyone.calls


def test_the_last_lines_list_missing_programs_and_the_command_to_install_them(anyone: Machine) -> None:
    environ = {name: value for name, value in os.environ.items() if name not in ("CI", "PYTEST_ADDOPTS")}
    environ["PATH"] = str(anyone.directory)
    tests = ["tests/telemetry/test_metrics.py", "-k", "alert", "-q", "-p", "no:cacheprovider"]
    for spread in ([], ["-n", "2"]):
        result = subprocess.run(
            [sys.executable, "-m", "pytest", *tests, *spread],
            cwd=ROOT, env=environ, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert result.returncode == 0, result.stdout
        skipped, command = result.stdout.splitlines()[-2:]
        assert skipped == "1 skipped for want of promtool (1)"
        assert command.startswith("to install it: sudo apt-get update && sudo apt-get install -y")
        assert "prometheus" in command
