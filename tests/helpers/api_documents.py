"""What is on the wire against what the documents say of it, strictly: a field that they don't name is a mistake too."""

from __future__ import annotations

import copy
from typing import Any

import jsonschema

from animochat.apidocs.asyncapi import asyncapi
from animochat.apidocs.openapi import openapi


def strict(document: dict[str, Any]) -> dict[str, Any]:
    """The document's components, with no fields allowed beyond those that they name."""
    components: dict[str, Any] = copy.deepcopy(document["components"])
    for schema in components["schemas"].values():
        schema["additionalProperties"] = False
    return components


_COMPONENTS = {"events": strict(asyncapi()), "routes": strict(openapi())}


def validator(schema: dict[str, Any], of: str = "events") -> jsonschema.Draft202012Validator:
    """Validates against `schema` as it stands in one of the documents: "events" or "routes"."""
    return jsonschema.Draft202012Validator({**schema, "components": {"schemas": _COMPONENTS[of]["schemas"]}})


#: Validators by the name of the message: an event, or "<event>-acknowledged".
MESSAGES = {name: validator(message["payload"]) for name, message in _COMPONENTS["events"]["messages"].items()}


#: What tests have seen that the documents do not say, until the end of the test (tests/conftest.py).
UNDOCUMENTED: list[str] = []


def check_against_documents(name: str, arguments: list[Any]) -> None:
    """Keeps what is wrong with a message that was seen, with these arguments but the offset; fails nothing by itself.

    Called where messages arrive, in threads of clients.
    """
    payload = arguments[0] if arguments else None
    if name not in MESSAGES:
        UNDOCUMENTED.append(f"{name} is not described")
    elif len(arguments) > 1:
        UNDOCUMENTED.append(f"{name} has {len(arguments)} arguments")
    else:
        UNDOCUMENTED.extend(
            f"{name}: {error.json_path}: {error.message}" for error in MESSAGES[name].iter_errors(payload)
        )


def checked_answer(event: str, answer: Any) -> Any:
    """The answer of an acknowledgement, checked as above where there is such an event."""
    if f"{event}-acknowledged" in MESSAGES:
        check_against_documents(f"{event}-acknowledged", [answer])
    return answer
