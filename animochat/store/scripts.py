"""Load Lua scripts: one file per operation, with includes resolved when the file is read.

A line `-- @include presence/notify` stands for the file `animochat/presence/scripts/include/notify.lua`. Each file is
included once, however often it is named, so an include may itself name what it needs.
"""

from __future__ import annotations

import functools
import hashlib
import re
from dataclasses import dataclass, replace
from pathlib import Path

from animochat.store import keys

PACKAGE = Path(__file__).parent.parent

INCLUDE = re.compile(r"^-- @include (\w+)/(\w+)\s*$", re.MULTILINE)


@dataclass(frozen=True)
class Script:
    """A Lua script: `name` ("presence/connect"), its `source`, and the `sha` (hex) that EVALSHA takes.

    `confirmed`: its replies wait until its writes survive the loss of the primary, where STORE_WAIT says so.
    """

    name: str
    source: str
    sha: str
    confirmed: bool = False

    @functools.cached_property
    def sharded(self) -> Script:
        """Return the script for a cluster with sharded pub/sub: publications stay on the channel's own node."""
        source = self.source.replace("'PUBLISH'", "'SPUBLISH'").replace("'NUMSUB'", "'SHARDNUMSUB'")
        return replace(self, source=source, sha=_sha(source))

    def in_database(self, database: int) -> Script:
        """Return the script for a database: its publications to all workers stay within that database."""
        source = self.source.replace(f"'{keys.EVERYBODY}'", f"'{keys.everybody_suffix(database)}'")
        return self if source == self.source else replace(self, source=source, sha=_sha(source))


def load(name: str, confirmed: bool = False) -> Script:
    """Read `<folder>/<operation>`, e.g. `load("matchmaking/find_match")`.

    Raises FileNotFoundError for a script or include that isn't there.
    """
    folder, operation = name.split("/")
    source = _resolve((PACKAGE / folder / "scripts" / f"{operation}.lua").read_text("utf-8"), set())
    return Script(name, source, _sha(source), confirmed)


def _sha(source: str) -> str:
    return hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()


@functools.cache
def _include(folder: str, name: str) -> str:
    return (PACKAGE / folder / "scripts" / "include" / f"{name}.lua").read_text("utf-8")


def _resolve(source: str, seen: set[tuple[str, str]]) -> str:
    def included(match: re.Match[str]) -> str:
        key = (match[1], match[2])
        if key in seen:
            return ""
        seen.add(key)
        return _resolve(_include(*key), seen)

    return INCLUDE.sub(included, source)
