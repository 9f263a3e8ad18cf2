"""The wire: events, payloads, packets, offsets, errors, and the channel between workers."""
