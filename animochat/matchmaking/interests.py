"""Interests that people name in a search, and when two spellings are the same interest."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable


def by_name(interests: Iterable[str]) -> dict[str, str]:
    """Map each interest's name in the store to its first spelling, in the order given.

    Two spellings have the same name if they differ only in surrounding white space, compatible characters (Unicode
    NFKC: full width, ligatures, composed or not) or case. A name is a digest: it has a fixed length, contains only
    letters and digits, and doesn't show the interest to someone who looks at the store.
    """
    names: dict[str, str] = {}
    for spelling in interests:
        names.setdefault(_name(spelling), spelling)
    return names


def _name(spelling: str) -> str:
    # Case folding can leave characters that NFKC composes, and NFKC can turn a character into a space.
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", spelling).casefold()).strip()
    return hashlib.blake2b(folded.encode(), digest_size=8).hexdigest()
