"""Why a store can't be used, in operators' words: for the log and `animochat doctor`. Never shows a secret."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from dataclasses import replace

import redis
from redis.sentinel import MasterNotFoundError

from animochat.store.connection import BROKEN, open_connection
from animochat.store.url import StoreUrl, parse

#: Seconds that a probe of a port may take.
LOOK = 1.0

#: Beginning or end of OpenSSL's error word -> its meaning here.
_TLS_ERRORS = {
    "CERTIFICATE_REQUIRED": "the store requires a client certificate: set ssl_certfile and ssl_keyfile",
    "HANDSHAKE_FAILURE": "TLS: no cipher in common, or the store requires a client certificate (ssl_certfile)",
    "ALERT_UNKNOWN_CA": "the store does not trust our certificate (ssl_certfile)",
    "ALERT_BAD_CERTIFICATE": "the store does not accept our certificate (ssl_certfile)",
    "ALERT_CERTIFICATE_EXPIRED": "our certificate has expired (ssl_certfile)",
    "KEY_VALUES_MISMATCH": "the key in ssl_keyfile does not belong to the certificate in ssl_certfile",
    "NO_CERTIFICATE_OR_CRL_FOUND": "the file in ssl_ca_certs has no certificate in it",
    "PROTOCOL_VERSION": "TLS: no version in common",
}

#: OpenSSL's numbers for faults of a certificate (x509_vfy.h).
_UNTRUSTED, _TIMES, _NAMES = (18, 19, 20, 21), {9: "is not valid yet", 10: "has expired"}, (62, 63, 64)


def reason(error: BaseException, url: str) -> str:
    """Return why using the store at `url` raised `error`. May connect to it, to detect TLS on its port."""
    known = _known(error)
    if known is not None:
        return known
    address = parse(url)
    if is_ambiguous(error, url):
        for host, port in address.hosts:
            if address.tls and _speaks_plain(address.at(host, port)):
                return "it has no TLS: the address has to begin with redis, not rediss, or the port is wrong"
            if not address.tls and _speaks_tls(address.at(host, port)):
                return "it requires TLS: the address has to begin with rediss"
    if isinstance(error, (redis.TimeoutError, TimeoutError)):
        return "no answer in time"
    if address.tls and isinstance(error, BROKEN):
        has_one = "ssl_certfile" in dict(address.options)
        question = "does it accept our certificate" if has_one else "does it require a client certificate"
        return f"the connection was closed (with TLS: {question}, ssl_certfile?)"
    return "the connection was closed" if isinstance(error, BROKEN) else type(error).__name__


def is_ambiguous(error: BaseException, url: str) -> bool:
    """Return whether only a probe of the port, which takes a moment, shows the reason."""
    late = isinstance(error, (redis.TimeoutError, TimeoutError)) and not parse(url).tls
    return _known(error) is None and isinstance(error, BROKEN) and not late


def _known(error: BaseException) -> str | None:
    """Return the reason if the error itself shows it."""
    if isinstance(error, redis.AuthenticationError):
        return "user or password is wrong, or missing"
    if "max number of clients reached" in str(error):
        return "it has reached its limit of clients (maxclients)"
    if isinstance(error, redis.exceptions.BusyLoadingError):
        return "it is still loading its data"
    if isinstance(error, MasterNotFoundError):
        return "no Sentinel names a reachable primary"
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _certificate(cause)
        if isinstance(cause, ssl.SSLError) and cause.reason:
            for word, text in _TLS_ERRORS.items():
                if cause.reason.endswith(word):
                    return text
        if isinstance(cause, ConnectionRefusedError):
            return "the connection is refused"
        if isinstance(cause, socket.gaierror):
            return "its host name is unknown"
        if isinstance(cause, FileNotFoundError):
            return "its socket does not exist"
        if isinstance(cause, PermissionError):
            return "no permission to use its socket"
    if isinstance(error, redis.ResponseError):
        return str(error).split(" ")[0][:40]  # the rest may contain a secret
    # An error of exactly this class is our own (store/cluster.py).
    return str(error) if type(error) is redis.RedisError else None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _certificate(error: ssl.SSLCertVerificationError) -> str:
    said = error.verify_message.rstrip(".")
    if error.verify_code in _UNTRUSTED:
        advice = "name its authority in ssl_ca_certs (on Heroku: set REDIS_TLS_VERIFY=0)"
        return f"its certificate is not trusted ({said}): {advice}"
    if error.verify_code in _NAMES:
        return f"its certificate is for another name ({said}): use one that it has, or ssl_check_hostname=false"
    return f"its certificate {_TIMES.get(error.verify_code, f'is not valid ({said})')}"


def _speaks_tls(address: StoreUrl) -> bool:
    bare = replace(address, tls=True, options=(("ssl_cert_reqs", "none"),), username="", password="", database=0)
    try:
        open_connection(bare, LOOK).disconnect()
    except (*BROKEN, redis.RedisError) as error:
        # TLS itself asks for a client certificate that is missing.
        return any(isinstance(cause, ssl.SSLError) and "ALERT" in (cause.reason or "") for cause in _causes(error))
    return True


def _speaks_plain(address: StoreUrl) -> bool:
    bare = replace(address, tls=False, options=(), username="", password="", database=0)
    try:
        connection = open_connection(bare, LOOK)
        connection.send_command("PING", check_health=False)
        connection.read_response()
    except (redis.AuthenticationError, redis.ResponseError):  # any reply will do
        return True
    except (*BROKEN, redis.RedisError):
        return False
    connection.disconnect()
    return True
