"""Compare messages on the wire with the documents, strictly: an undocumented field is a mistake, too."""

from __future__ import annotations

import copy
from typing import Any

import jsonschema

from animochat.apidocs.asyncapi import asyncapi
from animochat.apidocs.openapi import openapi


def strict(document: dict[str, Any]) -> dict[str, Any]:
    """Return the document's components, with no fields allowed beyond the named ones."""
    components: dict[str, Any] = copy.deepcopy(document["components"])
    for schema in components["schemas"].values():
        schema["additionalProperties"] = False
    return components


_COMPONENTS = {"events": strict(asyncapi()), "routes": strict(openapi())}


def validator(schema: dict[str, Any], of: str = "events") -> jsonschema.Draft202012Validator:
    """Return a validator for a `schema` of one of the documents: "events" or "routes"."""
    return jsonschema.Draft202012Validator({**schema, "components": {"schemas": _COMPONENTS[of]["schemas"]}})


#: Validators by the name of the message: an event, or "<event>-acknowledged".
MESSAGES = {name: validator(message["payload"]) for name, message in _COMPONENTS["events"]["messages"].items()}


#: Undocumented things that tests have seen; checked at the end of each test (tests/conftest.py).
UNDOCUMENTED: list[str] = []


def check_against_documents(name: str, arguments: list[Any]) -> None:
    """Record the mistakes of a received message, given its arguments without the offset. Fail nothing yet.

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
    """Return the answer of an acknowledgement, checked as above if the event is documented."""
    if f"{event}-acknowledged" in MESSAGES:
        check_against_documents(f"{event}-acknowledged", [answer])
    return answer
