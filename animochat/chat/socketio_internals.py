"""The private parts of python-socketio that the server depends on, under public names.

`tests/server/test_library_internals.py` fails when the library changes one.
"""

from __future__ import annotations

from typing import Any

import socketio
from socketio import exceptions


class SocketIOBase(socketio.Server):
    """python-socketio's server: its table of handlers and its handling of one packet, without the transport.

    `eio_sid` is the id of an Engine.IO session.
    """

    def engine_class(self) -> Any:
        """Return the factory of the Engine.IO server; called by the constructor."""
        raise NotImplementedError

    def listens(self, event: str, namespace: str) -> bool:
        """Return whether the application has a function for that event."""
        return self._get_event_handler(event, namespace, ())[0] is not None

    def trigger(self, event: str, namespace: str, *arguments: Any) -> Any:
        """Call the application's handler of an event, and return what it returns."""
        return self._trigger_event(event, namespace, *arguments)

    def ask_to_connect(self, namespace: str, sid: str, environ: dict[str, Any], auth: Any) -> dict[str, Any] | None:
        """Call the application's `connect` handler. Return the data of its refusal; None where it accepts."""
        try:
            try:
                accepted = self._trigger_event("connect", namespace, sid, environ, auth)
            except TypeError:
                if auth is not None:
                    raise
                accepted = self._trigger_event("connect", namespace, sid, environ)
        except exceptions.ConnectionRefusedError as refusal:
            return dict(refusal.error_args)
        return dict(exceptions.ConnectionRefusedError().error_args) if accepted is False else None

    def connect_client(self, eio_sid: str, namespace: str, auth: Any) -> None:
        """Handle a CONNECT packet."""
        self._handle_connect(eio_sid, namespace, auth)

    def disconnect_client(self, eio_sid: str, namespace: str, reason: str) -> None:
        """Handle a DISCONNECT packet, or the end of the session."""
        self._handle_disconnect(eio_sid, namespace, reason)

    def run_handler(self, eio_sid: str, namespace: str, sid: str, ack_id: int | None, data: list[Any]) -> None:
        """Call the application's handler of an event, and acknowledge what it returns."""
        self._handle_event_internal(self, sid, eio_sid, data, namespace, ack_id)

    def with_attachments(self, data: Any, attachments: list[bytes]) -> Any:
        """Return a binary packet's data with its attachments in their places.

        Raises:
            IndexError, TypeError: it names attachments that there are not.
        """
        return self.packet_class.reconstruct_binary(data, attachments)

    def send_packet(self, eio_sid: str, packet: Any) -> None:
        """Send a Socket.IO packet."""
        self._send_packet(eio_sid, packet)

    def send_engine_packet(self, eio_sid: str, packet: Any) -> None:
        """Send an Engine.IO packet that was made once for many."""
        self._send_eio_packet(eio_sid, packet)

    def _engineio_server_class(self) -> Any:
        return self.engine_class()


class ManagerBase(socketio.Manager):
    """python-socketio's table of clients and rooms of one process."""

    def new_ack_id(self, sid: str, callback: Any) -> int:
        """Return the id of an acknowledgement on which `callback` is called."""
        number: int = self._generate_ack_id(sid, callback)
        return number


class QueueBase(socketio.PubSubManager):
    """The same for several processes, which share a message queue."""

    def publish(self, message: dict[str, Any]) -> None:
        """Send a message to the other processes."""
        raise NotImplementedError

    def messages(self) -> Any:
        """Yield the messages of the other processes, as they come."""
        raise NotImplementedError

    def _publish(self, data: dict[str, Any]) -> None:
        self.publish(data)

    def _listen(self) -> Any:
        return self.messages()
