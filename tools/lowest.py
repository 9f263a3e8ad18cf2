"""`make test-lowest`: run tests on the lowest versions of the packages that setup.cfg allows, in their own venv."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

BIN = Path(sys.executable).parent
VENV = Path(".venv-lowest")

#: Tests that use the libraries: the server, the store's client, the payloads, the commands.
TESTS = ["tests/server", "tests/chat/test_contract.py", "tests/store/test_pipeline.py", "tests/cli/test_cli.py"]


def main() -> int:
    """Return pytest's exit status, or that of the step that failed."""
    uv = str(BIN / "uv")
    with tempfile.NamedTemporaryFile("r", suffix=".txt") as lowest:
        resolve = [uv, "pip", "compile", "--quiet", "--resolution", "lowest-direct", "--python", sys.executable]
        install = [uv, "pip", "install", "--quiet", "--python", str(VENV)]
        steps = [
            [*resolve, "--no-header", "--no-annotate", "--output-file", lowest.name, "setup.cfg"],
            [uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(VENV)],
            [*install, "--constraint", lowest.name, "--editable", ".[dev]"],
            [str(VENV / "bin/python"), "-m", "pytest", "-q", "-n", "2", "--dist", "worksteal", *TESTS],
        ]
        for step in steps:
            status = subprocess.run(step, check=False).returncode
            if status:
                return status
    return 0


if __name__ == "__main__":
    sys.exit(main())
