"""Coming back: the stock JavaScript client takes its session up again by itself (protocol, "Coming back").

Nothing in these clients is the application's: the library sends `auth: {pid, offset}` when it connects again, and says
`recovered`.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from animochat.rooms.log import LOG_LENGTH
from animochat.store.embedded import EmbeddedStore
from tests.faults.crowd import Crowd, Member
from tests.faults.network import Network
from tests.helpers.people import NO_RATES, RawClient, running, stats
from tests.helpers.servers import PATIENCE, Server, alive, eventually

#: Long enough for a server to start on a busy machine; and so short that a test can wait for its end.
GRACE_MS, SHORT_GRACE_MS = 60_000, 300

#: Seconds for a worker or a server to start, and for its clients to find it.
RESTART = 30.0

Join = Callable[..., Member]


@pytest.fixture(scope="module")
def store() -> Iterator[str]:
    embedded = EmbeddedStore.start()
    yield embedded.url
    embedded.stop()


@pytest.fixture(scope="module")
def pair_of_servers(store: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Server]]:
    with running(tmp_path_factory.mktemp("recovery"), 2, store, RECONNECT_GRACE_MS=str(GRACE_MS)) as servers:
        yield servers


@pytest.fixture(scope="module")
def one(pair_of_servers: list[Server]) -> Server:
    return pair_of_servers[0]


@pytest.fixture(scope="module")
def two(pair_of_servers: list[Server]) -> Server:
    return pair_of_servers[1]


@pytest.fixture(scope="module")
def hasty(store: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that doesn't keep places for long."""
    directory = tmp_path_factory.mktemp("hasty")
    with running(directory, 1, store, RECONNECT_GRACE_MS=str(SHORT_GRACE_MS)) as servers:
        yield servers[0]


@pytest.fixture
def crowd(crowd_process: Crowd) -> Iterator[Crowd]:
    """Clients in one Node process. What happened to them is checked in the end."""
    yield crowd_process
    violations = crowd_process.history.violations()
    crowd_process.send_away()
    assert violations == []


@pytest.fixture
def network(one: Server) -> Iterator[Network]:
    """Between a client and, at first, server `one`."""
    with Network(one.url) as network:
        yield network


def meet(anna: Member, bert: Member) -> str:
    """Match two idle people, the only ones that search; return the room."""
    assert anna.call("find-match")["state"] == "waiting"
    anna.wait("waiting")
    assert bert.call("find-match")["ok"] is True
    rooms = {member.wait("matched")["roomId"] for member in (anna, bert)}
    for member in (anna, bert):
        assert member.wait("message")["type"] == "system"
    assert len(rooms) == 1
    return rooms.pop()


def texts(member: Member) -> list[str]:
    """Return the partner's messages, each as often as it has arrived."""
    return [message["content"] for message in member.received("message") if message["type"] == "text"]


def says(sender: Member, *contents: str) -> None:
    for content in contents:
        sender._crowd.history.note(sender.name, "sent", room="", content=content)
        answer = sender.call("send-message", content)
        assert answer["ok"] is True
        sender._crowd.history.note(sender.name, "acknowledged", content=content, id=answer["id"], seq=answer["seq"])


def hears(receiver: Member, content: str) -> None:
    """Return when these texts have arrived."""
    receiver.wait("message", where=lambda message: message["content"] == content)


def chat(anna: Member, bert: Member, word: str) -> None:
    """Let both send a message, and wait until both have arrived."""
    for sender, receiver in ((anna, bert), (bert, anna)):
        says(sender, f"{sender.name} {word}")
        hears(receiver, f"{sender.name} {word}")


def comes_back(member: Member, recovered: bool = True, timeout: float = PATIENCE) -> None:
    """Return when the client has reconnected; fail unless its library reports that it has (not) recovered."""
    assert member.wait("connect", timeout)["recovered"] is recovered
    assert member.state()["recovered"] is recovered


def away(network: Network, bert: Member) -> None:
    """Keep the client behind the network away; its partner has been notified."""
    network.up = False
    network.cut()
    assert bert.wait("partner-reconnecting")["graceMs"] <= GRACE_MS


def kill_workers(server: Server) -> None:
    """Send SIGKILL to all workers; return when gunicorn's master has replaced them."""
    pids = server.worker_pids()
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: not any(alive(pid) for pid in pids), what="dead workers")


# The place of return


def test_on_the_same_worker(crowd: Crowd, one: Server) -> None:
    anna, bert = crowd.join(one.url), crowd.join(one.url)
    meet(anna, bert)
    before = anna.state()
    anna.drop()
    comes_back(anna)
    assert anna.state()["sid"] == before["sid"], "the same session id"
    assert anna.state()["pid"] == before["pid"]
    chat(anna, bert, "after")
    assert len(anna.received("session")) == 1, "no new session"
    assert len(anna.received("matched")) == 1


def test_on_another_server(crowd: Crowd, network: Network, one: Server, two: Server) -> None:
    anna, bert = crowd.join(network.url), crowd.join(one.url)
    meet(anna, bert)
    chat(anna, bert, "before")
    network.target = two.url
    network.cut()
    comes_back(anna)
    chat(anna, bert, "after")
    # and from there to where it was
    network.target = one.url
    network.cut()
    comes_back(anna)
    chat(anna, bert, "again")
    assert len(anna.received("session")) == 1


def test_a_reply_that_was_missed_comes_with_its_quote(crowd: Crowd, network: Network, one: Server, two: Server) -> None:
    anna, bert = crowd.join(network.url), crowd.join(one.url)
    meet(anna, bert)
    says(anna, "a question")
    hears(bert, "a question")
    question = next(message for message in bert.received("message") if message["content"] == "a question")
    away(network, bert)
    crowd.history.note(bert.name, "sent", room="", content="an answer")
    answer = bert.call("send-message", {"content": "an answer", "replyTo": question["id"]})
    crowd.history.note(bert.name, "acknowledged", content="an answer", id=answer["id"], seq=answer["seq"])
    network.target = two.url
    network.up = True
    comes_back(anna)
    reply = anna.wait("message", where=lambda message: message["content"] == "an answer")
    quote = {"id": question["id"], "senderId": question["senderId"], "content": "a question"}
    assert reply["replyTo"] == quote


def test_with_long_polling(crowd: Crowd, network: Network, one: Server, two: Server) -> None:
    anna, bert = crowd.join(network.url, transports=["polling"]), crowd.join(one.url)
    meet(anna, bert)
    network.up = False
    network.cut()  # which the server doesn't notice: a session has no connection of its own
    says(bert, "meanwhile")
    network.target = two.url
    network.up = True
    comes_back(anna)
    hears(anna, "meanwhile")
    chat(anna, bert, "after")
    anna.disconnect()
    bert.wait("partner-disconnected")


@pytest.mark.parametrize("workers", [1, 2])
def test_after_its_worker_was_killed(crowd: Crowd, store: str, tmp_path: Path, one: Server, workers: int) -> None:
    environment = {"REDIS_URL": store, **NO_RATES, "RECONNECT_GRACE_MS": str(GRACE_MS)}
    server = Server(tmp_path, workers=workers, env=environment).start()
    server.expect_errors()  # gunicorn's master reports its workers' deaths
    try:
        eventually(lambda: stats(one)["workers"] >= 2 + workers, what="workers that are known")
        anna, bert = crowd.join(server.url), crowd.join(server.url)
        carla, dora = crowd.join(server.url), crowd.join(one.url)
        meet(anna, bert)
        meet(carla, dora)
        chat(anna, bert, "before")
        chat(carla, dora, "before")
        kill_workers(server)
        says(dora, "meanwhile")
        for member in (anna, bert, carla):
            comes_back(member, timeout=RESTART)
        hears(carla, "meanwhile")
        chat(anna, bert, "after")
        chat(carla, dora, "after")
        for member in (anna, bert, carla, dora):
            assert len(member.received("session")) == 1
    finally:
        server.stop()
        server.kill()


def test_after_its_worker_was_killed_all_of_twenty_recover_and_miss_nothing(
    crowd: Crowd, store: str, tmp_path: Path, one: Server
) -> None:
    environment = {"REDIS_URL": store, **NO_RATES, "RECONNECT_GRACE_MS": str(GRACE_MS)}
    server = Server(tmp_path, env=environment).start()
    server.expect_errors()  # gunicorn's master reports its worker's death
    try:
        eventually(lambda: stats(one)["workers"] >= 3, what="workers that are known")
        pairs = [(crowd.join(server.url), crowd.join(one.url)) for _ in range(20)]
        for anna, bert in pairs:
            meet(anna, bert)
            chat(anna, bert, "before")
        kill_workers(server)
        for number in range(5):
            for _, bert in pairs:
                says(bert, f"{bert.name} meanwhile {number}")
        for anna, bert in pairs:
            comes_back(anna, timeout=RESTART)
            hears(anna, f"{bert.name} meanwhile 4")
        recovered = [anna for anna, _ in pairs if len(anna.received("session")) == 1]
        assert len(recovered) == 20
        for anna, bert in pairs:
            anna.settle()
            assert texts(anna) == [f"{bert.name} before", *(f"{bert.name} meanwhile {number}" for number in range(5))]
    finally:
        server.stop()
        server.kill()


def test_after_the_server_was_restarted(crowd: Crowd, store: str, tmp_path: Path, one: Server) -> None:
    """Deploy: SIGTERM, then new processes. Cover two partners here, one elsewhere, one waiting and one idle."""
    environment = {"REDIS_URL": store, **NO_RATES, "RECONNECT_GRACE_MS": str(GRACE_MS)}
    server = Server(tmp_path, env=environment).start()
    try:
        anna, bert, carla, erik, frida = (crowd.join(server.url) for _ in range(5))
        dora = crowd.join(one.url)
        meet(anna, bert)
        meet(carla, dora)
        erik.call("find-match")
        server.stop()
        dora.wait("partner-reconnecting")
        says(dora, "meanwhile")
        server.start()
        for member in (anna, bert, carla, erik, frida):
            comes_back(member, timeout=RESTART)
            assert len(member.received("session")) == 1
        dora.wait("partner-reconnected")
        hears(carla, "meanwhile")
        chat(anna, bert, "after")
        chat(carla, dora, "after")
        assert frida.call("find-match")["ok"] is True
        assert erik.wait("matched")["roomId"] == frida.wait("matched")["roomId"]
        assert len(erik.received("waiting")) == 1
    finally:
        server.stop()
        server.kill()
    server.check_log()


# The client's state


def test_a_client_with_nothing_but_session_recovers(crowd: Crowd, network: Network, two: Server) -> None:
    anna = crowd.join(network.url)
    network.target = two.url
    network.cut()
    comes_back(anna)
    anna.settle()
    assert anna.received("session")[0]["recovered"] is False
    assert [name for name in anna.events() if name not in ("online-count",)] == [
        "connect", "session", "disconnect", "connect",
    ]  # fmt: skip


def test_missed_messages_arrive_once_and_in_order(crowd: Crowd, network: Network, one: Server, two: Server) -> None:
    anna, bert = crowd.join(network.url), crowd.join(one.url)
    meet(anna, bert)
    chat(anna, bert, "before")
    for round_, server in enumerate((two, one)):
        away(network, bert)
        words = [f"{round_}.{number}" for number in range(50)]
        says(bert, *words)
        network.target = server.url
        network.up = True
        comes_back(anna)
        bert.wait("partner-reconnected")
        hears(anna, words[-1])
        says(bert, f"{round_} live")
        hears(anna, f"{round_} live")
        anna.settle()
        assert texts(anna)[-51:] == [*words, f"{round_} live"]
    assert len(texts(anna)) == 1 + 2 * 51


def test_messages_sent_to_a_dead_connection_arrive_on_the_next(
    crowd: Crowd, network: Network, one: Server, two: Server
) -> None:
    """The server doesn't know yet that the connection is dead."""
    anna, bert = crowd.join(network.url), crowd.join(one.url)
    meet(anna, bert)
    network.up = False
    network.lose()
    says(bert, "into the void", "of the net")
    network.target = two.url
    network.up = True
    comes_back(anna)
    hears(anna, "of the net")
    chat(anna, bert, "after")
    assert "partner-reconnecting" not in bert.events(), "it was never away for the partner"
    assert texts(anna) == ["into the void", "of the net", f"{bert.name} after"]


def test_the_partner_gets_away_and_back(crowd: Crowd, network: Network, one: Server, two: Server) -> None:
    anna, bert = crowd.join(network.url), crowd.join(two.url)
    meet(anna, bert)
    away(network, bert)
    assert "partner-reconnected" not in bert.events()
    network.up = True
    comes_back(anna)
    bert.wait("partner-reconnected")
    bert.settle()
    assert bert.events().count("partner-reconnecting") == bert.events().count("partner-reconnected") == 1
    assert "partner-disconnected" not in bert.events()


def test_a_recovered_client_knows_whether_the_partner_is_away(crowd: Crowd, one: Server, two: Server) -> None:
    with Network(one.url) as annas, Network(two.url) as berts:
        anna, bert = crowd.join(annas.url), crowd.join(berts.url)
        meet(anna, bert)
        away(annas, bert)
        berts.up = False
        berts.cut()
        annas.up = True
        comes_back(anna)
        anna.wait("partner-reconnecting")
        annas.up = False
        annas.cut()
        eventually(lambda: stats(one)["onlineUsers"] == 0, what="no one online")
        berts.up = True
        comes_back(bert)
        bert.wait("partner-reconnecting")
        annas.up = True
        comes_back(anna)
        anna.wait("partner-reconnected")
        bert.wait("partner-reconnected")
        chat(anna, bert, "after")


def test_a_waiting_person_keeps_the_place(crowd: Crowd, network: Network, one: Server, two: Server) -> None:
    anna = crowd.join(network.url)
    anna.call("find-match", {"interests": ["Tea"]})
    network.up = False
    network.cut()
    eventually(lambda: stats(one)["onlineUsers"] == 0, what="no one online")
    bert = crowd.join(two.url)
    assert bert.call("find-match", {"interests": ["tea"]})["state"] == "waiting", (
        "no one is matched with an absent person"
    )
    network.target = two.url
    network.up = True
    comes_back(anna)
    told = anna.wait("matched")
    assert told["interests"] == ["Tea"]
    assert bert.wait("matched")["roomId"] == told["roomId"]
    assert len(anna.received("waiting")) == 1, "it never stopped waiting"


def test_a_match_made_while_away_is_there(crowd: Crowd, network: Network, one: Server, two: Server) -> None:
    anna = crowd.join(network.url)
    anna.call("find-match", {"interests": ["Tea", "cats"]})
    anna.wait("waiting")
    network.up = False
    network.lose()
    bert = crowd.join(one.url)
    assert bert.call("find-match", {"interests": ["tea"]})["state"] == "matched"
    told = bert.wait("matched")
    says(bert, "hello?", "anybody?")
    network.target = two.url
    network.up = True
    comes_back(anna)
    assert anna.wait("matched") == {
        "roomId": told["roomId"], "userId": told["partnerId"], "partnerId": told["userId"], "interests": ["Tea"],
    }  # fmt: skip
    assert anna.wait("message")["type"] == "system"
    hears(anna, "anybody?")
    assert texts(anna) == ["hello?", "anybody?"]
    chat(anna, bert, "after")


@pytest.mark.parametrize(("event", "reason"), [("leave-room", "left"), ("next-match", "skipped")])
def test_last_words_and_end_of_a_room_arrive_after_recovery(
    crowd: Crowd, network: Network, one: Server, two: Server, event: str, reason: str
) -> None:
    anna, bert = crowd.join(network.url), crowd.join(one.url)
    meet(anna, bert)
    chat(anna, bert, "before")
    away(network, bert)
    says(bert, "are you there?", "then not")
    assert bert.call(event)["ok"] is True
    network.target = two.url
    network.up = True
    comes_back(anna)
    assert anna.wait("partner-disconnected") == {"reason": reason}
    assert texts(anna) == [f"{bert.name} before", "are you there?", "then not"]
    assert anna.call("send-message", "hello?")["error"]["code"] == "not-in-room"


def test_the_end_of_a_room_survives_another_lost_connection(
    crowd: Crowd, network: Network, one: Server, two: Server
) -> None:
    """The answer to the first attempt never arrives."""
    anna, bert = crowd.join(network.url), crowd.join(two.url)
    meet(anna, bert)
    away(network, bert)
    says(bert, "then not")
    bert.call("leave-room")
    # the first attempt comes through, the answers to it are lost
    state = anna.state()
    first = returning(one, state["pid"], state["offset"])
    first.wait_event("partner-disconnected")
    first.drop()
    network.up = True
    comes_back(anna)
    anna.wait("partner-disconnected")
    assert texts(anna) == ["then not"]


def test_a_lost_answer_to_leaving_is_followed_by_a_new_session(
    crowd: Crowd, network: Network, one: Server, two: Server
) -> None:
    anna, bert = crowd.join(network.url), crowd.join(two.url)
    meet(anna, bert)
    network.hold_answers()
    anna.emit("leave-room")
    crowd.history.note(anna.name, "leaving", room=anna.received("matched")[0]["roomId"])
    assert bert.wait("partner-disconnected") == {"reason": "left"}
    network.cut()
    network.release_answers()
    comes_back(anna, recovered=False)
    session = anna.wait("session")
    assert (session["recovered"], session["state"]) == (False, "idle")
    # and that new session is one that can be taken up again
    anna.drop()
    comes_back(anna)


# When it can't be done


def test_after_the_grace_time_there_is_a_new_session_for_the_same_person(
    crowd: Crowd, hasty: Server, two: Server
) -> None:
    with Network(hasty.url) as network:
        anna, bert = crowd.join(network.url), crowd.join(two.url)
        meet(anna, bert)
        network.up = False
        network.cut()
        assert bert.wait("partner-disconnected") == {"reason": "disconnected"}
        network.up = True
        comes_back(anna, recovered=False)
        session = anna.wait("session")
        assert (session["recovered"], session["state"]) == (False, "idle")
        assert "room" not in session
        assert session["token"].split(".")[0] == anna.received("session")[0]["token"].split(".")[0]


def test_missing_more_than_the_log_keeps_gives_a_new_session(crowd: Crowd, network: Network, two: Server) -> None:
    anna, bert = crowd.join(network.url), crowd.join(two.url)
    meet(anna, bert)
    network.up = False
    network.cut()
    bert.wait("partner-reconnecting")
    for number in range(LOG_LENGTH):
        bert.emit("send-message", str(number))
    assert bert.call("send-message", "the last")["seq"] == LOG_LENGTH + 1
    network.up = True
    comes_back(anna, recovered=False)
    session = anna.wait("session", where=lambda session: session["state"] == "chatting")
    assert session["recovered"] is False
    contents = [message["content"] for message in session["room"]["messages"]]
    assert contents[1:] == [*(str(number) for number in range(1, LOG_LENGTH)), "the last"]
    crowd.forget()  # one message is lost, and anna knows about it


def test_after_a_goodbye_the_session_is_over(crowd: Crowd, one: Server, two: Server) -> None:
    anna, bert = crowd.join(one.url), crowd.join(two.url)
    meet(anna, bert)
    before = anna.state()
    anna.disconnect()
    assert bert.wait("partner-disconnected") == {"reason": "disconnected"}
    raw = RawClient(two, auth={"pid": before["pid"], "offset": before["offset"]})
    assert (raw.session["recovered"], raw.session["state"]) == (False, "idle")
    assert pid_of(raw) != before["pid"]
    raw.drop()


# Forged sessions


def pid_of(raw: RawClient) -> str:
    return str(json.loads(next(frame for frame in raw.frames if frame.startswith("40"))[2:])["pid"])


def returning(server: Server, pid: str, offset: str) -> RawClient:
    """Connect a raw client like a returning stock client; return it after the answer to CONNECT."""
    raw = RawClient(server, connected=False)
    raw.send("40" + json.dumps({"pid": pid, "offset": offset}))
    raw.wait_frame("40")
    return raw


def forgeries(pid: str, other: str) -> dict[str, Any]:
    """Things that aren't a `pid` that this server has made."""
    body, _, signature = pid.rpartition(".")
    other_body, _, other_signature = other.rpartition(".")
    person, _, session = body.partition(".")
    other_person, _, other_session = other_body.partition(".")
    return {
        "cut": pid[:-1],
        "no signature": body,
        "another's signature": f"{body}.{other_signature}",
        "another's session": f"{person}.{other_session}.{signature}",
        "another's person": f"{other_person}.{session}.{signature}",
        "longer": pid + "A",
        "huge": pid * 1_000,
        "empty": "",
        "not ASCII": "ü" * 40,
        "a number": 1,
        "a list": [pid],
        "an object": {"pid": pid},
        "null": None,
    }


def test_a_forged_pid_gets_a_new_session_and_never_an_error(crowd: Crowd, one: Server) -> None:
    anna, bert = crowd.join(one.url), crowd.join(one.url)
    meet(anna, bert)
    says(bert, "for anna alone")
    hears(anna, "for anna alone")
    state = anna.state()
    for name, pid in forgeries(state["pid"], bert.state()["pid"]).items():
        raw = RawClient(one, auth={"pid": pid, "offset": state["offset"]})
        assert (raw.session["recovered"], raw.session["state"]) == (False, "idle"), name
        assert not any("for anna alone" in frame or '"error"' in frame for frame in raw.frames), name
        assert pid_of(raw) not in (state["pid"], bert.state()["pid"]), name
        raw.send("41")
        raw.drop()
    chat(anna, bert, "undisturbed")
    assert "disconnect" not in anna.events() + bert.events()


def test_a_forged_offset_shows_nothing_of_others_rooms(crowd: Crowd, one: Server) -> None:
    """The spy's own `pid` is right, and the offset names the room of others, who are or were in it."""
    anna, bert = crowd.join(one.url), crowd.join(one.url)
    room = meet(anna, bert)
    chat(anna, bert, "a secret")
    for over in (False, True):
        if over:
            anna.call("leave-room")
            bert.wait("partner-disconnected")
        for state in ("idle", "waiting", "chatting"):
            for slot in "ab":
                spy, partner = RawClient(one), None
                if state != "idle":
                    spy.call("find-match")
                if state == "chatting":
                    partner = crowd.join(one.url)
                    partner.call("find-match")
                    spy.wait_event("matched")
                pid = pid_of(spy)
                spy.drop()
                again = returning(one, pid, f"c.{room}.{slot}.0.p")
                again.call("no-such-event")
                assert not any("a secret" in frame or room in frame for frame in again.frames), (state, slot)
                again.send("41")
                again.drop()
                if partner is not None:
                    partner.wait("partner-disconnected")
    crowd.forget()


@pytest.mark.parametrize("text", ["", "x", "c", "c.x.a.0.p", "c.ab.c.0.p", "c.ab.a.-2.p", "c.ab.a.1.p\n", "i" * 10_000])
def test_an_offset_that_is_none_gets_a_new_session(one: Server, text: str) -> None:
    first = RawClient(one)
    pid = pid_of(first)
    first.drop()
    again = RawClient(one, auth={"pid": pid, "offset": text})
    assert (again.session["recovered"], again.session["state"]) == (False, "idle")
    assert pid_of(again) != pid
    again.send("41")
    again.drop()


@pytest.mark.parametrize("where", ["here", "elsewhere"])
def test_a_pid_in_use_replaces_its_owner(crowd: Crowd, one: Server, two: Server, where: str) -> None:
    anna, bert = crowd.join(one.url), crowd.join(one.url)
    meet(anna, bert)
    state = anna.state()
    online = stats(one)["onlineUsers"]
    other = returning(one if where == "here" else two, state["pid"], state["offset"])
    assert state["sid"] in other.frames[-1]
    assert anna.wait("error")["code"] == "replaced"
    assert anna.wait("disconnect") == "io server disconnect"
    assert stats(one)["onlineUsers"] == online
    says(bert, "to the one who is there")
    assert other.wait_event("message")["content"] == "to the one who is there"
    assert other.call("send-message", "it is me")["ok"] is True
    assert bert.wait("message")["content"] == "it is me"
    assert texts(anna) == []
    assert "partner-disconnected" not in bert.events()
    other.send("41")
    other.drop()
    bert.wait("partner-disconnected")
    crowd.forget()


# Sending again


@pytest.mark.parametrize("lands", ["here", "elsewhere"])
def test_a_message_sent_again_after_a_drop_is_stored_and_delivered_once(
    crowd: Crowd, network: Network, one: Server, two: Server, lands: str
) -> None:
    """The library's own `retries` send it again; it was stored the first time, and the answer was lost."""
    anna = crowd.join(network.url, retries=50, ackTimeout=500)
    bert = crowd.join(one.url)
    meet(anna, bert)
    network.hold_answers()
    anna.emit("send-message", {"content": "once", "clientId": "1"})
    first = bert.wait("message")
    anna.emit("send-message", {"content": "then", "clientId": "2"})
    network.target = (one if lands == "here" else two).url
    network.cut()
    network.release_answers()
    comes_back(anna)
    hears(bert, "then")
    answer = anna.call("send-message", {"content": "once", "clientId": "1"})
    assert {name: answer[name] for name in ("ok", "id", "seq", "timestamp")} == {
        "ok": True, "id": first["id"], "seq": first["seq"], "timestamp": first["timestamp"],
    }  # fmt: skip
    bert.settle()
    assert texts(bert) == ["once", "then"]
    crowd.forget()
