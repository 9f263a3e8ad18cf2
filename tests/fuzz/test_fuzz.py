"""Any bytes, packets or values, in each layer: nothing fails, other clients are not disturbed, memory stays level.

Hypothesis generates them; the server is a real one, whose log must contain no error at the end (people.running).
"""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.helpers.people import RawClient, resident_kilobytes, running
from tests.helpers.servers import PATIENCE, Server

CODES = {
    "not-in-room", "already-in-room", "empty-message", "message-too-long", "invalid-payload", "rate-limited",
    "unavailable",
}  # fmt: skip

EVENTS = ["find-match", "cancel-match", "next-match", "send-message", "typing", "leave-room", "block-partner"]

#: kB by which the worker's memory may grow in this module: keeping something of each example would take more.
MEMORY_BOUND = 6_000

fuzz = settings(
    max_examples=50, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("fuzz"), RECONNECT_GRACE_MS="100", MATCH_HISTORY_HOURS="0") as (server,):
        yield server


@pytest.fixture(scope="module")
def witness(server: Server) -> Iterator[RawClient]:
    """Return a client that is served throughout."""
    witness = RawClient(server)
    yield witness
    witness.drop()


@pytest.fixture(autouse=True)
def memory_stays_level(server: Server, witness: RawClient) -> Iterator[None]:
    (worker,) = server.worker_pids()
    before = resident_kilobytes(worker)
    yield
    is_served(witness)
    assert resident_kilobytes(worker) - before < MEMORY_BOUND


def is_served(witness: RawClient) -> None:
    assert witness.call("no-such-event")["error"]["code"] == "invalid-payload"
    witness.frames.clear()


def frame(first: int, payload: bytes, masked: bool, announced: int | None) -> bytes:
    """Return a valid frame, except for the faults that the arguments ask for."""
    length = len(payload) if announced is None else announced
    mask = 0x80 if masked else 0
    if length < 126:
        head = bytes([first, mask | length])
    elif length < 65_536:
        head = bytes([first, mask | 126]) + length.to_bytes(2, "big")
    else:
        head = bytes([first, mask | 127]) + length.to_bytes(8, "big")
    return head + (bytes(4) if masked else b"") + payload


frames = st.builds(
    frame,
    st.one_of(st.sampled_from([0x81, 0x82, 0x01, 0x02, 0x00, 0x80, 0x88, 0x89, 0x8A]), st.integers(0, 255)),
    st.one_of(st.binary(max_size=200), st.text(max_size=50).map(lambda text: b"42" + text.encode("utf-8", "replace"))),
    st.sampled_from([True, True, True, False]),
    st.one_of(st.none(), st.none(), st.integers(0, 300), st.integers(2**16, 2**64 - 1)),
)


@fuzz
@given(sent=st.one_of(st.lists(frames, min_size=1, max_size=8).map(b"".join), st.binary(min_size=1, max_size=300)))
def test_any_bytes_on_a_websocket(server: Server, witness: RawClient, sent: bytes) -> None:
    raw = RawClient(server)
    # a server that has closed accepts nothing more
    with contextlib.suppress(ConnectionError):
        raw.socket.sock.sendall(sent)
    is_served(witness)
    with contextlib.suppress(OSError):
        raw.socket.sock.shutdown(socket.SHUT_WR)
    raw.wait_end()
    raw.drop()


texts = st.text(max_size=60).filter(lambda text: not any("\ud800" <= letter <= "\udfff" for letter in text))

json_values = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), texts,
        st.sampled_from(["content", "clientId", {"_placeholder": True, "num": 0}]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.one_of(texts, st.sampled_from(["content", "clientId", "isTyping", "interests"])), inner),
    ),
    max_leaves=10,
)  # fmt: skip


@fuzz
@given(
    packets=st.lists(
        st.one_of(
            st.builds(lambda kind, rest: kind + rest, st.sampled_from("0123456b"), texts), texts, st.binary(max_size=60)
        ),
        min_size=1,
        max_size=6,
    ),
    connected=st.booleans(),
)
def test_any_engine_io_packets(server: Server, witness: RawClient, packets: list[str | bytes], connected: bool) -> None:
    raw = RawClient(server, connected=connected)
    with contextlib.suppress(ConnectionError):
        for packet in packets:
            raw.send(packet)
    is_served(witness)
    raw.drop()


@fuzz
@given(
    kind=st.sampled_from("0123456789"),
    attachments=st.sampled_from(["", "", "0-", "1-", "9-", "-", "12345678901-"]),
    namespace=st.sampled_from(["", "", "/,", "/admin,", "/?x,", "/é,", ","]),
    number=st.sampled_from(["", "", "7", "0", "99999999999999999999", "-1"]),
    data=st.one_of(json_values.map(json.dumps), st.sampled_from(EVENTS).map(lambda name: f'["{name}"'), texts),
)
def test_any_socket_io_packet(
    server: Server, witness: RawClient, kind: str, attachments: str, namespace: str, number: str, data: str
) -> None:
    raw = RawClient(server)
    with contextlib.suppress(ConnectionError):
        raw.send(f"4{kind}{attachments}{namespace}{number}{data}")
        raw.send('42999["no-such-event"]')
    is_served(witness)
    # the packet is answered, or the connection ends; nothing in between
    while (answer := raw.receive()) and not answer.startswith("43999"):
        pass
    raw.drop()


@fuzz
@given(calls=st.lists(st.tuples(st.sampled_from(EVENTS), st.lists(json_values, max_size=3)), min_size=1, max_size=5))
def test_any_payloads(server: Server, witness: RawClient, calls: list[tuple[str, list[Any]]]) -> None:
    raw = RawClient(server)
    for event, arguments in calls:
        answer = raw.call(event, *arguments)
        assert answer["ok"] is True or answer["error"]["code"] in CODES, (event, arguments, answer)
    is_served(witness)
    raw.send("41")
    raw.drop()


@fuzz
@given(
    body=st.one_of(
        st.binary(max_size=200),
        st.lists(st.one_of(texts, json_values.map(lambda value: f"42{json.dumps(value)}")), max_size=5).map(
            lambda packets: "\x1e".join(packets).encode()
        ),
    ),
    headers=st.dictionaries(
        st.sampled_from(
            ["Content-Type", "Content-Encoding", "Accept-Encoding", "Origin", "X-Forwarded-For", "Upgrade"]
        ),
        st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=30),
        max_size=2,
    ),
)
def test_any_polling_request(server: Server, witness: RawClient, body: bytes, headers: dict[str, str]) -> None:
    url = f"{server.url}/socket.io/?EIO=4&transport=polling"
    with requests.Session() as session:
        sid = json.loads(session.get(url, timeout=PATIENCE).text[1:])["sid"]
        assert session.post(f"{url}&sid={sid}", b"40", timeout=PATIENCE).status_code == 200
        answer = session.post(f"{url}&sid={sid}", body, headers=headers, timeout=PATIENCE)
        assert answer.status_code in (200, 400, 413, 426), answer.text
        # end the session, if it still exists
        assert session.post(f"{url}&sid={sid}", b"1", timeout=PATIENCE).status_code in (200, 400)
    is_served(witness)


# Tokens


@pytest.mark.parametrize("other", ["token", "pid"])
def test_a_signature_holds_for_what_it_was_made_for(server: Server, other: str) -> None:
    """A signed pid is no token, and a token no pid; another person's signature is not valid for this person."""
    anna, bert = RawClient(server), RawClient(server)
    pids = [json.loads(next(f for f in c.frames if f.startswith("40"))[2:])["pid"] for c in (anna, bert)]
    tokens = [client.session["token"] for client in (anna, bert)]
    swapped = tokens[0].rpartition(".")[0] + "." + (tokens if other == "token" else pids)[1].rpartition(".")[2]
    for auth in (
        {"token": swapped},
        {"token": pids[0]},
        {"pid": tokens[0], "offset": "i"},
        {"pid": swapped, "offset": "i"},
    ):
        stranger = RawClient(server, auth=auth)
        assert stranger.session["token"].split(".")[0] not in {token.split(".")[0] for token in tokens}
        stranger.drop()
    for client in (anna, bert):
        assert client.call("cancel-match")["ok"] is True, "neither was replaced"
        client.drop()
