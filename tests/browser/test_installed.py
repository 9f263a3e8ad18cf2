"""The wheel in an empty environment, without Node and away from the sources: two people chat on its page."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.helpers.installed import CONSTRAINTS, UV, InstalledServer, built, install, sources

# Packages are installed.
pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(sources(tmp_path_factory.mktemp("build")))[0]


def installed(wheel: Path, directory: Path) -> list[str]:
    return [str(install(wheel, directory / "environment") / "animochat")]


def by_uvx(wheel: Path, directory: Path) -> list[str]:
    cache = subprocess.run([UV, "cache", "dir"], capture_output=True, text=True, check=True).stdout.strip()
    options = ["--quiet", "--python", sys.executable, "--cache-dir", cache, "--constraints", CONSTRAINTS]
    run = [UV, "tool", "run", *options, "--from", str(wheel)]
    subprocess.run([*run, "animochat", "--version"], check=True, stdout=subprocess.DEVNULL)  # fetches the packages
    return [*run, "--offline", "animochat"]


@pytest.fixture(params=[installed, by_uvx], ids=lambda way: way.__name__)
def server(request: pytest.FixtureRequest, wheel: Path, tmp_path: Path) -> Iterator[InstalledServer]:
    """A server with an embedded store, in a folder that has nothing else."""
    directory = tmp_path / "elsewhere"
    directory.mkdir()
    server = InstalledServer(directory, [*request.param(wheel, tmp_path), "serve"])
    server.start()
    try:
        yield server
        server.stop()
    finally:
        server.kill()
    server.check_log()


def test_two_people_chat_on_the_page_of_an_installed_wheel(
    server: InstalledServer, person: Callable, meet: Callable
) -> None:
    anna, bert = person(server), person(server)
    meet(anna, bert)
    anna.say("hello")
    expect(bert.messages("partner")).to_have_text(["hello"])
