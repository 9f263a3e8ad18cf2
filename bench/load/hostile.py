"""Hostile connections, until the process is ended; a client that was cut off connects again after five seconds.

    python load/hostile.py '{"url": "ws://127.0.0.1:3001", "count": 1000, "addresses": 4, "kinds": null}'

`addresses`: number of loopback addresses to use (127.0.1.1, 127.0.1.2, …); `kinds`: default all. Prints a line of JSON
every second: for each kind of attack, how many are connected now, and how many were cut off or refused so far.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import socket
import sys
from collections.abc import Callable, Generator
from typing import cast
from urllib.parse import urlsplit

from websockets.frames import Frame, Opcode

#: Seconds between two reports, until a connection is tried again, between the drops of a slow sender, and until all
#: have connected: not at once, because honest clients are measured during the attack, not in its first second.
LOOK, AGAIN, DROP, ARRIVING = 1.0, 5.0, 0.5, 2.0

#: Bytes of a flood per write, and writes in a row while the socket accepts them.
BLOCK, IN_A_ROW = 16 * 1024, 8

#: Bytes that the kernel buffers for a connection while the server doesn't read. The default is megabytes, which would
#: fill the attacker's own machine, and here that of the load and the store as well.
SEND_BUFFER = 64 * 1024

CONNECT = "40"

QUOTED = '"a",'

#: Four header fields of 7 to 8 kB, each of many parts.
LARGE_FIELDS = (
    f"Accept-Language: {'a-b;q=0.1,' * 760}\r\nAccept-Encoding: {'a;q=0.1,' * 950}\r\n"
    f"If-None-Match: {QUOTED * 1900}\r\nCookie: {'a=b;' * 1800}\r\n"
)


def frame(data: str | bytes, opcode: Opcode = Opcode.TEXT, fin: bool = True) -> bytes:
    """Return a client's frame."""
    return Frame(opcode, data.encode() if isinstance(data, str) else data, fin).serialize(mask=True)


def event(name: str, *arguments: object, ack: str = "") -> bytes:
    """Return the frame of a Socket.IO event."""
    return frame(f"42{ack}{json.dumps([name, *arguments])}")


def block(one: bytes) -> bytes:
    """Repeat a frame until it fills a block."""
    return one * -(-BLOCK // len(one))


#: The client's next bytes, given the body of the last response; empty at first.
Conversation = Generator[bytes, bytes, None]


def request(target: str, fields: str = "", method: str = "GET", body: bytes | None = None) -> bytes:
    length = f"Content-Length: {len(body)}\r\n" if body is not None else ""
    return f"{method} {target} HTTP/1.1\r\nHost: chat\r\n{fields}{length}\r\n".encode() + (body or b"")


def asking(one: bytes) -> Conversation:
    """Send the same request again after each response."""
    while True:
        yield one


def posting(body: bytes) -> Conversation:
    """Open a session on long polling, and post the same payload again after each response."""
    target = "/socket.io/?EIO=4&transport=polling"
    answer = yield request(target)
    target += "&sid=" + json.loads(answer[1:])["sid"]
    yield request(target, method="POST", body=CONNECT.encode())
    while (yield request(target, method="POST", body=body)) == b"ok":
        pass
    raise ValueError


def handshake() -> bytes:
    key = base64.b64encode(os.urandom(16)).decode()
    return (
        "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: chat\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    ).encode()


class Attacker(asyncio.Protocol):
    """One connection. It starts as a bare connection, or as a client that has sent CONNECT."""

    def __init__(self, talks: bool, begin: Callable[[Attacker], None], count: dict[str, int]) -> None:
        self._talks = talks
        self._begin = begin
        self._count = count
        self._open = False
        self._flood = b""
        self._conversation: Conversation | None = None
        self._answer = b""
        self._writable = True
        self._timer: asyncio.TimerHandle | None = None
        self.gone = asyncio.get_running_loop().create_future()
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=0)
        if self._talks:
            self.transport.write(handshake())
        else:
            self._opened()

    def data_received(self, data: bytes) -> None:
        if self._talks and not self._open:
            if not data.startswith(b"HTTP/1.1 101"):
                self.transport.abort()
                return
            self.transport.write(frame(CONNECT))
            self._opened()
        elif self._conversation is not None:
            self._answer += data
            head, end, body = self._answer.partition(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
            if end and length is not None and len(body) >= int(length[1]):
                self._answer = b""
                self._say(body)

    def converse(self, conversation: Conversation) -> None:
        """Send the bytes that the conversation yields, each after the last response."""
        self._conversation = conversation
        self._say(None)

    def _say(self, answer: bytes | None) -> None:
        assert self._conversation is not None
        try:
            self.transport.write(next(self._conversation) if answer is None else self._conversation.send(answer))
        except ValueError:  # refused, or cut off
            self.transport.abort()

    def eof_received(self) -> None:
        self.transport.abort()  # closing would wait for unsent bytes

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._count["now"] -= self._open
        self._count["ended" if self._open else "refused"] += 1
        self.gone.set_result(None)

    def pause_writing(self) -> None:
        self._writable = False

    def resume_writing(self) -> None:
        self._writable = True
        self._write_more()

    def flood(self, data: bytes) -> None:
        """Write the data as often as the socket accepts it."""
        self._flood = data
        self._write_more()

    def repeat(self, seconds: float, data: bytes) -> None:
        """Write the data every `seconds` seconds."""

        def again() -> None:
            if self._writable:
                self.transport.write(data)
            self._timer = asyncio.get_running_loop().call_later(seconds, again)

        again()

    def _opened(self) -> None:
        self._open = True
        self._count["now"] += 1
        self._begin(self)

    def _write_more(self) -> None:
        for _ in range(IN_A_ROW):
            if not self._flood or not self._writable or self.transport.is_closing():
                return
            self.transport.write(self._flood)
        asyncio.get_running_loop().call_soon(self._write_more)


def flooding(one: bytes) -> Callable[[Attacker], None]:
    data = block(one)
    return lambda attacker: attacker.flood(data)


def empty_fragments(attacker: Attacker) -> None:
    attacker.transport.write(frame("4", fin=False))
    attacker.flood(block(frame("", Opcode.CONT, fin=False)))


def oversized_frames(attacker: Attacker) -> None:
    attacker.transport.write(bytes([0x81, 0xFF]) + (2**40).to_bytes(8, "big") + bytes(4))
    attacker.flood(b"x" * BLOCK)


def slow_reader(attacker: Attacker) -> None:
    """Request answers and read none."""
    attacker.transport.pause_reading()
    attacker.repeat(LOOK, event("cancel-match", ack="1") * 20)


def slow_head(attacker: Attacker) -> None:
    attacker.transport.write(b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: chat\r\n")
    attacker.repeat(DROP, b"X: y\r\n")


def slow_body(attacker: Attacker) -> None:
    attacker.transport.write(request("/health", "Content-Length: 60000\r\n", "POST"))
    attacker.repeat(DROP, b"x")


def conversing(conversation: Callable[[bytes], Conversation], one: bytes) -> Callable[[Attacker], None]:
    return lambda attacker: attacker.converse(conversation(one))


def silent(attacker: Attacker) -> None:
    pass


#: Attacks over an open WebSocket, after CONNECT was sent.
TALKERS: dict[str, Callable[[Attacker], None]] = {
    "flood of messages": flooding(event("send-message", "buy this")),
    "flood of typing": flooding(event("typing", True)),
    "flood of nonsense": flooding(frame(f'42["{"x" * 200}",{{}}]')),
    "flood of cancel-match": flooding(event("cancel-match", ack="1")),
    "flood of large messages": flooding(event("send-message", {"content": "x" * 90_000})),
    "flood of pings": flooding(frame("ping", Opcode.PING)),
    "flood of pongs": flooding(frame("3")),
    "flood of empty fragments": empty_fragments,
    "oversized frames": oversized_frames,
    "broken frames": lambda attacker: attacker.flood(os.urandom(BLOCK)),
    "slow reader": slow_reader,
    "silent": silent,
}

#: Attacks over a bare connection.
STRANGERS: dict[str, Callable[[Attacker], None]] = {
    "slow head": slow_head,
    "never a word": silent,
    "endless head": lambda attacker: attacker.flood(b"x" * BLOCK),
    "half a WebSocket": lambda attacker: attacker.transport.write(handshake()),
    "slow body": slow_body,
    "flood of pages": conversing(asking, request("/", "Accept-Encoding: gzip\r\n")),
    "flood of large heads": conversing(asking, request("/", LARGE_FIELDS)),
    "flood of documents": conversing(asking, request("/docs")),
    "flood of probes": conversing(asking, request("/health")),
    "flood of requests ahead": flooding(request("/health/live")),
    "polling: flood of pongs": conversing(posting, b"\x1e".join([b"3"] * 1000)),
    "polling: flood of requests": conversing(posting, b"6"),
}

KINDS = [*TALKERS, *STRANGERS]


async def attack(kind: str, target: tuple[str, int], address: str, delay: float, count: dict[str, int]) -> None:
    """Attack without end, after `delay` seconds."""
    loop = asyncio.get_running_loop()
    await asyncio.sleep(delay)
    while True:
        with socket.socket() as connection:
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
            connection.bind((address, 0))
            attacker = Attacker(kind in TALKERS, {**TALKERS, **STRANGERS}[kind], count)
            try:
                await loop.sock_connect(connection, target)
                await loop.create_connection(lambda attacker=attacker: attacker, sock=connection)
            except OSError:
                count["refused"] += 1
            else:
                await attacker.gone
        await asyncio.sleep(AGAIN)


async def main(url: str, count: int, addresses: int, kinds: list[str] | None) -> None:
    parts = urlsplit(url)
    target = (parts.hostname or "", parts.port or 80)
    chosen = kinds or KINDS
    counts = {kind: {"now": 0, "ended": 0, "refused": 0} for kind in chosen}
    attacks = [
        asyncio.ensure_future(
            attack(kind, target, f"127.0.1.{1 + number % addresses}", number / count * ARRIVING, counts[kind])
        )
        for number, kind in enumerate(chosen[number % len(chosen)] for number in range(count))
    ]
    while not any(one.done() for one in attacks):  # one that ends has a bug
        print(json.dumps(counts), flush=True)
        await asyncio.sleep(LOOK)
    await asyncio.gather(*attacks)


if __name__ == "__main__":
    asyncio.run(main(**json.loads(sys.argv[1])))
