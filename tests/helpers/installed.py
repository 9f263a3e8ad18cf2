"""The project as users install it: a wheel in its own environment, without Node and without sources."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.helpers.servers import ROOT, Server

BIN = Path(sys.executable).parent
UV = str(BIN / "uv")
CONSTRAINTS = str(ROOT / "constraints.txt")

#: Files that a build reads.
SOURCES = (
    "animochat", "tools/build_backend.py", "constraints.txt", "LICENSE", "Makefile", "MANIFEST.in", "package.json",
    "package-lock.json", "pyproject.toml", "README.md", "setup.cfg",
)  # fmt: skip


def sources(directory: Path) -> Path:
    """Copy the files that a build reads, the page's libraries included, to `directory`/sources. Return that folder."""
    copy = directory / "sources"
    for name in SOURCES:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(ROOT / name, copy / name)
    return copy


def make_wheel(sources: Path) -> subprocess.CompletedProcess[str]:
    """Run `make wheel` in a copy of the sources, with this environment instead of a new one."""
    done = [f"{BIN.parent}/.ready-run", f"{BIN.parent}/.ready", "node_modules/.ready-run", "node_modules/.ready"]
    done += [
        f"animochat/web/static/vendor/{name}" for name in ("socket.io.esm.min.js", "uPlot.esm.js", "uPlot.min.css")
    ]
    options = [word for file in done for word in ("-o", file)]
    command = ["make", "wheel", f"VENV={BIN.parent}", *options]
    return subprocess.run(command, cwd=sources, capture_output=True, text=True, timeout=150, check=False)


def built(sources: Path) -> list[Path]:
    """Build and return the archives: wheel and sdist."""
    result = make_wheel(sources)
    assert result.returncode == 0, result.stdout + result.stderr
    return sorted((sources / "dist").glob("animochat-*"), key=lambda path: path.suffix != ".whl")


def install(wheel: Path, environment: Path) -> Path:
    """Install a wheel into `environment`, creating it if needed. Return the folder of its programs."""
    if not environment.exists():
        subprocess.run([UV, "venv", "--quiet", "--python", sys.executable, str(environment)], check=True)
    command = [UV, "pip", "install", "--quiet", "--python", str(environment), "--constraint", CONSTRAINTS]
    subprocess.run([*command, "--reinstall-package", "animochat", str(wheel)], check=True)
    return environment / "bin"


class InstalledServer(Server):
    """A server that does not run from this folder's sources. `arguments`: its command line without the host."""

    def __init__(self, directory: Path, arguments: list[str], **options: Any) -> None:
        super().__init__(directory, **options)
        self.arguments = arguments

    def _arguments(self) -> list[str]:
        return [*self.arguments, "--host", "127.0.0.1"]

    def _environment(self) -> dict[str, str]:
        programs = self.directory / "programs"
        programs.mkdir(exist_ok=True)
        # Scripts with a long path use these to find their Python; on Python 3.10 no wheel has a store.
        needed = ["dirname", "realpath", *(["redis-server"] if sys.version_info < (3, 11) else [])]
        for name in needed:
            found = shutil.which(name)
            if found is not None and not (programs / name).exists():
                (programs / name).symlink_to(found)
        environment = super()._environment()
        del environment["PYTHONPATH"]
        return {**environment, "PATH": str(programs)}
