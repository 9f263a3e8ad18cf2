"""Sockets, processes and frames: all between gunicorn and an Engine.IO packet, and no people, no rooms."""
