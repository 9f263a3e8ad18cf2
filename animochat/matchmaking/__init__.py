"""Who meets whom: the waiting pool, the history of meetings, the cooldown after a skip."""
