"""The cost of idle people: the store's memory for them, and the worker's time for sending the online count.

    .venv/bin/python bench/capacity.py                       # a minute; needs what `make setup` installs

The store's memory is measured with the real scripts, a thousand people at a time, without a server. The worker's time
is that of a real server with idle stock clients: over ten seconds without any change, and over ten seconds in which one
person connects every second, so that `online-count` is sent to everyone every second.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import redis
from harness.processes import descendants

from animochat.chat.tokens import new_person
from animochat.matchmaking import service as matchmaking
from animochat.presence import service as presence
from animochat.rooms.appending import NewMessage
from animochat.rooms.service import SCRIPTS as ROOM_SCRIPTS
from animochat.store.embedded import EmbeddedStore
from tests.faults.crowd import Crowd
from tests.helpers.people import RawClient, resident_kilobytes
from tests.helpers.servers import Server
from tests.helpers.store import Lobby

#: People per measurement, messages in each room's log, characters in each message, and people that each has met.
PEOPLE, MESSAGES, CHARACTERS, MET = 1_000, 20, 40, 100

#: Seconds of each window.
WINDOW = 10.0

#: Clock ticks of /proc are 10 ms.
TICK = 0.01


def memory(url: str) -> dict[str, float]:
    """Return the bytes in the store for each person, room, message and history entry."""
    lobby = Lobby(url)
    lobby.load_scripts(*presence.SCRIPTS, *matchmaking.SCRIPTS, *ROOM_SCRIPTS)
    with redis.Redis.from_url(url) as client:

        def used() -> int:
            return int(client.info("memory")["used_memory"])

        steps = [used()]
        people = lobby.people(*(new_person() for _ in range(PEOPLE)))
        steps.append(used())
        for person in people:
            person.find()
        steps.append(used())
        rooms = {person.room for person in people}
        for room in sorted(name for name in rooms if name):
            for slot in "ab":
                lobby.worker.rooms.life.open(room, slot, 1)
            for number in range(MESSAGES):
                body = json.dumps({"senderId": "u" * 13, "content": "x" * CHARACTERS, "type": "text"})
                entry = NewMessage(
                    room, "ab"[number % 2], "p", "worker0", number, 1, f"{number:036}", body, lambda *_: None
                )
                lobby.worker.rooms.append(entry)
        steps.append(used())
        names = [person.name for person in people]
        for number, name in enumerate(names):
            lobby.have_met(name, [names[(number + other) % PEOPLE] for other in range(1, MET // 2 + 1)])
        steps.append(used())
        visitors = lobby.people(*(new_person() for _ in range(PEOPLE)))
        for visitor in visitors:
            visitor.goodbye()
        steps.append(used())
    lobby.close()
    connected, matched, said, met, gone = (after - before for before, after in itertools.pairwise(steps))
    return {
        "person_bytes": connected / PEOPLE,
        "room_bytes": matched / len(rooms),
        "message_bytes": said / (len(rooms) * MESSAGES),
        # in the sets of both people
        "meeting_bytes": met / (PEOPLE * MET / 2),
        # the record of a person who has left, kept for an hour (docs/keys.md)
        "gone_bytes": gone / PEOPLE,
    }


def idle_people(url: str, connections: int) -> dict[str, float]:
    """Return a worker's microseconds per idle connection and second, and per `online-count` that it sends."""
    with tempfile.TemporaryDirectory(prefix="animochat-capacity-") as directory:
        server = Server(Path(directory), env={"REDIS_URL": url}).start()
        crowd = Crowd()
        try:
            (worker,) = server.worker_pids()
            empty = resident_kilobytes(worker) / 1024
            for _ in range(connections):
                crowd.join(server.url, wait=False)
            crowd.until(lambda history: history.happened["session"] >= connections, 60)
            time.sleep(3)  # until the last count has been sent to everyone
            idle = _cpu_seconds(server, lambda: None)
            told = crowd.history.happened["online-count"]
            visitors: list[RawClient] = []
            changing = _cpu_seconds(server, lambda: visitors.append(RawClient(server)))
            told = crowd.history.happened["online-count"] - told
        finally:
            crowd.close()
            server.stop()
    return {
        "worker_mib": empty,
        "idle_us": 1e6 * idle / connections / WINDOW,
        "told": told,
        "told_us": 1e6 * (changing - idle) / told,
    }


def _cpu_seconds(server: Server, every_second: Callable[[], None]) -> float:
    before = _used(server)
    end = time.monotonic() + WINDOW
    while (left := end - time.monotonic()) > 0:
        every_second()
        time.sleep(min(1.0, max(0.0, left)))
    return _used(server) - before


def _used(server: Server) -> float:
    ticks = 0
    for pid in descendants(server.pid):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks * TICK


def main() -> int:
    """Print the figures as a table and JSON."""
    parser = argparse.ArgumentParser(description="Memory and time of people who are only there.")
    parser.add_argument("--connections", type=int, default=1_000, help="idle ones (default 1,000; 0: memory alone)")
    options = parser.parse_args()
    store = EmbeddedStore.start(binary=shutil.which("redis-server"))
    try:
        figures = memory(store.url)
        with redis.Redis.from_url(store.url) as client:
            client.flushall()
        if options.connections:
            figures |= idle_people(store.url, options.connections)
    finally:
        store.stop()
    print(json.dumps({name: round(value, 1) for name, value in figures.items()}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
