"""Authentication of the operator: ADMIN_TOKEN in a header, or a session that was opened with it.

A program sends `Authorization: Bearer <token>`. A browser gets a session cookie for the token that was typed in. In the
cookie is the session's id, signed with a key made from the token, so that another token ends all sessions. The session
itself is in the store: it ends there with the log-out, or after SESSION_SECONDS, and a copy of the cookie is worth
nothing from then on. Other pages can't use the cookie: it is SameSite=Strict, and every change has to come from a page
of our own.
"""

from __future__ import annotations

import hashlib
import hmac

from flask import current_app, g, request
from itsdangerous import BadSignature, Signer
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import Forbidden, TooManyRequests, Unauthorized
from werkzeug.wrappers import Response

from animochat.moderation.access import OperatorAccess
from animochat.moderation.moderators import OWNER, digest_of
from animochat.server.addresses import client_address, group_of
from animochat.settings import Settings
from animochat.web.cookies import cookie
from animochat.web.cors import is_own, seen_scheme

COOKIE = "animochat-admin"

#: Seconds that a session lasts: a working day. After it the operator logs in again.
SESSION_SECONDS = 12 * 3600

_SAFE = ("GET", "HEAD", "OPTIONS")


def require() -> None:
    """Raise an error unless the operator makes the request.

    Raises Unauthorized, TooManyRequests after too many wrong tokens, Forbidden where another page uses the cookie, and
    Unavailable.
    """
    header = request.headers.get("Authorization")
    if header is not None:
        scheme, _, token = header.partition(" ")
        if scheme.lower() == "bearer":
            holder = holder_of(token.encode("latin-1"))  # the bytes that were sent
            if holder is not None:
                g.operator = OWNER if holder == OWNER else _access().moderators.name_of(holder)
                if g.operator is not None:
                    return
    else:
        session = _session()
        g.operator = None if session is None else _access().holder(session)
        if g.operator is not None:
            if request.method not in _SAFE:
                require_own_page()
            return
    raise Unauthorized("ADMIN_TOKEN or an operator's session is required", www_authenticate=WWWAuthenticate("bearer"))


def name() -> str:
    """Return the author of this request, which `require` has accepted: OWNER, or a moderator's name."""
    return str(g.operator)


def require_own_page() -> None:
    """Raise Forbidden unless the browser's headers show that the request comes from a page of this server."""
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    if origin is None:
        own = site == "same-origin"
    else:
        own = site in (None, "same-origin") and is_own(origin, request.environ, _settings().trusted_proxies)
    if not own:
        raise Forbidden("The request must come from a page of this server")


def is_secret(shown: bytes, secret: str) -> bool:
    """Return whether the given text is the secret, in constant time."""
    # Digests have a fixed length, so comparing them does not reveal the secret's.
    return hmac.compare_digest(hashlib.sha256(shown).digest(), hashlib.sha256(secret.encode()).digest())


def holder_of(token: bytes) -> str | None:
    """Return OWNER for ADMIN_TOKEN, the digest of a moderator's token, or None, and count wrong ones, by address.

    Raises TooManyRequests, whether or not it is right, and Unavailable.
    """
    digest = digest_of(token)
    holder: str | None = None
    if is_secret(token, _token()):
        holder = OWNER
    elif _access().moderators.name_of(digest) is not None:
        holder = digest
    wait_ms = _access().try_token(_hidden_address(), holder is not None)
    if wait_ms:
        raise TooManyRequests("Too many wrong tokens", retry_after=wait_ms // 1000 + 1)
    return holder


def open_session(response: Response, holder: str) -> None:
    """Open a session for the requesting browser. `holder`: as `holder_of` returned it. Raises Unavailable."""
    # If TLS ends at a proxy, a trusted proxy's header shows it, and so does the page's origin.
    proxies = _settings().trusted_proxies
    secure = seen_scheme(request.environ, proxies) == "https" or request.headers.get("Origin", "").startswith("https:")
    response.set_cookie(
        COOKIE,
        _signer().sign(_access().open_session(SESSION_SECONDS * 1000, holder)).decode(),
        max_age=SESSION_SECONDS,
        path="/admin",
        secure=secure,
        httponly=True,
        samesite="Strict",
    )


def close_session(response: Response) -> None:
    """End the session of the requesting browser, at the server too. Raises Unavailable."""
    session = _session()
    if session is not None:
        _access().end_session(session)
    response.delete_cookie(COOKIE, path="/admin", httponly=True, samesite="Strict")


def _session() -> str | None:
    """Return the id in the request's cookie; None unless this ADMIN_TOKEN has signed it."""
    try:
        return _signer().unsign(cookie(COOKIE) or "").decode()
    except BadSignature:
        return None


def _signer() -> Signer:
    return Signer(_token(), salt="animochat.admin", digest_method=hashlib.sha256)


def _hidden_address() -> str:
    """Return a keyed hash of the request's address: the store never sees an address."""
    address = group_of(client_address(request.environ, _settings().trusted_proxies))
    return hmac.digest(_token().encode(), b"animochat.address:" + address.encode(), "sha256").hex()[:32]


def _token() -> str:
    token = _settings().admin_token
    assert token is not None  # without one, nothing of this is registered
    return token


def _settings() -> Settings:
    settings: Settings = current_app.extensions["animochat"].settings
    return settings


def _access() -> OperatorAccess:
    access: OperatorAccess = current_app.extensions["animochat"].operator_access
    return access
