"""`make audit`: known vulnerabilities of the packages in constraints.txt and package-lock.json.

Exit with 1 where there is one. Where an index can't be reached, or knows nothing of a package, say so and go on: a
machine without a network is no vulnerability.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

BIN = Path(sys.executable).parent

#: Seconds for an index to answer in.
TIMEOUT = 300


def main() -> int:
    """Return the exit status."""
    tool = [str(BIN / "uv"), "tool", "run", "--quiet", "--constraints", "constraints.txt", "pip-audit"]
    python = _answer([*tool, "--requirement", "constraints.txt", "--no-deps", "--disable-pip"])
    page = _answer(["npm", "audit", "--omit=dev"])
    found = [*_of_python(python), *_of_the_page(page)]
    for line in found:
        print(line)
    return 1 if found else 0


def _answer(command: list[str]) -> dict[str, Any]:
    """Return what a program reports as JSON; nothing where it can't."""
    option = "--json" if command[0] == "npm" else "--format=json"
    try:
        result = subprocess.run([*command, option], capture_output=True, text=True, timeout=TIMEOUT, check=False)
        answer = json.loads(result.stdout)
    except (OSError, subprocess.TimeoutExpired, ValueError):
        return {}
    return answer if isinstance(answer, dict) else {}


def _of_python(answer: dict[str, Any]) -> list[str]:
    packages = answer.get("dependencies", [])
    unknown = [package for package in packages if "skip_reason" in package]
    print(f"Python: {len(packages) - len(unknown)} packages audited, {len(unknown)} not known to the index")
    if not packages:
        print("Python: not audited, the index can't be reached", file=sys.stderr)
    return [
        f"{package['name']} {package['version']}: {vulnerability['id']}, fixed in"
        f" {', '.join(vulnerability['fix_versions']) or 'no version yet'}"
        for package in packages
        for vulnerability in package.get("vulns", [])
    ]


def _of_the_page(answer: dict[str, Any]) -> list[str]:
    if "vulnerabilities" not in answer:
        print("npm: not audited, the index can't be reached", file=sys.stderr)
        return []
    print(f"npm: {answer['metadata']['dependencies']['total']} packages audited")
    return [f"{name}: {it['severity']}, {it['range']}" for name, it in answer["vulnerabilities"].items()]


if __name__ == "__main__":
    sys.exit(main())
