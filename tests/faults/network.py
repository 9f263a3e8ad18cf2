"""The network between two processes, in the hands of a test: a TCP relay that is cut, loses connections, or is slow."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar
from urllib.parse import urlsplit

T = TypeVar("T")


class _Link:
    """One relayed connection: the calling side and, once connected, the called side."""

    def __init__(self, near: asyncio.StreamWriter) -> None:
        self.near = near
        self.far: asyncio.StreamWriter | None = None
        #: The calling side has sent `Network.prompt`.
        self.prompt = False
        #: The calling side has sent `Network.held`.
        self.held = False
        #: No bytes pass in either direction, without any signal to the two sides.
        self.lost = False


class Network:
    """Relays each connection to it to `target` ("http://host:port" or any URL with host and port), which may change.

    A context manager. Its methods return when their work is done, and may be called from any thread.
    """

    def __init__(self, target: str) -> None:
        self.target = target
        #: Seconds by which every byte is delayed, in each direction.
        self.delay = 0.0
        #: A connection on which the calling side sends this is neither delayed nor held from then on.
        self.prompt: bytes | None = None
        #: If set, only connections on which the calling side has sent this are held.
        self.held: bytes | None = None
        #: Whether new connections are accepted; those that come while it is down are closed at once.
        self.up = True
        self._answers = asyncio.Event()
        self._answers.set()
        self._requests = asyncio.Event()
        self._requests.set()
        self._links: set[_Link] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Network:
        self._thread.start()

        async def listen() -> int:
            self._server = await asyncio.start_server(self._accepted, "127.0.0.1", 0)
            return int(self._server.sockets[0].getsockname()[1])

        self.port = self._run(listen())
        self.url = f"{urlsplit(self.target).scheme}://127.0.0.1:{self.port}"
        return self

    def __exit__(self, *_: object) -> None:
        async def end() -> None:
            self._server.close()
            self._close_all()
            rest = asyncio.all_tasks() - {asyncio.current_task()}  # the loop belongs to this object
            for task in rest:
                task.cancel()
            await asyncio.gather(*rest, return_exceptions=True)

        self._run(end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def cut(self) -> None:
        """Close all connections, at both ends."""
        self._do(self._close_all)

    def lose(self) -> None:
        """Close all connections on the calling side; the called side gets no FIN, no byte and no answer."""

        def lose() -> None:
            for link in self._links:
                link.lost = True
                link.near.transport.abort()

        self._do(lose)

    def hold_answers(self) -> None:
        """Hold back everything that the called side sends from now on, until `release_answers` or for ever."""
        self._do(self._answers.clear)

    def release_answers(self) -> None:
        """Deliver the held answers."""
        self._do(self._answers.set)

    def hold_requests(self) -> None:
        """Hold back everything that the calling side sends from now on, until `release_requests`; connections stay
        open.
        """
        self._do(self._requests.clear)

    def release_requests(self) -> None:
        """Deliver the held requests."""
        self._do(self._requests.set)

    # In the loop's thread

    def _run(self, work: Awaitable[T]) -> T:
        async def run() -> T:
            return await work

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(10)

    def _do(self, action: Callable[[], Any]) -> None:
        async def do() -> None:
            action()

        self._run(do())

    def _close_all(self) -> None:
        for link in list(self._links):
            for end in (link.near, link.far):
                if end is not None:
                    end.transport.abort()

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = _Link(writer)
        self._links.add(link)
        try:
            # Cut while it was in transit: no one would notice later
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await self._relay(link, reader)
        finally:
            self._links.discard(link)
            for end in (link.near, link.far):
                if end is not None:
                    end.transport.abort()

    async def _relay(self, link: _Link, reader: asyncio.StreamReader) -> None:
        if not self.up:
            return
        address = urlsplit(self.target)
        answers, link.far = await asyncio.open_connection(address.hostname, address.port)
        ways = [
            asyncio.ensure_future(self._pump(link, reader, link.far, self._requests)),
            asyncio.ensure_future(self._pump(link, answers, link.near, self._answers)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            if link.lost:  # the called side still has its connection
                await asyncio.wait([ways[1]])
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _pump(
        self, link: _Link, source: asyncio.StreamReader, sink: asyncio.StreamWriter, open_gate: asyncio.Event
    ) -> None:
        """Relay one direction until its source has ended and all its bytes are relayed."""
        flying: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def land() -> None:
            while True:
                due, data = await flying.get()
                await asyncio.sleep(max(0.0, due - self._loop.time()))
                if not link.prompt and (self.held is None or link.held):
                    await open_gate.wait()
                if not data:
                    return
                if not link.lost:
                    sink.write(data)
                    await sink.drain()

        landing = asyncio.ensure_future(land())
        try:
            data = b"-"
            while data:
                try:
                    data = await source.read(65_536)
                except OSError:
                    data = b""
                if open_gate is self._requests:
                    link.prompt |= self.prompt is not None and self.prompt in data
                    link.held |= self.held is not None and self.held in data
                flying.put_nowait((self._loop.time() + (0.0 if link.prompt else self.delay), data))
            await landing
        finally:
            landing.cancel()
