"""What goes to everyone who is connected, in slices that leave the loop to others in between."""

from __future__ import annotations

import time
from collections.abc import Callable

from animochat.chat.connections import Connections
from animochat.protocol import packets
from animochat.time_slice import TimeSlice


def send_online_count(connections: Connections, online: int, frame: Callable[[str], bytes]) -> None:
    """Send `online-count` to everyone who doesn't know it yet, at most once a second each."""
    packet = packets.event("online-count", online)
    prepared = frame("4" + packet)
    time_slice = TimeSlice()
    for connection in connections:
        now = time.monotonic()
        if connection.online_count in (online, -1) or connection.closed or now - connection.online_count_at < 1:
            continue
        connection.online_count, connection.online_count_at = online, now
        connection.transport.send_frame(prepared, packet)
        time_slice.yield_if_due()
