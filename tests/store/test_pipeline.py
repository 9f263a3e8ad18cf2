"""A worker's two connections to a real store: group commit, and outages of the store."""

from __future__ import annotations

import hashlib
from typing import Any

import gevent
import pytest
from gevent.event import AsyncResult

from animochat.protocol.errors import Unavailable
from animochat.store import cluster, connection, node, outages, pipeline, subscription
from animochat.store.cluster import Cluster, Topology, find
from animochat.store.pipeline import Pipeline, evalsha
from animochat.store.scripts import Script, load
from animochat.store.subscription import Subscription
from tests.helpers.store import Relay, cooperative, outcome, soon

SOURCE = "return redis.call('INCRBY', KEYS[1], ARGV[1])"
ADD = Script("test/add", SOURCE, hashlib.sha1(SOURCE.encode()).hexdigest())


def started(url: str, *scripts: Script) -> Pipeline:
    pipe = Pipeline(url, [ADD, *scripts])
    pipe.start()
    return pipe


def gather(pipe: Pipeline, *commands: tuple[Any, ...]) -> list[Any]:
    """Submit all commands in one turn of the loop; return the replies in order of arrival."""
    replies: list[Any] = []
    for command in commands:
        pipe.submit(command, replies.append)
    soon(lambda: len(replies) == len(commands), "all replies")
    return replies


# Commands


@cooperative
def test_a_command_is_answered(redis_url: str) -> None:
    pipe = started(redis_url)
    assert pipe.execute("PING") == b"PONG"
    assert pipe.call(ADD, ["n"], [5]) == 5
    pipe.stop()


@cooperative
def test_the_commands_of_one_turn_of_the_loop_go_out_as_one_write(redis_url: str) -> None:
    relay = Relay(redis_url)
    pipe = started(relay.url)
    pipe.execute("PING")
    relay.written.clear()
    assert gather(pipe, *[("INCR", "n") for _ in range(100)]) == list(range(1, 101))
    assert len(relay.written) == 1
    pipe.stop()
    relay.close()


@cooperative
def test_the_next_batch_collects_while_one_is_under_way(redis_url: str) -> None:
    relay = Relay(redis_url)
    pipe = started(relay.url)
    pipe.execute("PING")
    relay.written.clear()
    relay.answers.clear()
    replies: list[Any] = []
    pipe.submit(("INCR", "n"), replies.append)
    soon(lambda: relay.written, "the first batch")
    for _ in range(50):
        pipe.submit(("INCR", "n"), replies.append)
        gevent.sleep(0)
    assert len(relay.written) == 1
    relay.answers.set()
    soon(lambda: len(replies) == 51, "all replies")
    assert replies == list(range(1, 52))
    assert len(relay.written) == 2
    pipe.stop()
    relay.close()


@cooperative
def test_many_greenlets_wait_side_by_side(redis_url: str) -> None:
    relay = Relay(redis_url)
    pipe = started(relay.url)
    pipe.execute("PING")
    relay.written.clear()
    greenlets = [gevent.spawn(pipe.call, ADD, [f"key{n}"], [n]) for n in range(200)]
    gevent.joinall(greenlets, raise_error=True)
    assert [greenlet.value for greenlet in greenlets] == list(range(200))
    assert len(relay.written) <= 3
    pipe.stop()
    relay.close()


@cooperative
def test_commands_reach_the_store_in_the_order_of_submission(redis_url: str) -> None:
    pipe = started(redis_url)
    for n in range(50):
        pipe.submit(("RPUSH", "list", n), lambda reply: None)
        if n % 7 == 0:
            gevent.sleep(0)
    assert pipe.execute("LRANGE", "list", 0, -1) == [str(n).encode() for n in range(50)]
    pipe.stop()


@cooperative
def test_collectors_commands_come_first_in_their_batch(redis_url: str) -> None:
    pipe = started(redis_url)
    gathered = [(("RPUSH", "list", "collected"), lambda reply: None)]

    def collect() -> list[Any]:
        nonlocal gathered
        taken, gathered = gathered, []
        return taken

    pipe.add_collector(collect)
    pipe.submit(("RPUSH", "list", "submitted"), lambda reply: None)
    assert pipe.execute("LRANGE", "list", 0, -1) == [b"collected", b"submitted"]
    pipe.stop()


@cooperative
def test_a_collector_alone_can_start_a_batch(redis_url: str) -> None:
    pipe = started(redis_url)
    replies: list[Any] = []
    gathered = [(("PING",), replies.append)]
    pipe.add_collector(lambda: [gathered.pop()] if gathered else [])
    pipe.wake()
    assert soon(lambda: replies) == [b"PONG"]
    pipe.stop()


@cooperative
def test_a_failing_callback_does_not_affect_other_replies(redis_url: str) -> None:
    pipe = started(redis_url)
    replies: list[Any] = []

    def broken(reply: Any) -> None:
        raise ValueError("a caller's mistake")

    pipe.submit(("PING",), broken)
    pipe.submit(("PING",), replies.append)
    assert pipe.execute("PING") == b"PONG"
    assert replies == [b"PONG"]
    pipe.stop()


@cooperative
def test_a_refused_command_is_unavailable_only_for_its_caller(redis_url: str) -> None:
    pipe = started(redis_url)
    first, second, third = gather(pipe, ("SET", "n", "word"), ("INCR", "n"), ("GET", "n"))
    assert (first, third) == (b"OK", b"word")
    assert isinstance(second, Unavailable)
    assert outcome(lambda: pipe.execute("INCR", "n")) is Unavailable
    pipe.stop()


@cooperative
def test_a_command_that_cannot_be_encoded_fails_alone(redis_url: str) -> None:
    """Half a surrogate pair is not valid UTF-8. One bad command must not fail the others."""
    pipe = started(redis_url)
    pipe.submit(("SET", "n", "\ud800"), lambda reply: None)
    with gevent.Timeout(5, AssertionError("the pipeline has ended")):
        outcome(lambda: pipe.execute("PING"))
        assert pipe.execute("PING") == b"PONG"
    pipe.stop()


@cooperative
def test_too_many_waiting_commands_are_refused_at_once(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "MAX_WAITING", 10)
    pipe = started(redis_url)
    replies: list[Any] = []
    for _ in range(12):
        pipe.submit(("PING",), replies.append)
    assert [type(reply) for reply in replies] == [Unavailable] * 2
    soon(lambda: len(replies) == 12)
    assert replies[2:] == [b"PONG"] * 10
    pipe.stop()


# Scripts


@cooperative
def test_scripts_are_run_by_their_hash(redis_url: str) -> None:
    relay = Relay(redis_url)
    pipe = started(relay.url, load("matchmaking/find_match"))
    pipe.execute("PING")
    relay.written.clear()
    pipe.call(ADD, ["n"], [1])
    assert b"EVALSHA" in relay.written[0]
    assert len(b"".join(relay.written)) < 200
    pipe.stop()
    relay.close()


@cooperative
def test_flushed_scripts_are_loaded_again_and_run_once(redis_url: str) -> None:
    pipe = started(redis_url)
    assert pipe.call(ADD, ["n"], [1]) == 1
    pipe.execute("SCRIPT", "FLUSH")
    replies = gather(pipe, evalsha(ADD, ["n"], [10]), ("INCR", "n"), evalsha(ADD, ["n"], [100]))
    assert sorted(replies) == sorted([2, 12, 112])
    assert pipe.execute("GET", "n") == b"112"
    pipe.stop()


@cooperative
def test_scripts_flushed_in_the_middle_of_a_batch_run_once_each(redis_url: str) -> None:
    pipe = started(redis_url)
    replies = gather(pipe, evalsha(ADD, ["n"], [1]), ("SCRIPT", "FLUSH"), evalsha(ADD, ["n"], [10]))
    assert replies == [1, b"OK", 11]
    pipe.stop()


# The store goes away


@cooperative
def test_commands_are_unavailable_during_an_outage_and_work_afterwards(redis_url: str) -> None:
    relay = Relay(redis_url)
    pipe = started(relay.url)
    assert pipe.call(ADD, ["n"], [1]) == 1
    relay.close()
    assert outcome(lambda: pipe.execute("PING")) is Unavailable
    assert [type(reply) for reply in gather(pipe, ("PING",), ("PING",))] == [Unavailable] * 2
    relay.reopen()
    assert pipe.call(ADD, ["n"], [1]) == 2
    pipe.stop()
    relay.close()


@cooperative
def test_the_store_may_start_after_the_worker(redis_url: str) -> None:
    relay = Relay(redis_url)
    relay.close()
    pipe = started(relay.url)
    assert outcome(lambda: pipe.execute("PING")) is Unavailable
    relay.reopen()
    assert pipe.execute("PING") == b"PONG"
    pipe.stop()
    relay.close()


@cooperative
def test_a_command_without_a_reply_is_unavailable_and_not_repeated(redis_url: str) -> None:
    """Whether it ran is unknown; it certainly never runs twice."""
    relay = Relay(redis_url)
    pipe = started(relay.url)
    pipe.call(ADD, ["n"], [0])
    relay.answers.clear()
    replies: list[Any] = []
    relay.written.clear()
    pipe.submit(evalsha(ADD, ["n"], [1]), replies.append)
    direct = started(redis_url)
    soon(lambda: direct.execute("GET", "n") == b"1", "the command has run")
    relay.cut()
    relay.answers.set()
    assert isinstance(soon(lambda: replies)[0], Unavailable)
    assert pipe.execute("GET", "n") == b"1"
    pipe.stop()
    direct.stop()
    relay.close()


@cooperative
def test_a_store_that_does_not_answer_in_time_is_unavailable(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node, "connect", lambda url: connection.connect(url, timeout=0.1))
    relay = Relay(redis_url)
    pipe = started(relay.url)
    pipe.execute("PING")
    relay.answers.clear()
    assert outcome(lambda: pipe.execute("INCR", "n")) is Unavailable
    relay.answers.set()
    assert pipe.execute("PING") == b"PONG"
    pipe.stop()
    relay.close()


@cooperative
def test_late_replies_are_not_matched_to_later_commands(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node, "connect", lambda url: connection.connect(url, timeout=0.1))
    relay = Relay(redis_url)
    pipe = started(relay.url)
    pipe.execute("SET", "one", "1")
    relay.answers.clear()
    assert outcome(lambda: pipe.execute("GET", "one")) is Unavailable
    relay.answers.set()
    assert pipe.execute("ECHO", "two") == b"two"
    pipe.stop()
    relay.close()


@cooperative
def test_a_full_store_is_unavailable_and_the_connection_stays(redis_url: str, caplog: pytest.LogCaptureFixture) -> None:
    pipe = started(redis_url)
    pipe.execute("CONFIG", "SET", "maxmemory", "1")
    try:
        assert outcome(lambda: pipe.execute("SET", "n", "x")) is Unavailable
        assert outcome(lambda: pipe.call(ADD, ["n"], [1])) is Unavailable
        assert pipe.execute("PING") == b"PONG"
    finally:
        pipe.execute("CONFIG", "SET", "maxmemory", "0")
    assert pipe.call(ADD, ["n"], [1]) == 1
    assert {record.levelname for record in caplog.records} == {"WARNING"}, "no bug in a script"
    pipe.stop()


@cooperative
@pytest.mark.parametrize("write", [("SET", "n", "x"), evalsha(ADD, ["n"], [1])], ids=["a command", "a script"])
def test_a_connection_to_a_demoted_primary_is_closed(redis_url: str, write: tuple[Any, ...]) -> None:
    relay = Relay(redis_url)
    pipe = started(relay.url)
    pipe.execute("REPLICAOF", "127.0.0.1", "1")  # where no server is
    try:
        before = relay.accepted
        assert outcome(lambda: pipe.execute(*write)) is Unavailable
        pipe.execute("PING")
        assert relay.accepted == before + 1
    finally:
        pipe.execute("REPLICAOF", "NO", "ONE")
    pipe.stop()
    relay.close()


# The subscription


class Listener:
    """A subscription to channel "ours", and the messages that it received."""

    def __init__(self, url: str) -> None:
        self.heard: list[bytes] = []
        self.subscribed = 0
        self.subscription = Subscription(url, [subscription.Listener(["ours"], self.heard.append, self._on_subscribed)])
        self.subscription.start()
        soon(lambda: self.subscribed, "the subscription")

    def _on_subscribed(self) -> None:
        self.subscribed += 1


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a second between attempts suits stores that are down; these are back at once."""
    monkeypatch.setattr(subscription, "RETRY", 0.01)


@cooperative
def test_a_subscription_receives_only_its_channel_and_in_order(redis_url: str) -> None:
    listener, pipe = Listener(redis_url), started(redis_url)
    gather(pipe, ("PUBLISH", "theirs", "x"), *[("PUBLISH", "ours", n) for n in range(100)])
    soon(lambda: len(listener.heard) == 100)
    assert listener.heard == [str(n).encode() for n in range(100)]
    listener.subscription.stop()
    pipe.stop()


@cooperative
def test_on_subscribed_is_called_after_the_subscription(redis_url: str) -> None:
    """Later publications are received: the listener reads the store's state after subscribing, not before."""
    pipe = started(redis_url)
    heard: list[bytes] = []
    listeners: list[int] = []

    def on_subscribed() -> None:
        listeners.append(pipe.execute("PUBLISH", "ours", "x"))

    sub = Subscription(redis_url, [subscription.Listener(["ours"], heard.append, on_subscribed)])
    sub.start()
    soon(lambda: heard)
    assert (listeners, heard) == ([1], [b"x"])
    sub.stop()
    pipe.stop()


@cooperative
def test_a_cut_subscription_is_renewed_and_calls_on_subscribed(redis_url: str) -> None:
    relay = Relay(redis_url)
    listener, pipe = Listener(relay.url), started(redis_url)
    relay.cut()
    soon(lambda: listener.subscribed == 2, "subscribed again")
    pipe.execute("PUBLISH", "ours", "back")
    assert soon(lambda: listener.heard) == [b"back"]
    listener.subscription.stop()
    pipe.stop()
    relay.close()


@cooperative
def test_a_subscription_closed_by_the_store_is_renewed(redis_url: str) -> None:
    listener, pipe = Listener(redis_url), started(redis_url)
    assert pipe.execute("CLIENT", "KILL", "TYPE", "pubsub") >= 1
    soon(lambda: listener.subscribed == 2, "subscribed again")
    listener.subscription.stop()
    pipe.stop()


@cooperative
def test_a_subscription_waits_for_a_lost_store_and_logs_it_once(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    relay = Relay(redis_url)
    listener, pipe = Listener(relay.url), started(redis_url)
    attempts: list[str] = []
    monkeypatch.setattr(subscription, "RETRY", 0.01)
    monkeypatch.setattr(subscription, "find", lambda url: attempts.append(url) or find(url))
    relay.close()
    soon(lambda: pipe.execute("PUBSUB", "NUMSUB", "ours")[1] == 0, "the store has noticed")
    soon(lambda: len(attempts) > 3, "it tries again")
    relay.reopen()
    soon(lambda: listener.subscribed == 2, "subscribed again")
    said = [record.getMessage() for record in caplog.records if record.name == outages.__name__]
    assert said[0] == "The store can't be reached: the connection was closed"
    assert said[-1] == "The store is back"
    assert len(said) == len(set(said)) <= 3, "each reason once: at first it was closed, then refused"
    listener.subscription.stop()
    pipe.stop()
    relay.close()


@cooperative
def test_a_failing_listener_does_not_end_the_subscription(redis_url: str) -> None:
    pipe = started(redis_url)
    heard: list[bytes] = []
    subscribed: list[bool] = []

    def on_message(data: bytes) -> None:
        heard.append(data)
        if data == b"bad":
            raise ValueError("a mistake")

    sub = Subscription(redis_url, [subscription.Listener(["ours"], on_message, lambda: subscribed.append(True))])
    sub.start()
    soon(lambda: subscribed)
    gather(pipe, ("PUBLISH", "ours", "bad"), ("PUBLISH", "ours", "good"))
    soon(lambda: len(heard) == 2)
    assert (heard, subscribed) == ([b"bad", b"good"], [True])
    sub.stop()
    pipe.stop()


@cooperative
def test_a_subscription_that_the_store_does_not_know_is_renewed(redis_url: str) -> None:
    """A firewall may forget a silent connection: nothing breaks, nothing arrives. Two lobbies may notice at once."""
    listener, pipe = Listener(redis_url), started(redis_url)
    gevent.joinall([gevent.spawn(listener.subscription.renew) for _ in range(2)], raise_error=True)
    soon(lambda: listener.subscribed == 2, "subscribed again")
    soon(lambda: pipe.execute("PUBSUB", "NUMSUB", "ours")[1] == 1, "one subscription is left")
    listener.subscription.stop()
    soon(lambda: pipe.execute("PUBSUB", "NUMSUB", "ours")[1] == 0, "none is left")
    pipe.stop()


@pytest.mark.parametrize("way", ["requests", "answers"])
@cooperative
def test_an_open_but_silent_subscription_is_renewed(redis_url: str, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    """A middlebox may drop packets in one direction: TCP notices nothing, and no other party closes it."""
    monkeypatch.setattr(subscription, "PING", 0.2)
    monkeypatch.setattr(subscription, "connect", lambda url: connection.connect(url, timeout=0.5))
    relay = Relay(redis_url)
    listener, pipe = Listener(relay.url), started(redis_url)
    gate = getattr(relay, way)
    gate.clear()
    before = relay.accepted
    assert listener.subscription.proven, "one PING may be under way"
    soon(lambda: not listener.subscription.proven, "it is noticed")
    soon(lambda: relay.accepted > before, "another connection is made")
    gate.set()
    soon(lambda: listener.subscribed == 2, "subscribed again")
    soon(lambda: pipe.execute("PUBSUB", "NUMSUB", "ours")[1] == 1, "one subscription is left")
    pipe.execute("PUBLISH", "ours", "back")
    assert soon(lambda: listener.heard) == [b"back"]
    listener.subscription.stop()
    pipe.stop()
    relay.close()


@cooperative
def test_a_subscription_is_checked_both_ways_even_while_messages_arrive(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscription, "PING", 0.2)
    relay = Relay(redis_url)
    listener, pipe = Listener(relay.url), started(redis_url)

    def chatter() -> None:
        while True:
            pipe.execute("PUBLISH", "ours", "x")
            gevent.sleep(0.01)

    talking = gevent.spawn(chatter)
    gevent.sleep(1.0)  # several PINGs
    assert listener.subscribed == 1
    relay.requests.clear()
    before = relay.accepted
    soon(lambda: not listener.subscription.proven, "it is noticed")
    soon(lambda: relay.accepted > before, "another connection is made")
    relay.requests.set()
    soon(lambda: listener.subscribed == 2, "subscribed again")
    talking.kill()
    listener.subscription.stop()
    pipe.stop()
    relay.close()


@pytest.mark.parametrize("way", ["requests", "answers"])
@cooperative
def test_an_open_but_silent_connection_to_a_cluster_node_is_renewed(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, way: str
) -> None:
    monkeypatch.setattr(cluster, "IDLE", 0.05)
    monkeypatch.setattr(node, "connect", lambda url: connection.connect(url, timeout=0.5))
    monkeypatch.setattr(cluster, "REFRESH", 60.0)  # no other query goes through the relay
    relay = Relay(redis_url)
    nodes = Cluster(relay.url, Topology([relay.url] * cluster.SLOTS, sharded=False), [ADD])

    def ask() -> Any:
        result: AsyncResult = AsyncResult()
        nodes.submit(("PUBLISH", "theirs", "x"), result.set)
        return result.get()

    assert ask() == 0
    written = len(relay.written)
    soon(lambda: any(b"PING" in piece for piece in relay.written[written:]), "it is checked while idle")
    gate = getattr(relay, way)
    gate.clear()
    soon(lambda: "can't be reached: no answer in time" in caplog.text, "the silent connection is given up")
    gate.set()
    assert ask() == 0, "the next command finds a good one"
    nodes.stop()
    relay.close()


@cooperative
def test_a_user_who_may_not_ping_keeps_the_subscription(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscription, "PING", 0.1)
    pipe = started(redis_url)
    pipe.execute("ACL", "SETUSER", "mute", "on", ">any", "~*", "&*", "+@all", "-ping")
    listener = Listener(redis_url.replace("unix://", "unix://mute:any@"))
    gevent.sleep(1.0)  # several PINGs
    pipe.execute("PUBLISH", "ours", "still here")
    assert soon(lambda: listener.heard) == [b"still here"]
    assert listener.subscribed == 1
    listener.subscription.stop()
    pipe.execute("ACL", "DELUSER", "mute")
    pipe.stop()


@cooperative
def test_silence_is_no_reason_to_subscribe_again(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscription, "PING", 0.2)
    listener, pipe = Listener(redis_url), started(redis_url)
    gevent.sleep(1.0)  # several PINGs
    pipe.execute("PUBLISH", "ours", "still here")
    assert soon(lambda: listener.heard) == [b"still here"]
    assert listener.subscribed == 1
    listener.subscription.stop()
    pipe.stop()
