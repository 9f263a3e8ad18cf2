"""`animochat doctor`: check everything a server needs, before or while it runs."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Iterator

from animochat.cli.configuration import read_settings
from animochat.cli.doctor.check_result import CheckResult, Level
from animochat.cli.doctor.host_checks import machine_findings
from animochat.cli.doctor.store_checks import store_findings
from animochat.settings import Settings, SettingsError
from animochat.store.embedded import EmbeddedStore, EmbeddedStoreError

EXIT_WARNINGS = 1
EXIT_ERRORS = 2

DESCRIPTION = """\
Check the settings (environment and .env), the store and this machine, and suggest changes. Changes nothing, shows no
secrets, needs no running server and doesn't disturb one.
"""

EPILOG = """\
Exit status: 0 if everything is fine or could not be checked, 1 with warnings, 2 with errors.
Clocks: heartbeats, cooldowns and messages use the store's clock, so the servers' own don't matter; the store's is
compared with this machine's because people see it in their messages. The limit on open files is this shell's: run the
doctor as the server's user, in the way the server is run.
"""

WORDS = {Level.OK: "ok", Level.SKIPPED: "skipped", Level.WARNING: "warning", Level.ERROR: "error"}


def main(arguments: list[str]) -> int:
    """Return the exit status of the worst result."""
    parser = argparse.ArgumentParser(
        prog="animochat doctor",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.parse_args(arguments)
    worst = _report(_examine())
    if worst == Level.ERROR:
        return EXIT_ERRORS
    return EXIT_WARNINGS if worst == Level.WARNING else 0


def _report(findings: Iterable[CheckResult]) -> Level:
    worst = Level.OK
    for finding in findings:
        print(f"{WORDS[finding.level]:<8} {finding.check:<12} {finding.text}", flush=True)
        worst = max(worst, finding.level)
    return worst


def _examine() -> Iterator[CheckResult]:
    try:
        settings = read_settings()
    except SettingsError as error:
        yield from (CheckResult(Level.ERROR, "settings", mistake) for mistake in error.mistakes)
        yield CheckResult(Level.SKIPPED, "the rest", "not checked: the settings come first")
        return
    yield from machine_findings(settings, os.environ)
    if settings.redis_url is not None:
        yield from store_findings(settings.redis_url, settings)
    else:
        yield from _embedded(settings)


def _embedded(settings: Settings) -> Iterator[CheckResult]:
    """Check the embedded store of development (no REDIS_URL): each server starts its own, and so do we for a moment."""
    try:
        store = EmbeddedStore.start()
    except EmbeddedStoreError as error:
        yield CheckResult(Level.ERROR, "store", str(error))
        return
    try:
        yield from store_findings(store.url, settings)
    finally:
        store.stop()
    yield CheckResult(
        Level.OK, "embedded", "REDIS_URL is unset: the server starts a store like this one and stops it at its end"
    )
