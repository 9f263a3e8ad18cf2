"""The routes besides Socket.IO: health, statistics, the chat page, the operator's, and the common headers."""

from __future__ import annotations

from flask import Flask

from animochat.web import admin, cors, errors, health, metrics, page, security, stats, texts


def register(app: Flask) -> None:
    """Attach everything to an app made with `static_folder=None` (the page's blueprint serves /static).

    `app.extensions["animochat"]` is there already: its `settings` are read now, its `health()`, `stats()` and
    `metrics()` later, and its `moderation` and `readings` where `settings.admin_token` is set.
    """
    app.register_blueprint(health.blueprint)
    app.register_blueprint(stats.blueprint)
    app.register_blueprint(metrics.blueprint)
    app.register_blueprint(page.blueprint)
    app.register_blueprint(texts.blueprint(app.extensions["animochat"].settings))
    if app.extensions["animochat"].settings.admin_token is not None:
        app.register_blueprint(admin.blueprint)
    page.log_missing_libraries()
    errors.register(app)
    cors.register(app)
    security.register(app)
