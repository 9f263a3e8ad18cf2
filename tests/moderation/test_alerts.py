"""Alerts for the operator (animochat/moderation/alerts.py, webhooks.py): queued with what they report, sent once."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Iterator
from email import message_from_string
from typing import Any

import pytest
from standardwebhooks import WebhookVerificationError

from animochat.moderation.alerts import DELAYS_MS, INTERVAL, LEASE_MS, Alert, AlertQueue, AlertSender, DeliveryFailed
from animochat.moderation.lobby_moderation import HOUR_MS, NOTHING, SUSPENSION_MS, LobbyModeration, Origin, Said
from animochat.moderation.webhooks import Mail, Webhook, alert_transport, is_public
from animochat.protocol.errors import RateLimited, Unavailable
from animochat.settings import Settings, SettingsError
from tests.helpers.receivers import SECRET, MailServer, Receiver
from tests.helpers.store import TAG, Lobby

WORDS = "only for the operator"


@pytest.fixture
def lobby(redis_url: str) -> Iterator[Lobby]:
    lobby = Lobby(redis_url)
    yield lobby
    lobby.close()


def queue(lobby: Lobby, worker: str = "worker0") -> AlertQueue:
    """Return a worker's queue that has looked for alerts."""
    one = AlertQueue(lobby.pipeline, worker, clock=lobby.clock)  # type: ignore[arg-type]
    one.take()
    return one


def file(lobby: Lobby, reason: str = "threat", names: tuple[str, str] = ("anna", "bert")) -> str:
    anna, _ = lobby.pair(*names)
    room = anna.room
    anna.report(reason, WORDS, [Said("reported", lobby.now, WORDS)])
    assert room
    return room


def take_all(one: AlertQueue) -> list[Alert]:
    taken = []
    while isinstance(alert := one.take(), Alert):
        taken.append(alert)
        assert one.remove(alert)
    return taken


# Queued together with the event


def test_each_event_is_an_alert_with_what_it_is_about(lobby: Lobby) -> None:
    one = queue(lobby)
    room = file(lobby)
    lobby.moderation.ban_reported(room, HOUR_MS, NOTHING, WORDS)
    lobby.moderation.ban("carl", None, Origin("hidden"), WORDS)
    lobby.moderation.lift("person:carl")
    told = [(alert.type, alert.payload(False)["data"]) for alert in take_all(one)]
    assert told == [
        (
            "report.filed",
            {"lobby": "main", "report": room, "reason": "threat", "reporter": "anna", "reported": "bert"},
        ),
        (
            "ban.set",
            {
                "lobby": "main",
                "person": "bert",
                "until": lobby.now + HOUR_MS,
                "address": False,
                "report": room,
                "reason": "",
            },
        ),
        ("ban.set", {"lobby": "main", "person": "carl", "until": None, "address": True, "report": "", "reason": ""}),
        ("ban.lifted", {"lobby": "main", "ban": "person:carl", "person": "carl"}),
    ]
    assert WORDS not in str(told)


def test_a_suspension_by_reports_is_an_alert_behind_the_report_s(lobby: Lobby) -> None:
    one = queue(lobby)
    lobby.moderation = LobbyModeration(lobby.pipeline, 0, 1, clock=lobby.clock)  # type: ignore[arg-type]
    room = file(lobby)
    filed, suspended = take_all(one)
    assert (filed.type, suspended.type) == ("report.filed", "person.suspended")
    expected = {"lobby": "main", "person": "bert", "until": lobby.now + SUSPENSION_MS, "report": room, "reports": 1}
    assert suspended.payload(False)["data"] == expected


def test_actions_without_an_effect_queue_no_alert(lobby: Lobby) -> None:
    one = queue(lobby)
    anna, _ = lobby.pair("anna", "bert")
    lobby.moderation = LobbyModeration(lobby.pipeline, 1, 0, clock=lobby.clock)  # type: ignore[arg-type]
    anna.report()
    carl, _ = lobby.pair("carl", "dora")
    carl.conn = "of another connection"
    assert carl.report()[0] == "unknown"
    assert lobby.moderation.ban_reported("no-such-report", None, NOTHING, "") is None
    assert not lobby.moderation.lift("person:nobody")
    assert [alert.type for alert in take_all(one)] == ["report.filed"]
    anna.find()
    lobby.people("emil")[0].find()
    with pytest.raises(RateLimited):
        anna.report()
    assert one.take() is None


def test_without_a_sending_worker_no_alert_is_kept(lobby: Lobby) -> None:
    file(lobby)
    assert lobby.pipeline.execute("KEYS", f"{TAG}:alert*") == []


def test_alerts_in_the_store_contain_no_texts_of_people(lobby: Lobby) -> None:
    one = queue(lobby)
    room = file(lobby)
    assert WORDS not in str(lobby.pipeline.execute("XRANGE", f"{TAG}:alerts", "-", "+"))
    alert = one.take()
    assert isinstance(alert, Alert)
    assert WORDS not in str(alert.payload(False))
    data = alert.payload(True)["data"]
    assert data["details"] == WORDS
    assert data["evidence"] == [{"sender": "reported", "timestamp": lobby.now, "content": WORDS}]
    one.postpone(alert, 0)
    lobby.moderation.dismiss(room)
    again = one.take()
    assert isinstance(again, Alert)
    assert again.id == alert.id
    assert WORDS not in str(again.payload(True)), "the words of a dismissed report are deleted"


def test_waiting_alerts_have_a_bound_and_dropped_ones_block_nothing(lobby: Lobby) -> None:
    one = queue(lobby)
    for person in ("first", "second", "third"):
        lobby.moderation.ban(person, None, NOTHING, "")
    # as the bound does, which would take long to reach
    lobby.pipeline.execute("XTRIM", f"{TAG}:alerts", "MAXLEN", 1)
    assert [alert.fields["person"] for alert in take_all(one)] == ["third"]
    assert one.take() is None
    for key in lobby.pipeline.execute("KEYS", f"{TAG}:alerts*"):
        assert lobby.pipeline.execute("PTTL", key) > 0, "nothing of it stays for ever"


# One worker at a time


def test_one_worker_has_an_alert_until_its_lease_is_over(lobby: Lobby) -> None:
    one, other = queue(lobby, "one"), queue(lobby, "other")
    file(lobby)
    alert = one.take()
    assert isinstance(alert, Alert)
    assert alert.tries == 1
    assert other.take() == LEASE_MS
    lobby.advance(LEASE_MS - 1)
    assert one.postpone(alert, LEASE_MS), "a lease may be renewed"
    lobby.advance(LEASE_MS - 1)
    assert other.take() == 1
    lobby.advance(1)
    taken = other.take()
    assert isinstance(taken, Alert)
    assert (taken.id, taken.tries) == (alert.id, 2)
    assert not one.postpone(alert, 0), "the lease is over"
    assert not one.remove(alert)
    assert other.remove(taken)
    assert (one.take(), other.take()) == (None, None)


class Send:
    """Accepts alerts, but fails the first `failures` times."""

    def __init__(self, failures: int = 0, problem: Exception | None = None) -> None:
        self.tried: list[str] = []
        self.failures = failures
        self.problem = problem or DeliveryFailed("HTTP 500")

    def __call__(self, alert: Alert) -> None:
        self.tried.append(alert.id)
        if len(self.tried) <= self.failures:
            raise self.problem


def test_failed_alerts_are_retried_with_growing_delays_and_then_given_up(lobby: Lobby) -> None:
    send = Send(failures=100)
    sender = AlertSender(queue(lobby), send)
    file(lobby)
    for tries, delay in enumerate(DELAYS_MS, 1):
        assert sender.run() <= INTERVAL
        assert len(send.tried) == tries
        lobby.advance(int(delay) - 1)
        sender.run()
        assert len(send.tried) == tries, "not before its time"
        lobby.advance(1)
    sender.run()
    assert len(send.tried) == len(DELAYS_MS) + 1
    assert len(set(send.tried)) == 1, "each try has the same id"
    assert lobby.pipeline.execute("XLEN", f"{TAG}:alerts") == 0
    assert sum(DELAYS_MS) < 25 * HOUR_MS
    assert list(DELAYS_MS) == sorted(DELAYS_MS)


def test_a_failing_alert_does_not_delay_others(lobby: Lobby) -> None:
    send = Send(failures=1)
    sender = AlertSender(queue(lobby), send)
    lobby.moderation.ban("first", None, NOTHING, "")
    lobby.moderation.ban("second", None, NOTHING, "")
    sender.run()
    first, second = send.tried
    assert first != second
    lobby.advance(int(DELAYS_MS[0]))
    sender.run()
    assert send.tried == [first, second, first]


def test_an_accepted_alert_is_not_sent_again_after_an_outage_of_the_store(lobby: Lobby) -> None:
    one, send = queue(lobby), Send()
    sender = AlertSender(one, send)
    file(lobby)
    settle, answers = one.remove, itertools.chain([False], itertools.repeat(True))

    def remove(alert: Alert) -> bool:
        if not next(answers):
            raise Unavailable
        return settle(alert)

    one.remove = remove  # type: ignore[method-assign]
    with pytest.raises(Unavailable):
        sender.run()
    sender.run()
    assert len(send.tried) == 1
    assert lobby.pipeline.execute("XLEN", f"{TAG}:alerts") == 0


def test_a_worker_that_stops_takes_no_more(lobby: Lobby) -> None:
    send = Send()
    sender = AlertSender(queue(lobby), send)
    file(lobby)
    sender.stop()
    sender.run()
    assert send.tried == []


# The webhook


ALERT = Alert("1-0", "msg_main_1-0", 1, "report.filed", 1_900_000_000_000, "main", {"reason": "threat", "report": "r"})


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


def test_the_stock_library_verifies_what_is_posted(receiver: Receiver) -> None:
    Webhook(receiver.url, SECRET, allow_private=True).send(ALERT)
    (delivery,) = receiver.deliveries
    assert delivery.verified() == {
        "type": "report.filed",
        "timestamp": "2030-03-17T17:46:40.000+00:00",
        "data": {"lobby": "main", "reason": "threat", "report": "r"},
    }
    assert delivery.id == ALERT.id
    delivery.body += b" "
    with pytest.raises(WebhookVerificationError):
        delivery.verified()


@pytest.mark.parametrize("status", [301, 307, 400, 410, 500])
def test_only_2xx_is_an_acceptance_and_redirects_are_not_followed(status: int) -> None:
    receiver = Receiver(status)
    try:
        with pytest.raises(DeliveryFailed, match=f"^HTTP {status}$"):
            Webhook(receiver.url, SECRET, allow_private=True).send(ALERT)
        assert len(receiver.deliveries) == 1
    finally:
        receiver.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "0.0.0.0", "169.254.169.254", "10.0.0.1"])
def test_a_private_address_is_refused_before_anything_is_sent(host: str, receiver: Receiver) -> None:
    with pytest.raises(DeliveryFailed, match="private"):
        Webhook(f"http://{host}:{receiver.port}/", SECRET).send(ALERT)
    assert receiver.deliveries == []


def test_the_address_that_was_checked_is_the_one_that_is_used(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name whose second look-up returns another address does not bypass the check."""
    answers = [[(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 80))]]
    look_up = socket.getaddrinfo
    asked = []

    def getaddrinfo(host: str, *args: Any, **options: Any) -> Any:
        asked.append(host)
        return answers.pop() if host == "alerts.example" else look_up(host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr("animochat.moderation.webhooks.is_public", lambda address: address == "192.0.2.1")
    connected: list[Any] = []

    def connect(place: Any, timeout: float) -> None:
        connected.append(place)
        return (look_up and socket.socket()) or socket.socket()

    monkeypatch.setattr(socket, "create_connection", connect)
    with pytest.raises(DeliveryFailed):
        Webhook(f"http://alerts.example:{receiver.port}/", SECRET).send(ALERT)
    assert asked == ["alerts.example"]
    assert connected == [("192.0.2.1", receiver.port)]


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1::1", True),
        ("127.0.0.1", False),
        ("0.0.0.0", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::1", False),
        ("::", False),
        ("fe80::1", False),
        ("fe80::1%eth0", False),
        ("fc00::1", False),
        ("ff02::1", False),
        ("::ffff:127.0.0.1", False),
        ("64:ff9b::7f00:1", False),
        ("2002:7f00:1::", False),
    ],
)
def test_which_addresses_are_public(address: str, public: bool) -> None:
    assert is_public(address) is public


def test_failures_contain_neither_address_nor_secret(receiver: Receiver) -> None:
    receiver.close()
    with pytest.raises(DeliveryFailed) as failed:
        Webhook(receiver.url, SECRET, allow_private=True).send(ALERT)
    assert str(failed.value) == "ConnectionRefusedError"


# The e-mail


def test_an_alert_is_an_e_mail_where_there_is_no_webhook() -> None:
    server = MailServer()
    try:
        settings = Settings(alert_email="owner@chat.example", smtp_url=server.url)
        send = alert_transport(settings)
        assert send is not None
        send(ALERT)
        (text,) = server.messages
        message = message_from_string(text)
        assert (message["To"], message["Subject"]) == ("owner@chat.example", "AniMoChat, main: report.filed threat")
        assert message["Message-ID"] == f"<{ALERT.id}@animochat.invalid>"
        assert "reason: threat" in str(message.get_payload())
    finally:
        server.close()


def test_a_mail_server_that_refuses_is_asked_again_later() -> None:
    server = MailServer(b"450 later")
    try:
        mail = Mail("owner@chat.example", server.url)
        with pytest.raises(DeliveryFailed) as failed:
            mail.send(ALERT)
        assert "owner@" not in str(failed.value)
        mail.send(ALERT)
        assert len(server.messages) == 1
    finally:
        server.close()


def test_a_password_is_sent_with_tls_only() -> None:
    server = MailServer()
    try:
        with pytest.raises(DeliveryFailed, match="TLS"):
            Mail("owner@chat.example", server.url.replace("//", "//me:password@")).send(ALERT)
        assert not any(b"AUTH" in command or b"PASSWORD" in command for command in server.commands)
        assert server.messages == []
    finally:
        server.close()


# Settings


@pytest.mark.parametrize(
    ("settings", "mistake"),
    [
        ({"webhook_url": "https://alerts.example"}, "WEBHOOK_SECRET: required with WEBHOOK_URL"),
        ({"alert_email": "owner@chat.example"}, "SMTP_URL: required with ALERT_EMAIL"),
    ],
)
def test_settings_that_do_not_go_together_stop_the_start(settings: dict[str, Any], mistake: str) -> None:
    with pytest.raises(SettingsError) as caught:
        alert_transport(Settings(**settings))
    assert caught.value.mistakes == [mistake]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WEBHOOK_URL", "ftp://secret.example"),
        ("WEBHOOK_URL", "https://"),
        ("WEBHOOK_URL", "https://me:secret@alerts.example"),
        ("WEBHOOK_URL", "https://alerts.example:0/secret"),
        ("WEBHOOK_URL", "https://alerts.example:99999/secret"),
        ("WEBHOOK_URL", "https://alerts.example/secret word"),
        ("WEBHOOK_SECRET", "secret"),
        ("WEBHOOK_SECRET", "whsec_secret"),
        ("WEBHOOK_SECRET", "whsec_" + "secret%%" * 8),
        ("SMTP_URL", "https://secret.example"),
        ("SMTP_URL", "smtp://me:secret@"),
    ],
)
def test_a_bad_value_is_named_and_not_shown(name: str, value: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_environ({name: value})
    assert len(caught.value.mistakes) == 1
    assert caught.value.mistakes[0].startswith(f"{name}: ")
    assert "secret" not in caught.value.mistakes[0]


@pytest.mark.parametrize("value", ["owner", "owner@", "a@b\nBcc: c@d", "a@b, c@d", "Owner <a@b>"])
def test_a_mailbox_is_one_address(value: str) -> None:
    with pytest.raises(SettingsError):
        Settings.from_environ({"ALERT_EMAIL": value})
