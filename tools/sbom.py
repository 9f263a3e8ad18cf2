"""`make sbom`: what the wheel brings along, as a bill of materials (CycloneDX 1.6).

Python's packages are those of an environment that has the wheel alone. The page's libraries are in the wheel itself,
and stand in package-lock.json. The same wheel makes the same file.
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from animochat import __version__

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent


def main(directory: Path) -> None:
    """Write the bill of the wheel in `directory` beside it. Raise CalledProcessError."""
    (wheel,) = directory.glob("animochat-*.whl")
    bill = _python_packages(wheel)
    bill["metadata"]["component"] = {
        "bom-ref": "animochat",
        "type": "application",
        "name": "animochat",
        "version": __version__,
        "licenses": [{"license": {"id": "MIT"}}],
        "purl": f"pkg:pypi/animochat@{__version__}",
    }
    bill["components"] = [it for it in bill["components"] if it["name"] != "animochat"] + _page_libraries()
    for entry in bill["dependencies"]:
        if entry["ref"].startswith("animochat"):
            entry["ref"] = "animochat"
            entry["dependsOn"] += [library["bom-ref"] for library in _page_libraries()]
    bill["components"].sort(key=lambda component: str(component["bom-ref"]))
    target = directory / f"animochat-{__version__}.cdx.json"
    target.write_text(json.dumps(bill, indent=2) + "\n")
    print(target)


def _python_packages(wheel: Path) -> dict[str, Any]:
    """Return the bill of an environment that has the wheel alone."""
    with tempfile.TemporaryDirectory() as place:
        uv, environment = str(BIN / "uv"), f"{place}/environment"
        constraints = ["--constraint", str(ROOT / "constraints.txt")]
        subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, environment], check=True)
        subprocess.run([uv, "pip", "install", "--quiet", "--python", environment, *constraints, str(wheel)], check=True)
        tool = [uv, "tool", "run", "--quiet", "--constraints", str(ROOT / "constraints.txt"), "--from", "cyclonedx-bom"]
        command = [*tool, "cyclonedx-py", "environment", "--output-reproducible", "--short-PURLs"]
        written = subprocess.run([*command, f"{environment}/bin/python"], check=True, stdout=subprocess.PIPE).stdout
        bill: dict[str, Any] = json.loads(written)
        return bill


def _page_libraries() -> list[dict[str, Any]]:
    """Return the components that `npm run build` puts into the wheel, and theirs."""
    packages = json.loads((ROOT / "package-lock.json").read_text("utf-8"))["packages"]
    components = []
    for path, package in packages.items():
        if path and not package.get("dev"):
            name = path.rpartition("node_modules/")[2]
            algorithm, _, digest = package["integrity"].partition("-")
            components.append(
                {
                    "bom-ref": f"{name}@{package['version']}",
                    "type": "library",
                    "name": name,
                    "version": package["version"],
                    "purl": f"pkg:npm/{name.replace('@', '%40')}@{package['version']}",
                    "licenses": [{"license": {"id": package["license"]}}] if "license" in package else [],
                    "hashes": [
                        {"alg": algorithm.upper().replace("SHA", "SHA-"), "content": base64.b64decode(digest).hex()}
                    ],
                }
            )
    return components


if __name__ == "__main__":
    main(Path(sys.argv[1]))
