"""The chat page at `/`, for each lobby, and its files below `/static`: in the visitor's language, small on the wire,
cached well."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

from flask import Blueprint, current_app, render_template, request, send_from_directory
from flask import Response as FlaskResponse
from werkzeug.wrappers import Response

STATIC = Path(__file__).with_name("static")

#: The languages that the page speaks, in the order of the settings, by their names in themselves.
LANGUAGES = {
    code: json.loads((STATIC / "lang" / f"{code}.json").read_text("utf-8"))["language"] for code in ("en", "fil", "es")
}

#: The style sheets, in the order in which they apply.
SHEETS = ("base.css", "screens.css", "chat.css", "dialogs.css", "adapt.css")

#: The cookie by which a visitor has chosen one (static/words.js sets it).
LANGUAGE_COOKIE = "language"

#: What browsers ask for under another name.
_ALIASES = {"tl": "fil"}

#: Seconds for which a file may be kept under an address that changes with its content: a year, the customary most.
FOREVER = 365 * 24 * 3600

#: What is worth compressing.
_TEXTS = {"application/json", "application/manifest+json", "image/svg+xml", "text/css", "text/html", "text/javascript"}

_IMPORT = re.compile(r"""\b(?:from |import\()"\./([\w./-]+)\"""")

blueprint = Blueprint("page", __name__, template_folder="templates")


@blueprint.get("/")
def index() -> Response:
    """The page itself: cached, but asked for anew each time by its ETag, so that a deployment reaches everybody.

    `?lobby=` names another lobby than the first; 404 with a way to that one where there is no such lobby.
    """
    lobbies = current_app.extensions["animochat"].settings.lobbies
    lobby = request.args.get("lobby", lobbies[0])
    known = lobby in lobbies
    response = FlaskResponse(_page(_language(), lobby if known else "", lobbies), 200 if known else 404)
    response.add_etag(weak=True)
    response.cache_control.no_cache = True
    response.vary.update(("Accept-Language", "Cookie"))
    return _compressed(response).make_conditional(request) if known else _compressed(response)


@blueprint.get("/static/<path:filename>")
def static(filename: str) -> Response:
    """A file under its plain name: as the page, asked for anew each time."""
    return _file(filename)


@blueprint.get("/static/v/<kept>/<path:filename>")
def versioned(kept: str, filename: str) -> Response:
    """A file under an address that changes when any file does, and never needs to be asked for again.

    Modules import each other by relative names, so one version in the page's address is one for all. Another version
    than ours is that of another server while a new release is rolled out: it gets the file, and may not keep it.
    """
    response = _file(filename)
    if kept == version():
        response.cache_control.no_cache = None
        response.cache_control.max_age = FOREVER
        response.cache_control.public = True
        response.cache_control.immutable = True
    return response


@lru_cache(maxsize=1)
def version() -> str:
    """What stands for the content of all the page's files, as they were when this process was first asked."""
    digest = hashlib.sha256()
    for path in sorted(path for path in STATIC.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(STATIC)}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:12]


@lru_cache(maxsize=64)
def _page(language: str, lobby: str, lobbies: tuple[str, ...]) -> str:
    """The document. `lobby` "": it says that there is no such one."""
    texts: dict[str, Any] = json.loads((STATIC / "lang" / f"{language}.json").read_text("utf-8"))
    return render_template(
        "index.html",
        say=texts.__getitem__,
        language=language,
        languages=LANGUAGES,
        lobby=lobby,
        lobbies=lobbies,
        files=f"/static/v/{version()}/",
        sheets=SHEETS,
        modules=_modules("main.js"),
    )


def _modules(main: str) -> list[str]:
    """What a module imports, and what that imports: named in the page, all is fetched at once, not level by level."""
    found = [main]
    for name in found:  # grows meanwhile
        code = (STATIC / name).read_text("utf-8")
        found += [it for it in _IMPORT.findall(code) if it not in found]
    return found[1:]


def _file(name: str) -> Response:
    """A file, or 404. Sets an ETag and "no-cache"; compressed if it is text and the browser takes it."""
    response = send_from_directory(STATIC, name, conditional=False)
    response.cache_control.no_cache = True
    # A file is no document: opened as one, it may do nothing. (And there are many: a short policy is felt.)
    response.headers["Content-Security-Policy"] = "default-src 'none'; frame-ancestors 'none'"
    if response.mimetype not in _TEXTS:
        return response.make_conditional(request, accept_ranges=True, complete_length=response.content_length)
    response.direct_passthrough = False
    etag, _ = response.get_etag()
    assert etag is not None
    # Weak: it stands for the file in either coding.
    response.set_etag(etag, weak=True)
    return _compressed(response).make_conditional(request)


def _compressed(response: Response) -> Response:
    response.vary.add("Accept-Encoding")
    if request.accept_encodings["gzip"]:
        response.set_data(_gzipped(response.get_data()))
        response.content_encoding = "gzip"
    return response


@lru_cache(maxsize=256)
def _gzipped(data: bytes) -> bytes:
    return gzip.compress(data, 9, mtime=0)


def _language() -> str:
    """The one that the visitor has chosen, else the one that the browser likes best, else English."""
    chosen = request.cookies.get(LANGUAGE_COOKIE)
    if chosen in LANGUAGES:
        return chosen
    # Not `best_match`, for which "es-MX, en;q=0.5" means English where Spanish is there but not Mexico's.
    for tag in request.accept_languages.values():
        primary = tag.split("-")[0].lower()
        if (language := _ALIASES.get(primary, primary)) in LANGUAGES:
            return language
    return "en"
