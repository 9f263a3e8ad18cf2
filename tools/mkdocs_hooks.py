"""Build hooks of the documentation site."""

from __future__ import annotations

import re
from typing import Any

#: A link from a document to a file of the repository that is not part of the site.
_OUTSIDE = re.compile(r"\[([^\]]+)\]\((?:\.\./)+(?!docs/)[^)]*\)")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Show a link that leads out of docs/ as its text: the site has no address of the repository's files."""
    return _OUTSIDE.sub(r"\1", markdown)
