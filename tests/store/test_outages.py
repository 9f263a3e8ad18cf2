"""Each worker logs an unusable store once per outage, with the reason in operators' words."""

from __future__ import annotations

import datetime
import logging
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import trustme

from animochat.cli.doctor.check_result import Level
from animochat.cli.doctor.store_checks import store_findings
from animochat.settings import Settings
from animochat.store import outages
from animochat.store.connection import BROKEN, connect
from animochat.store.outages import Outages
from animochat.store.pipeline import Pipeline
from animochat.store.reasons import reason
from tests.helpers.people import running, status
from tests.helpers.servers import RedisServer, eventually, find_redis_server, free_port
from tests.helpers.store import cooperative, outcome

URL = "redis://127.0.0.1:1"


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """Return the log lines about the store since the last call."""

    def new() -> list[str]:
        said = [record.getMessage() for record in caplog.records if record.name == outages.__name__]
        caplog.clear()
        return said

    return new


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def refused_connection() -> redis.ConnectionError:
    error = redis.ConnectionError("refused")
    error.__cause__ = ConnectionRefusedError(111, "Connection refused")
    return error


REFUSED = "The store can't be reached: the connection is refused"
DENIED = "The store can't be reached: user or password is wrong, or missing"


def test_parts_of_a_worker_that_use_the_same_server_share_its_outage(lines: Callable[[], list[str]]) -> None:
    known = Outages(Clock())
    for _ in range(100):
        for part in ("commands", "subscription", "map"):
            known.failed(part, refused_connection(), URL)
    assert lines() == [REFUSED]
    known.works("commands")
    known.works("map")
    assert lines() == []
    known.works("subscription")
    known.works("subscription")
    assert lines() == ["The store is back"]
    known.failed("commands", refused_connection(), URL)
    assert lines() == [REFUSED], "another outage"


def test_a_new_reason_is_logged_and_alternating_reasons_are_not(lines: Callable[[], list[str]]) -> None:
    clock = Clock()
    known = Outages(clock)
    for _ in range(100):
        known.failed("commands", refused_connection(), URL)
        known.failed("commands", redis.AuthenticationError("WRONGPASS"), URL)
    assert lines() == [REFUSED, DENIED]
    clock.now += outages.REPEAT
    known.failed("commands", refused_connection(), URL)
    assert lines() == [REFUSED], "the last logged reason applies"


def test_each_node_of_a_cluster_has_outages_of_its_own(lines: Callable[[], list[str]]) -> None:
    known = Outages(Clock())
    known.failed("commands at a:1", refused_connection(), URL, "a:1")
    known.failed("commands at b:1", refused_connection(), URL, "b:1")
    known.failed("subscription", refused_connection(), URL, "b:1")
    known.works("commands at a:1")
    known.works("subscription")
    known.forget("commands at b:1")  # another has its slots now
    known.works("commands at b:1")
    assert lines() == [
        "The store at a:1 can't be reached: the connection is refused",
        "The store at b:1 can't be reached: the connection is refused",
        "The store at a:1 is back",
    ]


def test_refused_commands_are_logged_once_and_so_is_their_end(lines: Callable[[], list[str]]) -> None:
    clock = Clock()
    known = Outages(clock)
    for _ in range(100):
        known.refused("", "OutOfMemoryError", "no memory", logging.WARNING)
        known.accepted("")  # commands that need no memory still succeed
        clock.now += 1
    known.refused("", "MISCONF", "no disk", logging.WARNING)
    assert lines() == ["The store refused a command: no memory", "The store refused a command: no disk"]
    clock.now += outages.QUIET
    known.accepted("another:1")
    assert lines() == []
    clock.now += 1
    known.accepted("")
    assert lines() == [
        f"The store accepts commands again (it refused some: {word})" for word in ("OutOfMemoryError", "MISCONF")
    ]
    known.accepted("")
    assert lines() == []


@cooperative
def test_a_full_store_is_logged_once_however_many_commands_it_refuses(
    redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    pipe = Pipeline(redis_url, [])
    pipe.start()
    pipe.execute("CONFIG", "SET", "maxmemory", "1")
    for number in range(20):
        outcome(lambda number=number: pipe.execute("SET", f"n{number}", "x"))
    pipe.execute("CONFIG", "SET", "maxmemory", "0")
    assert caplog.text.count("The store refused a command") == 1
    pipe.stop()


# Reasons, with real servers


def certificate(authority: trustme.CA, directory: Path, name: str, identity: str, **dates: Any) -> None:
    issued = authority.issue_cert(identity, **dates)
    issued.private_key_pem.write_to_path(directory / f"{name}.key")
    issued.cert_chain_pems[0].write_to_path(directory / f"{name}.pem")


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return certificates of two authorities: our own, and one that the servers do not know."""
    directory = tmp_path_factory.mktemp("certificates")
    ours, theirs = trustme.CA(), trustme.CA()
    ours.cert_pem.write_to_path(directory / "ca.pem")
    theirs.cert_pem.write_to_path(directory / "other.pem")
    certificate(ours, directory, "good", "127.0.0.1")
    certificate(ours, directory, "named", "store.example")
    then = datetime.datetime(2020, 1, 1)
    certificate(ours, directory, "old", "127.0.0.1", not_before=then, not_after=then + datetime.timedelta(1))
    certificate(theirs, directory, "stranger", "animochat")
    return directory


@pytest.fixture(scope="module")
def stores(directory: Path) -> Iterator[Callable[..., int]]:
    """Return a function that starts a store with a certificate, or without TLS, and returns its port."""
    running: dict[tuple[str, str], tuple[int, subprocess.Popen[bytes]]] = {}

    def port(name: str, clients: str = "no") -> int:
        if (name, clients) not in running:
            number = free_port()
            options = ["--port", str(number)]
            if name:
                options = ["--port", "0", "--tls-port", str(number), "--tls-auth-clients", clients]
                options += ["--tls-cert-file", f"{name}.pem", "--tls-key-file", f"{name}.key"]
                options += ["--tls-ca-cert-file", "ca.pem"]
            command = [find_redis_server(), "--bind", "127.0.0.1", "--save", "", *options]
            process = subprocess.Popen(command, cwd=directory, stdout=subprocess.PIPE)
            assert process.stdout is not None
            assert any(b"Ready to accept connections" in line for line in process.stdout)
            running[name, clients] = number, process
        return running[name, clients][0]

    yield port
    for _, process in running.values():
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    ("store", "clients", "scheme", "options", "said"),
    [
        ("good", "no", "rediss", "", "certificate is not trusted (self-signed certificate in certificate chain)"),
        ("good", "no", "rediss", "ssl_ca_certs={0}/other.pem", "certificate is not trusted"),
        ("named", "no", "rediss", "ssl_ca_certs={0}/ca.pem", "certificate is for another name"),
        ("old", "no", "rediss", "ssl_ca_certs={0}/ca.pem", "certificate has expired"),
        ("good", "yes", "rediss", "ssl_ca_certs={0}/ca.pem", "a client certificate"),
        (
            "good",
            "yes",
            "rediss",
            "ssl_ca_certs={0}/ca.pem&ssl_certfile={0}/stranger.pem&ssl_keyfile={0}/stranger.key",
            "our certificate",
        ),
        (
            "good",
            "yes",
            "rediss",
            "ssl_ca_certs={0}/ca.pem&ssl_certfile={0}/stranger.pem&ssl_keyfile={0}/good.key",
            "does not belong to the certificate",
        ),
        ("good", "no", "rediss", "ssl_ca_certs={0}/good.key", "ssl_ca_certs has no certificate"),
        ("good", "no", "redis", "", "it requires TLS"),
        ("good", "yes", "redis", "", "it requires TLS"),
        ("good", "no", "redis", "username=u&password=p", "it requires TLS"),
        ("", "no", "rediss", "", "it has no TLS"),
        ("", "no", "redis", "username=u&password=hunter2", "user or password is wrong"),
    ],
)
def test_mistakes_with_tls_are_named_by_log_and_doctor(
    stores: Callable[..., int], directory: Path, store: str, clients: str, scheme: str, options: str, said: str
) -> None:
    url = f"{scheme}://127.0.0.1:{stores(store, clients)}?{options.format(directory)}"

    def use() -> None:
        connection = connect(url)
        connection.send_command("INFO")
        connection.read_response()

    with pytest.raises((*BROKEN, redis.RedisError)) as caught:
        use()
    told = reason(caught.value, url)
    assert said in told
    (finding,) = store_findings(url, Settings())
    assert finding.level is Level.ERROR
    assert said in finding.text
    assert "hunter2" not in told + finding.text


@pytest.mark.parametrize("store", ["good", "named", "old", "stranger"])
def test_certificate_checks_can_be_switched_off(stores: Callable[..., int], store: str) -> None:
    url = f"rediss://127.0.0.1:{stores(store)}"
    settings = Settings.from_environ({"REDIS_URL": url, "REDIS_TLS_VERIFY": "0"})
    assert settings.redis_url is not None
    connection = connect(settings.redis_url)
    connection.send_command("PING")
    assert connection.read_response() == b"PONG"
    connection.disconnect()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (URL, "the connection is refused"),
        ("redis://no.such.host.invalid", "its host name is unknown"),
        ("unix:///no/such/socket", "its socket does not exist"),
        ("redis+sentinel://127.0.0.1:1/mymaster", "no Sentinel names a reachable primary"),
    ],
)
def test_other_mistakes_are_named_too(url: str, said: str) -> None:
    with pytest.raises(BROKEN) as caught:
        connect(url)
    assert reason(caught.value, url) == said


# Whole servers


def test_a_missing_store_is_logged_once_for_each_worker(tmp_path: Path) -> None:
    store = RedisServer(tmp_path)
    env = {"APP_ENV": "production", "WEB_CONCURRENCY": "2", "LOBBIES": "main,cebu"}
    with running(tmp_path, 1, store.url, ready="/health/live", **env) as (server,):

        def failures() -> float:
            metrics = server.get("/metrics").text.splitlines()
            return sum(float(line.split()[-1]) for line in metrics if "store_failures_total{" in line)

        eventually(lambda: failures() > 40, 30, "many attempts")
        assert server.log().count("can't be reached") == 2
        store.start()
        try:
            eventually(lambda: status(server, "/health") == 200, 30)
            eventually(lambda: server.log().count("The store is back") == 2)
            assert server.log().count("The store") == 4
        finally:
            store.stop(signal.SIGKILL)


@pytest.mark.parametrize(
    ("name", "wrong", "said"), [("", "rediss", "it has no TLS"), ("good", "redis", "it requires TLS")]
)
def test_a_worker_logs_once_that_the_store_speaks_tls_or_does_not(
    tmp_path: Path, stores: Callable[..., int], name: str, wrong: str, said: str
) -> None:
    url = f"{wrong}://127.0.0.1:{stores(name)}"
    with running(tmp_path, 1, url, ready="/health/live", APP_ENV="production") as (server,):
        eventually(lambda: said in server.log(), 30, said)
        before = server.log().count("\n")
        failures = "animochat_store_failures_total{"
        eventually(
            lambda: (
                sum(
                    float(line.split()[-1])
                    for line in server.get("/metrics").text.splitlines()
                    if line.startswith(failures)
                )
                > 8
            ),
            40,
            "more attempts",
        )
        assert server.log().count("The store") == 1
        assert server.log().count("\n") == before
