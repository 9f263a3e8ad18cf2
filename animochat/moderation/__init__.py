"""Moderation: blocks, reports, bans, announcements, the word filter."""
