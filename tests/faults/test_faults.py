"""People talk while things break: nothing is lost, doubled or misplaced, and afterwards everything goes on.

Everyone is a stock client that reconnects by itself, and the test checks each scenario's history
(animochat/loadtest/history.py). All scenarios except those about the store's own data use one town: two servers, three
workers, one Redis, a network in front of each server and one between a server and Redis.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest
import redis

from animochat.loadtest.history import History
from animochat.protocol.channel import RelayedEvent, encode_event
from animochat.store import keys
from tests.faults.crowd import Crowd, Member
from tests.faults.nemesis import STOPPED, Nemesis
from tests.faults.network import Network
from tests.helpers.people import NO_RATES, stats, status
from tests.helpers.servers import ROOT, RedisServer, Server, alive, eventually, find_redis_server, free_port

#: Seconds to recover, on a busy machine.
HEALED = 40.0

#: Seconds without a heartbeat after which a worker counts as dead (presence/scripts/include/workers.lua).
LEASE = 5.0

#: Seconds that a worker waits for the store (store/connection.py).
STORE_TIMEOUT = 2.0

ENV = {**NO_RATES, "RECONNECT_GRACE_MS": "60000", "SKIP_COOLDOWN_MS": "100"}

ROOMS = 8


#: Seconds by which one server's clock is ahead: nothing may depend on a server's clock.
CLOCK_AHEAD = 600

FAST_CLOCK = f"""
import time
right = time.time
time.time = lambda: right() + {CLOCK_AHEAD}
"""


class Town:
    """Servers `one` (two workers) and `two` (one, its clock ahead), on `store`; and the networks that lead to them."""

    def __init__(self, directory: Path, stack: contextlib.ExitStack) -> None:
        self.store = RedisServer(directory, find_redis_server(), persistent=True).start()
        stack.callback(self.store.stop, signal.SIGKILL)
        self.to_store = stack.enter_context(Network(self.store.url))
        self.servers = []
        for name, workers, url in (("one", 2, self.store.url), ("two", 1, f"redis://127.0.0.1:{self.to_store.port}")):
            (directory / name).mkdir()
            environment = {"REDIS_URL": url, **ENV}
            if name == "two":
                (directory / "clock").mkdir()
                (directory / "clock/sitecustomize.py").write_text(FAST_CLOCK)
                environment["PYTHONPATH"] = f"{directory / 'clock'}:{ROOT}"
            server = Server(directory / name, workers=workers, env=environment).start(wait=False)
            stack.callback(server.kill)
            self.servers.append(server)
        self.one, self.two = self.servers
        for server in self.servers:
            eventually(lambda server=server: status(server, "/health") == 200, HEALED, "a server that is ready")
        eventually(lambda: stats(self.one)["workers"] == 3, HEALED, "three workers")
        self.to_one = stack.enter_context(Network(self.one.url))
        self.to_two = stack.enter_context(Network(self.two.url))
        self.urls = [self.to_one.url, self.to_two.url]

    def client(self) -> redis.Redis:
        return self.store.client()

    def check_logs(self) -> None:
        """Check that the logs have no errors except gunicorn's about dead workers."""
        for server in self.servers:
            assert "Traceback" not in server.log(), server.log()[-8_000:]


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with contextlib.ExitStack() as stack:
        yield Town(tmp_path_factory.mktemp("town"), stack)


@pytest.fixture
def crowd(crowd_process: Crowd) -> Iterator[Crowd]:
    yield crowd_process
    crowd_process.send_away()


class Traffic:
    """People in conversations; some leave now and then, and some use the library's `retries`.

    `once`: some send no message twice, so an unanswered message may have been stored or not.
    """

    def __init__(self, crowd: Crowd, urls: list[str], rooms: int = ROOMS, once: bool = False) -> None:
        self.crowd = crowd
        self.people: list[Member] = []
        for number in range(2 * rooms):
            retries = {"retries": 1_000, "ackTimeout": 1_500} if number % 2 else {}
            self.people.append(crowd.join(urls[number % len(urls)], wait=False, **retries))
        for number, member in enumerate(self.people):
            # the first two rooms' people meet others now and then
            # slowly enough: a room's log keeps 200 messages, and on a slow machine a return may take long
            skip_after = 25 if number % 2 == 0 and number < 4 else 0
            member.talk(interval_ms=60, skip_after=skip_after, once=once and number % 4 == 2)
        self.goes_on()

    def goes_on(self, times: int = 5, timeout: float = HEALED) -> None:
        """Return when everyone with a partner has sent and received more messages."""
        start = len(self.crowd.history.acknowledged)
        before = self._received()

        def does(history: History) -> bool:
            said = Counter(message.client for message in history.acknowledged[start:])
            now = self._received()
            talking = [name for name in now if (stay := history.present.get(name)) is not None and not stay.over]
            return len(talking) >= len(self.people) - 4 and all(
                said[name] >= times and now[name] - before[name] >= times for name in talking
            )

        self.crowd.until(does, timeout, "conversations that go on")

    def _received(self) -> Counter[str]:
        """Return the number of messages that everyone has received so far."""
        heard = Counter({member.name: 0 for member in self.people})
        for stay in self.crowd.history.stays:
            if stay.client in heard:
                heard[stay.client] += len(stay.received)
        return heard

    def ends_well(self) -> dict[str, int]:
        """Stop all traffic and wait for messages under way. Check the history, and return its counts."""
        for member in self.people:
            member._ask("hush", HEALED)
        with contextlib.suppress(pytest.fail.Exception):
            self.crowd.until(lambda history: not history.violations(), 10)
        for member in self.people:
            member.settle()  # duplicates have arrived by then
        assert self.crowd.history.violations() == []
        return self.crowd.history.counts()


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    """End a worker; return when it has ended."""
    os.kill(pid, number)
    eventually(lambda: not alive(pid), HEALED, "the end of a worker")


def workers_are_back(server: Server, count: int, before: list[int]) -> None:
    eventually(
        lambda: len(set(server.worker_pids()) - set(before)) == count and status(server, "/health") == 200,
        HEALED,
        "new workers",
    )


def no_new_sessions(traffic: Traffic) -> None:
    """Check that every session went on, with nothing but a pause."""
    for member in traffic.people:
        assert len(member.received("session")) == 1, member.log.all()[-30:]


def test_the_clocks_of_the_servers_differ(town: Town) -> None:
    """All other scenarios depend on this."""
    one, two = (parsedate_to_datetime(server.get("/health").headers["Date"]) for server in town.servers)
    assert CLOCK_AHEAD - 60 < (two - one).total_seconds() < CLOCK_AHEAD + 60


# Workers


def test_workers_are_killed(town: Town, crowd: Crowd) -> None:
    traffic = Traffic(crowd, town.urls)
    for server in town.servers:
        for pid in server.worker_pids():
            before = server.worker_pids()
            kill(pid)
            workers_are_back(server, 1, before)
            traffic.goes_on()
    counts = traffic.ends_well()
    assert counts["recovered"] >= 2 * ROOMS
    no_new_sessions(traffic)
    town.check_logs()


def test_both_partners_workers_are_killed_at_once(town: Town, crowd: Crowd) -> None:
    traffic = Traffic(crowd, town.urls)
    before = {server: server.worker_pids() for server in town.servers}
    for pids in before.values():
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
    for server, pids in before.items():
        workers_are_back(server, len(pids), pids)
    traffic.goes_on()
    assert traffic.ends_well()["recovered"] >= 2 * ROOMS
    no_new_sessions(traffic)


def test_workers_are_stopped_one_after_the_other(town: Town, crowd: Crowd) -> None:
    """A rolling restart: SIGTERM to each worker, under traffic."""
    traffic = Traffic(crowd, town.urls)
    for server in town.servers:
        for pid in server.worker_pids():
            before = server.worker_pids()
            kill(pid, signal.SIGTERM)
            workers_are_back(server, 1, before)
    traffic.goes_on()
    assert traffic.ends_well()["recovered"] >= 2 * ROOMS
    no_new_sessions(traffic)
    town.check_logs()


def test_a_worker_hangs_for_longer_than_its_lease(town: Town, crowd: Crowd) -> None:
    """The others take it for dead. When it goes on, it still has everyone's partner, and old messages."""
    traffic = Traffic(crowd, town.urls)
    (pid,) = town.two.worker_pids()
    os.kill(pid, signal.SIGSTOP)
    try:
        eventually(lambda: stats(town.one)["onlineUsers"] == ROOMS, HEALED, "a worker that counts as dead")
    finally:
        os.kill(pid, signal.SIGCONT)
    traffic.goes_on()
    traffic.ends_well()
    no_new_sessions(traffic)


def test_random_faults_lose_nothing(town: Town, crowd: Crowd) -> None:
    """A short run of bench/faults.py, which takes a minute: a worker is stopped for 15 s, with other faults."""
    traffic = Traffic(crowd, town.urls, once=True)
    nemesis = Nemesis([(town.one, town.to_one), (town.two, town.to_two)], town.store, seed=1)
    done = nemesis.rage(STOPPED + 5, every=1.0)
    assert all(done.values())
    eventually(lambda: stats(town.one)["workers"] == 3, HEALED, "three workers")
    traffic.goes_on()
    traffic.ends_well()


# The store


def test_the_store_cuts_connections(town: Town, crowd: Crowd) -> None:
    """Of commands, whose answers are lost; of subscriptions, as it does when a worker falls behind and the limit of its
    output buffer is reached; and of both.
    """
    traffic = Traffic(crowd, town.urls)
    with town.client() as client:
        for kinds in (["normal"], ["pubsub"], ["normal", "pubsub"]) * 3:
            for kind in kinds:
                client.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")
            traffic.goes_on(2)
    traffic.ends_well()
    no_new_sessions(traffic)
    town.check_logs()


def test_a_worker_falls_behind_and_loses_its_subscription(town: Town, crowd: Crowd) -> None:
    """By the limit of the output buffer: the worker is stopped, and more is published to it than the store keeps."""
    traffic = Traffic(crowd, town.urls)
    pid = town.one.worker_pids()[0]
    with town.client() as client:
        before = client.config_get("client-output-buffer-limit")
        client.config_set("client-output-buffer-limit", "pubsub 1mb 0 0")
        channels = client.pubsub_channels(keys.worker_channel("*"))
        assert len(channels) == 3
        long_event = encode_event(RelayedEvent(receiver="nobody", room_id="none", packet="x" * 500_000))

        def is_cut() -> bool:
            for channel in channels:
                client.publish(channel, long_event)
            return len(client.pubsub_channels(keys.worker_channel("*"))) < len(channels)

        os.kill(pid, signal.SIGSTOP)
        try:
            eventually(is_cut, LEASE, "a subscription that is cut")
        finally:
            os.kill(pid, signal.SIGCONT)
            client.config_set("client-output-buffer-limit", before["client-output-buffer-limit"])
    traffic.goes_on()
    traffic.ends_well()
    no_new_sessions(traffic)
    town.check_logs()


def test_the_store_is_killed_and_comes_back_with_its_data(town: Town, crowd: Crowd) -> None:
    traffic = Traffic(crowd, town.urls)
    for _ in range(2):
        town.store.stop(signal.SIGKILL)
        eventually(lambda: status(town.one, "/health") == 503)
        town.store.start()
        traffic.goes_on()
    traffic.ends_well()
    no_new_sessions(traffic)
    town.check_logs()


def test_the_store_and_all_workers_are_killed(town: Town, crowd: Crowd) -> None:
    """The new workers serve before they know the secret that signs sessions: clients must try again."""
    traffic = Traffic(crowd, town.urls)
    before = {server: server.worker_pids() for server in town.servers}
    town.store.stop(signal.SIGKILL)
    for pids in before.values():
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
    for server, pids in before.items():
        eventually(
            lambda server=server, pids=pids: (
                len(set(server.worker_pids()) - set(pids)) == len(pids) and status(server, "/health/live") == 200
            ),
            HEALED,
            "new workers",
        )
    attempts = crowd.history.happened["disconnect"]
    assert attempts >= 2 * ROOMS
    town.store.start()
    traffic.goes_on()
    traffic.ends_well()
    no_new_sessions(traffic)
    town.check_logs()


def test_the_store_has_lost_the_last_seconds(town: Town, crowd: Crowd) -> None:
    """As when the replica that becomes the primary was behind: new messages must not reuse the places of messages that
    clients have seen, or clients would mistake them for these.
    """
    for urls in (town.urls, town.urls[:1] * 2, town.urls):
        anna, bert = (crowd.join(url) for url in urls)
        for member in (anna, bert):
            # the round before cut the connections of workers that may not have noticed it yet
            answer = eventually(lambda member=member: _unless_unavailable(member.call("find-match")))
            assert answer["ok"] is True
        room = anna.wait("matched")["roomId"]
        bert.wait("matched")
        say(anna, bert, 3)
        with redis.Redis.from_url(town.store.url) as client:
            keys = [f"{{room:{room}}}:{name}" for name in ("log", "meta")]
            kept = [client.dump(key) for key in keys]
            say(anna, bert, 3)
            say(bert, anna, 3)
            for key, value in zip(keys, kept, strict=True):
                client.restore(key, 0, value, replace=True)
            # a failover cuts these
            for kind in ("normal", "pubsub"):
                client.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")
        say(anna, bert, 3)
        say(bert, anna, 3)
        seqs = [m["seq"] for member in (anna, bert) for m in member.received("message") if m["type"] == "text"]
        assert sorted(seqs) == list(range(1, 16))
    assert crowd.history.violations() == []


def say(sender: Member, receiver: Member, times: int) -> None:
    """Send messages one after the other, each until it is stored; return when the partner has them."""
    history = sender._crowd.history
    for _ in range(times):
        content = f"{sender.name} {len(history.sent[sender.name])}"
        history.note(sender.name, "sent", room="", content=content)

        def stored(content: str = content) -> dict[str, Any] | None:
            answer = sender.call("send-message", {"content": content, "clientId": content})
            return answer if answer["ok"] else None

        answer = eventually(stored, what="a message that is stored")
        assert answer is not None
        history.note(sender.name, "acknowledged", content=content, id=answer["id"], seq=answer["seq"])
        receiver.wait("message", where=lambda message, content=content: message["content"] == content)


def _unless_unavailable(answer: dict[str, Any]) -> dict[str, Any] | None:
    return answer if answer["ok"] or answer["error"]["code"] != "unavailable" else None


def test_the_store_hangs(town: Town, crowd: Crowd) -> None:
    """The store hangs for longer than a worker waits, then for longer than a worker's lease. When it goes on, it
    handles the requests of that time, though no one waits for the answers any more.
    """
    anna, bert = (crowd.join(url) for url in town.urls)
    for member in (anna, bert):
        assert member.call("find-match")["ok"] is True
    for member in (anna, bert):
        member.wait("matched")
    traffic = Traffic(crowd, town.urls)
    for seconds in (STORE_TIMEOUT + 0.5, LEASE + 0.5):
        begun = time.monotonic()
        town.store.send_signal(signal.SIGSTOP)
        if seconds < LEASE:
            assert anna.call("leave-room")["error"]["code"] == "unavailable"
        time.sleep(max(0.0, begun + seconds - time.monotonic()))  # that is the fault
        town.store.send_signal(signal.SIGCONT)
        if seconds < LEASE:
            # Her request failed, but the store may have handled it by now, if it had been sent.
            answer = eventually(lambda: _unless_unavailable(anna.call("leave-room")), what="a store that answers")
            assert answer["ok"] or answer["error"]["code"] == "not-in-room"
            assert bert.wait("partner-disconnected") == {"reason": "left"}
            assert anna.call("send-message", "still here?")["error"]["code"] == "not-in-room"
        traffic.goes_on()
    traffic.ends_well()
    no_new_sessions(traffic)
    town.check_logs()


def test_the_store_has_no_memory_left_or_runs_a_long_script(town: Town, crowd: Crowd) -> None:
    traffic = Traffic(crowd, town.urls)
    stranger = crowd.join(town.one.url)
    with town.client() as client:
        client.config_set("maxmemory", 1)
        assert stranger.call("find-match")["error"]["code"] == "unavailable"
        client.config_set("maxmemory", 0)
        traffic.goes_on()

        client.config_set("busy-reply-threshold", 50)
        script = threading.Thread(target=run_endless_script, args=(town,))
        script.start()
        eventually(lambda: status(town.one, "/health") == 503, what="a busy store")
        assert stranger.call("find-match")["error"]["code"] == "unavailable"
        client.execute_command("SCRIPT", "KILL")
        script.join()
        client.config_set("busy-reply-threshold", 5_000)
    traffic.goes_on()
    traffic.ends_well()
    no_new_sessions(traffic)
    town.check_logs()


def run_endless_script(town: Town) -> None:
    with town.client() as client, contextlib.suppress(redis.ResponseError):
        client.eval("while true do end", 0)


def test_the_way_to_the_store_is_slow_and_cut(town: Town, crowd: Crowd) -> None:
    """For one of two servers: an answer takes 0.2 s; then nothing comes back at all; then the connections end."""
    traffic = Traffic(crowd, town.urls)
    town.to_store.delay = 0.1
    traffic.goes_on()
    town.to_store.delay = 0.0
    town.to_store.hold_answers()
    eventually(lambda: status(town.two, "/health") == 503, what="a store that is out of reach")
    town.to_store.release_answers()
    town.to_store.cut()
    traffic.goes_on()
    traffic.ends_well()
    no_new_sessions(traffic)
    town.check_logs()


def test_the_store_comes_back_without_its_data(town: Town, crowd: Crowd) -> None:
    """All rooms are over, no one stays behind in one, and all find partners again."""
    crowd.history.may_meet_again = True
    traffic = Traffic(crowd, town.urls)
    before = crowd.history.counts()["rooms"]
    town.store.stop(signal.SIGKILL)
    for path in town.store.directory.glob("appendonly*"):
        shutil.rmtree(path)
    town.store.start()
    crowd.until(lambda history: history.counts()["rooms"] >= before + ROOMS - 2, HEALED, "new rooms")
    traffic.goes_on()
    traffic.ends_well()
    town.check_logs()


# The clients' network


def test_clients_lose_their_network(town: Town, crowd: Crowd) -> None:
    """Without a FIN; both partners at once; and every second."""
    traffic = Traffic(crowd, town.urls)
    for networks in ([town.to_one], [town.to_two], [town.to_one, town.to_two]):
        for network in networks:
            network.up = False
            network.lose()
        for network in networks:
            network.up = True
        traffic.goes_on(2)
    for _ in range(5):
        for network in (town.to_one, town.to_two):
            network.hold_answers()
        crowd.until(lambda history: unanswered(history) >= ROOMS, what="messages whose answers are on their way")
        for network in (town.to_one, town.to_two):
            network.cut()
            network.release_answers()
        traffic.goes_on(1)
    counts = traffic.ends_well()
    assert counts["recovered"] >= 6 * ROOMS
    no_new_sessions(traffic)
    town.check_logs()


def unanswered(history: History) -> int:
    """Return the number of people with an unanswered message."""
    known = {(message.client, message.content) for message in history.acknowledged}
    return sum((client, contents[-1]) not in known for client, contents in history.sent.items())


# A replica becomes the primary


@pytest.fixture
def sentinel(tmp_path: Path) -> Iterator[tuple[RedisServer, RedisServer, int]]:
    """Start a primary, its replica and their Sentinel; return its port too."""
    binary = find_redis_server()
    places = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        places.append(RedisServer(tmp_path / name, binary, persistent=True))
    primary, replica = places
    port = free_port()
    config = tmp_path / "sentinel.conf"
    watcher = None
    try:
        for place in places:
            place.start()
        with primary.client() as client:
            client.config_set("repl-diskless-sync-delay", 0)
        with replica.client() as client:
            client.execute_command("REPLICAOF", "127.0.0.1", primary.port)
            eventually(lambda: client.info("replication")["master_link_status"] == "up", what="a replica")
        config.write_text(
            f"port {port}\nbind 127.0.0.1\ndir {tmp_path}\n"
            f"sentinel monitor mymaster 127.0.0.1 {primary.port} 1\n"
            "sentinel down-after-milliseconds mymaster 500\nsentinel failover-timeout mymaster 3000\n"
        )
        watcher = subprocess.Popen([binary, str(config), "--sentinel"], stdout=subprocess.DEVNULL)
        with redis.Redis(port=port, decode_responses=True) as client:

            def knows_the_replica() -> bool:
                with contextlib.suppress(redis.ConnectionError):
                    return bool(client.sentinel_slaves("mymaster"))
                return False

            eventually(knows_the_replica, HEALED, "a Sentinel that knows the replica")
        yield primary, replica, port
    finally:
        for place in places:
            place.stop(signal.SIGKILL)
        if watcher is not None:
            watcher.kill()
            watcher.wait()


def test_a_replica_takes_the_place_of_its_primary(
    sentinel: tuple[RedisServer, RedisServer, int], crowd: Crowd, tmp_path: Path
) -> None:
    """The primary is killed, and Sentinel makes the replica the primary."""
    primary, replica, port = sentinel
    (tmp_path / "server").mkdir()
    environment = {"REDIS_URL": f"redis+sentinel://127.0.0.1:{port}/mymaster", **ENV}
    server = Server(tmp_path / "server", workers=2, env=environment).start()
    try:
        eventually(lambda: status(server, "/health") == 200, HEALED)
        traffic = Traffic(crowd, [server.url])
        primary.stop(signal.SIGKILL)
        with replica.client() as client:
            eventually(lambda: client.info("replication")["role"] == "master", HEALED, "a new primary")
        traffic.goes_on()
        traffic.ends_well()
        no_new_sessions(traffic)
        assert "Traceback" not in server.log(), server.log()[-8_000:]
    finally:
        server.stop()
        server.kill()
