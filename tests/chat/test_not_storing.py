"""`STORE_MESSAGES=0`: no message is stored, and returning clients learn which messages they missed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.crowd import Crowd, Member
from tests.faults.network import Network
from tests.helpers.people import running
from tests.helpers.servers import RedisServer, Server

TEXT = "nobody may keep this"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One that writes everything to disk."""
    store = RedisServer(tmp_path_factory.mktemp("store"), persistent=True).start()
    yield store
    store.stop()


@pytest.fixture(scope="module")
def pair_of_servers(store: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Server]]:
    with running(
        tmp_path_factory.mktemp("servers"), 2, store.url, RECONNECT_GRACE_MS="60000", STORE_MESSAGES="0"
    ) as servers:
        yield servers


@pytest.fixture
def crowd(crowd_process: Crowd) -> Iterator[Crowd]:
    yield crowd_process
    crowd_process.send_away()


def meet(anna: Member, bert: Member) -> None:
    anna.call("find-match")
    bert.call("find-match")
    for member in (anna, bert):
        member.wait("matched")


def say(sender: Member, *contents: str) -> None:
    for content in contents:
        assert sender.call("send-message", content)["ok"] is True


def apply_or_defer(receiver: Member, content: str) -> None:
    receiver.wait("message", where=lambda message: message["content"] == content)


def texts(member: Member) -> list[str]:
    return [message["content"] for message in member.received("message") if message["type"] == "text"]


def away(network: Network, partner: Member) -> None:
    network.up = False
    network.cut()
    partner.wait("partner-reconnecting")


def test_between_servers_everything_arrives_and_nothing_is_written(
    crowd: Crowd, pair_of_servers: list[Server], store: RedisServer
) -> None:
    anna, bert = (crowd.join(server.url) for server in pair_of_servers)
    meet(anna, bert)
    for number in range(20):
        say(anna, f"{TEXT} {number}")
        say(bert, f"{TEXT}, too {number}")
    apply_or_defer(anna, f"{TEXT}, too 19")
    apply_or_defer(bert, f"{TEXT} 19")
    assert texts(bert) == [f"{TEXT} {number}" for number in range(20)]
    seqs = [message["seq"] for member in (anna, bert) for message in member.received("message")[1:]]
    assert sorted(seqs) == list(range(1, 41))
    with store.client() as client:
        assert not [key for key in client.scan_iter() if TEXT.encode() in (client.dump(key) or b"")]
    written = [path for path in store.directory.rglob("*") if path.is_file()]
    assert any(b"animochat" in path.read_bytes() for path in written), "this store does write"
    assert not [path for path in written if TEXT.encode() in path.read_bytes()]


def test_a_reply_quotes_what_the_worker_remembers_and_a_report_has_no_evidence(
    crowd: Crowd, pair_of_servers: list[Server], store: RedisServer
) -> None:
    anna, bert = (crowd.join(server.url) for server in pair_of_servers)
    meet(anna, bert)
    say(anna, TEXT)
    apply_or_defer(bert, TEXT)
    original = bert.received("message")[-1]["id"]
    assert bert.call("send-message", {"content": "why?", "replyTo": original})["ok"] is True
    assert anna.wait("message", where=lambda message: message["content"] == "why?")["replyTo"]["content"] == TEXT
    assert bert.call("report-partner", {"reason": "spam"}) == {"ok": True}
    room = anna.received("matched")[0]["roomId"]
    assert anna.call("report-partner", {"reason": "spam", "roomId": room}) == {"ok": True}, "after the end"
    with store.client() as client:
        assert [client.hget(key, "evidence") for key in client.scan_iter("*:report:*")] == ["[]", "[]"]
    assert not [path for path in store.directory.rglob("*") if path.is_file() and TEXT.encode() in path.read_bytes()]


def test_on_the_same_worker_nothing_is_missed(crowd: Crowd, pair_of_servers: list[Server]) -> None:
    with Network(pair_of_servers[0].url) as network:
        anna, bert = crowd.join(network.url), crowd.join(pair_of_servers[1].url)
        meet(anna, bert)
        away(network, bert)
        say(bert, "one", "two")
        network.up = True
        assert anna.wait("connect")["recovered"] is True
        apply_or_defer(anna, "two")
        say(bert, "three")
        apply_or_defer(anna, "three")
        assert texts(anna) == ["one", "two", "three"]
        assert len(anna.received("session")) == 1


def test_on_another_server_the_session_goes_on_without_messages(crowd: Crowd, pair_of_servers: list[Server]) -> None:
    with Network(pair_of_servers[0].url) as network:
        anna, bert = crowd.join(network.url), crowd.join(pair_of_servers[0].url)
        meet(anna, bert)
        say(bert, "before")
        apply_or_defer(anna, "before")
        away(network, bert)
        network.target = pair_of_servers[1].url
        network.up = True
        assert anna.wait("connect")["recovered"] is True
        say(bert, "after")
        apply_or_defer(anna, "after")
        assert len(anna.received("session")) == 1


def test_on_another_server_a_new_session_follows_a_missed_message(crowd: Crowd, pair_of_servers: list[Server]) -> None:
    with Network(pair_of_servers[0].url) as network:
        anna, bert = crowd.join(network.url), crowd.join(pair_of_servers[0].url)
        meet(anna, bert)
        away(network, bert)
        say(bert, "lost")
        network.target = pair_of_servers[1].url
        network.up = True
        assert anna.wait("connect")["recovered"] is False
        session = anna.wait("session", where=lambda session: session["state"] == "chatting")
        assert session["recovered"] is False
        assert [message["type"] for message in session["room"]["messages"]] == ["system"]
        bert.wait("partner-reconnected")
        for sender, receiver in ((bert, anna), (anna, bert)):
            say(sender, f"{sender.name} goes on")
            apply_or_defer(receiver, f"{sender.name} goes on")
        assert "lost" not in texts(anna)


def test_a_loss_without_a_disconnect_is_reported_too(
    crowd: Crowd, pair_of_servers: list[Server], store: RedisServer
) -> None:
    """The subscription of the partner's worker is cut: at that moment, no one receives publications."""
    anna, bert = (crowd.join(server.url) for server in pair_of_servers)
    meet(anna, bert)
    with store.client() as client:
        client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
    say(anna, "into the void")
    session = bert.wait("session", where=lambda session: session["state"] == "chatting")
    assert session["recovered"] is False
    say(anna, "certainly")
    apply_or_defer(bert, "certainly")


def test_messages_survive_a_reload_on_the_same_worker(crowd: Crowd, pair_of_servers: list[Server]) -> None:
    anna, bert = (crowd.join(server.url) for server in pair_of_servers)
    token = anna.received("session")[0]["token"]
    meet(anna, bert)
    say(anna, "mine")
    say(bert, "yours")
    apply_or_defer(anna, "yours")
    anna.drop()
    again = crowd.join(pair_of_servers[0].url, token=token)
    shown = again.received("session")[0]["room"]["messages"]
    assert [message["content"] for message in shown[1:]] == ["mine", "yours"]


@pytest.mark.parametrize("at", [0, 1], ids=["from another server", "from the partner's own"])
def test_a_missed_message_that_is_sent_again_is_shown_in_its_place(
    crowd: Crowd, pair_of_servers: list[Server], store: RedisServer, at: int
) -> None:
    anna, bert = (crowd.join(server.url) for server in pair_of_servers)
    meet(anna, bert)
    with store.client() as client:
        client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
    late = {"content": "late", "clientId": "c1"}
    answer = anna.call("send-message", late)
    assert bert.wait("session", where=lambda session: session["state"] == "chatting")["recovered"] is False
    say(anna, "on time")
    apply_or_defer(bert, "on time")
    anna = crowd.join(pair_of_servers[at].url, token=anna.received("session")[0]["token"])
    assert anna.call("send-message", late) == answer
    session = bert.wait("session", where=lambda session: session["state"] == "chatting")
    assert [message["content"] for message in session["room"]["messages"][1:]] == ["late", "on time"]
    assert anna.call("send-message", late) == answer
    say(anna, "more")
    apply_or_defer(bert, "more")
    assert texts(bert) == ["on time", "more"]
    assert len(bert.received("session")) == 3, "the first one, and one for each time that something was missing"
