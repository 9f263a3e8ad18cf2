"""AniMoChat: an anonymous one-to-one chat server."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from animochat.app import create_app as create_app

__version__ = "0.1.0"
__all__ = ["__version__", "create_app"]


def __getattr__(name: str) -> object:
    # Loaded when asked for: gunicorn's master imports this package too, and must not load ssl and sockets by way of the
    # application before its workers have patched them for gevent.
    if name == "create_app":
        from animochat.app import create_app

        return create_app
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
