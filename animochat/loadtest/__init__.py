"""A crowd of simulated people, to size a deployment with: `animochat bench`.

It knows the protocol as any client does, and nothing of the server.
"""
