"""The load balancer configurations in deploy/, with real nginx and HAProxy before two servers of two workers each."""

from __future__ import annotations

import functools
import http.client
import json
import resource
import shutil
import socket
import subprocess
from urllib.parse import urlsplit

import pytest
import requests

from tests.helpers.balancers import ADDRESS_HEADER, SEARCH, alive, haproxy, haproxy_text, nginx, replaced
from tests.helpers.servers import eventually, free_port


@pytest.fixture(scope="module")
def machines(module_servers):
    return [module_servers(workers=2, env={"TRUSTED_PROXIES": "1"}) for _ in range(2)]


@pytest.fixture(scope="module", params=[nginx, haproxy], ids=lambda balancer: balancer.__name__)
def url(request, machines, tmp_path_factory):
    """The address of a balancer before the machines."""
    with request.param(tmp_path_factory.mktemp("balancer"), machines) as url:
        eventually(lambda: alive(url), what=f"the balancer at {url}")
        yield url


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


def test_the_numbers_for_prometheus_are_only_at_the_machines_themselves(url, machines):
    assert all("animochat_" in requests.get(f"{machine.url}/metrics", timeout=5).text for machine in machines)
    for path in ("/metrics", "/metrics?name=x", "/%6Detrics", "//metrics", "/%2F/metrics", "/metrics/", "/./metrics"):
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=5)  # which sends a path as it is
        connection.request("GET", path)
        response = connection.getresponse()
        assert response.status in (403, 404), path
        assert b"animochat_" not in response.read(), path
        connection.close()


# HAProxy's own process


@pytest.fixture
def haproxy_file(tmp_path, machines):
    if shutil.which("haproxy", path=SEARCH) is None:
        pytest.skip("haproxy is not installed")
    port = free_port()
    text = haproxy_text(machines, port)
    (tmp_path / "haproxy.cfg").write_text(replaced(text, "global\n", f"global\n    stats socket {tmp_path}/stats\n"))
    return tmp_path / "haproxy.cfg", f"http://127.0.0.1:{port}"


@pytest.fixture
def start_haproxy():
    started = []

    def start(file, *arguments, open_files=1024):
        """With the limit of open files that a shell usually has, which can't be raised."""
        limit = functools.partial(resource.setrlimit, resource.RLIMIT_NOFILE, (open_files, open_files))
        program = shutil.which("haproxy", path=SEARCH)
        started.append(subprocess.Popen([program, "-db", "-f", str(file), *arguments], preexec_fn=limit))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def show_peers(path):
    with socket.socket(socket.AF_UNIX) as statistics:
        statistics.connect(str(path))
        statistics.sendall(b"show peers\n")
        return b"".join(iter(lambda: statistics.recv(65_536), b"")).decode()


def test_haproxy_starts_with_the_usual_number_of_open_files(haproxy_file, start_haproxy):
    file, url = haproxy_file
    process = start_haproxy(file)
    eventually(lambda: alive(url) or process.poll() is not None, what="HAProxy")
    assert process.poll() is None


def test_the_stick_table_survives_a_reload_of_haproxy(haproxy_file, start_haproxy, machines):
    file, url = haproxy_file

    def machine(number):
        headers = {ADDRESS_HEADER: f"192.0.2.{number}"}
        handshake = requests.get(f"{url}/socket.io/?EIO=4&transport=polling", headers=headers, timeout=5)
        path = f"/socket.io/?EIO=4&transport=polling&sid={json.loads(handshake.text[1:])['sid']}"
        # asked directly, only the machine that has the session takes a packet for it
        taken = [requests.post(machine.url + path, data="40", timeout=5).ok for machine in machines]
        assert sum(taken) == 1
        return taken.index(True)

    old = start_haproxy(file)
    eventually(lambda: alive(url), what="HAProxy")
    before = [machine(number) for number in range(20)]
    assert 0 < sum(before) < 20
    # for its first 5 s it looks for an older process itself, and has nothing to give
    eventually(lambda: "resync_timeout=<PAST>" in show_peers(file.parent / "stats"), what="a process of its own")
    start_haproxy(file, "-sf", str(old.pid))
    old.wait(10)
    order = sorted(range(20), key=before.__getitem__)  # by their connections alone, they would go to both in turn
    assert [machine(number) for number in order] == sorted(before)
