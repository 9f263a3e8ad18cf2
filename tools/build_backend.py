"""The build backend of pyproject.toml: setuptools', for archives that are complete and reproducible.

Refuse to build without the page's libraries, which come from npm. Two builds of the same files are equal byte for
byte: times are SOURCE_DATE_EPOCH, owners and permissions are always the same.
"""

from __future__ import annotations

import gzip
import io
import os
import sys
import tarfile
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

from setuptools import build_meta
from setuptools.build_meta import *  # noqa: F403  (the other hooks, editable installs among them)

VENDOR = Path("animochat/web/static/vendor")
LIBRARIES = ("socket.io.esm.min.js", "uPlot.esm.js", "uPlot.min.css")

#: Seconds since 1970 of all files if SOURCE_DATE_EPOCH is unset: 1980, the earliest year of a zip file.
EPOCH = int(os.environ.get("SOURCE_DATE_EPOCH") or 315_532_800)


_QUIETLY = {"--global-option": "--quiet"}


def build_wheel(directory: str, settings: Any = None, metadata: str | None = None) -> str:
    """Build the wheel. Return its name. Raise SystemExit if the page's libraries are missing."""
    _require_libraries()
    name = build_meta.build_wheel(directory, _QUIETLY | (settings or {}), metadata)
    _rewrite_wheel(Path(directory, name))
    return name


def build_sdist(directory: str, settings: Any = None) -> str:
    """Build the sdist, which can be built into a wheel without Node. Return its name. Raise SystemExit as above."""
    _require_libraries()
    Path("animochat.egg-info/SOURCES.txt").unlink(missing_ok=True)  # it would add files of an older build
    name = build_meta.build_sdist(directory, _QUIETLY | (settings or {}))
    _rewrite_sdist(Path(directory, name))
    return name


def main(directory: str) -> None:
    """Build the sdist into `directory`, and the wheel from it, so that both have the same files."""
    target = Path(directory).resolve()
    target.mkdir(parents=True, exist_ok=True)
    sdist = target / build_sdist(str(target))
    with tempfile.TemporaryDirectory() as place:
        with tarfile.open(sdist) as files:
            files.extractall(place, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
        os.chdir(Path(place, sdist.name.removesuffix(".tar.gz")))
        wheel = target / build_wheel(str(target))
        os.chdir(target)
    print(f"{sdist}\n{wheel}")


def _require_libraries() -> None:
    missing = [name for name in LIBRARIES if not (VENDOR / name).is_file()]
    if missing:
        raise SystemExit(
            f"animochat: {VENDOR} lacks {', '.join(missing)}: run `npm ci --omit=dev && npm run build`, or `make wheel`"
        )


def _mode(mode: int) -> int:
    return 0o755 if mode & 0o100 else 0o644


def _rewrite_wheel(path: Path) -> None:
    with zipfile.ZipFile(path) as old:
        files = [(info, old.read(info)) for info in old.infolist()]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for info, data in files:
            entry = zipfile.ZipInfo(info.filename, time.gmtime(EPOCH)[:6])
            entry.external_attr = (0o100000 | _mode(info.external_attr >> 16)) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            new.writestr(entry, data)


def _rewrite_sdist(path: Path) -> None:
    with tarfile.open(path) as old:
        members = [member for member in old.getmembers() if member.isfile()]
        files = {member.name: (member.mode, old.extractfile(member).read()) for member in members}  # type: ignore[union-attr]
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w", format=tarfile.PAX_FORMAT) as new:
        for name, (mode, data) in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mtime, entry.mode = len(data), EPOCH, _mode(mode)
            new.addfile(entry, io.BytesIO(data))
    path.write_bytes(gzip.compress(tar.getvalue(), mtime=EPOCH))


if __name__ == "__main__":
    main(sys.argv[1])
