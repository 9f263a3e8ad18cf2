"""`/admin`, the operator's page, and the JSON API below `/admin/api`, which docs/moderation.md describes.

Attached only if ADMIN_TOKEN is set. Only the operator may use it (web/operator.py); the moderation service does the
work.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from flask import Blueprint, Response, current_app, make_response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from msgspec import Meta
from werkzeug.exceptions import BadRequest, NotFound, Unauthorized, UnsupportedMediaType

from animochat.moderation.lobby_moderation import HOUR_MS, Ban, Origin, Report
from animochat.moderation.moderators import Action
from animochat.moderation.service import ModerationService
from animochat.protocol.payloads import REASONS, Reason
from animochat.telemetry.history import MetricHistory
from animochat.web import operator
from animochat.web.errors import http_error
from animochat.web.payloads import Banned

T = TypeVar("T")

#: Reports, and bans, in one answer.
PORTION = 20
MAX_PORTION = 100

#: The largest offset in a list.
MAX_OFFSET = 1_000_000_000

#: The latest time that a request may name, Unix ms: the largest integer that Lua's numbers hold exactly.
MAX_TIME = 2**53

#: Bytes of a request: the longest note and some more.
MAX_BODY = 16 * 1024

#: As the chat page's (web/security.py), but for a form, and without WebSockets.
_CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
    " base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)

blueprint = Blueprint("admin", __name__, url_prefix="/admin")


class BanRequest(msgspec.Struct):
    """`hours`: null for a permanent ban. Required, so that leaving it out never bans permanently.

    `reason`: sent to the banned person; "" for none. `note`: for other moderators.
    """

    hours: Annotated[float, Meta(gt=0, le=87_600)] | None
    address: bool = False
    device: bool = True
    note: Annotated[str, Meta(max_length=1_000)] = ""
    reason: Reason | Literal[""] = ""


class PersonBanRequest(BanRequest, kw_only=True):
    """A ban of a person without a report. `lobby`: that person's, if known."""

    person: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
    lobby: str | None = None


class AnnouncementRequest(msgspec.Struct):
    """An announcement to everyone, or to everyone in one lobby."""

    text: Annotated[str, Meta(max_length=500)]
    lobby: str | None = None


@blueprint.before_request
def refuse_strangers() -> None:
    request.max_content_length = MAX_BODY
    if request.endpoint != "admin.login":
        operator.require()


@blueprint.after_request
def protect(response: Response) -> Response:
    response.headers["Content-Security-Policy"] = _CONTENT_SECURITY_POLICY
    # With the chat page's "no-referrer" a form would not say where it comes from.
    response.headers["Referrer-Policy"] = "same-origin"
    return response


# The page


@blueprint.errorhandler(Unauthorized)
def ask_for_the_token(error: Unauthorized) -> ResponseReturnValue:
    """Ask a browser that opens the page for the token; answer everything else with the JSON error."""
    if request.endpoint in ("admin.index", "admin.charts", "admin.login"):
        asked_for = _charts_or_index() if request.endpoint == "admin.login" else request.endpoint
        page = render_template("admin_login.html", wrong=request.endpoint == "admin.login", asked_for=asked_for)
        return page, 401, {"WWW-Authenticate": "Bearer"}
    return http_error(error)


@blueprint.get("")
def index() -> ResponseReturnValue:
    """Reports, bans, an announcement, and the log of actions: of all lobbies, or of one (`?lobby=`).

    `?state=resolved`: resolved reports. `?reason=`: only reports of this one. `?reports=`, `?bans=` and `?actions=`:
    how many to leave out of each list.
    """
    lobby, reason = _lobby(request.args.get("lobby")), _reason()
    state = "resolved" if request.args.get("state") == "resolved" else "open"
    return render_template(
        "admin.html",
        reports=_page("reports", partial(_oversight().reports, lobby=lobby, reason=reason, state=state), PORTION),
        bans=_page("bans", partial(_oversight().bans, lobby=lobby), MAX_PORTION),
        actions=_page("actions", partial(_oversight().actions, lobby=lobby), PORTION),
        state=state,
        operator=operator.name(),
        lobby=lobby,
        lobbies=_oversight().lobbies,
        reason=reason,
        reasons=REASONS,
        time_of=_time_of,
    )


@dataclass(frozen=True)
class Page:
    """A page of a list of `total` entries: up to `size` of them, after the first `offset`."""

    entries: Sequence[Report | Ban | Action]
    offset: int
    size: int
    total: int


def _page(name: str, some: Callable[[int, int], tuple[int, Sequence[Report | Ban | Action]]], size: int) -> Page:
    """Return the requested page of a list, or the last one: the list shrinks while the operator works."""
    offset = _offset(name)
    total, entries = some(offset, size)
    if total and not entries:
        offset = (total - 1) // size * size
        total, entries = some(offset, size)
    return Page(entries, offset, size, total)


@blueprint.get("/charts")
def charts() -> ResponseReturnValue:
    """Serve the page with the workers' metrics of the last hour."""
    return render_template("admin_charts.html")


@blueprint.post("/login")
def login() -> ResponseReturnValue:
    """Open a session with the token from the form."""
    operator.require_own_page()
    holder = operator.holder_of(request.form.get("token", "").encode("utf-8", "replace"))
    if holder is None:
        raise Unauthorized
    response = make_response(redirect(url_for(_charts_or_index()), 303))
    operator.open_session(response, holder)
    return response


@blueprint.post("/logout")
def logout() -> ResponseReturnValue:
    response = make_response(redirect(url_for("admin.index"), 303))
    operator.close_session(response)
    return response


def _charts_or_index() -> str:
    """Return the page that was requested before the login, from the login form."""
    return "admin.charts" if request.form.get("asked_for") == "admin.charts" else "admin.index"


# The API


@blueprint.get("/api/reports")
def list_reports() -> Response:
    total, reports = _oversight().reports(*_portion(), _lobby(request.args.get("lobby")), _reason())
    return _json({"open": total, "reports": reports})


@blueprint.get("/api/reports/resolved")
def list_resolved() -> Response:
    total, reports = _oversight().reports(*_portion(), _lobby(request.args.get("lobby")), _reason(), "resolved")
    return _json({"total": total, "reports": reports})


@blueprint.get("/api/actions")
def list_actions() -> Response:
    total, actions = _oversight().actions(*_portion(), _lobby(request.args.get("lobby")))
    return _json({"total": total, "actions": actions})


@blueprint.post("/api/reports/<report>/dismiss")
def dismiss_report(report: str) -> Response:
    if not _oversight().dismiss(report):
        raise NotFound("No open report has this id")
    return _json({"ok": True})


@blueprint.post("/api/reports/<report>/ban")
def ban_reported(report: str) -> Response:
    asked = _body(BanRequest)
    ms, note = _milliseconds(asked.hours), asked.note.strip()
    done = _oversight().ban_reported(report, ms, note, asked.reason, address=asked.address, device=asked.device)
    if done is None:
        raise NotFound("No report has this id")
    return _banned(*done)


@blueprint.get("/api/bans")
def list_bans() -> Response:
    total, bans = _oversight().bans(*_portion(), _lobby(request.args.get("lobby")))
    return _json({"total": total, "bans": bans})


@blueprint.post("/api/bans")
def ban_person() -> Response:
    asked = _body(PersonBanRequest)
    ms, note, lobby = _milliseconds(asked.hours), asked.note.strip(), _lobby(asked.lobby)
    along = {"address": asked.address, "device": asked.device}
    return _banned(*_oversight().ban(asked.person, ms, note, lobby, asked.reason, **along))


@blueprint.delete("/api/bans/<subject>")
def lift_ban(subject: str) -> Response:
    if not _oversight().lift(subject):
        raise NotFound("No ban has this id")
    return _json({"ok": True})


@blueprint.post("/api/announcements")
def announce() -> Response:
    asked = _body(AnnouncementRequest)
    text = asked.text.strip()
    if not text:
        raise BadRequest("The text is empty")
    _oversight().announce(text, _lobby(asked.lobby))
    return _json({"ok": True})


@blueprint.get("/api/readings")
def list_readings() -> Response:
    since = request.args.get("since", 0, type=int)
    if not 0 <= since <= MAX_TIME:
        raise BadRequest(f"since must be from 0 to {MAX_TIME} (Unix milliseconds)")
    readings: MetricHistory = current_app.extensions["animochat"].readings
    return _json(readings.portion(since))


def _banned(person: str, origin: Origin) -> Response:
    banned = Banned(True, person, addressBanned=origin.address != "", deviceBanned=origin.device != "")
    return _json(banned)


def _oversight() -> ModerationService:
    oversight: ModerationService = current_app.extensions["animochat"].moderation
    return oversight.acting_as(operator.name())


def _lobby(name: str | None) -> str | None:
    """Return the named lobby; None for all. Raises NotFound."""
    if name is not None and name not in _oversight().lobbies:
        raise NotFound("Unknown lobby")
    return name


def _reason() -> str:
    """Return `?reason=`, or "" for all. Raises BadRequest."""
    reason = request.args.get("reason", "")
    if reason and reason not in REASONS:
        raise BadRequest(f"reason must be one of {', '.join(REASONS)}")
    return reason


def _body(kind: type[T]) -> T:
    """Return the request's JSON. Raises BadRequest, UnsupportedMediaType, RequestEntityTooLarge."""
    if not request.is_json:  # which no form of another page's can send
        raise UnsupportedMediaType("Content-Type must be application/json")
    try:
        return msgspec.json.decode(request.get_data(), type=kind)
    except msgspec.DecodeError as error:  # ValidationError is one
        raise BadRequest(str(error)) from None


def _portion() -> tuple[int, int]:
    """Return `?offset=0&count=20`, checked."""
    count = request.args.get("count", PORTION, type=int)
    if not 1 <= count <= MAX_PORTION:
        raise BadRequest(f"count must be from 1 to {MAX_PORTION}")
    return _offset("offset"), count


def _offset(name: str) -> int:
    offset = request.args.get(name, 0, type=int)
    if not 0 <= offset <= MAX_OFFSET:
        raise BadRequest(f"{name} must be from 0 to {MAX_OFFSET}")
    return offset


def _json(value: Any) -> Response:
    return Response(msgspec.json.encode(value), mimetype="application/json")


def _milliseconds(hours: float | None) -> int | None:
    return None if hours is None else max(1, int(hours * HOUR_MS))


def _time_of(ms: int) -> str:
    """Return a Unix time in ms for `<time datetime>`."""
    return datetime.fromtimestamp(ms / 1000, timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z")
