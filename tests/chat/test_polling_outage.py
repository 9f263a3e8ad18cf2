"""People on long polling while the store is away: they are refused at once, and recover when it is back."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.people import Poller, RawClient, running
from tests.helpers.servers import RedisServer, Server


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RedisServer]:
    store = RedisServer(tmp_path, persistent=True).start()
    yield store
    store.stop(signal.SIGKILL)


@pytest.fixture
def server(store: RedisServer, tmp_path: Path) -> Iterator[Server]:
    with running(tmp_path, 1, store.url, RECONNECT_GRACE_MS="60000") as (server,):
        yield server


def test_returning_during_a_store_outage_is_refused_at_once_and_recovers_later(
    store: RedisServer, server: Server
) -> None:
    anna, bert = Poller(server), RawClient(server)
    anna.send("40")
    pid = json.loads(anna.receive()[2:])["pid"]
    anna.send('42["find-match"]')
    anna.wait('42["waiting"')
    bert.call("find-match")
    offset = json.loads(anna.wait('42["message"')[2:])[-1]
    anna.send("1")
    anna.wait("")
    bert.wait_event("partner-reconnecting")
    assert bert.call("send-message", "are you there?")["ok"] is True

    store.send_signal(signal.SIGSTOP)
    try:
        again = Poller(server)
        again.send("40" + json.dumps({"pid": pid, "offset": offset}))
        assert again.receive() == ""  # no CLOSE, after which some clients stay away; and the next poll doesn't wait
    finally:
        store.send_signal(signal.SIGCONT)

    back = Poller(server)
    back.send("40" + json.dumps({"pid": pid, "offset": offset}))
    assert json.loads(back.receive()[2:])["pid"] == pid
    assert json.loads(back.wait('42["message"')[2:])[1]["content"] == "are you there?"
