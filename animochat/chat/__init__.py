"""The events of the wire protocol, and the connected clients. Knows nothing of keys and scripts."""
