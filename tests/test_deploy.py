"""The load balancer configurations in deploy/, with real nginx and HAProxy before two servers of two workers each."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from contextlib import contextmanager

import pytest
import requests
from support import ROOT, eventually, free_port

# Where the balancers run as a service, these programs are not on everybody's path.
SEARCH = os.environ.get("PATH", os.defpath) + os.pathsep + "/usr/sbin"

#: Clients of a test say in this header where they come from: loopback has one address only.
ADDRESS_HEADER = "X-Test-Address"


@contextmanager
def nginx(directory, servers):
    """nginx with deploy/nginx.conf but for addresses; yields its URL."""
    port = free_port()
    text = (ROOT / "deploy/nginx.conf").read_text()
    for placeholder, server in zip(("10.0.0.1:3001", "10.0.0.2:3001"), servers, strict=True):
        text = replaced(text, placeholder, f"127.0.0.1:{server.port}")
    text = replaced(text, "listen 80;", f"listen 127.0.0.1:{port};")
    text = replaced(text, "# set_real_ip_from 10.0.0.0/8;", "set_real_ip_from 127.0.0.1;")
    text = replaced(text, "# real_ip_header X-Forwarded-For;", f"real_ip_header {ADDRESS_HEADER};")
    text = replaced(text, "worker_rlimit_nofile 200000;", "")
    text = replaced(text, "worker_connections 65536;", "worker_connections 512;")
    own_files = [
        f"{kind}_temp_path {directory}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    ]
    text = replaced(text, "http {\n", "\n".join(["http {", *own_files, "access_log off;", ""]))
    options = f"daemon off; pid {directory}/pid; error_log {directory}/log;"
    with balancer(directory, "nginx", text, ["-c", "{file}", "-g", options, "-e", f"{directory}/log"]):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def haproxy(directory, servers):
    """HAProxy with deploy/haproxy.cfg but for addresses; yields its URL."""
    port = free_port()
    text = (ROOT / "deploy/haproxy.cfg").read_text()
    for placeholder, server in zip(("10.0.0.1:3001", "10.0.0.2:3001"), servers, strict=True):
        text = replaced(text, placeholder, f"127.0.0.1:{server.port}")
    text = replaced(text, "bind :80\n", f"bind 127.0.0.1:{port}\n    http-request set-src hdr({ADDRESS_HEADER})\n")
    text = replaced(text, "maxconn 50000", "maxconn 500")
    with balancer(directory, "haproxy", text, ["-db", "-f", "{file}"]):
        yield f"http://127.0.0.1:{port}"


def replaced(text, old, new):
    assert text.count(old) == 1, old
    return text.replace(old, new)


@contextmanager
def balancer(directory, name, text, arguments):
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


@pytest.fixture(scope="module")
def machines(module_servers):
    return [module_servers(workers=2, env={"TRUSTED_PROXIES": "1"}) for _ in range(2)]


@pytest.fixture(scope="module", params=[nginx, haproxy], ids=lambda balancer: balancer.__name__)
def url(request, machines, tmp_path_factory):
    """The address of a balancer before the machines."""
    with request.param(tmp_path_factory.mktemp("balancer"), machines) as url:
        eventually(lambda: alive(url), what=f"the balancer at {url}")
        yield url


def alive(url):
    try:
        return requests.get(f"{url}/health/live", timeout=5).status_code == 200
    except requests.ConnectionError:
        return False


def test_people_are_spread_over_the_machines_and_each_stays_on_one(url, machines):
    people = [0, 0]
    for number in range(40):
        with requests.Session() as session:
            session.headers[ADDRESS_HEADER] = f"192.0.2.{number}"
            handshake = session.get(f"{url}/socket.io/?EIO=4&transport=polling", timeout=5)
            sid = json.loads(handshake.text[1:])["sid"]
            own = f"{url}/socket.io/?EIO=4&transport=polling&sid={sid}"
            assert session.post(own, data="40", timeout=5).status_code == 200
            assert session.get(own, timeout=5).text.startswith("40{")
            # asked directly, only the machine that has the session takes a packet for it
            taken = [session.post(own.replace(url, machine.url), data="3", timeout=5).ok for machine in machines]
            assert sum(taken) == 1
            people[taken.index(True)] += 1
    assert min(people) > 5


@pytest.mark.parametrize("transports", [None, ["polling"], ["websocket"]], ids=["default", "polling", "websocket"])
def test_stock_clients_chat_through_a_balancer(url, connect, transports):
    addresses = [f"192.0.2.{number}" for number in range(4)]
    clients = [
        connect(url, kind="node", transports=transports, headers={ADDRESS_HEADER: address}) for address in addresses
    ]
    for client in clients:
        expected = "polling" if transports == ["polling"] else "websocket"
        eventually(lambda client=client: client.transport == expected, what=expected)  # noqa: B023
        client.emit("find-match")
    rooms = [client.wait("matched")["roomId"] for client in clients]
    assert sorted(rooms.count(room) for room in set(rooms)) == [2, 2]
    for client in clients:
        assert client.call("send-message", "hello")["ok"]
    for client in clients:
        assert client.wait("message", where=lambda message: message["type"] == "text")["content"] == "hello"


def test_the_page_and_its_own_origin_work_through_a_balancer(url, connect):
    assert requests.get(url, timeout=5).status_code == 200
    connect(url, kind="node", headers={"Origin": url, ADDRESS_HEADER: "192.0.2.1"})
