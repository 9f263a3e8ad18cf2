"""A report reaches the operator's receiver, once (docs/moderation.md, "Alerts"): a real server, a real receiver."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.helpers.people import NO_RATES, meet, say, status
from tests.helpers.receivers import SECRET, MailServer, Receiver
from tests.helpers.servers import Client, RedisServer, Server, eventually

WORDS = "what nobody else may read"


@pytest.fixture
def receive() -> Iterator[Callable[..., Receiver]]:
    receivers: list[Receiver] = []

    def make(*answers: int | None) -> Receiver:
        receivers.append(Receiver(*answers))
        return receivers[-1]

    yield make
    for receiver in receivers:
        receiver.close()


def alerting(servers: Any, receiver: Receiver, workers: int = 1, **env: str) -> Server:
    webhook = {"WEBHOOK_URL": receiver.url, "WEBHOOK_SECRET": SECRET, "WEBHOOK_ALLOW_PRIVATE": "1"}
    server: Server = servers(workers=workers, env={**NO_RATES, **webhook, **env})
    eventually(lambda: status(server, "/health") == 200, 30, "a server that is ready")
    return server


def report(server: Server, connect: Callable[..., Client], other: Server | None = None) -> str:
    """Let two people meet, one at each server, and one report the other. Return the report's id, the room's."""
    anna, bert = connect(server), connect(other or server)
    room: str = meet(anna, bert)[0]["roomId"]
    say(bert, anna, WORDS)
    assert anna.call("report-partner", {"reason": "threat", "details": WORDS})["ok"] is True
    return room


def test_a_threat_report_arrives_once_and_signed_also_where_the_receiver_fails_twice(
    servers: Any, connect: Callable[..., Client], receive: Callable[..., Receiver]
) -> None:
    receiver = receive(500, 503)
    server = alerting(servers, receiver, workers=2)
    room = report(server, connect)
    deliveries = receiver.wait(lambda all_: len(all_) == 3, "the third try")
    assert [delivery.status for delivery in deliveries] == [500, 503, 200]
    assert len({delivery.id for delivery in deliveries}) == 1
    payload = deliveries[-1].verified()
    assert payload["type"] == "report.filed"
    assert (payload["data"]["reason"], payload["data"]["report"]) == ("threat", room)
    assert WORDS not in deliveries[-1].body.decode()
    # another one follows, and the first does not come again
    report(server, connect)
    receiver.wait(lambda _: len(receiver.accepted()) == 2, "the second report")
    assert len({delivery.id for delivery in receiver.accepted()}) == 2
    assert "An alert of lobby main was not accepted: HTTP 500" in server.log()
    for hidden in (SECRET, "hidden-in-the-address", WORDS):
        assert hidden not in server.log()


def test_a_report_arrives_once_where_the_worker_that_took_it_is_killed_at_once(
    servers: Any, connect: Callable[..., Client], receive: Callable[..., Receiver]
) -> None:
    receiver = receive(None)  # the first request is never answered
    both = [alerting(servers, receiver, WEBHOOK_EVIDENCE="1") for _ in range(2)]
    report(both[0], connect, both[1])
    receiver.wait(lambda all_: all_, "the first try")
    with redis.Redis.from_url(both[0].redis_url, decode_responses=True) as store:
        (taken_by,) = [value.split()[1] for value in store.hvals("{lobby:main}:alerts-tries")]
    # session ids begin with the worker's
    killed, left = both if connect(both[0]).sio.eio.sid.startswith(taken_by) else reversed(both)  # type: ignore[attr-defined]
    killed.kill()
    receiver.wait(lambda _: receiver.accepted(), "the other worker's try")
    first, second = receiver.deliveries
    assert first.id == second.id
    data = second.verified()["data"]
    assert (data["details"], [said["content"] for said in data["evidence"]]) == (WORDS, [WORDS])
    report(left, connect)
    receiver.wait(lambda _: len(receiver.accepted()) == 2, "the second report")
    assert len(receiver.deliveries) == 3


def test_an_alert_waits_for_a_store_that_is_away(
    servers: Any, connect: Callable[..., Client], receive: Callable[..., Receiver], tmp_path: Path
) -> None:
    receiver = receive(None)
    redis_server = RedisServer(tmp_path).start()
    server = alerting(servers, receiver, REDIS_URL=redis_server.url)
    server.expect_errors()
    report(server, connect)
    receiver.wait(lambda all_: all_, "the first try")
    redis_server.send_signal(signal.SIGSTOP)
    eventually(lambda: status(server, "/health") == 503, 30, "a store that is away")
    redis_server.send_signal(signal.SIGCONT)
    receiver.wait(lambda _: receiver.accepted(), "the try after the one without an answer")
    assert len({delivery.id for delivery in receiver.deliveries}) == 1
    server.stop()
    redis_server.stop()


def test_without_a_webhook_the_report_is_an_e_mail(servers: Any, connect: Callable[..., Client]) -> None:
    mails = MailServer()
    try:
        server: Server = servers(env={**NO_RATES, "ALERT_EMAIL": "owner@chat.example", "SMTP_URL": mails.url})
        eventually(lambda: status(server, "/health") == 200, 30, "a server that is ready")
        report(server, connect)
        (mail,) = eventually(lambda: mails.messages, what="the e-mail")
        assert "Subject: AniMoChat, main: report.filed threat" in mail
        assert WORDS not in mail
    finally:
        mails.close()
