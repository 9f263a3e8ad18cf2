"""Find one cookie without parsing all of them: other applications on the same host may have many."""

from __future__ import annotations

import re

from flask import request


def cookie(name: str) -> str | None:
    """Return the value of a cookie of the present request; the first where there are several."""
    match = re.search(rf"(?:^|;)[ \t]*{re.escape(name)}=([^;]*)", request.headers.get("Cookie", ""))
    return match[1].strip() if match else None
