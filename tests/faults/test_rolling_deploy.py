"""Two servers behind HAProxy are replaced under traffic, and clients notice only a pause.

bench/rolling_deploy.py does the same with 200 rooms.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.faults.crowd import Crowd
from tests.faults.rolling import People, roll
from tests.helpers.balancers import alive, haproxy
from tests.helpers.people import NO_RATES
from tests.helpers.servers import Server, eventually

ROOMS = 6


def test_servers_behind_haproxy_are_replaced_one_after_the_other(
    servers: Callable[..., Server], crowd_process: Crowd, tmp_path: Path
) -> None:
    both = [servers(workers=1, env={**NO_RATES, "TRUSTED_PROXIES": "1", "SKIP_COOLDOWN_MS": "100"}) for _ in range(2)]
    with haproxy(tmp_path, both) as url:
        eventually(lambda: alive(url), what="HAProxy")
        people = People(crowd_process, url, ROOMS, interval_ms=50)
        roll(both, people, url)
        report = people.end()
        crowd_process.send_away()
    assert report["violations"] == []
    assert report["new_sessions"] == 0
    # everyone was on a server that stopped, once or twice, and came back each time
    assert report["recovered"] == report["disconnects"] >= 2 * ROOMS
