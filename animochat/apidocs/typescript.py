"""The events as TypeScript: a typed socket of socket.io-client, `ChatSocket`."""

from __future__ import annotations

import functools
import json
from typing import Any

from animochat.apidocs.asyncapi import asyncapi
from animochat.protocol.events import CLIENT_EVENTS, SERVER_EVENTS

HEAD = """\
// AniMoChat's events for a typed client of socket.io-client:
//
//   import { io } from "socket.io-client";
//   import type { Auth, ChatSocket } from "./animochat";
//   const auth: Auth = { lobby: "main" };
//   const socket: ChatSocket = io(url, { auth });
//
// Made from the server's own types by `make documents`; each server has its own at /docs/animochat.d.ts.

import type { Socket } from "socket.io-client";
"""

ACKNOWLEDGE = """\
/** The acknowledgement callback of every event. */
export type Acknowledge<Answer> = (answer: Answer | Refused) => void;
"""

#: The stock `emitWithAck` infers an answer's type only if the callback is required, and never after `timeout`.
SOCKET = """\
type StockSocket = Socket<ServerToClientEvents, ClientToServerEvents>;
type AllButLast<List> = List extends [...infer Others, unknown] ? Others : never;

/** A typed socket of socket.io-client. `emitWithAck` returns a promise of the acknowledgement. */
export interface ChatSocket extends StockSocket {
  /** The callback is optional; without it a refusal is emitted as `error`. */
  emit<Event extends keyof ClientToServerEvents>(
    event: Event,
    ...args: Parameters<ClientToServerEvents[Event]> | AllButLast<Parameters<ClientToServerEvents[Event]>>
  ): this;
  timeout(milliseconds: number): Pick<StockSocket, "emitWithAck"> & ReturnType<StockSocket["timeout"]>;
}
"""

#: The stock client passes the offset to listeners, after the argument (protocol, "Coming back").
OFFSET = "offset: string"


@functools.cache
def typescript() -> str:
    """Return the whole file."""
    document = asyncapi()
    messages = document["components"]["messages"]
    parts = [HEAD, ACKNOWLEDGE]
    parts += [_interface(name, schema) for name, schema in sorted(document["components"]["schemas"].items())]
    lines = []
    for client in CLIENT_EVENTS:
        argument = messages[client.name]["payload"]
        answer = f"acknowledge: Acknowledge<{client.answer.__name__}>"
        lines.append(f"  /** {client.summary} */")
        lines.append(f'  "{client.name}": ({_parameters(argument, answer)}) => void;')
    parts.append(_block("ClientToServerEvents", lines))
    lines = []
    for server in SERVER_EVENTS:
        argument = messages[server.name]["payload"]
        parameters = [] if argument == {"type": "null"} else [f"argument: {written(argument)}"]
        parameters += [OFFSET] if server.offset else []
        lines.append(f"  /** {server.summary} */")
        lines.append(f'  "{server.name}": ({", ".join(parameters)}) => void;')
    parts.append(_block("ServerToClientEvents", lines))
    parts.append(SOCKET)
    return "\n".join(parts)


def _parameters(schema: dict[str, Any], acknowledge: str) -> str:
    """Return an event's parameters: the argument, if there is one, and the callback."""
    kind = written(schema)
    if kind == "null":
        return acknowledge
    if kind.endswith("| null") or kind.startswith("null |"):
        return f"...args: [{acknowledge}] | [argument: {kind}, {acknowledge}]"
    return f"argument: {kind}, {acknowledge}"


def _block(name: str, lines: list[str]) -> str:
    return "\n".join([f"export interface {name} {{", *lines, "}", ""])


def _interface(name: str, schema: dict[str, Any]) -> str:
    lines = []
    for field, kind in schema["properties"].items():
        if "description" in kind:
            lines.append(f"  /** {kind['description']} */")
        optional = "" if field in schema.get("required", []) else "?"
        lines.append(f"  {field}{optional}: {written(kind)};")
    described = f"/** {schema['description']} */\n" if "description" in schema else ""
    return described + _block(name, lines)


def written(schema: dict[str, Any]) -> str:
    """Return a JSON schema as a TypeScript type. Raise an error for schemas that our payloads don't have."""
    if "$ref" in schema:
        return str(schema["$ref"].rpartition("/")[2])
    if "const" in schema:
        return json.dumps(schema["const"])
    if "enum" in schema:
        return " | ".join(json.dumps(value) for value in schema["enum"])
    if "anyOf" in schema:
        return " | ".join(written(option) for option in schema["anyOf"])
    if schema["type"] == "array":
        item = written(schema["items"])
        return f"({item})[]" if " " in item else f"{item}[]"
    if "additionalProperties" in schema:
        return f"Record<string, {written(schema['additionalProperties'])}>"
    return {"string": "string", "boolean": "boolean", "integer": "number", "number": "number", "null": "null"}[
        schema["type"]
    ]
