"""The operator's texts: terms, privacy and contact as pages, security.txt, robots.txt and the browsers' icon.

Each comes from a file in TEXTS_DIR, else from a short default that is made from the settings, so it agrees with them.
"""

from __future__ import annotations

import logging
import re
from datetime import datetime, timedelta, timezone
from functools import cache
from pathlib import Path

from flask import Blueprint, Response, render_template, request
from markdown_it import MarkdownIt

from animochat.moderation.lobby_moderation import BLOCK_MS, DAY_MS, REPORT_MS
from animochat.settings import Settings, SettingsError
from animochat.web.cached import CachedAnswer
from animochat.web.page import LANGUAGES, STATIC, files, language, texts

log = logging.getLogger(__name__)

#: The pages, by their addresses.
PAGES = ("terms", "privacy", "contact")
#: Files of the operator's that are served as they are, and their types.
PLAIN = {
    "security.txt": "text/plain; charset=utf-8",
    "robots.txt": "text/plain; charset=utf-8",
    "favicon.ico": "image/x-icon",
}
#: Days for which the default security.txt may be relied on; RFC 9116 wants less than a year.
_VALID_DAYS = 180

ROBOTS = "User-agent: *\nDisallow: /admin\nDisallow: /metrics\nDisallow: /socket.io/\nDisallow: /stats\n"

_PAGE = re.compile(rf"({'|'.join(PAGES)})(?:\.({'|'.join(LANGUAGES)}))?\.md")


def operators_texts(directory: str | None) -> dict[str, bytes]:
    """Read the operator's files, by their names. Raises SettingsError, and logs a file that has no place."""
    if directory is None:
        return {}
    found: dict[str, bytes] = {}
    for path in sorted(Path(directory).iterdir()):
        if path.name not in PLAIN and not _PAGE.fullmatch(path.name):
            log.warning("TEXTS_DIR: %r is not the name of a text, it is not served", path.name)
            continue
        try:
            found[path.name] = path.read_bytes()
            if path.suffix != ".ico":
                found[path.name].decode()
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError([f"TEXTS_DIR: {path.name} can't be read: {error}"]) from None
    return found


def blueprint(settings: Settings) -> Blueprint:
    """Return the routes. Raises SettingsError for a file that can't be read."""
    routes = Blueprint("texts", __name__, template_folder="templates")
    own = operators_texts(settings.texts_dir)
    facts = _facts(settings)

    @cache
    def page(name: str, language: str) -> CachedAnswer:
        written_in, markdown = _markdown(own, name, language, facts)
        document = render_template(
            "text.html",
            say=texts(language).__getitem__,
            language=language,
            text_language=written_in,
            name=name,
            html=to_html(markdown),
            files=files(),
        )
        return CachedAnswer(document.encode(), "text/html; charset=utf-8", {"Vary": "Accept-Language, Cookie"})

    @cache
    def plain(name: str) -> CachedAnswer:
        body = own.get(name) or (ROBOTS.encode() if name == "robots.txt" else (STATIC / "icons/192.png").read_bytes())
        kind = PLAIN[name] if name in own or name == "robots.txt" else "image/png"
        return CachedAnswer(body, kind)

    for name in PAGES:
        routes.add_url_rule(f"/{name}", name, lambda name=name: page(name, language()).response())
    for name in ("robots.txt", "favicon.ico"):
        routes.add_url_rule(f"/{name}", name.partition(".")[0], lambda name=name: plain(name).response())

    @routes.get("/.well-known/security.txt")
    def security() -> Response:
        body = own.get("security.txt") or default_security(settings.public_url or request.url_root).encode()
        return Response(body, content_type=PLAIN["security.txt"])

    return routes


def to_html(markdown: str) -> str:
    """Return CommonMark with tables as HTML. Markup in it is text, and no link runs a script."""
    html: str = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image").render(markdown)
    return html


def default_security(root: str) -> str:
    """Return a security.txt (RFC 9116) that names the contact page."""
    expires = datetime.now(timezone.utc) + timedelta(days=_VALID_DAYS)
    return (
        f"Contact: {root}contact\nExpires: {expires:%Y-%m-%dT00:00:00Z}\nPreferred-Languages: {', '.join(LANGUAGES)}\n"
    )


def _facts(settings: Settings) -> dict[str, object]:
    """Return the settings that the default texts use."""
    return {
        "messages_minutes": max(1, settings.report_window_minutes) if settings.store_messages else None,
        "history_hours": settings.match_history_hours,
        "block_days": BLOCK_MS // DAY_MS,
        "report_days": REPORT_MS // DAY_MS,
        "reports_read": settings.admin_token is not None,
    }


def _markdown(own: dict[str, bytes], name: str, language: str, facts: dict[str, object]) -> tuple[str, str]:
    """Return a text and its language: the operator's in the visitor's language, else in any, else the default."""
    for file, written_in in ((f"{name}.{language}.md", language), (f"{name}.md", "")):
        if file in own:
            return written_in, own[file].decode()
    return language, render_template(f"texts/{name}.{language}.md", **facts)
