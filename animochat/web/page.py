"""The chat page at `/`, for each lobby, and its files below `/static`: in the visitor's language, small on the wire,
cached well."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from flask import Blueprint, Response, current_app, render_template, request
from werkzeug.exceptions import NotFound

from animochat.environment import normalized_origin
from animochat.web.cached import FILE_HEADERS, CachedAnswer, file_answer
from animochat.web.cookies import cookie

STATIC = Path(__file__).with_name("static")

#: The page's languages, in the order of the settings, with their own names.
LANGUAGES = {
    code: json.loads((STATIC / "lang" / f"{code}.json").read_text("utf-8"))["language"] for code in ("en", "fil", "es")
}

#: The style sheets, in the order in which they apply. They are served as one file, under this name.
SHEET = "page.css"
SHEETS = ("base.css", "screens.css", "chat.css", "dialogs.css", "adapt.css")

#: Files of the pages that are not in the repository: `npm run build` puts them there.
VENDOR = STATIC / "vendor"
LIBRARIES = ("socket.io.esm.min.js", "uPlot.esm.js", "uPlot.min.css")

#: The cookie by which a visitor has chosen one (static/words.js sets it).
LANGUAGE_COOKIE = "language"

#: Files that browsers request under another name.
_ALIASES = {"tl": "fil"}

#: Seconds for which a file may be kept under an address that changes with its content: a year, the customary most.
FOREVER = 365 * 24 * 3600

# An entry of Accept-Language: the first part of its tag, and its weight.
_LANGUAGE = re.compile(
    r"(?:^|,)[ \t]*([A-Za-z]{1,8})[A-Za-z0-9-]*[ \t]*(?:;[ \t]*q=([01](?:\.[0-9]{0,3})?)[ \t]*)?(?=,|$)"
)

# Directories above which a page for a missing address still finds the page's own files.
_MAX_DEPTH = 8

_IMPORT = re.compile(r"""\b(?:from |import\()"\./([\w./-]+)\"""")

log = logging.getLogger(__name__)

blueprint = Blueprint("page", __name__, template_folder="templates")


def missing_libraries() -> list[str]:
    """Return the names of the libraries that are not there."""
    return [name for name in LIBRARIES if not (VENDOR / name).exists()]


def log_missing_libraries() -> None:
    """Log an error if there are any: the routes work, but no one can chat on the page."""
    missing = missing_libraries()
    if missing:
        log.error("the chat page does not work: %s missing; run `npm ci` and `npm run build`", ", ".join(missing))


@blueprint.get("/")
def index() -> Response:
    """Serve the page itself: cached, but checked each time by its ETag, so that a deployment reaches everyone.

    `?lobby=` names another lobby than the first; 404 with a way to that one where there is no such lobby.
    """
    settings = current_app.extensions["animochat"].settings
    lobbies = settings.lobbies
    lobby = request.args.get("lobby", lobbies[0])
    known = lobby in lobbies
    page = _page(
        language(), lobby if known else "", lobbies, settings.admin_token is not None, settings.public_url or ""
    )
    return page.response(200 if known else 404)


def not_found_page() -> Response | None:
    """Answer a browser that opens an address where nothing is. None for other clients, which get JSON."""
    depth = request.path.count("/") - 1
    if "text/html" not in request.headers.get("Accept", "") or depth > _MAX_DEPTH:
        return None
    return _not_found(language(), "../" * depth or "./").response(404, "no-store")


@lru_cache(maxsize=len(LANGUAGES) * (_MAX_DEPTH + 1))
def _not_found(language: str, root: str) -> CachedAnswer:
    """Make the page for an address where nothing is, from which `root` leads to the start page."""
    document = render_template(
        "missing.html", say=texts(language).__getitem__, language=language, root=root, files=files()
    )
    return CachedAnswer(document.encode(), "text/html; charset=utf-8", {"Vary": "Accept, Accept-Language, Cookie"})


@blueprint.get("/widget.js")
def widget() -> Response:
    """Serve the element for the pages of EMBED_ORIGINS; browsers keep it from others. 404 where there are none."""
    embedders = current_app.extensions["animochat"].settings.embed_origins
    if not embedders:
        raise NotFound
    response = _file("widget.js").response()
    response.vary.add("Origin")
    origin = normalized_origin(request.headers.get("Origin", ""))
    if origin is not None and ("*" in embedders or origin in embedders):
        response.headers["Access-Control-Allow-Origin"] = origin
    return response


@blueprint.get("/static/<path:filename>")
def static(filename: str) -> Response:
    """Serve a file under its plain name: as the page, checked each time."""
    return _file(filename).response()


@blueprint.get("/static/v/<kept>/<path:filename>")
def versioned(kept: str, filename: str) -> Response:
    """Serve a file under an address that changes when any file does, and never needs to be checked again.

    Modules import each other by relative names, so one version in the page's address is one for all. Another version
    than ours is that of another server while a new release is rolled out: it gets the file, and may not keep it.
    """
    forever = f"max-age={FOREVER}, public, immutable"
    return _file(filename).response(cache_control=forever if kept == version() else "no-cache")


@lru_cache(maxsize=1)
def version() -> str:
    """Return a hash of all the page's files, as they were at this process's first request."""
    digest = hashlib.sha256()
    for path in sorted(path for path in STATIC.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(STATIC)}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:12]


@lru_cache(maxsize=64)
def _page(language: str, lobby: str, lobbies: tuple[str, ...], reports_read: bool, public_url: str) -> CachedAnswer:
    """Make the document. An empty `lobby` makes the page for an unknown one.

    `reports_read`: there is an operator's page, so the rules may promise that a person reads every report.
    """
    document = render_template(
        "index.html",
        say=texts(language).__getitem__,
        language=language,
        languages=LANGUAGES,
        lobby=lobby,
        lobbies=lobbies,
        reports_read=reports_read,
        public_url=public_url,
        files=files(),
        modules=_modules("main.js"),
    )
    return CachedAnswer(document.encode(), "text/html; charset=utf-8", {"Vary": "Accept-Language, Cookie"})


def texts(language: str) -> dict[str, Any]:
    """Read the page's texts in a language, by their keys."""
    found: dict[str, Any] = json.loads((STATIC / "lang" / f"{language}.json").read_text("utf-8"))
    return found


def files() -> str:
    """Return where the page's files are: relative, as all of its addresses, since it may be served below a path."""
    return f"static/v/{version()}/"


def _modules(main: str) -> list[str]:
    """Return a module and all that it imports: named in the page, they are fetched at once, not level by level."""
    found = [main]
    for name in found:  # grows meanwhile
        code = (STATIC / name).read_text("utf-8")
        found += [it for it in _IMPORT.findall(code) if it not in found]
    return found


@lru_cache(maxsize=1)
def _names() -> frozenset[str]:
    """Return the files that there are: no other name reaches the file system, or stays in a cache."""
    return frozenset(path.relative_to(STATIC).as_posix() for path in STATIC.rglob("*") if path.is_file())


@cache
def _file(name: str) -> CachedAnswer:
    """Read a file. Raises NotFound."""
    if name == SHEET:
        css = "\n".join((STATIC / sheet).read_text("utf-8") for sheet in SHEETS)
        return CachedAnswer(css.encode(), "text/css; charset=utf-8", FILE_HEADERS)
    if name not in _names():
        raise NotFound
    return file_answer(STATIC / name)


def language() -> str:
    """Return the visitor's language: the chosen one, else the one that the browser likes best, else English."""
    chosen = cookie(LANGUAGE_COOKIE)
    return chosen if chosen in LANGUAGES else _preferred(request.headers.get("Accept-Language", ""))


def _preferred(accept_language: str) -> str:
    """Return the one of our languages that the browser likes best.

    Not Werkzeug's `best_match`: "es-MX, en;q=0.5" means English to it where Spanish is there but not Mexico's.
    """
    best, liked = "en", 0.0
    for match in _LANGUAGE.finditer(accept_language):
        primary = match[1].lower()
        language, quality = _ALIASES.get(primary, primary), float(match[2] or 1)
        if quality > liked and language in LANGUAGES:
            best, liked = language, quality
    return best
