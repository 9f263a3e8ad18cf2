"""Sockets, processes and frames: all between gunicorn and an Engine.IO packet, and no people, no rooms."""

#: Whether this process is a gunicorn worker of our class (worker.py): without one, nothing works.
in_worker = False
