"""A request's header fields, parsed strictly.

Python's own parser is made for e-mail: it takes a third of the time of a handshake, and accepts things that a proxy in
front may reject, which makes request smuggling possible. This one refuses everything malformed.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from animochat.server.http.reader import RequestReader

#: Fields of one request; browsers send fifteen or so.
MAX_FIELDS = 100

#: Bytes that all fields of one name may have together. Parsing these values costs more than their length: milliseconds
#: for as much as a head may hold. Browsers send a tenth of the bound. A longer field is left out, which a server may do
#: with any of these: the answer is then in English, not compressed, complete, or not from a cache. (Only one cookie
#: matters, and those of other applications on the same host may be large.)
IGNORED_BEYOND = dict.fromkeys(
    (
        "accept", "accept-charset", "accept-encoding", "accept-language", "cache-control", "content-type", "forwarded",
        "if-modified-since", "if-none-match", "if-range", "pragma", "range", "x-forwarded-host", "x-forwarded-proto",
    ),
    1024,
) | {"cookie": 8 * 1024}  # fmt: skip

#: The same for fields that can't be left out: they decide how the request has to be read, or under which condition.
REFUSED_BEYOND = dict.fromkeys(
    (
        "connection", "content-length", "expect", "host", "if-match", "if-unmodified-since", "origin",
        "sec-websocket-extensions", "sec-websocket-key", "sec-websocket-protocol", "sec-websocket-version", "te",
        "transfer-encoding", "upgrade",
    ),
    1024,
)  # fmt: skip

# RFC 9110 section 5: a token, a colon, a value without control characters. Folded values are obsolete and refused.
# strip() removes the white space around a value later. If the expression matched it in a part of its own, two parts
# could match the same spaces, and matching would take quadratic time.
_FIELD = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):([^\x00-\x08\x0a-\x1f\x7f]*)\r?\Z")
_DIGITS = re.compile(r"[0-9]{1,18}\Z")


class FieldTooLong(ValueError):
    """A field that can't be left out exceeds its bound."""


class Headers:
    """The header fields in their order, with the part of `email.message.Message`'s interface that pywsgi uses.

    Args:
        reader: has the whole head of the request buffered, and is moved to the head's end.

    Raises:
        ValueError: malformed, too many, or an ambiguous length of the body.
        FieldTooLong: a field exceeds REFUSED_BEYOND.
    """

    #: pywsgi's sign of a parse error; this class raises instead
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
        self._bound()
        self._check_length()

    def _bound(self) -> None:
        """Leave out, or refuse, fields that would be expensive to parse."""
        if sum(len(value) for _, value in self._items) <= 1024:
            return  # the usual case
        lengths: Counter[str] = Counter()
        for name, value in self._items:
            lengths[name.lower()] += len(value)
        for name, length in lengths.items():
            if length > REFUSED_BEYOND.get(name, length):
                raise FieldTooLong(name)
            if length > IGNORED_BEYOND.get(name, length):
                del self[name]

    def _check_length(self) -> None:
        """Refuse requests in which the end of the body is ambiguous (RFC 9112 section 6)."""
        length, encoding = self.get("content-length"), self.get("transfer-encoding")
        if length is not None and not _DIGITS.match(length):
            raise ValueError("malformed Content-Length")
        if encoding is not None and (encoding.lower() != "chunked" or length is not None):
            raise ValueError("unsupported Transfer-Encoding, or one with a Content-Length")

    def get(self, name: str, default: str | None = None) -> str | None:
        """Return the first field of that name."""
        return self._first.get(name.lower(), default)

    getheader = get

    def tokens(self, name: str) -> list[str]:
        """Return the comma-separated entries of all fields of that name, in lower case."""
        values = (value for key, value in self._items if key.lower() == name)
        return [token.strip(" \t").lower() for value in values for token in value.split(",")]

    def replace(self, name: str, value: str) -> None:
        """Replace all fields of that name by one."""
        if name in self._first:
            del self[name]
        self._first[name] = value
        self._items.append((name, value))

    @property
    def typeheader(self) -> str | None:
        """Return the content type."""
        return self._first.get("content-type")

    def items(self) -> list[tuple[str, str]]:
        """Return all fields."""
        return self._items

    def __delitem__(self, name: str) -> None:
        del self._first[name.lower()]
        self._items = [item for item in self._items if item[0].lower() != name.lower()]

    def environ_items(self) -> Iterator[tuple[str, str]]:
        """Yield the fields with their WSGI names. A name with an underscore could pass for one with a dash: drop it."""
        for name, value in self._items:
            if "_" not in name:
                key = name.upper().replace("-", "_")
                if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
                    yield "HTTP_" + key, value
