"""nginx and HAProxy with the configurations of deploy/, except for addresses."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from tests.helpers.servers import ROOT, Server, free_port

# On systems that run the balancers as services, these programs may not be on the user's path.
SEARCH = os.environ.get("PATH", os.defpath) + os.pathsep + "/usr/sbin"

#: Clients of a test send their address in this header: loopback has only one.
ADDRESS_HEADER = "X-Test-Address"


@contextmanager
def nginx(directory: Path, servers: Sequence[Server]) -> Iterator[str]:
    """Run nginx with deploy/nginx.conf before several machines, with other addresses and no TLS; yield its URL."""
    port = free_port()
    text = (ROOT / "deploy/nginx.conf").read_text()
    text = replaced(text, "        server 127.0.0.1:3001;\n", "")
    for number, server in enumerate(servers, 1):
        text = replaced(text, f"# server 10.0.0.{number}:3001", f"server 127.0.0.1:{server.port}")
    for line in re.findall(r"^ +ssl_.*\n", text, re.MULTILINE):
        text = replaced(text, line, "")
    text = replaced(text, "listen 443 ssl http2;", f"listen 127.0.0.1:{port};")
    text = replaced(text, "listen [::]:443 ssl http2;", "")
    text = replaced(text, "listen 80;", f"listen 127.0.0.1:{free_port()};")
    text = replaced(text, "listen [::]:80;", "")
    text = replaced(text, "# set_real_ip_from 10.0.0.0/8;", "set_real_ip_from 127.0.0.1;")
    text = replaced(text, "# real_ip_header X-Forwarded-For;", f"real_ip_header {ADDRESS_HEADER};")
    arguments = nginx_arguments(directory)
    with balancer(directory, "nginx", for_a_test(text, directory), ["-c", "{file}", *arguments]):
        yield f"http://127.0.0.1:{port}"


def for_a_test(text: str, directory: Path) -> str:
    """Return a configuration of nginx with few connections, and with its own files in `directory`."""
    text = replaced(text, "worker_rlimit_nofile 200000;", "")
    text = replaced(text, "worker_connections 65536;", "worker_connections 512;")
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    own_files = [f"{kind}_temp_path {directory}/{kind};" for kind in kinds]
    return replaced(text, "http {\n", "\n".join(["http {", *own_files, ""]))


def nginx_arguments(directory: Path) -> list[str]:
    """Return nginx's arguments, but for its file, so that it writes to `directory` alone and stays in front."""
    options = f"daemon off; pid {directory}/pid; error_log {directory}/log;"
    return ["-g", options, "-e", f"{directory}/log"]


@contextmanager
def haproxy(directory: Path, servers: Sequence[Server], connections: int = 500) -> Iterator[str]:
    """Run HAProxy with deploy/haproxy.cfg, with other addresses and connection limit; yield its URL."""
    port = free_port()
    text = replaced(haproxy_text(servers, port), "fd-hard-limit 200000", f"maxconn {connections}")
    with balancer(directory, "haproxy", text, ["-db", "-f", "{file}"]):
        yield f"http://127.0.0.1:{port}"


def haproxy_text(servers: Sequence[Server], port: int) -> str:
    """Return deploy/haproxy.cfg with other addresses."""
    text = (ROOT / "deploy/haproxy.cfg").read_text()
    for placeholder, server in zip(("10.0.0.1:3001", "10.0.0.2:3001"), servers, strict=True):
        text = replaced(text, placeholder, f"127.0.0.1:{server.port}")
    text = replaced(text, "127.0.0.1:10024", f"127.0.0.1:{free_port()}")
    return replaced(text, "bind :80\n", f"bind 127.0.0.1:{port}\n    http-request set-src hdr({ADDRESS_HEADER})\n")


def replaced(text: str, old: str, new: str) -> str:
    assert text.count(old) == 1, old
    return text.replace(old, new)


@contextmanager
def balancer(directory: Path, name: str, text: str, arguments: Sequence[str]) -> Iterator[None]:
    program = shutil.which(name, path=SEARCH)
    if program is None:
        pytest.skip(f"{name} is not installed")
    file = directory / f"{name}.conf"
    file.write_text(text)
    process = subprocess.Popen([program, *(argument.replace("{file}", str(file)) for argument in arguments)])
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(10)


def alive(url: str) -> bool:
    """Return whether a balancer answers there, and has a server that does."""
    try:
        return requests.get(f"{url}/health/live", timeout=5).status_code == 200
    except requests.ConnectionError:
        return False
