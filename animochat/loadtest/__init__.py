"""Simulated users, for sizing a deployment: `animochat bench`.

They use the protocol as any client does, and no part of the server.
"""
