"""The settings as texts: docs/configuration.md, .env.example, and the README's table of those that matter most."""

from __future__ import annotations

import dataclasses
import re
import textwrap
from typing import Any

from animochat.settings import Setting, table

_WIDTH = 100


def configuration() -> str:
    """Return docs/configuration.md."""
    parts = [
        "# Configuration",
        "",
        "<!-- Written by `make documents` from animochat/settings.py. -->",
        "",
        *_wrapped(
            "Settings come from the environment and from `.env` in the current directory; the environment "
            "wins. A bad value stops the start, and every mistake is named at once. `animochat doctor` checks "
            "the settings, the store and the machine, and says what to change."
        ),
    ]
    group = ""
    for field, setting in table():
        if setting.group != group:
            group = setting.group
            parts += ["", f"## {group}"]
        parts += ["", f"### `{field.name.upper()}`", "", *_wrapped(f"{setting.summary} {setting.details}".strip()), ""]
        parts += _wrapped(f"Allowed: {setting.kind.allowed}. Default: {_default(field, setting)}.")
    return "\n".join(parts) + "\n"


def env_example() -> str:
    """Return .env.example: each line shows a default."""
    parts = [
        "# Written by `make documents` from animochat/settings.py. Copy it to .env and change what you need: "
        "`animochat serve`",
        "# and `gunicorn wsgi:app` read .env from the current directory. The environment wins.",
    ]
    for field, setting in table():
        default = "" if field.default is None else _plain(field.default)
        note = f" Unset: {setting.default_note}." if setting.default_note else ""
        help_text = re.sub(r"\[([^]]+)\]\([^)]*\)", r"\1", f"{setting.summary} {setting.details}".strip() + note)
        parts += ["", *(f"# {line}" for line in _wrapped(help_text, _WIDTH - 2)), f"#{field.name.upper()}={default}"]
    return "\n".join(parts) + "\n"


def readme_table() -> str:
    """Return the rows of the README's table."""
    rows = ["| variable | meaning | default |", "|---|---|---|"]
    rows += [
        f"| `{field.name.upper()}` | {setting.summary.rstrip('.')} | {_default(field, setting)} |"
        for field, setting in table()
        if setting.essential
    ]
    return "\n".join(rows) + "\n"


def with_readme_table(readme: str) -> str:
    """Return the README with its table of settings as it has to be."""
    head, start, rest = readme.partition("<!-- settings -->\n")
    _, end, tail = rest.partition("<!-- /settings -->")
    if not (start and end):
        raise ValueError("the README has no place for the settings")
    return f"{head}{start}{readme_table()}{end}{tail}"


def _default(field: dataclasses.Field[Any], setting: Setting) -> str:
    return setting.default_note if field.default in (None, ()) else f"`{_plain(field.default)}`"


def _plain(value: Any) -> str:
    """Return a value as an operator writes it in the environment."""
    if isinstance(value, tuple):
        return ",".join(value)
    if isinstance(value, bool):
        return "1" if value else "0"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _wrapped(line: str, width: int = _WIDTH) -> list[str]:
    return textwrap.wrap(line, width, break_long_words=False, break_on_hyphens=False)
