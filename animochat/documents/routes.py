"""`GET /docs`: the documents to be read, without a script, and for machines."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, jsonify, render_template, request
from werkzeug.wrappers import Response as AnyResponse

from animochat.documents.asyncapi import asyncapi
from animochat.documents.events import CLIENT_EVENTS, SERVER_EVENTS
from animochat.documents.openapi import openapi
from animochat.documents.typescript import typescript, written
from animochat.sockets.payloads import ErrorCode

blueprint = Blueprint(
    "documents",
    __name__,
    url_prefix="/docs",
    template_folder="templates",
    static_folder="static",
    static_url_path="/static",
)


@blueprint.get("")
def read() -> AnyResponse:
    """The page: every event, type and route, from the documents below."""
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
    return _cached(Response(page))


@blueprint.get("/asyncapi.json")
def events() -> AnyResponse:
    """The events."""
    return _cached(jsonify(asyncapi()))


@blueprint.get("/openapi.json")
def http() -> AnyResponse:
    """The HTTP routes."""
    return _cached(jsonify(openapi()))


@blueprint.get("/animochat.d.ts")
def types() -> AnyResponse:
    """The events, for TypeScript."""
    return _cached(Response(typescript(), mimetype="text/plain"))


def _cached(response: Response) -> AnyResponse:
    """As the chat page: kept by browsers, but asked for anew each time by its ETag."""
    response.add_etag()
    response.cache_control.no_cache = True
    return response.make_conditional(request)


def _bound(schema: dict[str, Any]) -> str:
    """What a field's schema says beyond its type."""
    words = {"maxLength": "at most {} characters", "maxItems": "at most {}", "minimum": "at least {}"}
    options = [schema, *schema.get("anyOf", [])]
    bounds = [text.format(option[name]) for option in options for name, text in words.items() if name in option]
    return ", ".join(([schema["description"]] if "description" in schema else []) + bounds)
