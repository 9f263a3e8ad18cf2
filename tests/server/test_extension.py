"""examples/extension.py runs: an event, a namespace, a route and the chat's signals beside the chat."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import requests
import socketio

from animochat.store.embedded import EmbeddedStore
from tests.helpers.people import NO_RATES
from tests.helpers.servers import PATIENCE, ROOT, Server
from tests.server.test_flask_socketio import User


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    directory = tmp_path_factory.mktemp("extension")
    (directory / "wsgi.py").write_text((ROOT / "examples/extension.py").read_text("utf-8"))
    store = EmbeddedStore.start()
    server = Server(
        directory, command="gunicorn", workers=2, env={"REDIS_URL": store.url, "WEB_CONCURRENCY": "2", **NO_RATES}
    )
    try:
        yield server.start().url
        server.stop()
        server.check_log()
    finally:
        server.kill()
        store.stop()


def test_what_it_adds_works_beside_the_chat(url: str) -> None:
    dashboard = User(url, "/dashboard", auth={"password": "change me"})
    assert dashboard.wait("happened")
    anna, bert = User(url, "/"), User(url, "/")
    assert anna.call("vote", "tea") == {"ok": True}
    assert bert.wait("poll")[0]["tea"] == 1
    assert anna.call("vote", ["anything"]) == {"ok": False}
    assert requests.get(f"{url}/poll", timeout=PATIENCE).status_code == 200

    assert anna.call("find-match")["ok"]
    assert bert.call("find-match")["ok"]
    anna.wait("matched")
    bert.wait("matched")
    assert bert.call("send-message", "hello")["ok"]
    assert anna.call("report-partner", {"reason": "spam"})["ok"]
    news = {dashboard.wait("news")[0]["what"] for _ in range(3)}
    assert news == {"matched", "reported: spam", "room-ended"}
    assert "hello" not in str(dashboard.log.all())
    for user in (dashboard, anna, bert):
        user.client.shutdown()


def test_the_namespace_has_its_own_password(url: str) -> None:
    with pytest.raises(socketio.exceptions.ConnectionError):
        User(url, "/dashboard", auth={"password": "wrong"})
