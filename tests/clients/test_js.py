"""clients/js: its own tests against a real server, its size, and its manifest."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from animochat import __version__
from tests.helpers.servers import ROOT, Server

CLIENT = ROOT / "clients/js"
ESBUILD = str(ROOT / "node_modules/.bin/esbuild")

#: Bytes of the client, minified, with nothing but socket.io-client outside.
LARGEST = 15_000


def bundle(source: Path, target: Path, *options: str) -> int:
    """Bundle a module. Return its size in bytes."""
    command = [ESBUILD, str(source), "--bundle", "--minify", "--format=esm", f"--outfile={target}", *options]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert result.returncode == 0, result.stderr
    return target.stat().st_size


@pytest.mark.timeout(180)
def test_the_client_s_own_tests(module_servers: Callable[..., Server]) -> None:
    server = module_servers(env={"SKIP_COOLDOWN_MS": "0"})
    environment = {**os.environ, "ANIMOCHAT_URL": server.url}
    command = ["node", "--test", str(CLIENT / "test/chat.test.js")]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=150, check=False)
    assert result.returncode == 0, result.stdout[-8_000:]
    assert "# fail 0" in result.stdout or "ℹ fail 0" in result.stdout
    assert "# pass 0" not in result.stdout


def test_the_client_is_small_and_needs_only_its_peers(tmp_path: Path) -> None:
    for entry, peers in (("index", ["socket.io-client"]), ("react", ["socket.io-client", "react"])):
        external = [f"--external:{peer}" for peer in peers]
        assert bundle(CLIENT / f"src/{entry}.js", tmp_path / f"{entry}.js", *external) < LARGEST


def test_the_package_has_the_events_types_and_nothing_of_the_tests(tmp_path: Path) -> None:
    """In the repository they are a link to those of docs/, which npm would leave out."""
    (tmp_path / "docs").mkdir()
    shutil.copy(ROOT / "docs/animochat.d.ts", tmp_path / "docs")
    shutil.copytree(CLIENT, tmp_path / "clients/js", symlinks=True)
    command = ["npm", "pack", "--json", "--loglevel=error"]
    result = subprocess.run(command, cwd=tmp_path / "clients/js", capture_output=True, text=True, check=True)
    assert '"src/protocol.d.ts"' in result.stdout
    assert '"src/index.js"' in result.stdout
    assert "test/" not in result.stdout


def test_the_manifest_names_what_there_is() -> None:
    manifest = json.loads((CLIENT / "package.json").read_text())
    assert manifest["version"] == __version__
    for entry in manifest["exports"].values():
        for path in [entry] if isinstance(entry, str) else entry.values():
            assert (CLIENT / path).is_file(), path
    ours = json.loads((ROOT / "package.json").read_text())
    assert manifest["peerDependencies"]["socket.io-client"] == ours["dependencies"]["socket.io-client"]
