"""No one can identify a person, neither from a partner's events nor from the server's log."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest

from tests.helpers.people import NO_RATES, RawClient
from tests.helpers.servers import Server, eventually

ANNAS_ADDRESS = "203.0.113.77"
SECRETS = ["my-secret-sentence", "my-typed-client-id", "my-secret-interest", "my-forged-token"]


ENV = {**NO_RATES, "TRUSTED_PROXIES": "1", "MATCH_HISTORY_HOURS": "0", "SKIP_COOLDOWN_MS": "0"}


@pytest.fixture(scope="module")
def server(module_servers: Callable[..., Server]) -> Server:
    return module_servers(env=ENV)


@pytest.fixture(scope="module")
def second_server(module_servers: Callable[..., Server], server: Server) -> Server:
    return module_servers(env=ENV)


@pytest.fixture
def raw() -> Iterator[Callable[..., RawClient]]:
    clients: list[RawClient] = []

    def factory(server: Server, **options: object) -> RawClient:
        clients.append(RawClient(server, **options))  # type: ignore[arg-type]
        return clients[-1]

    yield factory
    for client in clients:
        client.drop()


def meets(anna: RawClient, bert: RawClient) -> tuple[dict[str, str], dict[str, str]]:
    anna.call("find-match")
    bert.call("find-match")
    told = anna.wait_event("matched"), bert.wait_event("matched")
    anna.wait_event("message")
    bert.wait_event("message")
    return told


def lasting_names(client: RawClient) -> dict[str, str]:
    """Return everything that would identify this person."""
    connect = next(frame for frame in client.frames if frame.startswith("40"))
    token = client.session["token"]
    return {
        "token": token,
        "person": token.rpartition(".")[0],
        "signature": token.rpartition(".")[2],
        "Socket.IO session id": json.loads(connect[2:])["sid"],
        "Engine.IO session id": client.opened["sid"],
        "address": ANNAS_ADDRESS,
    }


@pytest.mark.parametrize("apart", [False, True], ids=["one server", "two servers"])
def test_a_partner_gets_no_lasting_name(
    server: Server, second_server: Server, raw: Callable[..., RawClient], apart: bool
) -> None:
    header = {"X-Forwarded-For": ANNAS_ADDRESS}
    anna, bert = raw(server, **header), raw(second_server if apart else server)
    meets(anna, bert)
    names = lasting_names(anna)
    anna.call("send-message", {"content": "hello", "clientId": "my-typed-client-id"})
    anna.call("typing", True)
    bert.wait_event("partner-typing")
    anna.drop()
    bert.wait_event("partner-reconnecting")
    anna = raw(server, auth={"token": names["token"]}, **header)
    names.update({f"{what}, again": name for what, name in lasting_names(anna).items()})
    bert.wait_event("partner-reconnected")
    # a reload of Bert's has the room's history
    bert_again = raw(server, auth={"token": bert.session["token"]})
    assert len(bert_again.session["room"]["messages"]) == 2
    anna.call("leave-room")
    bert_again.wait_event("partner-disconnected")

    received = "\n".join(bert.frames + bert_again.frames)
    assert "hello" in received
    for what, name in names.items():
        assert name not in received, what
    assert "127.0.0.1" not in received
    assert "my-typed-client-id" not in received


def test_names_in_a_room_mean_nothing_outside_it(server: Server, raw: Callable[..., RawClient]) -> None:
    anna, bert = raw(server), raw(server)
    seen: list[str] = []
    for _ in range(3):
        a, b = meets(anna, bert)
        assert (a["userId"], a["partnerId"], a["roomId"]) == (b["partnerId"], b["userId"], b["roomId"])
        message_id = anna.call("send-message", "hello")["id"]
        message = bert.wait_event("message")
        assert (message["senderId"], message["id"]) == (a["userId"], message_id)
        seen += [a["userId"], b["userId"], a["roomId"], message_id]
        anna.call("leave-room")
        bert.wait_event("partner-disconnected")
    assert len(set(seen)) == len(seen)


def test_a_name_in_a_room_does_not_come_from_the_person(server: Server, raw: Callable[..., RawClient]) -> None:
    """No part of a lasting name that is long enough to distinguish people is shown."""
    anna, bert = raw(server), raw(server)
    a, _ = meets(anna, bert)
    for name in (anna.session["token"], anna.opened["sid"]):
        for start in range(len(name) - 7):
            assert name[start : start + 8] not in a["userId"] + a["roomId"]


@pytest.fixture(params=[{}, {"APP_ENV": "production"}], ids=["human", "json"])
def talkative_server(request: pytest.FixtureRequest, servers: Callable[..., Server]) -> Server:
    """A server that logs all that it can log, for people or as JSON."""
    everything = {"LOG_LEVEL": "debug", "GUNICORN_CMD_ARGS": "--access-logfile -", "TRUSTED_PROXIES": "1"}
    everything["INTEREST_WAIT_MS"] = "0"  # one of the two names some
    return servers(env={**NO_RATES, **everything, **request.param})


def test_texts_tokens_and_addresses_are_never_logged(talkative_server: Server, raw: Callable[..., RawClient]) -> None:
    server = talkative_server
    sentence, client_id, interest, forged = SECRETS
    anna, bert = raw(server, **{"X-Forwarded-For": ANNAS_ADDRESS}), raw(server, auth={"token": forged})
    anna.call("find-match", {"interests": [interest]})
    bert.call("find-match")
    anna.wait_event("matched")
    for event, arguments in [
        ("send-message", [sentence]),
        ("send-message", [{"content": sentence, "clientId": client_id}]),
        ("send-message", [{"content": [sentence]}]),
        ("send-message", [sentence * 200]),
        ("typing", [sentence]),
        (sentence, [sentence]),
        ("report-partner", [{"reason": sentence}]),
        ("report-partner", [{"reason": "other", "details": sentence}]),
    ]:
        anna.call(event, *arguments)
    anna.send(f'42["send-message","{sentence}')  # cut off
    anna.send(f"4{sentence}")
    anna.send(sentence)
    anna.wait_end()
    token = raw(server, auth={"token": bert.session["token"]}).session["token"]
    server.get(f"/socket.io/?EIO=4&transport=polling&token={token}&sid={anna.opened['sid']}")
    server.stop()
    log = eventually(server.log)
    for secret in [*SECRETS, token, bert.session["token"], *lasting_names(anna).values()]:
        assert secret not in log
    assert "203.0.113.0/24" in log
    assert "GET /socket.io/" in log
