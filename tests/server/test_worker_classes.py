"""The whole chat works with one worker of other classes, and on gevent's own server."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from animochat.store.embedded import EmbeddedStore
from tests.helpers.people import NO_RATES, meet, say
from tests.helpers.servers import ROOT, PythonClient, eventually, free_port
from tests.server.test_flask_socketio import answers

START = """
from gevent import monkey
monkey.patch_all()
from animochat.app import create_app, socketio
app = create_app()
"""

#: As the documentation of each has it; `PORT` is the port.
WAYS = {
    "socketio.run": START + "socketio.run(app, port=PORT)",
    "pywsgi": START
    + """
from gevent import pywsgi
from geventwebsocket.handler import WebSocketHandler
pywsgi.WSGIServer(("127.0.0.1", PORT), app, handler_class=WebSocketHandler, log=None).serve_forever()
""",
    "gevent": ["-k", "gevent"],
    "gevent-websocket": ["-k", "geventwebsocket.gunicorn.workers.GeventWebSocketWorker"],
}


@pytest.fixture(scope="module")
def store() -> Iterator[EmbeddedStore]:
    embedded = EmbeddedStore.start()
    yield embedded
    embedded.stop()


@pytest.mark.parametrize("way", WAYS)
def test_a_pair_chats(way: str, store: EmbeddedStore, tmp_path: Path) -> None:
    port, how = free_port(), WAYS[way]
    if isinstance(how, str):
        command = ["-c", how.replace("PORT", str(port))]
    else:
        for name in ("wsgi.py", "gunicorn.conf.py"):
            (tmp_path / name).symlink_to(ROOT / name)
        command = ["-m", "gunicorn", "wsgi:app", "--graceful-timeout", "1", *how]
    env = {
        **{name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ},
        "PORT": str(port),
        "REDIS_URL": store.url,
        "PYTHONPATH": str(ROOT),
        "WEB_CONCURRENCY": "1",
        **NO_RATES,
    }
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *command], cwd=tmp_path, env=env, stdout=output, stderr=output, start_new_session=True
        )
    url = f"http://127.0.0.1:{port}"
    anna, bert = PythonClient(url), PythonClient(url)
    try:
        eventually(lambda: answers(url), 30, "a server")
        anna.connect(transports=["websocket"])
        bert.connect(transports=["polling", "websocket"])
        for client in (anna, bert):
            client.wait("session")
        meet(anna, bert)
        say(anna, bert, "hello")
        say(bert, anna, "x" * 1500)
        assert anna.transport == "websocket"
        eventually(lambda: bert.transport == "websocket", what="an upgrade")
        say(bert, anna, "on WebSocket")
        anna.drop()
        bert.wait("partner-reconnecting")
    finally:
        for client in (anna, bert):
            client.close()
        process.terminate()
        process.wait(40)
    text = log.read_text(errors="replace")
    assert "Traceback" not in text, text
    assert "[ERROR]" not in text, text
