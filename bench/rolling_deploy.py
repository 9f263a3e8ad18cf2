"""A rolling deploy under traffic: two servers behind HAProxy are replaced one after the other, and no message is lost.

    python bench/rolling_deploy.py                    # 200 rooms; a minute or two
    python bench/rolling_deploy.py --rooms 50 --interval 200

Stock clients (in a Node process) chat in this many rooms, through HAProxy as configured in deploy/, on two servers with
two workers each. Each server in turn gets SIGTERM, ends, and is started again. At the end everyone's history is checked
(animochat/loadtest/history.py): the exit status is 1 if a message was lost, duplicated or out of order, or if a client
could not recover its session.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import signal
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.faults.crowd import Crowd
from tests.faults.rolling import People, roll
from tests.helpers.balancers import alive, haproxy
from tests.helpers.people import NO_RATES
from tests.helpers.servers import RedisServer, Server, eventually

ENV = {**NO_RATES, "TRUSTED_PROXIES": "1", "SKIP_COOLDOWN_MS": "100"}


def main() -> int:
    """Run it once; return the exit status."""
    parser = argparse.ArgumentParser(description="A rolling deploy of two servers behind HAProxy, under traffic.")
    parser.add_argument("--rooms", type=int, default=200, help="conversations of two (default 200)")
    parser.add_argument("--interval", type=int, default=500, help="ms between a person's sentences (default 500)")
    parser.add_argument("--workers", type=int, default=2, help="of each server (default 2)")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))

    def tell(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="animochat-rolling-")))
        store = RedisServer(directory, shutil.which("redis-server")).start()
        stack.callback(store.stop, signal.SIGKILL)
        servers = []
        for name in ("one", "two"):
            (directory / name).mkdir()
            server = Server(directory / name, workers=options.workers, env={"REDIS_URL": store.url, **ENV})
            stack.callback(server.kill)
            servers.append(server.start())
        url = stack.enter_context(haproxy(directory, servers, connections=8 * options.rooms + 100))
        eventually(lambda: alive(url), what="HAProxy")
        crowd = Crowd()
        stack.callback(crowd.close)
        people = People(crowd, url, options.rooms, options.interval)
        tell(f"{2 * options.rooms} people talk in {options.rooms} rooms")
        roll(servers, people, url, tell)
        report = people.end()
        crowd.send_away()
        for server in servers:
            server.stop()
            server.check_log()
    print(json.dumps(report, indent=2))
    complete = report["recovered"] == report["disconnects"] >= 2 * options.rooms and report["new_sessions"] == 0
    return 0 if complete and not report["violations"] else 1


if __name__ == "__main__":
    sys.exit(main())
