"""Socket.IO v5's behaviours one by one, over both transports, as its authors' test suite has them.

The tests of other namespaces and of binary packets follow this server's rules. Sessions without CONNECT are in
test_limits.py. Malformed packets are refused and do not end the connection.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest
from websockets.frames import Opcode

from tests.helpers.people import Poller, RawClient
from tests.helpers.servers import Server


@pytest.fixture
def server(module_server: Server) -> Server:
    return module_server


Raw = RawClient | Poller


@pytest.fixture(params=["websocket", "polling"])
def opened(request: pytest.FixtureRequest, server: Server) -> Iterator[Callable[[], Raw]]:
    """A factory of clients that have not sent CONNECT."""
    clients: list[Raw] = []

    def open_client() -> Raw:
        clients.append(RawClient(server, connected=False) if request.param == "websocket" else Poller(server))
        return clients[-1]

    yield open_client
    for client in clients:
        client.drop()


@pytest.fixture
def client(opened: Callable[[], Raw]) -> Raw:
    """A client that is connected to the main namespace."""
    client = opened()
    client.send("40")
    assert connected(client.receive())
    assert wait(client, '42["session"')
    return client


def connected(packet: str) -> dict[str, str]:
    """Return the payload of the answer to CONNECT."""
    assert packet.startswith("40{")
    answer: dict[str, str] = json.loads(packet[2:])
    assert set(answer) == {"sid", "pid"}
    assert all(isinstance(value, str) and value for value in answer.values())
    return answer


def wait(client: Raw, begins: str) -> str:
    """Return the next packet with that prefix."""
    while not (packet := client.receive()).startswith(begins):
        assert packet, f"closed before {begins}"
    return packet


class TestConnect:
    def test_to_the_main_namespace(self, opened: Callable[[], Raw]) -> None:
        client = opened()
        client.send("40")
        connected(client.receive())

    def test_to_the_main_namespace_by_name(self, opened: Callable[[], Raw]) -> None:
        client = opened()
        client.send("40/,")
        connected(client.receive())

    def test_with_a_payload(self, opened: Callable[[], Raw]) -> None:
        client = opened()
        client.send("40")
        connected(client.receive())
        token = json.loads(wait(client, '42["session"')[2:])[1]["token"]
        again = opened()
        again.send("40" + json.dumps({"token": token}))
        connected(again.receive())
        assert json.loads(wait(again, '42["session"')[2:])[1]["token"] == token
        assert '"replaced"' in wait(client, '42["error"')

    @pytest.mark.parametrize("payload", ['{"token":"123"}', "{}", '{"token":5}', '{"more":[1,{"a":null}]}'])
    def test_with_a_payload_without_meaning_here(self, opened: Callable[[], Raw], payload: str) -> None:
        client = opened()
        client.send("40" + payload)
        connected(client.receive())
        wait(client, '42["session"')

    def test_to_an_unknown_namespace_is_refused(self, opened: Callable[[], Raw]) -> None:
        client = opened()
        client.send("40/random")
        assert client.receive() == '44/random,{"message":"Invalid namespace"}'
        client.send("40")  # and harms nothing
        connected(client.receive())

    @pytest.mark.parametrize("packet", ["4abc", "4", "41", '42["find-match"]', "43[]", "44{}", "47", "40{"])
    def test_anything_else_before_it_ends_the_connection(self, opened: Callable[[], Raw], packet: str) -> None:
        client = opened()
        client.send(packet)
        assert client.receive() in ("", "1")
        assert client.receive() == ""

    def test_a_second_one_ends_the_connection(self, client: Raw) -> None:
        client.send("40")
        wait(client, "1")
        assert client.receive() == ""


class TestDisconnect:
    def test_the_connection_stays_and_may_connect_again(self, client: Raw) -> None:
        client.send("41")
        client.send("40")
        connected(wait(client, "40"))
        wait(client, '42["session"')

    def test_events_after_it_are_answered(self, client: Raw) -> None:
        client.send("41")
        client.send("40/random")
        assert wait(client, "44") == '44/random,{"message":"Invalid namespace"}'


class TestEvents:
    def test_without_an_acknowledgement(self, client: Raw) -> None:
        client.send('42["find-match"]')
        assert json.loads(wait(client, '42["waiting"')[2:])[1] == {"cooldownMs": 0}
        client.send('42["cancel-match"]')
        wait(client, '42["match-cancelled"')

    @pytest.mark.parametrize("ack_id", ["0", "456", "999999999999999"])
    def test_with_an_acknowledgement(self, client: Raw, ack_id: str) -> None:
        client.send(f'42{ack_id}["cancel-match"]')
        assert json.loads(wait(client, f"43{ack_id}[")[2 + len(ack_id) :]) == [{"ok": True}]

    def test_in_the_main_namespace_by_name(self, client: Raw) -> None:
        client.send('42/,7["cancel-match"]')
        assert wait(client, "437[") == '437[{"ok":true}]'

    def test_a_binary_one_is_refused(self, client: Raw) -> None:
        client.send('451-8["send-message",{"_placeholder":true,"num":0}]')
        assert json.loads(wait(client, "438[")[3:])[0]["error"]["code"] == "invalid-payload"

    def test_an_unrequested_acknowledgement_is_ignored(self, client: Raw) -> None:
        client.send("435[1]")
        client.send('429["cancel-match"]')
        assert wait(client, "439[") == '439[{"ok":true}]'

    @pytest.mark.parametrize(
        "packet",
        ["4abc", "49", "42{}", "42", "42[]", "42[5]", '42["a"', '42abc["cancel-match"]', '42-1["a"]', "42null",
         '421234567890123456["cancel-match"]', '42["a"]x', '451["a"]'],
    )  # fmt: skip
    def test_a_malformed_one_is_refused_and_changes_nothing(self, client: Raw, packet: str) -> None:
        client.send(packet)
        assert json.loads(wait(client, '42["error"')[2:])[1]["code"] == "invalid-payload"
        client.send('421["cancel-match"]')
        assert wait(client, "431[") == '431[{"ok":true}]'


def test_a_websocket_that_is_closed_gets_a_close_frame(server: Server) -> None:
    client = RawClient(server, connected=False)
    client.send("4abc")
    assert client.socket.recv_frame().data == b"1"
    assert client.socket.recv_frame().opcode == Opcode.CLOSE
