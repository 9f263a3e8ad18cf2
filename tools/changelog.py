"""Print the section of one version from CHANGELOG.md: `python tools/changelog.py 0.1.0`."""

from __future__ import annotations

import re
import sys
from pathlib import Path

CHANGELOG = Path(__file__).parents[1] / "CHANGELOG.md"


def section(version: str) -> str:
    """Return the text of a version's section. Raise SystemExit where there is none with a date."""
    text = CHANGELOG.read_text("utf-8")
    found = re.search(
        rf"^## {re.escape(version)} - \d{{4}}-\d\d-\d\d\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL
    )
    if found is None or not found[1].strip():
        raise SystemExit(f"CHANGELOG.md has no section `## {version} - <date>` with text in it")
    return found[1].strip()


if __name__ == "__main__":
    print(section(sys.argv[1]))
