"""The chat page at `/`, and its files below `/static`."""

from __future__ import annotations

from flask import Blueprint, make_response, render_template, request
from werkzeug.wrappers import Response

blueprint = Blueprint("page", __name__, static_folder="static", static_url_path="/static", template_folder="templates")


@blueprint.get("/")
def index() -> Response:
    """The page itself. Like its files it is cached, but asked for anew each time by its ETag.

    So a deployment reaches everybody at their next visit, and what has not changed costs an empty 304. The files'
    names carry no hash: the page's modules import each other by name, and there is no bundler to rewrite them.
    """
    response = make_response(render_template("index.html"))
    response.add_etag()
    response.cache_control.no_cache = True
    return response.make_conditional(request)
