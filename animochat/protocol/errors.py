"""The errors that reach a client, one class for each code of the wire protocol ("Error codes")."""

from __future__ import annotations


class ChatError(Exception):
    """A refusal: nothing changed, and the client gets `code` and `message`.

    `retry_after_ms` (milliseconds) is set where waiting helps.
    """

    code = "invalid-payload"
    text = "Invalid payload"

    def __init__(self, text: str | None = None, retry_after_ms: int | None = None) -> None:
        super().__init__(text or self.text)
        self.message = text or self.text
        self.retry_after_ms = retry_after_ms

    def payload(self) -> dict[str, object]:
        """Return the wire's `{code, message, retryAfterMs?}`."""
        payload: dict[str, object] = {"code": self.code, "message": self.message}
        if self.retry_after_ms is not None:
            payload["retryAfterMs"] = self.retry_after_ms
        return payload


class InvalidPayload(ChatError):
    """Anything malformed: unknown event, wrong type, binary, oversized."""


class NotInRoom(ChatError):
    code = "not-in-room"
    text = "Not in a chat room"


class AlreadyInRoom(ChatError):
    code = "already-in-room"
    text = "Already in a room"


class EmptyMessage(ChatError):
    code = "empty-message"
    text = "Message cannot be empty"


class MessageTooLong(ChatError):
    code = "message-too-long"
    text = "Message is too long"


class RateLimited(ChatError):
    code = "rate-limited"
    text = "Too many requests"


class Unavailable(ChatError):
    """The store can't be reached, or didn't answer in time."""

    code = "unavailable"
    text = "The service is temporarily unavailable. Try again."


class UnknownLobby(ChatError):
    """The connection is refused; only sent when connecting."""

    code = "unknown-lobby"
    text = "Unknown lobby"


class Replaced(ChatError):
    code = "replaced"
    text = "Connected elsewhere"


class Banned(ChatError):
    """`retry_after_ms` is the time left; None for a permanent ban. `reason` and `appeal_url`: "" for none."""

    code = "banned"
    text = "You are banned from this chat"

    def __init__(self, retry_after_ms: int | None = None, reason: str = "", appeal_url: str = "") -> None:
        super().__init__(retry_after_ms=retry_after_ms)
        self.reason = reason
        self.appeal_url = appeal_url

    def payload(self) -> dict[str, object]:
        more = {"reason": self.reason, "appealUrl": self.appeal_url}
        return super().payload() | {name: value for name, value in more.items() if value}
