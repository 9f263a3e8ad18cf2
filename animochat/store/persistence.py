"""Whether a store saves its data to disk."""

from __future__ import annotations


def keeps_nothing(info: str) -> bool:
    """Return whether the store has saved nothing since it started, according to INFO; CONFIG may be refused."""
    facts = dict(line.split(":", 1) for line in info.splitlines() if ":" in line)
    loaded = facts.get("rdb_last_load_keys_loaded", "0")
    return facts.get("aof_enabled") == "0" and facts.get("rdb_last_bgsave_time_sec") == "-1" and loaded == "0"
