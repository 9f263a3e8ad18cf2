"""WebSocket frames and connections (RFC 6455)."""
