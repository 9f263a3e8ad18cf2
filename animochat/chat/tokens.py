"""Tokens, which make a returning browser the same anonymous person, on the same device."""

from __future__ import annotations

import hashlib
import hmac
import secrets

from itsdangerous import BadSignature, Signer

from animochat.protocol.payloads import MAX_TOKEN
from animochat.server.addresses import group_of
from animochat.store.keys import MAIN_LOBBY


class Tokens:
    """Signs and verifies the ids of one lobby's people with the secret that all workers share.

    A token that was signed for another lobby doesn't verify: anyone who sends it is a new person here.
    """

    def __init__(self, secret: str, lobby: str = MAIN_LOBBY) -> None:
        # Tokens from before there were lobbies belong to this one.
        of = "" if lobby == MAIN_LOBBY else f".{lobby}"
        self._signer = Signer(secret, salt=f"animochat.person{of}", digest_method=hashlib.sha256)
        self._sessions = Signer(secret, salt=f"animochat.session{of}", digest_method=hashlib.sha256)
        # A device is the same in every lobby.
        self._devices = Signer(secret, salt="animochat.device", digest_method=hashlib.sha256)
        self._secret = secret.encode()

    def issue(self, person: str) -> str:
        """Return the token of a person: the id with its signature."""
        return self._signer.sign(person).decode()

    def verify(self, token: object) -> str | None:
        """Return the person that a token names, or None for a token that isn't ours."""
        return _verified(self._signer, token)

    def issue_device(self, device: str) -> str:
        """Return what a browser keeps to be the same device again, in any lobby: the id with its signature."""
        return self._devices.sign(device).decode()

    def verify_device(self, token: object) -> str | None:
        """Return the device that a client names, or None for a text that isn't ours."""
        return _verified(self._devices, token)

    def issue_session(self, person: str, session: str) -> str:
        """Return the private session id (`pid`) by which a client recovers its session: no one else can make it."""
        return self._sessions.sign(f"{person}.{session}").decode()

    def verify_session(self, pid: object) -> tuple[str, str] | None:
        """Return the person and the session that a `pid` names, or None for one that isn't ours."""
        person, _, session = (_verified(self._sessions, pid) or "").partition(".")
        return (person, session) if session else None

    def hide_address(self, address: str) -> str:
        """Return a keyed hash of an address, the same in every lobby and not reversible without the secret.

        An IPv6 address counts by its /64, which is what one customer has. "" for none.
        """
        group = group_of(address)
        return hmac.digest(self._secret, b"animochat.address:" + group.encode(), "sha256").hex()[:32] if group else ""


def _verified(signer: Signer, token: object) -> str | None:
    if not isinstance(token, str) or len(token) > MAX_TOKEN:
        return None
    try:
        return signer.unsign(token).decode()
    except (BadSignature, UnicodeError):
        return None


def new_person() -> str:
    """Return an id for a person, or a device, that was never here: 128 random bits."""
    return secrets.token_urlsafe(16)
