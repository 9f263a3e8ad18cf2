"""The worker class under a real gunicorn: how it starts, stops and reloads, and that it leaves nothing behind."""

from __future__ import annotations

import gc
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from gevent.socket import socket as GeventSocket
from gunicorn.config import Config

from animochat.server.process.run_directory import RunDirectory
from animochat.server.process.worker import Worker, tune_garbage_collector
from tests.helpers.servers import ROOT, alive, eventually, free_port
from tests.server.wire import CLOSE, HERE, Gunicorn, WebSocketClient, open_polling, polling


def test_the_worker_starts_drains_and_stops_the_application(gunicorn: Callable[..., Gunicorn]) -> None:
    server = gunicorn(workers=2)
    pids = server.worker_pids()
    server.stop()
    for pid in pids:
        drains, stopped = (event.split() for event in server.events() if event.startswith(f"{pid} "))
        # of 30 s, minus the time passed: a third to drain, and the rest except 2 s to stop
        assert drains[1:-1] == ["drains", "for"]
        assert 8 < float(drains[-1]) < 10
        assert stopped[1:-1] == ["stopped", "within"]
        assert 20 < float(stopped[-1]) <= 27
    assert len(server.events()) == 4
    server.check_log()


def test_a_quick_stop_neither_waits_for_a_drain_nor_starts_one(
    gunicorn: Callable[..., Gunicorn], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ECHO_DRAINS_FOREVER", "1")
    server = gunicorn(workers=2)
    one, two = server.worker_pids()
    os.kill(one, signal.SIGTERM)
    eventually(lambda: any(event.startswith(f"{one} drains for ") for event in server.events()))
    server.process.send_signal(signal.SIGQUIT)
    server.process.wait(10)
    assert f"{one} stopped within 0.5" in server.events()
    assert [event for event in server.events() if event.startswith(f"{two} ")] == [f"{two} stopped within 0.5"]


@pytest.mark.parametrize(("signum", "most"), [(signal.SIGTERM, 27.0), (signal.SIGQUIT, 0.5), (signal.SIGINT, 0.5)])
def test_every_way_to_stop_closes_connections_and_leaves_nothing(
    gunicorn: Callable[..., Gunicorn], signum: int, most: float
) -> None:
    server = gunicorn(workers=2)
    client = WebSocketClient(server.connect(), "EIO=4&transport=websocket")
    poller, idle = server.http(), server.http()
    sid = open_polling(poller)
    poller.request("GET", polling(sid))
    assert idle.get("/pid").status == 200
    begun = time.monotonic()
    server.process.send_signal(signum)
    assert client.message().startswith("0")
    # "going away", and nothing to fetch: after an Engine.IO CLOSE python-socketio's client would stay away
    assert client.frame().opcode is CLOSE
    client.connection.close()
    assert poller.response().packets == ["6"]
    assert idle.at_end()
    server.process.wait(20)
    assert time.monotonic() - begun < 10  # of the 30 s that it may take
    within = [float(line.split()[-1]) for line in server.events() if " stopped within " in line]
    assert len(within) == 2
    assert all(0.8 * most <= seconds <= most for seconds in within)
    assert sum(line.endswith("server shutdown") for line in server.events()) == 2
    assert list(server.tmp.iterdir()) == []
    server.check_log()


def test_a_client_that_does_not_close_does_not_delay_the_stop(gunicorn: Callable[..., Gunicorn]) -> None:
    server = gunicorn(workers=1, arguments=("--graceful-timeout", "3"))
    stuck = server.http()
    stuck.request("POST", "/body", headers="Content-Length: 10\r\n")
    client = WebSocketClient(server.connect(), "EIO=4&transport=websocket")
    eventually(lambda: '"sockets": 1' in server.http().get("/pid").body.decode())
    server.stop()
    assert server.process.returncode == 0
    assert client.at_end()
    assert "Worker graceful timeout" in server.log()


def test_a_reload_replaces_the_workers(gunicorn: Callable[..., Gunicorn]) -> None:
    server = gunicorn(workers=2)
    before = server.worker_pids()
    client = WebSocketClient(server.connect(), "EIO=4&transport=websocket")
    server.process.send_signal(signal.SIGHUP)
    assert client.message().startswith("0")
    assert client.frame().opcode is CLOSE
    client.connection.close()
    eventually(lambda: len(server.worker_pids()) == 2 and not set(server.worker_pids()) & set(before), 20)
    eventually(lambda: len(server.sockets()) == 2)
    assert server.http().get("/pid").status == 200


def test_a_worker_is_replaced_after_max_requests(gunicorn: Callable[..., Gunicorn]) -> None:
    server = gunicorn(workers=1, arguments=("--max-requests", "5"))
    (before,) = server.worker_pids()
    for _ in range(5):
        server.http().get("/pid")
    eventually(lambda: server.worker_pids() not in ([], [before]), 20)
    eventually(lambda: len(server.sockets()) == 1)
    assert server.http().get("/pid").status == 200


def test_websockets_do_not_count_as_connections_of_the_http_server(gunicorn: Callable[..., Gunicorn]) -> None:
    server = gunicorn(workers=1, arguments=("--worker-connections", "3"))
    clients = [WebSocketClient(server.connect(), "EIO=4&transport=websocket") for _ in range(10)]
    assert server.http().get("/pid").status == 200
    for client in clients:
        client.connection.close()


def test_after_the_master_is_killed_the_workers_end_and_leave_nothing(gunicorn: Callable[..., Gunicorn]) -> None:
    server = gunicorn(workers=3)
    pids = server.worker_pids()
    server.process.kill()
    server.process.wait()
    eventually(lambda: not any(alive(pid) for pid in pids))
    assert list(server.tmp.iterdir()) == []


def test_the_next_start_removes_the_files_of_killed_processes(
    gunicorn: Callable[..., Gunicorn], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = gunicorn(workers=2)
    pids = server.worker_pids()
    os.killpg(server.process.pid, signal.SIGKILL)
    server.process.wait()
    eventually(lambda: not any(alive(pid) for pid in pids))
    assert len(list(server.tmp.glob("animochat-run-*/*"))) == 2
    monkeypatch.setenv("TMPDIR", str(server.tmp))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.delenv("ANIMOCHAT_RUN_DIRECTORY", raising=False)
    monkeypatch.delenv("GUNICORN_PID", raising=False)
    mine = RunDirectory.create(os.geteuid(), os.getegid())
    assert list(server.tmp.iterdir()) == [Path(mine.path_of("")).absolute()]
    mine.leave()
    assert list(server.tmp.iterdir()) == []


def test_access_is_logged_only_if_asked_for(gunicorn: Callable[..., Gunicorn]) -> None:
    quiet, talkative = gunicorn(workers=1), gunicorn(workers=1, arguments=("--access-logfile", "-"))
    for server in (quiet, talkative):
        assert server.http().get("/pid?x").status == 200
        client = WebSocketClient(server.connect(), "EIO=4&transport=websocket")
        client.connection.close()
        http = server.http()
        http.send(b"nonsense\r\n\r\n")
        assert http.response().status == 400
    eventually(lambda: '"GET /pid?x HTTP/1.1" 200' in talkative.log())
    eventually(lambda: '"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1" 101' in talkative.log())
    assert "/pid?x" not in quiet.log()


def start_and_fail(tmp_path: Path, *arguments: str, application: str = "echo_app:create_app()") -> str:
    result = subprocess.run(
        [sys.executable, "-m", "gunicorn", "--no-control-socket", "-k", "animochat.server.process.worker.Worker",
         "-b", f"127.0.0.1:{free_port()}", *arguments, application],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{HERE}", "TMPDIR": str(tmp_path)},
        capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert result.returncode != 0
    return result.stdout + result.stderr


def test_tls_is_refused_with_one_line(tmp_path: Path) -> None:
    (tmp_path / "cert.pem").touch()
    output = start_and_fail(tmp_path, "--certfile", "cert.pem", "--keyfile", "cert.pem")
    assert output.count("TLS is not supported") == 1
    assert "Traceback" not in output


def test_an_application_that_is_not_ours_is_refused(tmp_path: Path) -> None:
    output = start_and_fail(tmp_path, application="http.client:HTTPException")
    assert 'has no extensions["animochat"]' in output


def test_connections_inherit_the_listener_s_options() -> None:
    """Accepted connections inherit its options: no wait for acknowledgements, and a small buffer in a flood."""
    cfg = Config()
    cfg.set("keepalive", 33)
    admission = SimpleNamespace(connection_made=object(), head_read=object())
    worker = Worker.__new__(Worker)
    worker.cfg, worker.wsgi, worker.log, worker.worker_connections = cfg, None, None, 7
    worker._chat = SimpleNamespace(engine=SimpleNamespace(admission=admission))
    with GeventSocket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        server = worker._server(listener)
        assert listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        # Linux doubles the value for its own use, other systems report the requested value.
        assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) in (64 * 1024, 128 * 1024)
    assert server.keep_alive == 33
    assert (server.on_connection, server.on_head) == (admission.connection_made, admission.head_read)
    assert server.on_request == worker._count_request
    assert server.environ["wsgi.multithread"] is True


def test_loaded_objects_are_excluded_from_garbage_collections() -> None:
    before = gc.get_threshold()
    try:
        tune_garbage_collector()
        assert gc.get_freeze_count() > 10_000
        assert gc.get_threshold() == (20_000, 20, 1_000)
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)
