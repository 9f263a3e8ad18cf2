"""`GET /docs`: the documents as a page without a script, and for machines."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from flask import Blueprint, Response, jsonify, render_template
from werkzeug.exceptions import NotFound

from animochat.apidocs.asyncapi import asyncapi
from animochat.apidocs.openapi import openapi
from animochat.apidocs.typescript import typescript, written
from animochat.protocol.events import CLIENT_EVENTS, SERVER_EVENTS
from animochat.protocol.payloads import ErrorCode
from animochat.web.cached import CachedAnswer, file_answer

STYLE = Path(__file__).with_name("static") / "documents.css"

blueprint = Blueprint(
    "documents",
    __name__,
    url_prefix="/docs",
    template_folder="templates",
)


@blueprint.get("")
def read() -> Response:
    """Return the page: every event, type and route, from the documents below."""
    return _page().response()


@blueprint.get("/static/<path:filename>")
def static(filename: str) -> Response:
    """Return the page's only file."""
    if filename != STYLE.name:
        raise NotFound
    return _style().response()


@blueprint.get("/asyncapi.json")
def events() -> Response:
    """Return the events."""
    return _asyncapi().response()


@blueprint.get("/openapi.json")
def http() -> Response:
    """Return the HTTP routes."""
    return _openapi().response()


@blueprint.get("/animochat.d.ts")
def types() -> Response:
    """Return the events, for TypeScript."""
    return _typescript().response()


# Nothing here changes while the process lives: each is made once, at its first use.


@lru_cache(maxsize=1)
def _page() -> CachedAnswer:
    document = asyncapi()
    messages = document["components"]["messages"]
    page = render_template(
        "documents.html",
        client_events=[(event, messages[event.name]["payload"]) for event in CLIENT_EVENTS],
        server_events=[(event, messages[event.name]["payload"]) for event in SERVER_EVENTS],
        schemas={**document["components"]["schemas"], **openapi()["components"]["schemas"]},
        codes=ErrorCode.__args__,  # type: ignore[attr-defined]
        paths=openapi()["paths"],
        version=document["info"]["version"],
        written=written,
        bound=_bound,
    )
    return CachedAnswer(page.encode(), "text/html; charset=utf-8")


@lru_cache(maxsize=1)
def _style() -> CachedAnswer:
    return file_answer(STYLE)


@lru_cache(maxsize=1)
def _asyncapi() -> CachedAnswer:
    return CachedAnswer(jsonify(asyncapi()).get_data(), "application/json")


@lru_cache(maxsize=1)
def _openapi() -> CachedAnswer:
    return CachedAnswer(jsonify(openapi()).get_data(), "application/json")


@lru_cache(maxsize=1)
def _typescript() -> CachedAnswer:
    return CachedAnswer(typescript().encode(), "text/plain; charset=utf-8")


def _bound(schema: dict[str, Any]) -> str:
    """Return the bounds in a field's schema."""
    words = {"maxLength": "at most {} characters", "maxItems": "at most {}", "minimum": "at least {}"}
    options = [schema, *schema.get("anyOf", [])]
    bounds = [text.format(option[name]) for option in options for name, text in words.items() if name in option]
    return ", ".join(([schema["description"]] if "description" in schema else []) + bounds)
