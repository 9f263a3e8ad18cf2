"""Start and stop: `animochat serve`, `gunicorn wsgi:app`, the embedded store, mistakes in the configuration."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import redis

from animochat import __version__, cli
from tests.helpers.servers import ROOT, alive, eventually

COMMANDS = ["serve", "gunicorn"]


def embedded_store(server):
    """Return the address and the process id of a server's embedded store, from its log and from the store itself."""
    (url,) = set(re.findall(r"unix://\S+", server.log()))
    with redis.Redis.from_url(url) as client:
        return url, client.info("server")["process_id"]


@pytest.mark.parametrize("command", COMMANDS)
def test_in_development_a_server_starts_without_settings_and_logs_one_line(servers, command):
    server = servers(redis_url=None, command=command, workers=2)
    assert server.get("/health").status_code == 200
    url, _ = embedded_store(server)
    (line,) = [line for line in server.log().splitlines() if "AniMoChat is at" in line]
    assert f":{server.port}" in line
    assert url in line
    # its workers share the one store
    eventually(lambda: server.get("/stats").json()["workers"] == 2, what="both workers")


@pytest.mark.parametrize(
    ("command", "number"),
    # either becomes the same gunicorn, so the way it ends is tested with one
    [("gunicorn", signal.SIGTERM), *(("serve", number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGKILL))],
)
def test_the_embedded_store_ends_with_the_server(servers, command, number):
    server = servers(redis_url=None, command=command)
    url, pid = embedded_store(server)
    workers = server.worker_pids()
    server.stop(number)
    eventually(lambda: not any(alive(worker) for worker in workers), what="end of the workers")
    eventually(lambda: not alive(pid), what="end of the store")
    eventually(lambda: not Path(url.removeprefix("unix://")).parent.exists(), what="end of its directory")


@pytest.mark.parametrize("command", COMMANDS)
def test_with_redis_url_no_store_is_started_and_no_password_is_shown(servers, store_url, command):
    server = servers(redis_url=store_url.replace("unix://", "unix://:hunter2@"), command=command)
    server.expect_errors()  # the store has no password and refuses one
    assert server.get("/health/live").status_code == 200
    assert "embedded" not in server.log()
    assert "hunter2" not in server.log()


def test_options_set_the_address_and_the_number_of_workers(servers, monkeypatch):
    calls = []
    monkeypatch.setattr(os, "execv", lambda *call: calls.append(call))
    for name in ("HOST", "PORT", "WEB_CONCURRENCY"):
        monkeypatch.setenv(name, "")
    cli.main(["serve", "--host", "::1", "--port", "4001", "--workers", "3"])
    ((program, arguments),) = calls
    assert program == arguments[0] == sys.executable
    assert "--bind" not in arguments
    assert os.environ["HOST"] == "::1"
    assert os.environ["PORT"] == "4001"
    assert os.environ["WEB_CONCURRENCY"] == "3"


@pytest.mark.parametrize("command", [["-m", "animochat", "serve"], ["-m", "gunicorn", "wsgi:app"], ["wsgi.py"]])
def test_every_mistake_in_the_configuration_stops_the_start_with_one_line(tmp_path, command):
    for name in ("wsgi.py", "gunicorn.conf.py"):
        (tmp_path / name).symlink_to(ROOT / name)
    result = subprocess.run(
        [sys.executable, *command],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PORT": "http", "SECRET_KEY": "hunter2", "APP_ENV": "prod"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert result.returncode != 0
    lines = (result.stdout + result.stderr).splitlines()
    assert sorted(line.split(":")[1].strip() for line in lines) == ["APP_ENV", "PORT", "SECRET_KEY"], lines
    assert all(line.startswith("animochat: ") for line in lines)
    assert "hunter2" not in str(lines)


def test_a_file_dot_env_is_read_and_the_environment_wins(tmp_path):
    (tmp_path / ".env").write_text("PORT=from-file\nRATE_TYPING=from-file\n")
    result = subprocess.run(
        [sys.executable, "-m", "animochat", "serve"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PORT": "from-environment"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert result.returncode == 2
    port, rate = sorted(result.stderr.splitlines())
    assert "'from-environment'" in port
    assert "'from-file'" in rate


def test_a_port_in_use_ends_the_start_and_leaves_no_store(servers, tmp_path):
    first = servers(redis_url=None)
    second = subprocess.run(
        [sys.executable, "-m", "animochat", "serve", "--host", "127.0.0.1", "--port", str(first.port)],
        cwd=first.directory,
        env={"PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert second.returncode != 0
    assert str(first.port) in second.stderr
    eventually(lambda: not list(tmp_path.glob("animochat-*")), what="end of the second store")


def test_the_version_is_printed():
    result = subprocess.run([sys.executable, "-m", "animochat", "--version"], cwd=ROOT, capture_output=True, text=True)
    assert result.stdout == f"animochat {__version__}\n"


def test_production_without_an_admin_token_logs_a_warning(servers):
    production = {"APP_ENV": "production"}
    assert servers(env=production).log().count("ADMIN_TOKEN is unset") == 1
    for environment in ({**production, "ADMIN_TOKEN": "correct horse battery staple"}, {}):
        assert "ADMIN_TOKEN" not in servers(env=environment).log()
