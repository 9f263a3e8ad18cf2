"""The wheel and the sdist: complete, reproducible, and with one version."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from animochat import __version__
from tests.helpers.installed import built, install, make_wheel, sources
from tests.helpers.servers import ROOT

# Archives are built, and packages installed.
pytestmark = pytest.mark.timeout(180)

PACKAGE = ROOT / "animochat"


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return built(sources(tmp_path_factory.mktemp("build")))


def test_the_archives_have_every_file_of_the_package(archives: list[Path]) -> None:
    wanted = {
        str(path.relative_to(ROOT)) for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts
    }
    assert "animochat/web/static/vendor/socket.io.esm.min.js" in wanted
    wheel, sdist = archives
    assert wheel.name == f"animochat-{__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as files:
        assert wanted - set(files.namelist()) == set()
    with tarfile.open(sdist) as files:
        assert wanted - {name.partition("/")[2] for name in files.getnames()} == set()


def test_two_builds_are_equal_byte_for_byte(archives: list[Path], tmp_path: Path) -> None:
    again = sources(tmp_path)
    for path in again.rglob("*"):
        path.chmod(0o700 if path.is_dir() else 0o600)
        os.utime(path, (1_000_000_000, 1_000_000_000))
    (again / "animochat.egg-info").mkdir()
    (again / "animochat.egg-info/SOURCES.txt").write_text("Makefile\n")  # of an older build
    first, second = ([hashlib.sha256(path.read_bytes()).hexdigest() for path in a] for a in (archives, built(again)))
    assert first == second


def test_a_build_without_the_page_s_libraries_is_refused_in_one_line(tmp_path: Path) -> None:
    copy = sources(tmp_path)
    (copy / "animochat/web/static/vendor/uPlot.esm.js").unlink()
    result = make_wheel(copy)
    assert result.returncode != 0
    assert "lacks uPlot.esm.js: run `npm ci --omit=dev && npm run build`" in result.stderr
    assert not list(copy.glob("dist/animochat-*"))


def test_the_sdist_makes_the_same_wheel(archives: list[Path], tmp_path: Path) -> None:
    wheel, sdist = archives
    with tarfile.open(sdist) as files:
        files.extractall(tmp_path, filter="data")
    (folder,) = tmp_path.iterdir()
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", str(tmp_path), str(folder)], check=True)
    assert (tmp_path / wheel.name).read_bytes() == wheel.read_bytes()


def test_an_installed_wheel_has_the_version_of_the_package(archives: list[Path], tmp_path: Path) -> None:
    programs = install(archives[0], tmp_path / "environment")
    for command in (["animochat", "--version"], ["python", "-m", "animochat", "--version"]):
        result = subprocess.run([programs / command[0], *command[1:]], cwd=tmp_path, capture_output=True, text=True)
        assert result.stdout == f"animochat {__version__}\n"
