"""Devices as clients see them: the same one in every tab and lobby, and no one else's business."""

from __future__ import annotations

import json
from typing import Any

import pytest

from animochat.chat.tokens import Tokens
from animochat.protocol.payloads import MAX_TOKEN
from tests.helpers.local_chat import LocalClient, pair, start_chat
from tests.helpers.store import cooperative, soon

SECRET = "a secret of some length"


def device_of(client: LocalClient) -> str:
    return str(client.payload("session")["device"])


@cooperative
def test_a_device_that_is_sent_is_that_of_the_session_whoever_the_person_is(store_url: str) -> None:
    chat = start_chat(store_url)
    first = LocalClient(chat).joined()
    device, token = device_of(first), first.payload("session")["token"]
    tab = LocalClient(chat, {"device": device}).joined()
    assert device_of(tab) == device
    assert tab.payload("session")["token"] != token
    reloaded = LocalClient(chat, {"device": device, "token": token}).joined()
    assert (device_of(reloaded), reloaded.payload("session")["token"]) == (device, token)
    assert device_of(LocalClient(chat, {"token": token}).joined()) != device, "one that sends none is a new one"
    chat.stop(1)


@cooperative
def test_an_invalid_device_is_a_new_one_and_no_error(store_url: str) -> None:
    chat = start_chat(store_url, SECRET_KEY=SECRET)
    device = device_of(LocalClient(chat).joined())
    wrong: list[Any] = [("A" if device[0] != "A" else "B") + device[1:], "x" * (MAX_TOKEN + 1), "", 7, None, [device]]
    wrong += [Tokens(SECRET).issue("someone"), Tokens("another secret").issue_device("someone")]
    seen = {device}
    for sent in wrong:
        client = LocalClient(chat, {"device": sent}).joined()
        assert client.payload("error") is None
        seen.add(device_of(client))
    assert len(seen) == len(wrong) + 1
    chat.stop(1)


def test_a_device_is_the_same_in_every_lobby_and_no_token_is_one() -> None:
    main, cebu = Tokens(SECRET), Tokens(SECRET, "cebu")
    assert cebu.verify_device(main.issue_device("browser")) == "browser"
    assert main.verify_device(main.issue("browser")) is None
    assert main.verify(main.issue_device("browser")) is None


@cooperative
def test_a_recovered_session_keeps_the_device_also_where_the_client_sends_none(store_url: str) -> None:
    chat = start_chat(store_url)
    client = LocalClient(chat).joined()
    pid = json.loads(client.packets[0][1:])["pid"]
    device = client.connection.device
    client.hang_up()
    soon(lambda: not chat.lobbies["main"].connections.by_person)
    again = LocalClient(chat, {"pid": pid, "offset": "i"})
    soon(lambda: again.connection.registered)
    assert again.connection.device == device
    chat.stop(1)


@cooperative
def test_two_tabs_of_a_device_are_two_people_who_never_meet(store_url: str) -> None:
    chat = start_chat(store_url)
    tab = LocalClient(chat).joined()
    other = LocalClient(chat, {"device": device_of(tab)}).joined()
    assert [client.call("find-match")["state"] for client in (tab, other)] == ["waiting", "waiting"]
    assert not tab.gone
    someone = LocalClient(chat).joined()
    assert someone.call("find-match")["state"] == "matched"
    chat.stop(1)


@cooperative
def test_a_ban_of_the_device_closes_all_of_its_tabs_on_all_workers_and_keeps_them_out(store_url: str) -> None:
    here, there = start_chat(store_url, SECRET_KEY=SECRET), start_chat(store_url, SECRET_KEY=SECRET)
    tab = LocalClient(here).joined()
    device = device_of(tab)
    other = LocalClient(there, {"device": device}).joined()
    bystander = LocalClient(there).joined()
    for chat in (here, there):
        soon(lambda chat=chat: chat.subscriptions.proven(0), "a subscription")
    assert any(here.moderation.ban(tab.connection.person, 60_000, "", address=False, device=True)[1])
    for client in (tab, other):
        soon(lambda client=client: client.payload("error"), "the ban")
        assert client.payload("error")["code"] == "banned"
    again = LocalClient(there, {"device": device})
    soon(lambda: again.payload("error"), "a refusal")
    assert (again.payload("error")["code"], again.payload("session")) == ("banned", None)
    assert not bystander.gone
    for chat in (here, there):
        chat.stop(1)


@cooperative
def test_no_device_reaches_a_partner_or_a_log(store_url: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    chat = start_chat(store_url)
    anna, bert = pair(chat)
    anna.call("send-message", "hi")
    anna.call("typing", True)
    anna.call("block-partner")
    soon(lambda: bert.payload("partner-disconnected"))
    assert anna.connection.device not in "".join(bert.packets) + caplog.text
    assert anna.connection.device in device_of(anna)
    chat.stop(1)
