"""Receivers of alerts: a webhook, signed as https://www.standardwebhooks.com has it, or a mailbox."""

from __future__ import annotations

import ipaddress
import smtplib
import socket
import ssl
from collections.abc import Callable
from datetime import datetime, timezone
from email.message import EmailMessage
from http.client import HTTPConnection, HTTPException
from urllib.parse import unquote, urlsplit

import gevent
import msgspec
import standardwebhooks

from animochat.moderation.alert_settings import check_alert_settings
from animochat.moderation.alerts import Alert, DeliveryFailed
from animochat.settings import Settings

#: Seconds for one try in all: the connection, the request, and the status of the answer.
TIMEOUT = 10.0

#: IPv6 addresses that stand for an IPv4 address, which a translator on the way reaches.
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def alert_transport(settings: Settings) -> Callable[[Alert], None] | None:
    """Return the function that sends an alert and raises DeliveryFailed, or None where the operator wants none.

    Raises SettingsError where settings do not go together.
    """
    check_alert_settings(settings)
    if settings.webhook_url and settings.webhook_secret:
        return Webhook(
            settings.webhook_url, settings.webhook_secret, settings.webhook_allow_private, settings.webhook_evidence
        ).send
    if settings.alert_email and settings.smtp_url:
        return Mail(settings.alert_email, settings.smtp_url, settings.webhook_evidence).send
    return None


class Webhook:
    """A receiver at `url`. `allow_private`: it may be on this machine or in a private network."""

    def __init__(self, url: str, secret: str, allow_private: bool = False, with_words: bool = False) -> None:
        self._url = urlsplit(url)
        self._signer = standardwebhooks.Webhook(secret)
        self._allow_private = allow_private
        self._with_words = with_words
        # Once for all requests: reading the authorities takes tens of milliseconds.
        self._context = ssl.create_default_context() if self._url.scheme == "https" else None

    def send(self, alert: Alert) -> None:
        """Post the alert. Raises DeliveryFailed unless the receiver answers 2xx; redirects are not followed."""
        body = msgspec.json.encode(alert.payload(self._with_words))
        with gevent.Timeout(TIMEOUT, DeliveryFailed(f"no answer within {TIMEOUT:g} s")):
            try:
                status = self._post(body, self._headers(alert.id, body))
            except (OSError, HTTPException, UnicodeError) as error:
                raise DeliveryFailed(type(error).__name__) from None  # its text may have the address in it
        if not 200 <= status < 300:
            raise DeliveryFailed(f"HTTP {status}")

    def _headers(self, identity: str, body: bytes) -> dict[str, str]:
        now = datetime.now(timezone.utc)
        return {
            "Host": self._url.netloc,
            "Content-Type": "application/json",
            "User-Agent": "AniMoChat",
            "Connection": "close",
            "webhook-id": identity,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": self._signer.sign(identity, now, body.decode()),
        }

    def _post(self, body: bytes, headers: dict[str, str]) -> int:
        host = self._url.hostname or ""
        connection = HTTPConnection(host, timeout=TIMEOUT)
        connection.sock = self._connect(host)
        try:
            if self._context is not None:
                connection.sock = self._context.wrap_socket(connection.sock, server_hostname=host)
            target = (self._url.path or "/") + (f"?{self._url.query}" if self._url.query else "")
            connection.request("POST", target, body, headers)
            return connection.getresponse().status
        finally:
            connection.close()

    def _connect(self, host: str) -> socket.socket:
        """Look the host up once, and connect to an address that was found and is allowed."""
        port = self._url.port or (443 if self._context else 80)
        found = [(str(entry[4][0]), port) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
        allowed = [place for place in found if self._allow_private or is_public(place[0])]
        if not allowed:
            raise DeliveryFailed("its address is private: WEBHOOK_ALLOW_PRIVATE=1 allows that")
        for place in allowed[:-1]:
            try:
                return socket.create_connection(place, TIMEOUT)
            except OSError:
                continue
        return socket.create_connection(allowed[-1], TIMEOUT)


class Mail:
    """A mailbox, reached by a mail server: `smtp://user:password@host:587` (STARTTLS) or `smtps://…` (TLS at once)."""

    def __init__(self, to: str, url: str, with_words: bool = False) -> None:
        self._to = to
        self._url = urlsplit(url)
        self._with_words = with_words
        self._context = ssl.create_default_context()

    def send(self, alert: Alert) -> None:
        """Send the alert as an e-mail. Raises DeliveryFailed unless the mail server takes it."""
        message = self._message(alert)
        with gevent.Timeout(TIMEOUT, DeliveryFailed(f"no answer within {TIMEOUT:g} s")):
            try:
                with self._server() as server:
                    server.send_message(message)
            except smtplib.SMTPResponseException as error:
                raise DeliveryFailed(f"SMTP {error.smtp_code}") from None
            except OSError as error:  # SMTPException is one
                raise DeliveryFailed(type(error).__name__) from None

    def _server(self) -> smtplib.SMTP:
        host, tls = self._url.hostname or "", self._url.scheme == "smtps"
        server: smtplib.SMTP
        if tls:
            server = smtplib.SMTP_SSL(host, self._url.port or 465, timeout=TIMEOUT, context=self._context)
        else:
            server = smtplib.SMTP(host, self._url.port or 25, timeout=TIMEOUT)
        try:
            server.ehlo()
            if not tls and server.has_extn("starttls"):
                server.starttls(context=self._context)
                tls = True
            if self._url.username:
                if not tls:
                    raise DeliveryFailed("the mail server has no TLS, and the password is sent with TLS only")
                server.login(unquote(self._url.username), unquote(self._url.password or ""))
        except BaseException:
            server.close()
            raise
        return server

    def _message(self, alert: Alert) -> EmailMessage:
        payload = alert.payload(self._with_words)
        data = payload["data"]
        message = EmailMessage()
        message["Subject"] = f"AniMoChat, {alert.lobby}: {alert.type} {data.get('reason', '')}".rstrip()
        message["From"] = message["To"] = self._to
        message["Message-ID"] = f"<{alert.id}@animochat.invalid>"  # the same for each try
        message["Date"] = datetime.fromtimestamp(alert.at / 1000, timezone.utc)
        lines = [f"{name}: {value}" for name, value in data.items() if name != "evidence"]
        lines += [f"{said['sender']}: {said['content']}" for said in data.get("evidence", ())]
        message.set_content("\n".join([f"{alert.type}, {payload['timestamp']}", "", *lines, ""]))
        return message


def is_public(address: str) -> bool:
    """Return whether an IP address is one of the internet's, and not this machine's or a private network's."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
    return ip.is_global and not ip.is_multicast
