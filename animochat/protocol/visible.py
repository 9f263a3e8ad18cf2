"""Test whether a text has any visible character."""

from __future__ import annotations

import re

# All code points that show nothing by themselves. A combining mark alone does show, on a space or a dotted circle.
_INVISIBLE = (
    r"\x00-\x20\x7f-\xa0"  # controls, space, no-break space
    r"\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"  # the other white space
    # Unicode's Default_Ignorable_Code_Point: joiners, Hangul fillers, direction marks, variation selectors, tags
    r"\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    r"\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
    # blank by themselves: a Braille cell, a note head, a filler, what stands for an object, and scripts' controls
    r"\u2800\ufff9-\ufffc\U00013430-\U0001343f\U00016fe4\U0001d159"
)

_visible = re.compile(f"[^{_INVISIBLE}]").search


def is_blank(text: str) -> bool:
    """Return whether nothing in `text` can be seen. Static/text.js answers the same."""
    # As a rule the first character answers, without the search.
    return not ("!" <= text[:1] <= "~" or _visible(text))
