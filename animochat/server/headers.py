"""A request's header fields, parsed strictly.

Python's own parser is one for e-mail: it takes a third of the time of a handshake, and is lenient where a proxy in
front may be strict, which is how requests get smuggled past it. What is malformed here is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from animochat.server.reader import RequestReader

#: Fields of one request; browsers send fifteen or so.
MAX_FIELDS = 100

# RFC 9110 section 5: a token, a colon, a value without control characters. Folded values are obsolete and refused.
# The white space around a value is left to strip(): with parts that could both take it, this would be quadratic.
_FIELD = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):([^\x00-\x08\x0a-\x1f\x7f]*)\r?\Z")
_DIGITS = re.compile(r"[0-9]{1,18}\Z")


class Headers:
    """The header fields in their order, with as much of `email.message.Message`'s interface as pywsgi uses.

    Args:
        reader: has the whole head of the request buffered, and is moved to its end.

    Raises:
        ValueError: malformed, too many, or a body whose length is in doubt.
    """

    #: pywsgi's sign of a parser's failure; ours raises
    status = ""

    def __init__(self, reader: RequestReader) -> None:
        self._items: list[tuple[str, str]] = []
        self._first: dict[str, str] = {}
        for line in reader.take_fields():
            field = _FIELD.match(line)
            if field is None:
                raise ValueError("malformed header field")
            name, value = field[1].decode("ascii"), field[2].strip(b" \t").decode("latin-1")
            self._items.append((name, value))
            key = name.lower()
            if key in self._first and key in ("content-length", "transfer-encoding", "host"):
                raise ValueError(f"{key} more than once")
            self._first.setdefault(key, value)
        if len(self._items) > MAX_FIELDS:
            raise ValueError("too many header fields")
        self._check_length()

    def _check_length(self) -> None:
        """Refuse what leaves room for two opinions on where the body ends (RFC 9112 section 6)."""
        length, encoding = self.get("content-length"), self.get("transfer-encoding")
        if length is not None and not _DIGITS.match(length):
            raise ValueError("malformed Content-Length")
        if encoding is not None and (encoding.lower() != "chunked" or length is not None):
            raise ValueError("unsupported Transfer-Encoding, or one with a Content-Length")

    def get(self, name: str, default: str | None = None) -> str | None:
        """The first field of that name."""
        return self._first.get(name.lower(), default)

    getheader = get

    def tokens(self, name: str) -> list[str]:
        """Return the comma-separated entries of all fields of that name, in lower case."""
        values = (value for key, value in self._items if key.lower() == name)
        return [token.strip(" \t").lower() for value in values for token in value.split(",")]

    def replace(self, name: str, value: str) -> None:
        """Put one field of that name in the place of any others."""
        if name in self._first:
            del self[name]
        self._first[name] = value
        self._items.append((name, value))

    @property
    def typeheader(self) -> str | None:
        """The content type."""
        return self._first.get("content-type")

    def items(self) -> list[tuple[str, str]]:
        """All fields."""
        return self._items

    def __delitem__(self, name: str) -> None:
        del self._first[name.lower()]
        self._items = [item for item in self._items if item[0].lower() != name.lower()]

    def environ_items(self) -> Iterator[tuple[str, str]]:
        """The fields as WSGI names them. A name with an underscore would pass for one with a dash: it is dropped."""
        for name, value in self._items:
            if "_" not in name:
                key = name.upper().replace("-", "_")
                if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
                    yield "HTTP_" + key, value
