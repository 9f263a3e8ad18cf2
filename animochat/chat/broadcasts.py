"""Events for all connected clients, sent in slices that don't block the event loop."""

from __future__ import annotations

from collections.abc import Callable

from animochat.chat.connections import Connections
from animochat.protocol import packets
from animochat.time_slice import TimeSlice


def send_online_count(connections: Connections, online: int, frame: Callable[[str], bytes]) -> None:
    """Send `online-count` to everyone where it is due: at most once a second, and of many people a change of 1 %."""
    packet = packets.event("online-count", online)
    prepared = frame("4" + packet)
    time_slice = TimeSlice()
    for connection in connections:
        if connection.take_online_count(online):
            connection.transport.send_frame(prepared, packet)
        time_slice.yield_if_due()
