"""The HTTP routes as an OpenAPI 3.1 document: https://spec.openapis.org/oas/v3.1.0"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from animochat import __version__
from animochat.apidocs.asyncapi import schemas
from animochat.protocol.payloads import REASONS
from animochat.telemetry.history import Portion
from animochat.web.admin import MAX_PORTION, MAX_TIME, PORTION, AnnouncementRequest, BanRequest, PersonBanRequest
from animochat.web.payloads import (
    Accepted,
    Actions,
    Banned,
    Bans,
    Failed,
    Healthy,
    Live,
    Reports,
    ResolvedReports,
    Stats,
    Unhealthy,
)


@dataclass(frozen=True)
class Route:
    """A route. `answers`: the type of the JSON by status. `media`: the type of an answer that isn't our JSON.

    `body`: the type of the request's JSON. `query`: its parameters, in the document's form.
    """

    path: str
    summary: str
    answers: dict[int, Any] = field(default_factory=dict)
    media: str = "application/json"
    method: str = "get"
    body: Any = None
    query: Sequence[dict[str, Any]] = ()

    @property
    def for_operator(self) -> bool:
        """Return whether it needs ADMIN_TOKEN."""
        return self.path.startswith("/admin/")


PORTION_PARAMETERS = [
    {"name": "offset", "in": "query", "schema": {"type": "integer", "minimum": 0, "default": 0}},
    {
        "name": "count",
        "in": "query",
        "schema": {"type": "integer", "minimum": 1, "maximum": MAX_PORTION, "default": PORTION},
    },
]

REASON_PARAMETERS = [
    {"name": "reason", "in": "query", "description": "Only this one", "schema": {"type": "string", "enum": [*REASONS]}}
]

SINCE_PARAMETERS = [
    {
        "name": "since",
        "in": "query",
        "description": "The `until` of an earlier answer: return only later intervals",
        "schema": {"type": "integer", "minimum": 0, "maximum": MAX_TIME, "default": 0},
    }
]

ROUTES = [
    Route("/", "The chat page.", media="text/html"),
    Route("/widget.js", "The chat as an element, for the pages of EMBED_ORIGINS.", media="text/javascript"),
    Route("/terms", "The operator's terms.", media="text/html"),
    Route("/privacy", "What is kept of a person, and for how long.", media="text/html"),
    Route("/contact", "How to reach the operator.", media="text/html"),
    Route("/.well-known/security.txt", "Where to report a vulnerability (RFC 9116).", media="text/plain"),
    Route("/robots.txt", "What crawlers should leave alone.", media="text/plain"),
    Route("/favicon.ico", "The icon, for browsers that ask for it here.", media="image/png"),
    Route(
        "/health", "Report whether this server and its store work, for load balancers.", {200: Healthy, 503: Unhealthy}
    ),
    Route("/health/live", "Report whether this process serves requests, for supervisors that restart it.", {200: Live}),
    Route("/stats", "The numbers of all servers: people, rooms, matches, messages.", {200: Stats, 503: Failed}),
    Route("/metrics", "This server's metrics for Prometheus; requires METRICS_TOKEN if it is set.", media="text/plain"),
    Route("/docs", "These documents as a page.", media="text/html"),
    Route("/docs/asyncapi.json", "The events, as AsyncAPI 3."),
    Route("/docs/openapi.json", "The HTTP routes, as OpenAPI 3.1: this document."),
    Route("/docs/animochat.d.ts", "The events as types for TypeScript.", media="text/plain"),
    Route(
        "/admin/api/reports",
        "List open reports: threat and underage first, then the oldest.",
        {200: Reports},
        query=PORTION_PARAMETERS + REASON_PARAMETERS,
    ),
    Route(
        "/admin/api/reports/resolved",
        "List resolved reports, the latest first.",
        {200: ResolvedReports},
        query=PORTION_PARAMETERS + REASON_PARAMETERS,
    ),
    Route(
        "/admin/api/actions", "List what moderators did, the latest first.", {200: Actions}, query=PORTION_PARAMETERS
    ),
    Route("/admin/api/reports/{report}/dismiss", "Dismiss a report.", {200: Accepted}, method="post"),
    Route(
        "/admin/api/reports/{report}/ban",
        "Ban the reported person and resolve all reports on them.",
        {200: Banned},
        method="post",
        body=BanRequest,
    ),
    Route("/admin/api/bans", "List bans.", {200: Bans}, query=PORTION_PARAMETERS),
    Route("/admin/api/bans", "Ban a person.", {200: Banned}, method="post", body=PersonBanRequest),
    Route("/admin/api/bans/{subject}", "Lift a ban.", {200: Accepted}, method="delete"),
    Route(
        "/admin/api/announcements",
        "Send an announcement to everyone.",
        {200: Accepted},
        method="post",
        body=AnnouncementRequest,
    ),
    Route("/admin/api/readings", "The metric history of the last hour.", {200: Portion}, query=SINCE_PARAMETERS),
]

STATUS = {200: "Success", 503: "The store is unavailable"}


@functools.cache
def openapi() -> dict[str, Any]:
    """Return the document."""
    types = [kind for route in ROUTES for kind in [*route.answers.values(), *([route.body] if route.body else [])]]
    payloads, components = schemas([*types, Failed])
    schema_of = dict(zip([*types, Failed], payloads, strict=True))
    paths: dict[str, Any] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method] = _operation(route, schema_of)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "AniMoChat",
            "version": __version__,
            "description": "Health, numbers, documents, and the operator's API, which exists if ADMIN_TOKEN is set."
            " The chat itself is in asyncapi.json.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "operator": {"type": "http", "scheme": "bearer", "description": "ADMIN_TOKEN, or a moderator's token"}
            },
        },
    }


def _operation(route: Route, schema_of: dict[Any, Any]) -> dict[str, Any]:
    answers = {
        str(status): {"description": STATUS[status], "content": {route.media: {"schema": schema_of[kind]}}}
        for status, kind in route.answers.items()
    } or {"200": {"description": STATUS[200], "content": {route.media: {}}}}
    answers["default"] = {"description": "An error", "content": {"application/json": {"schema": schema_of[Failed]}}}
    operation: dict[str, Any] = {"summary": route.summary, "responses": answers}
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"{(\w+)}", route.path)
    ]
    parameters += route.query
    if parameters:
        operation["parameters"] = parameters
    if route.body is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": schema_of[route.body]}},
        }
    if route.for_operator:
        operation["security"] = [{"operator": []}]
    return operation
