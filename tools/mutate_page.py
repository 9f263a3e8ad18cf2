"""Change the page's scripts in one place at a time, and check whether the page's tests notice.

    .venv/bin/python tools/mutate_page.py [--count 20] [--seed 1] [--file conversation.js ...]

This changes this checkout's own files and restores them: do not use them meanwhile. It prints each change, whether a
test noticed it, and the score. A change that passed has no effect (the reader decides), or its test is missing.
"""

from __future__ import annotations

import argparse
import random
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STATIC = ROOT / "animochat/web/static"
#: Seconds for one run of the tests: a change that makes them hang is noticed.
PATIENCE = 900

#: Patterns in a line of code, and their replacements.
CHANGES = [
    (r"===", "!=="),
    (r"!==", "==="),
    (r"&&", "||"),
    (r"\|\|", "&&"),
    (r"\?\?", "&&"),
    (r"\btrue\b", "false"),
    (r"\bfalse\b", "true"),
    (r" < ", " >= "),
    (r" > ", " <= "),
    (r" \+ 1\b", " - 1"),
    (r"\bif \((?=[^!])", "if (!"),
    (r"\bif \(!", "if ("),
    (r"\.textContent = ", ".innerHTML = "),
    (r"\.trim\(\)", ""),
    (r"^ +return;$", ""),
    (r"^ +(?:this|[\w$]+)[.#(][^=]*\);$", ""),  # a call for its effect
    (r"^ +[\w.#$\"()-]+ = [^=]*;$", ""),  # an assignment
]


def changes(path: Path) -> list[tuple[Path, int, str]]:
    """Return each change of a file: the place, and the changed line."""
    found = []
    for number, line in enumerate(path.read_text("utf-8").splitlines()):
        if line.lstrip().startswith(("//", "*", "/*", "import", "@")):
            continue
        for old, new in CHANGES:
            for match in re.finditer(old, line):
                found.append((path, number, line[: match.start()] + new + line[match.end() :]))
    return found


def is_noticed(path: Path, number: int, line: str) -> bool:
    """Return whether a test fails with that line."""
    original = path.read_text("utf-8")
    lines = original.splitlines()
    lines[number] = line
    tests = [str(it) for it in sorted((ROOT / "tests/browser").glob("test_page*.py"))]
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-n", "2", "-p", "no:cacheprovider", *tests]
    try:
        path.write_text("\n".join(lines) + "\n", "utf-8")
        return subprocess.run(command, cwd=ROOT, capture_output=True, timeout=PATIENCE, check=False).returncode != 0
    except subprocess.TimeoutExpired:
        return True
    finally:
        path.write_text(original, "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description="Change the page's scripts, and see whether its tests notice.")
    parser.add_argument("--count", type=int, default=20, help="changes to try, drawn at random")
    parser.add_argument("--seed", type=int, default=1, help="another seed draws others")
    parser.add_argument("--file", action="append", help="only of this script; may be repeated")
    options = parser.parse_args()
    paths = [path for path in sorted(STATIC.glob("*.js")) if not path.name.startswith(("admin", "chart"))]
    chosen = [path for path in paths if options.file is None or path.name in options.file]
    possible = [change for path in chosen for change in changes(path)]
    tried = random.Random(options.seed).sample(possible, min(options.count, len(possible)))
    noticed = 0
    for path, number, line in tried:
        good = is_noticed(path, number, line)
        noticed += good
        print(
            f"{'noticed' if good else 'PASSED '}  {path.name}:{number + 1}: {line.strip() or '(deleted)'}", flush=True
        )
    print(f"{noticed} of {len(tried)} noticed")


if __name__ == "__main__":
    main()
