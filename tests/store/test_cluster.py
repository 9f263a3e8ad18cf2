"""On a cluster: the contract's core, its costs, and that people notice nothing when nodes die and slots move."""

from __future__ import annotations

import hashlib
import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import gevent
import pytest
import redis
from redis.crc import key_slot

from animochat.cli.doctor.check_result import Level
from animochat.cli.doctor.store_checks import store_findings
from animochat.moderation import lobby_moderation as moderation
from animochat.moderation.lobby_moderation import LobbyModeration, Origin
from animochat.protocol.errors import Unavailable
from animochat.protocol.payloads import message_body
from animochat.rooms import service as rooms
from animochat.rooms.appending import NewMessage, Outcome
from animochat.rooms.log import LogPart
from animochat.rooms.service import Rooms
from animochat.settings import Settings
from animochat.store import keys
from animochat.store.pipeline import Pipeline
from animochat.store.scripts import Script
from animochat.store.subscription import Listener, Subscription
from tests.faults.crowd import Crowd
from tests.faults.network import Network
from tests.faults.test_faults import ENV, Traffic, no_new_sessions, workers_are_back
from tests.helpers.clusters import HEALED, RedisCluster
from tests.helpers.local_chat import pair, start_chat
from tests.helpers.people import meet, running, say, status, texts, wait_until_empty
from tests.helpers.servers import PythonClient, Server, eventually, find_redis_server
from tests.helpers.store import cooperative, outcome, soon

LOBBY_SLOT = key_slot(keys.lobby().encode())

#: A lobby in another third of the slots than `main`, and so on another primary at the start.
OTHER_LOBBY = "davao"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    """Three primaries with a replica each."""
    # long enough for a busy machine: a node that counts as dead loses subscriptions and publications
    options = {"cluster-node-timeout": "3000"}
    directory = tmp_path_factory.mktemp("cluster")
    with RedisCluster(directory, find_redis_server(), replicas=1, options=options) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def server(cluster: RedisCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Two workers."""
    directory = tmp_path_factory.mktemp("server")
    env = {"REDIS_URL": cluster.url, "LOBBIES": f"main,{OTHER_LOBBY}", **ENV}
    server = Server(directory, workers=2, env=env).start()
    eventually(lambda: status(server, "/health") == 200, HEALED)
    yield server
    server.stop()
    server.kill()

    assert "Traceback" not in server.log(), server.log()[-8_000:]


@pytest.fixture
def crowd(crowd_process: Crowd) -> Iterator[Crowd]:
    yield crowd_process
    crowd_process.send_away()


@pytest.fixture
def empty(cluster: RedisCluster) -> RedisCluster:
    eventually(cluster.is_well, HEALED, "a cluster that is well after the test before")
    cluster.flush()
    return cluster


def started(cluster: RedisCluster, scripts: Sequence[Script] = rooms.SCRIPTS) -> Pipeline:
    pipe = Pipeline(cluster.url, scripts)
    pipe.start()
    return pipe


def elsewhere(cluster: RedisCluster, slot: int) -> Any:
    """Return a primary that doesn't have the slot."""
    source = cluster.owner_of_slot(slot)
    return next(node for node in cluster.primaries() if node is not source)


# Commands


@cooperative
def test_each_node_gets_one_write_per_turn_of_the_loop(empty: RedisCluster) -> None:
    pipe = started(empty)
    names = [f"n{n}" for n in range(60)]
    gevent.joinall([gevent.spawn(pipe.execute, "SET", name, "x") for name in names], raise_error=True)
    before = [node.client.info("stats")["total_reads_processed"] for node in empty.primaries()]
    replies: list[Any] = []
    for name in names:
        pipe.submit(("GET", name), replies.append)
    soon(lambda: len(replies) == 60)
    after = [node.client.info("stats")["total_reads_processed"] for node in empty.primaries()]
    assert set(replies) == {b"x"}
    # this query is a read as well, and replicas acknowledge once a second
    assert all(now - then <= 4 for then, now in zip(before, after, strict=True))
    pipe.stop()


@cooperative
def test_commands_for_a_slot_keep_their_order_while_it_moves_back_and_forth(empty: RedisCluster) -> None:
    pipe = started(empty)
    replies: list[Any] = []
    pipe.execute("RPUSH", "list", 0)
    moving = gevent.get_hub().threadpool.spawn(move_to_and_fro, empty, key_slot(b"list"))
    sent = 0
    while not moving.ready():
        for _ in range(3):
            sent += 1
            pipe.submit(("RPUSH", "list", sent), replies.append)
        gevent.sleep(0.002)
    soon(lambda: len(replies) == sent)
    moving.get()
    assert not [reply for reply in replies if isinstance(reply, Unavailable)]
    assert pipe.execute("LRANGE", "list", 0, -1) == [str(n).encode() for n in range(sent + 1)]
    pipe.stop()


def move_to_and_fro(cluster: RedisCluster, slot: int) -> None:
    for _ in range(4):
        cluster.move_slot(slot, elsewhere(cluster, slot), keep_open=0.05)


@cooperative
def test_only_a_slot_that_does_not_arrive_is_unavailable(empty: RedisCluster) -> None:
    """Neither node runs a script: half of its keys may be on the other one."""
    pipe = started(empty)
    room_id = "0123456789abcdef"
    slot = key_slot(keys.room(room_id).encode())
    source, target = empty.owner_of_slot(slot), elsewhere(empty, slot)
    log = Rooms(pipe, "here")
    log.attach(room_id, "anna", "a", 1)
    target.run("CLUSTER", "SETSLOT", slot, "IMPORTING", source.id)
    source.run("CLUSTER", "SETSLOT", slot, "MIGRATING", target.id)
    try:
        attempt = gevent.spawn(outcome, lambda: log.attach(room_id, "bert", "b", 1))
        assert pipe.execute("SET", "other", "x") == b"OK"
        assert attempt.get() is Unavailable
        assert source.run("HGETALL", keys.room(room_id) + ":meta").keys() == {"a", "va", "seq"}
        assert target.run("DBSIZE") == len(target.run("KEYS", "*"))
    finally:
        for node in (source, target):
            node.run("CLUSTER", "SETSLOT", slot, "STABLE")
    assert log.attach(room_id, "bert", "b", 1) == LogPart(0, [])
    pipe.stop()


@cooperative
def test_a_hanging_node_makes_only_its_own_slots_unavailable(empty: RedisCluster) -> None:
    pipe = started(empty)
    names = [f"n{n}" for n in range(30)]
    victim = empty.owner("n0")
    assert all(pipe.execute("SET", name, "x") == b"OK" for name in names)
    reachable = [name for name in names if empty.owner(name) is not victim]
    assert victim.process is not None
    victim.process.send_signal(signal.SIGSTOP)
    try:
        attempt = gevent.spawn(outcome, lambda: pipe.execute("GET", "n0"))
        gevent.sleep(0)
        assert [pipe.execute("GET", name) for name in reachable] == [b"x"] * len(reachable)
        assert not attempt.ready()
        another = gevent.spawn(outcome, lambda: pipe.execute("GET", "n0"))
        gevent.sleep(0)
        assert pipe.execute("GET", reachable[0]) == b"x"
        assert pipe.waiting == 1
        assert attempt.get() in (Unavailable, b"x")
        another.kill()
    finally:
        victim.process.send_signal(signal.SIGCONT)
    eventually(empty.is_well, HEALED)
    pipe.stop()


@cooperative
def test_with_storing_off_a_message_and_its_repetition_are_published_in_full(empty: RedisCluster) -> None:
    """There is no log to read them from."""
    pipe = started(empty)
    heard: list[bytes] = []
    listening: list[bool] = []
    listener = Listener([keys.worker_channel("there")], heard.append, lambda: listening.append(True))
    there = Subscription(empty.url, [listener])
    there.start()
    soon(lambda: listening)
    log = Rooms(pipe, "here", storing=False)
    told: list[Any] = []
    pipe.execute("PING")
    log.life.open("r", "a", 1)
    for client_id, body in (("1", '"content":"x"'), ("2", '"content":"y"'), ("1", '"content":"x"')):
        log.append(NewMessage("r", "a", "bert", "there", 0, 1, client_id, body, lambda *result: told.append(result)))
    soon(lambda: len(told) == 3)
    (first, at), (second, then), (again, before) = (result[:2] for result in told)
    assert (first, second, again, before) == (1, 2, 1, at)
    assert [result[2] for result in told] == [Outcome.REMOTE, Outcome.REMOTE, Outcome.AGAIN]
    lines = [f'bert r 1 {at} 0 "content":"x"', f'bert r 2 {then} 1 "content":"y"', f'bert r 1 {at} 0 "content":"x"']
    soon(lambda: sum(data.count(b"\n") for data in heard) == 3)
    assert [line for data in heard for line in data.decode().split("\n")[1:]] == lines
    assert [said.body for said in log.history("r", "anna", "a", 0).messages] == ['"content":"x"', '"content":"y"']
    assert pipe.execute("EXISTS", keys.room("r") + ":log") == 0
    missed = Rooms(pipe, "there", storing=False).history("r", "bert", "b", 0)
    assert (missed.last_seq, missed.messages, missed.complete) == (2, [], False)
    there.stop()
    pipe.stop()


@cooperative
def test_a_worker_receives_its_own_and_common_publications(empty: RedisCluster) -> None:
    pipe = started(empty, moderation.SCRIPTS)
    heard: list[bytes] = []
    listening: list[bool] = []
    channels = [keys.worker_channel("there"), keys.everybody()]
    there = Subscription(empty.url, [Listener(channels, heard.append, lambda: listening.append(True))])
    there.start()
    soon(lambda: listening)
    moderate = LobbyModeration(pipe, 0, 0)
    assert not moderate.dismiss("nothing")
    moderate.ban("anna", None, Origin("hidden"), "")
    soon(lambda: heard)
    assert b"hidden" in heard[0]
    there.stop()
    pipe.stop()


def test_the_doctor_checks_every_lobby_s_node(empty: RedisCluster) -> None:
    names = ["main", OTHER_LOBBY, "manila"]
    settings = Settings.from_environ({"REDIS_URL": empty.url, "LOBBIES": ",".join(names)})
    findings = list(store_findings(empty.url, settings))
    assert not [finding for finding in findings if finding.level == Level.ERROR]
    by_node: dict[int, list[str]] = {}
    for name in names:
        by_node.setdefault(empty.owner(keys.lobby(name)).port, []).append(name)
    assert len(by_node) > 1
    for lobbies in by_node.values():
        about = {f.check: f.text for f in findings if f.text.startswith(f"{', '.join(lobbies)}: ")}
        assert "16384 of 16384 slots" in about["cluster"]
        assert about["cluster"].endswith(f"this node has {' and '.join(lobbies)}")
        assert {"permissions", "heartbeats", "clock"} <= about.keys()


@cooperative
def test_messages_are_confirmed_by_a_replica_of_their_room_s_node(empty: RedisCluster) -> None:
    chat = start_chat(empty.url, STORE_WAIT="replica")
    try:
        anna, bert = pair(chat)
        assert anna.connection.room is not None
        node = empty.owner(keys.room(anna.connection.room.room_id)).client
        node.config_resetstat()
        assert anna.call("send-message", "hello")["ok"]
        assert node.info("commandstats")["cmdstat_wait"]["calls"] == 1
        soon(lambda: bert.texts() == ["hello"], "the message")
    finally:
        chat.stop(2)


# Costs


@cooperative
def test_the_load_of_many_rooms_is_even_over_the_nodes(empty: RedisCluster) -> None:
    """They differ by at most 20 %, with each partner on another worker, whose channel is on one of the nodes."""
    pipe = started(empty)
    heard: list[bytes] = []
    listening: list[bool] = []
    listener = Listener([keys.worker_channel("there")], heard.append, lambda: listening.append(True))
    there = Subscription(empty.url, [listener])
    there.start()
    soon(lambda: listening)
    log = Rooms(pipe, "here")
    outcomes: list[bytes | None] = []
    room_ids = [hashlib.sha1(bytes([n // 256, n % 256])).hexdigest()[:16] for n in range(900)]
    pipe.execute("PING")
    for room_id in room_ids:
        log.life.open(room_id, "a", 1)
    pipe.execute("PING")
    empty.reset_statistics()
    for count in (900, 1800, 2700):
        for room_id in room_ids:
            entry = NewMessage(
                room_id, "a", "bert", "there", 0, 1, "", '"content":"x"', lambda *result: outcomes.append(result[2])
            )
            log.append(entry)
        soon(lambda count=count: len(outcomes) == count, "all stored and told")
    assert outcomes == [Outcome.REMOTE] * 2700
    soon(lambda: sum(data.count(b"\n") for data in heard) == 2700, "all heard")
    stored = empty.calls("xadd")
    assert sum(stored) == 2700
    assert max(stored) <= 1.2 * min(stored)
    everything = empty.calls("evalsha", "hmget", "hget", "hset", "xadd", "time", "pexpire", "spublish")
    assert max(everything) <= 1.2 * min(everything)
    there.stop()
    pipe.stop()


def test_a_message_is_published_once_with_however_many_workers_and_not_to_all_nodes(
    empty: RedisCluster, tmp_path: Path
) -> None:
    for name in ("two", "four"):
        (tmp_path / name).mkdir()
    sent = empty.sent_over_the_bus()
    with running(tmp_path / "two", 2, store=empty.url) as two:
        published = [publications(empty, two)]
        with running(tmp_path / "four", 2, store=empty.url) as two_more:
            published.append(publications(empty, [two[0], two_more[1]]))
    assert published == [20, 20]
    assert empty.sent_over_the_bus() == sent


def publications(cluster: RedisCluster, servers: list[Server]) -> int:
    """Return the number of publications for 20 messages between two people on these servers."""
    wait_until_empty(servers[0])
    anna, bert = PythonClient(servers[0].url), PythonClient(servers[1].url)
    for client in (anna, bert):
        client.connect()
        client.wait("session")
    meet(anna, bert)
    cluster.reset_statistics()
    for number in range(10):
        say(anna, bert, f"a{number}")
        say(bert, anna, f"b{number}")
    count = sum(cluster.calls("spublish", "publish"))
    for client in (anna, bert):
        client.disconnect()
        client.close()
    return count


# Faults


@cooperative
def store_and_die(cluster: RedisCluster, room_id: str, slot: str, body: str, storing: bool = True) -> None:
    """Leave the traces of a worker that is killed after it stored a message, and before it published it."""
    pipe = started(cluster)
    stored: list[int] = []
    later_than_any = 10**13
    entry = NewMessage(room_id, slot, "", "", 0, later_than_any, "", body, lambda seq, *_: stored.append(seq))
    log = Rooms(pipe, "dead", storing=storing)
    log._outbox.collect = list  # nothing is published, even if the store knows the partner's worker
    log.append(entry)
    soon(lambda: stored or log._outbox._messages)
    pipe.stop()


def slot_in_room(cluster: RedisCluster, told: dict[str, Any]) -> str:
    record = f"{keys.lobby()}:room:{told['roomId']}"
    return "a" if cluster.owner(record).run("HGET", record, "ua") == told["userId"] else "b"


def test_a_receiver_without_the_previous_message_finds_it_in_the_log(cluster: RedisCluster, server: Server) -> None:
    wait_until_empty(server)
    anna, bert = PythonClient(server.url), PythonClient(server.url)
    for client in (anna, bert):
        client.connect()
        client.wait("session")
    told, _ = meet(anna, bert)
    say(anna, bert, "one")
    store_and_die(cluster, told["roomId"], slot_in_room(cluster, told), message_body(told["userId"], "two"))
    say(anna, bert, "three")
    assert texts(bert) == ["one", "two", "three"]
    for client in (anna, bert):
        client.disconnect()
        client.close()


def test_with_storing_off_a_receiver_without_the_previous_message_is_resynced_once(
    empty: RedisCluster, tmp_path: Path
) -> None:
    with running(tmp_path, 2, store=empty.url, STORE_MESSAGES="0") as servers:
        anna, bert = (PythonClient(server.url) for server in servers)
        for client in (anna, bert):
            client.connect()
            client.wait("session")
        told, _ = meet(anna, bert)
        say(anna, bert, "one")
        body = message_body(told["userId"], "two")
        store_and_die(empty, told["roomId"], slot_in_room(empty, told), body, storing=False)
        assert anna.call("send-message", "three")["ok"] is True
        session = bert.wait("session", where=lambda session: session["state"] == "chatting")
        assert session["recovered"] is False
        assert [message["content"] for message in session["room"]["messages"][1:]] == ["one", "three"]
        say(anna, bert, "four")
        say(bert, anna, "five")
        assert texts(bert) == ["one", "four"]
        assert len(bert.received("session")) == 2
        for client in (anna, bert):
            client.disconnect()
            client.close()


def test_nodes_cut_connections(cluster: RedisCluster, server: Server, crowd: Crowd) -> None:
    """A stored message whose publication failed or had no subscriber is found in the log."""
    traffic = Traffic(crowd, [server.url], rooms=4)
    for _ in range(3):
        for kind in ("normal", "pubsub"):
            for node in cluster.primaries():
                node.run("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")
            traffic.goes_on(2)
    traffic.ends_well()
    no_new_sessions(traffic)


def test_workers_are_killed(server: Server, crowd: Crowd) -> None:
    traffic = Traffic(crowd, [server.url], rooms=4)
    for pid in server.worker_pids():
        before = server.worker_pids()
        os.kill(pid, signal.SIGKILL)
        workers_are_back(server, 1, before)
        traffic.goes_on()
    traffic.ends_well()
    no_new_sessions(traffic)


def test_a_primary_is_killed_and_its_replica_takes_over(cluster: RedisCluster, server: Server, crowd: Crowd) -> None:
    """The test does so once with a node that has rooms, once with the lobby's."""
    traffic = Traffic(crowd, [server.url], rooms=4)
    lobby = cluster.owner(keys.lobby())
    for victim in (next(node for node in cluster.primaries() if node is not lobby), lobby):
        victim.stop(signal.SIGKILL)
        eventually(lambda: len(cluster.primaries()) == 3, HEALED, "a new primary")
        traffic.goes_on()
        victim.start()
        eventually(cluster.is_well, HEALED, "a cluster that is well")
        traffic.goes_on()
    traffic.ends_well()
    no_new_sessions(traffic)


def test_the_primary_of_one_lobby_is_killed_and_the_other_lobby_goes_on(cluster: RedisCluster, server: Server) -> None:
    wait_until_empty(server)
    victim = cluster.owner(keys.lobby(OTHER_LOBBY))
    assert victim is not cluster.owner(keys.lobby("main"))
    clients: list[PythonClient] = []

    def done(client: PythonClient, event: str, *arguments: str) -> None:
        """Repeat the event until it isn't `unavailable`."""
        eventually(lambda: client.call(event, *arguments)["ok"], HEALED, event)

    def pair(lobby: str) -> tuple[PythonClient, PythonClient]:
        anna, bert = PythonClient(server.url), PythonClient(server.url)
        for client in (anna, bert):
            clients.append(client)
            client.connect(auth={"lobby": lobby})
            client.wait("session")
        for client in (anna, bert):
            done(client, "find-match")
        # a room whose log is on the lost node waits for its replica
        assert anna.wait("matched", HEALED)["roomId"] == bert.wait("matched", HEALED)["roomId"]
        return anna, bert

    before = {lobby: pair(lobby) for lobby in ("main", OTHER_LOBBY)}
    victim.stop(signal.SIGKILL)
    now = server.get("/stats").json()  # before anything else: the replica takes over soon
    assert (now["missing"], list(now["lobbies"]), now["onlineUsers"]) == ([OTHER_LOBBY], ["main"], 2)
    assert before["main"][0].call("leave-room")["ok"]
    assert before["main"][1].wait("partner-disconnected") == {"reason": "left"}
    pair("main")
    assert status(server, "/health") == 200
    eventually(lambda: len(cluster.primaries()) == 3, HEALED, "a new primary")
    victim.start()
    eventually(cluster.is_well, HEALED, "a cluster that is well")
    anna, bert = before[OTHER_LOBBY]
    done(anna, "send-message", "back")
    assert bert.wait("message", where=lambda message: message["type"] == "text")["content"] == "back"
    done(anna, "leave-room")
    assert bert.wait("partner-disconnected") == {"reason": "left"}
    anna, bert = pair(OTHER_LOBBY)
    done(anna, "send-message", "hello")
    assert bert.wait("message", where=lambda message: message["type"] == "text")["content"] == "hello"
    assert "partner-disconnected" not in anna.events()
    for client in clients:
        client.disconnect()
        client.close()


def test_messages_that_a_room_s_node_lost_are_noticed_when_the_partner_reconnects(
    cluster: RedisCluster, server: Server, crowd: Crowd
) -> None:
    """That node cuts no subscription: the partner's return makes the sender's worker look."""
    wait_until_empty(server)
    with Network(server.url) as network:
        anna, bert = crowd.join(server.url), crowd.join(network.url)
        for member in (anna, bert):
            assert member.call("find-match")["ok"] is True
        room = anna.wait("matched")["roomId"]
        bert.wait("matched")
        assert anna.call("send-message", "before")["ok"] is True
        bert.wait("message", where=lambda message: message["content"] == "before")
        network.up = False
        network.cut()
        anna.wait("partner-reconnecting")
        node = cluster.owner(keys.room(room))
        names = [f"{keys.room(room)}:{name}" for name in ("log", "meta")]
        with redis.Redis("127.0.0.1", node.port) as store:
            kept = [store.dump(name) for name in names]
            assert anna.call("send-message", "lost")["ok"] is True
            for name, value in zip(names, kept, strict=True):
                store.restore(name, 0, value, replace=True)
        network.up = True
        session = bert.wait("session", where=lambda session: session["state"] == "chatting")
        assert [message["content"] for message in session["room"]["messages"]][1:] == ["before"]
        assert anna.call("send-message", {"content": "after", "clientId": "1"})["ok"] is True
        bert.wait("message", where=lambda message: message["content"] == "after")


def test_slots_move_under_traffic(cluster: RedisCluster, server: Server, crowd: Crowd) -> None:
    traffic = Traffic(crowd, [server.url], rooms=4)
    rooms = [stay.room for stay in crowd.history.present.values() if not stay.over]
    for slot in [LOBBY_SLOT, *{key_slot(keys.room(room).encode()) for room in rooms}, LOBBY_SLOT]:
        source = cluster.owner_of_slot(slot)
        cluster.move_slot(slot, next(node for node in cluster.primaries() if node is not source), keep_open=0.1)
    traffic.goes_on()
    traffic.ends_well()
    no_new_sessions(traffic)
