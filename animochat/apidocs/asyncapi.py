"""The events as an AsyncAPI 3 document: https://www.asyncapi.com/docs/reference/specification/v3.0.0

It describes the server: the events that clients send are received here. A message's payload is the event's argument,
`null` stands for none; an operation's reply is the argument of the acknowledgement callback.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import msgspec

from animochat import __version__
from animochat.protocol.events import CLIENT_EVENTS, SERVER_EVENTS
from animochat.protocol.payloads import Auth, Refusal, Refused

REFERENCE = "#/components/schemas/{name}"

DESCRIPTION = """\
Anonymous one-to-one chat over Socket.IO protocol 5 (Engine.IO 4), namespace `/`, with any stock client and either
transport. `auth` in the handshake is an `Auth`: a client that sends the `token` of an earlier `session` is the same
person again; `lobby` names the lobby to join. Unknown lobbies are refused (`connect_error`, whose `data` is a
`Refusal`). Every event takes an optional acknowledgement callback; without one a refusal is emitted as `error`. Events
marked `x-offset` end with a string argument, which the stock client sends back to recover a lost connection. Those
marked `x-rate-limit` count against that setting of the server's. Fields may be added to any payload."""

CHANNEL = {"$ref": "#/channels/chat"}

SERVERS = {
    "chat": {
        "host": "{host}",
        "pathname": "/socket.io/",
        "protocol": "ws",
        "protocolVersion": "13",
        "variables": {"host": {"default": "localhost:3001"}},
    }
}


def schemas(types: Sequence[Any]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return the JSON schema of each type, and the components that they refer to."""
    own, components = msgspec.json.schema_components(types, ref_template=REFERENCE)
    return list(own), dict(components)


@functools.cache
def asyncapi() -> dict[str, Any]:
    """Return the document."""
    clients, servers = len(CLIENT_EVENTS), len(SERVER_EVENTS)
    types = [client.argument for client in CLIENT_EVENTS] + [server.argument for server in SERVER_EVENTS]
    types += [client.answer for client in CLIENT_EVENTS]
    described, components = schemas([*types, Refused, Auth, Refusal])
    *payloads, refused, auth, refusal = described
    arguments, answers = payloads[: clients + servers], payloads[clients + servers :]
    messages: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    for client, argument, answer in zip(CLIENT_EVENTS, arguments[:clients], answers, strict=True):
        acknowledged = f"{client.name}-acknowledged"
        messages[client.name] = {"name": client.name, "summary": client.summary, "payload": argument}
        messages[acknowledged] = {"name": acknowledged, "payload": {"anyOf": [answer, refused]}}
        operations[client.name] = {
            **_operation("receive", client.name, client.summary),
            "reply": {"channel": CHANNEL, "messages": [_message(acknowledged)]},
        }
        if client.rate is not None:
            operations[client.name]["x-rate-limit"] = f"RATE_{client.rate.upper()}"
    for server, argument in zip(SERVER_EVENTS, arguments[clients:], strict=True):
        messages[server.name] = {"name": server.name, "summary": server.summary, "payload": argument}
        messages[server.name]["x-offset"] = server.offset
        operations[server.name] = _operation("send", server.name, server.summary)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "AniMoChat",
            "version": __version__,
            "description": DESCRIPTION,
            "license": {"name": "MIT"},
        },
        "defaultContentType": "application/json",
        "servers": SERVERS,
        "channels": {
            "chat": {
                "address": "/",
                "title": "The namespace `/`",
                "x-auth": auth,
                "x-connect-error": refusal,
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
                "bindings": {
                    "ws": {
                        "query": {
                            "type": "object",
                            "properties": {"EIO": {"const": "4"}, "transport": {"enum": ["polling", "websocket"]}},
                        }
                    }
                },
            }
        },
        "operations": operations,
        "components": {"messages": messages, "schemas": components},
    }


def _message(name: str) -> dict[str, str]:
    return {"$ref": f"#/channels/chat/messages/{name}"}


def _operation(action: str, name: str, summary: str) -> dict[str, Any]:
    return {"action": action, "channel": CHANNEL, "summary": summary, "messages": [_message(name)]}
