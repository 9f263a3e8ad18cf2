"""Sockets, processes and frames: everything between gunicorn and an Engine.IO packet; no people, no rooms."""
