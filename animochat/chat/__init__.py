"""The events of the wire protocol, and who is connected here. Knows nothing of keys and scripts."""
