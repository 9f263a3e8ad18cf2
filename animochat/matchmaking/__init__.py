"""Matching: the waiting pool, the history of matches, the cooldown after a skip."""
