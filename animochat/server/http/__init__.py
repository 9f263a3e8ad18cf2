"""HTTP requests: parsing, bounds, and the handler that serves a connection."""
