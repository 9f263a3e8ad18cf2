"""Everything that documents cite exists: files, and in docs/operations.md log lines, metrics and classes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.helpers.servers import ROOT

DOCUMENTS = [ROOT / "README.md", ROOT / "bench/README.md", ROOT / "examples/README.md", *ROOT.glob("docs/**/*.md")]

#: Folders with files that documents cite.
FOLDERS = "animochat|bench|deploy|docs|examples|tests|tools"

SOURCES = "".join(path.read_text("utf-8") for path in ROOT.glob("animochat/**/*.py"))


def symptoms() -> list[list[str]]:
    """Return the cells of the two tables by symptom in docs/operations.md."""
    section = (ROOT / "docs/operations.md").read_text("utf-8").split("\n## By symptom\n")[1].split("\n## ")[0]
    return [line.strip("|").split("|") for line in section.splitlines() if line.startswith("| ") and "---" not in line]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_each_file_that_a_document_cites_exists(document: Path) -> None:
    cited = re.findall(rf"`((?:{FOLDERS})/[\w/.-]+)", document.read_text("utf-8"))
    assert [path for path in cited if not (ROOT / path).exists()] == []


def test_each_log_line_by_symptom_is_one_that_the_server_writes() -> None:
    lines = [line for cells in symptoms() if len(cells) == 4 for line in re.findall(r"`([^`]+)`", cells[2])]
    pieces = [piece.strip() for line in lines for piece in line.split("…") if piece.strip()]
    assert len(pieces) > 10
    assert [piece for piece in pieces if piece not in SOURCES] == []


def test_each_metric_by_symptom_exists() -> None:
    metrics = [name for cells in symptoms() if len(cells) == 4 for name in re.findall(r"`animochat_(\w+)`", cells[3])]
    assert len(metrics) > 5
    text = (ROOT / "docs/metrics.md").read_text("utf-8")
    assert [name for name in metrics if f"`animochat_{name}`" not in text] == []


def test_each_class_by_symptom_exists() -> None:
    names = [
        name for cells in symptoms() if len(cells) == 2 for name in re.findall(r"`([A-Z]\w+)(?:\.\w+)?`", cells[1])
    ]
    assert names
    assert [name for name in names if f"class {name}" not in SOURCES] == []


def test_each_section_of_the_protocol_that_code_cites_exists() -> None:
    headings = re.findall(r"^#+ (.+)$", (ROOT / "docs/protocol.md").read_text("utf-8"), re.MULTILINE)
    cited = [
        (str(path.relative_to(ROOT)), section)
        for folder in ("animochat", "tests")
        for path in (ROOT / folder).glob("**/*.py")
        for section in re.findall(r'protocol(?:\.md)?[,(\s]+"([A-Z][^"\n]+)"', path.read_text("utf-8"))
    ]
    assert len(cited) > 5
    assert [(path, section) for path, section in cited if section not in headings] == []
