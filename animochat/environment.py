"""Kinds of values of environment variables: how each is parsed, and the description of allowed values.

integer(1, 65_535).read("80")      -> 80
integer(1, 65_535).read("http")    raises BadValue: "'http' is not a whole number from 1 to 65535"
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from animochat.store.url import masked_url as masked_url
from animochat.store.url import problem

#: Minimal length of a secret: 16 random characters can't be guessed offline.
MIN_SECRET_LENGTH = 16

#: Upper bound of a rate per second: far above anything that a worker can serve.
MAX_RATE = 100_000

_LOBBY = re.compile(r"[a-z0-9-]{1,32}", re.ASCII)
_HOST_NAME = re.compile(r"(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*(?=[^.]*[a-z])[a-z0-9_-]{1,63}", re.ASCII)
# scheme://host:port. With the scheme of an app shell or an extension, the host may be any name, or none.
_ORIGIN = re.compile(
    r"(?:(https?)://(\[[0-9a-f:.]+\]|[a-z0-9._-]+)|(?!https?:)([a-z][a-z0-9+.-]*)://([a-z0-9._~%-]*))(?::([0-9]{1,5}))?",
    re.ASCII,
)
_DEFAULT_PORTS = {"http": 80, "https": 443}
_MAILBOX = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9.-]{1,253}", re.ASCII)
# Schemes that no page's origin has: an operator who writes one means another.
_NO_PAGES = {"ftp", "ws", "wss"}
_TRAILING_SLASHES = re.compile(r"(?<=[^/:])/+$|(?<=://)/+$")


class BadValue(ValueError):
    """A value that is not allowed. `problems` has one line for each mistake, for the operator."""

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


@dataclass(frozen=True)
class Kind:
    """A kind of value. `read` parses a text and raises BadValue; `allowed` completes "… is not"; a `secret` is never
    shown, and its white space is kept.
    """

    read: Callable[[str], Any]
    allowed: str
    secret: bool = False


def _kind(parse: Callable[[str], Any], allowed: str) -> Kind:
    """Return the kind whose `parse` returns None for a value that is not allowed."""

    def read(text: str) -> Any:
        value = parse(text)
        if value is None:
            raise BadValue(f"{text!r} is not {allowed}")
        return value

    return Kind(read, allowed)


def integer(low: int, high: int) -> Kind:
    """Return the kind of a whole number from `low` to `high`."""

    def parse(text: str) -> int | None:
        # int() alone would take "1_000", "+5" and other scripts' digits.
        return int(text) if re.fullmatch(r"[0-9]{1,12}", text) and low <= int(text) <= high else None

    return _kind(parse, f"a whole number from {low} to {high}")


def rate() -> Kind:
    """Return the kind of a rate per second; 0 means no limit."""

    def parse(text: str) -> float | None:
        return float(text) if re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?", text) and float(text) <= MAX_RATE else None

    return _kind(parse, f"a number from 0 (no limit) to {MAX_RATE}, a second")


def flag() -> Kind:
    """Return the kind of a switch."""
    return _kind({"0": False, "1": True}.get, "0 or 1")


def choice(*values: str) -> Kind:
    """Return the kind of one of some words, in either case."""
    allowed = f"one of {', '.join(values)}"

    def read(text: str) -> str:
        if text.lower() not in values:
            raise BadValue(f"{text.lower()!r} is not {allowed}")
        return text.lower()

    return Kind(read, allowed)


def directory() -> Kind:
    """Return the kind of the path of a directory."""
    return _kind(lambda text: text if Path(text).is_dir() else None, "a directory that exists")


def page_address() -> Kind:
    """Return the kind of the address of a page; read with a slash at its end."""

    def parse(text: str) -> str | None:
        match = re.fullmatch(r"(https?://[^/?#\s]+)(/[\w./~-]*)?", text, re.ASCII)
        origin = match and normalized_origin(match[1])
        return f"{origin}{(match[2] or '').rstrip('/')}/" if match and origin else None

    return _kind(parse, "an address like https://chat.example or https://example.org/chat/")


def text() -> Kind:
    """Return the kind of any text."""
    return Kind(str, "any text")


def name() -> Kind:
    """Letters, digits and a few signs that need no quoting."""

    def parse(text: str) -> str | None:
        return text if re.fullmatch(r"[\w.:{}/-]{1,100}", text, re.ASCII) else None

    return _kind(parse, "letters, digits and . : - _ / { }")


def secret() -> Kind:
    """Return the kind of a secret. Its mistakes show only its length."""

    def read(text: str) -> str:
        if len(text) < MIN_SECRET_LENGTH:
            raise BadValue(f"a value of {len(text)} characters is not at least {MIN_SECRET_LENGTH} long")
        return text

    return Kind(read, f"at least {MIN_SECRET_LENGTH} characters", secret=True)


def origins() -> Kind:
    """Return the kind of a comma-separated list of origins, each in the form that browsers send, or `*`."""
    allowed = "an origin like https://chat.example, http://localhost:5173 or capacitor://localhost, or null, or *"

    def read(text: str) -> tuple[str, ...]:
        entries = [entry.strip() for entry in text.split(",") if entry.strip()]
        found = {entry: entry if entry in ("*", "null") else _written_origin(entry) for entry in entries}
        wrong = [entry for entry, origin in found.items() if origin is None]
        if wrong:
            raise BadValue(*(f"{entry!r} is not {allowed}" for entry in wrong))
        return tuple(dict.fromkeys(origin for origin in found.values() if origin is not None))

    return Kind(read, allowed)


def embedders() -> Kind:
    """Return the kind of a comma-separated list of web pages' origins, or `*`."""
    every = origins()

    def read(text: str) -> tuple[str, ...]:
        found: tuple[str, ...] = every.read(text)
        wrong = [origin for origin in found if origin != "*" and not origin.startswith(("http://", "https://"))]
        if wrong:
            raise BadValue(*(f"{origin!r} is not {allowed}" for origin in wrong))
        return found

    allowed = "the origin of a web page like https://www.example, or *"
    return Kind(read, allowed)


def _written_origin(entry: str) -> str | None:
    """Return the origin that a person means, who may write a host in its own letters, or a slash at the end."""
    scheme, mark, rest = _TRAILING_SLASHES.sub("", entry).partition("://")
    if not rest.isascii():
        # As browsers do (UTS 46); the codec "idna" implements an older standard, which makes "ss" of "ß".
        letters = unicodedata.normalize("NFC", unicodedata.normalize("NFKC", rest).lower()).replace("\u3002", ".")
        host, colon, port = letters.partition(":")
        labels = [label if label.isascii() else f"xn--{label.encode('punycode').decode()}" for label in host.split(".")]
        rest = f"{'.'.join(labels)}{colon}{port}"
    return normalized_origin(f"{scheme}{mark}{rest}")


def normalized_origin(origin: str) -> str | None:
    """Return an origin as browsers send it: lower case, no default port. None if it isn't one, such as "null"."""
    match = _ORIGIN.fullmatch(origin.lower())
    if match is None:
        return None
    scheme, host, port = match[1] or match[3], match[2] or match[4] or "", match[5]
    if scheme in _NO_PAGES:
        return None
    if host.startswith("["):
        try:
            host = f"[{ipaddress.IPv6Address(host[1:-1]).compressed}]"
        except ValueError:
            return None
    if port is None or int(port) == _DEFAULT_PORTS.get(scheme):
        return f"{scheme}://{host}"
    return f"{scheme}://{host}:{int(port)}" if 1 <= int(port) <= 65_535 else None


def host() -> Kind:
    """Return the kind of an address to listen on: an IP address, or the name of a host."""

    def parse(text: str) -> str | None:
        address = text[1:-1] if re.fullmatch(r"\[.*:.*\]", text) else text
        try:
            return str(ipaddress.ip_address(address)) if "%" not in address else None
        except ValueError:
            # A name whose last part is a number would be a malformed IPv4 address.
            return text.lower() if _HOST_NAME.fullmatch(text.lower()) else None

    return _kind(parse, "an IP address like 127.0.0.1, ::1, 0.0.0.0 (all IPv4) or :: (all), or the name of a host")


def lobbies(most: int) -> Kind:
    """Return the kind of a comma-separated list of lobby names, `most` of them at most."""

    def parse(text: str) -> tuple[str, ...] | None:
        names = tuple(entry.strip() for entry in text.split(","))
        return names if all(map(_LOBBY.fullmatch, names)) and len(set(names)) == len(names) <= most else None

    return _kind(parse, f"up to {most} names of 1 to 32 lower-case letters, digits and -, comma separated, none twice")


def store_url() -> Kind:
    """Return the kind of the store's address. Its mistakes show no user, password or option."""

    def read(text: str) -> str:
        wrong = problem(text)
        if wrong:
            raise BadValue(f"{masked_url(text)!r} is not {wrong}")
        return text

    return Kind(read, "an address as in docs/stores.md")


def url(*schemes: str, credentials: bool = False) -> Kind:
    """Return the kind of an address of a server. Its mistakes do not show it: it may have secrets in it.

    `credentials`: whether it may have a user and a password.
    """
    allowed = f"an address that begins with {' or '.join(f'{scheme}://' for scheme in schemes)}"
    allowed += "" if credentials else " and has no user or password"

    def read(text: str) -> str:
        try:
            parts = urlsplit(text)
            # asking for the port checks it
            good = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0 and not parts.fragment
        except ValueError:
            good = False
        if not good or not re.fullmatch("[!-~]+", text) or ("@" in parts.netloc and not credentials):
            raise BadValue(f"the value is not {allowed}")
        return text

    return Kind(read, allowed)


def webhook_secret() -> Kind:
    """Return the kind of a secret of the Standard Webhooks scheme. Its mistakes do not show it."""
    allowed = "whsec_ and 24 to 64 random bytes in base64"

    def read(text: str) -> str:
        encoded = text.removeprefix("whsec_").rstrip("=")
        try:
            size = len(base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True))
        except binascii.Error:
            size = 0
        if not 24 <= size <= 64:
            raise BadValue(f"the value is not {allowed}")
        return text

    return Kind(read, allowed)


def mailbox() -> Kind:
    """Return the kind of an e-mail address."""
    return _kind(lambda text: text if _MAILBOX.fullmatch(text) else None, "an e-mail address")
