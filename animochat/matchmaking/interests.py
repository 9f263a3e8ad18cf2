"""Interests: what somebody wants to talk about, and when two spellings of it are the same."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable


def by_name(interests: Iterable[str]) -> dict[str, str]:
    """The name in the store of each interest, with the spelling that came first; names and spellings are in order.

    Two spellings have one name if they are the same but for white space around them, for compatible characters
    (Unicode NFKC: full width, ligatures, composed or not) and for case. The name is a digest: of one length and of
    letters and digits whatever people write, and nothing that somebody who looks at the store reads by the way.
    """
    names: dict[str, str] = {}
    for spelling in interests:
        names.setdefault(_name(spelling), spelling)
    return names


def _name(spelling: str) -> str:
    # Case folding may leave what NFKC composes, and NFKC may make a space of what wasn't one.
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", spelling).casefold()).strip()
    return hashlib.blake2b(folded.encode(), digest_size=8).hexdigest()
