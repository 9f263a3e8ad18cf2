"""Stock clients, all in one Node process (js/crowd.mjs), each with an event log, and one history of them all."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import threading
from collections.abc import Callable
from typing import Any

import pytest

from animochat.loadtest.history import History
from tests.helpers.servers import PATIENCE, ROOT, Client, EventLog


class Member(Client):
    """A stock client of the crowd, which connects and reconnects by itself.

    Each connection adds a pseudo-event "connect" with `recovered`, `sid` and `pid` to the log.
    """

    def __init__(self, crowd: Crowd, name: str, url: str) -> None:
        super().__init__(url)
        self.name = name
        self._crowd = crowd

    def connect(self, token: str | None = None, transports: list[str] | None = None, **options: Any) -> None:
        """Begin to connect and, unlike other clients, do not wait. `options` are those of socket.io-client."""
        options.setdefault("transports", transports or ["websocket"])
        if token:
            options["auth"] = {**options.get("auth", {}), "token": token}
        self._ask("connect", url=self.url, options=options)

    def _ask(self, action: str, timeout: float = PATIENCE, **details: Any) -> Any:
        return self._crowd.ask(self.name, action, timeout, **details)

    def state(self) -> dict[str, Any]:
        """Return `sid`, `recovered`, `connected`, `pid` and `offset` as the client's library has them now."""
        return self._ask("state")  # type: ignore[no-any-return]

    def emit(self, event: str, *arguments: Any) -> None:
        self._ask("emit", event=event, args=arguments)

    def call(self, event: str, *arguments: Any, timeout: float = PATIENCE) -> Any:
        return self._ask("call", timeout, event=event, args=arguments)

    def talk(self, interval_ms: int = 20, skip_after: int = 0, once: bool = False) -> None:
        """Behave like a person from now on: look for partners, talk to them, and leave them after `skip_after`
        messages.

        `once`: send no message twice; a message without an answer may have been stored or not.
        """
        self._ask("talk", interval=interval_ms, skipAfter=skip_after, once=once)

    def hush(self) -> None:
        """Stop sending messages."""
        self._ask("hush")

    def disconnect(self) -> None:
        self._ask("disconnect")

    def drop(self) -> None:
        self._ask("drop")

    def close(self) -> None:
        self.disconnect()


class Crowd:
    """The Node process. `history` has the events of all members since it was last replaced."""

    def __init__(self) -> None:
        if shutil.which("node") is None:
            pytest.skip("node is not installed")
        self.history = History()
        self.members: dict[str, Member] = {}
        self._names = (f"m{number}" for number in itertools.count(1))
        self._ids = itertools.count(1)
        self._answers: dict[int, Any] = {}
        self._changed = threading.Condition()
        self._process = subprocess.Popen(
            ["node", str(ROOT / "tests/helpers/js/crowd.mjs")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def join(self, url: str, wait: bool = True, **options: Any) -> Member:
        """Add a member, and wait for its `session` unless `wait` is False."""
        name = next(self._names)
        member = self.members[name] = Member(self, name, url)
        member.connect(**options)
        if wait:
            member.wait("connect")
            member.wait("session")
        return member

    def ask(self, client: str, action: str, timeout: float = PATIENCE, **details: Any) -> Any:
        number = next(self._ids)
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"id": number, "client": client, "do": action, **details}) + "\n")
        self._process.stdin.flush()
        with self._changed:
            if not self._changed.wait_for(lambda: number in self._answers, timeout):
                pytest.fail(f"{client}: {action} {details} not answered within {timeout} s; {self.tail(client)}")
            return self._answers.pop(number)

    def until(self, check: Callable[[History], Any], timeout: float = PATIENCE, what: str = "") -> None:
        """Return when `check` is true; it runs after every event."""
        with self._changed:
            if not self._changed.wait_for(lambda: bool(check(self.history)), timeout):
                pytest.fail(f"not within {timeout} s: {what}; {self.history.counts()}")

    def tail(self, client: str) -> list[tuple[str, list[Any]]]:
        """Return the last events of a member."""
        return self.members[client].log.all()[-20:]

    def forget(self) -> None:
        """Start a new history: clients of another kind took part, so the old one can't be checked."""
        self.history = History()

    def send_away(self) -> None:
        """Disconnect and forget all members; start a new history."""
        for member in self.members.values():
            member.disconnect()
        self.members.clear()
        self.history = History()

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            message = json.loads(line)
            member = self.members.get(message.get("client", ""))
            with self._changed:
                if "id" in message and "client" not in message:
                    self._answers[message["id"]] = message["result"]
                elif member is not None:
                    self._take(member.name, member.log, message)
                self._changed.notify_all()

    def _take(self, name: str, log: EventLog, message: dict[str, Any]) -> None:
        if "event" in message:
            log.add(message["event"], message["args"])
            self.history.event(name, message["event"], message["args"][0] if message["args"] else None)
        else:
            self.history.note(name, **{key: value for key, value in message.items() if key != "client"})
