"""An event as CONTRIBUTING.md adds it, in one file for the test: `ping-partner`, relayed and acknowledged."""

from animochat.chat.namespace import ChatEvents, Request
from animochat.protocol.events import CLIENT_EVENTS, SERVER_EVENTS, ClientEvent, ServerEvent
from animochat.protocol.payloads import Done

CLIENT_EVENTS.append(ClientEvent("ping-partner", None, Done, "Ping the partner.", rate="typing", waits=False))
SERVER_EVENTS.append(ServerEvent("partner-pinged", None, "The partner pings.", offset=False))


def on_ping_partner(self: ChatEvents, request: Request) -> dict[str, object]:
    self.relay(request.connection, "partner-pinged")
    return {}


ChatEvents.on_ping_partner = on_ping_partner  # type: ignore[attr-defined]
