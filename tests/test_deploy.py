"""The load balancer configurations in deploy/, with real nginx and HAProxy before two servers of two workers each."""

from __future__ import annotations

import http.client
import json
from urllib.parse import urlsplit

import pytest
import requests
from balancers import ADDRESS_HEADER, alive, haproxy, nginx
from support import eventually


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
