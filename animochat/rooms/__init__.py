"""Rooms: their logs of messages, and how they end."""
