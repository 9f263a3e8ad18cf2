"""Presence: connections, workers, heartbeats, the online count."""
