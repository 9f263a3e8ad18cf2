"""The `banned` error: the reason, the time left and where to appeal, never the note (docs/moderation.md, "Bans")."""

from __future__ import annotations

from typing import Any

import pytest

from animochat.chat.worker import Chat
from animochat.settings import Settings, SettingsError
from tests.helpers.local_chat import LocalClient, pair, start_chat
from tests.helpers.store import cooperative, soon

APPEAL = "https://chat.example/appeal"
HOUR_MS = 3_600_000


def error_of(client: LocalClient) -> dict[str, Any]:
    soon(lambda: client.payload("error"), "an error")
    error: dict[str, Any] = client.payload("error")
    return error


def banned(chat: Chat, reason: str, with_address: bool = False) -> list[dict[str, Any]]:
    """Ban someone in a room. Return the errors: there, when coming again, and of a new person from there."""
    anna, _ = pair(chat)
    token = anna.payload("session")["token"]
    chat.moderation.ban(anna.connection.person, None, "the note", "main", reason, address=with_address, device=True)
    errors = [error_of(anna), error_of(LocalClient(chat, {"token": token}))]
    if with_address:
        errors.append(error_of(LocalClient(chat)))
    return errors


@pytest.mark.parametrize("with_address", [False, True])
@cooperative
def test_the_banned_get_the_reason_and_where_to_appeal_there_and_when_they_come_again(
    store_url: str, with_address: bool
) -> None:
    chat = start_chat(store_url, APPEAL_URL=APPEAL)
    try:
        for error in banned(chat, "threat", with_address):
            assert (error["code"], error["reason"], error["appealUrl"]) == ("banned", "threat", APPEAL)
            assert "the note" not in str(error)
    finally:
        chat.stop(1)


@cooperative
def test_where_there_is_neither_the_error_is_as_before(store_url: str) -> None:
    chat = start_chat(store_url)
    try:
        for error in banned(chat, ""):
            assert error == {"code": "banned", "message": "You are banned from this chat"}
    finally:
        chat.stop(1)


@cooperative
def test_of_several_bans_the_reason_is_that_of_the_one_that_lasts_longest(store_url: str) -> None:
    chat = start_chat(store_url)
    try:
        anna, bert = pair(chat)
        token = anna.payload("session")["token"]
        chat.moderation.ban(anna.connection.person, HOUR_MS, "", "main", "spam", address=False, device=True)
        chat.moderation.ban(bert.connection.person, 2 * HOUR_MS, "", "main", "harassment", address=True, device=True)
        assert error_of(anna)["reason"] == "spam"
        again = error_of(LocalClient(chat, {"token": token}))
        assert again["reason"] == "harassment", "they have one address"
        assert again["retryAfterMs"] > HOUR_MS
    finally:
        chat.stop(1)


@pytest.mark.parametrize("value", ["javascript:alert(1)", "chat.example/appeal", "https://me:secret@chat.example"])
def test_an_appeal_is_at_a_web_address(value: str) -> None:
    with pytest.raises(SettingsError):
        Settings.from_environ({"APPEAL_URL": value})
