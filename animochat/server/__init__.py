"""Sockets, processes and frames: everything between gunicorn and an Engine.IO packet; no people, no rooms."""

#: Whether this process is a gunicorn worker of our class (worker.py): nothing works without it.
in_worker = False
