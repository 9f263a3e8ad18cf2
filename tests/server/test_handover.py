"""Any number of workers behind one port: every request finds the worker that owns its session."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import stat
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import socketio

from animochat.server.process import handover
from animochat.server.process.handover import Handover, owner_of
from animochat.server.process.run_directory import RunDirectory
from tests.helpers.servers import ROOT, eventually
from tests.server.wire import HERE, PATIENCE, Gunicorn, HttpClient, InThread, WebSocketClient, open_polling, polling

WORKERS = 4


@pytest.fixture(scope="module")
def shared(short_directory: Callable[[], Path]) -> Iterator[Gunicorn]:
    """Return one gunicorn with four workers, for the tests that do it no harm."""
    server = Gunicorn(short_directory(), workers=WORKERS, trusted_proxies=1)
    try:
        yield server.start()
        server.stop()
        server.check_log()
        assert list(server.tmp.iterdir()) == []
    finally:
        server.kill()


@pytest.mark.parametrize(
    ("line", "owner"),
    [
        (b"GET /socket.io/?EIO=4&transport=polling&sid=abcd1234-rest HTTP/1.1", "abcd1234"),
        (b"POST /socket.io/?sid=abcd1234-re-st&EIO=4 HTTP/1.1", "abcd1234"),
        (b"GET /socket.io?sid=abcd1234-rest HTTP/1.1", "abcd1234"),
        (b"GET http://chat.example/socket.io/?a=b&sid=w-1 HTTP/1.1", "w"),
        (b"GET /prefix/socket.io/?sid=w-1 HTTP/1.1", "w"),
        (b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1", None),
        (b"GET /socket.io/?nosid=abcd-1 HTTP/1.1", None),
        (b"GET /socket.io/?sid=abcd HTTP/1.1", None),
        (b"GET /socket.io/?sid=-abcd HTTP/1.1", None),
        (b"GET /socket.io/?sid=../../etc-x HTTP/1.1", None),
        (b"GET /elsewhere?sid=abcd-1 HTTP/1.1", None),
        (b"", None),
    ],
)
def test_the_request_line_names_the_owner(line: bytes, owner: str | None) -> None:
    assert owner_of(line) == owner


def who(http: HttpClient, sid: str) -> tuple[int, str]:
    """Return the process that has the session, and the client's address that it sees."""
    assert http.post(polling(sid), b'42["who"]').status == 200
    answer = json.loads(http.get(polling(sid)).packets[0][2:])
    return answer[1], answer[2]


def test_one_connection_carries_requests_for_all_sessions(shared: Gunicorn) -> None:
    """A proxy keeps its connections open and sends requests of several clients on one."""
    sessions = shared.session_on_each()
    http = shared.http()
    for _ in range(3):
        for pid, sid in sessions.items():
            assert who(http, sid)[0] == pid
            assert http.get("/pid").status == 200


def test_the_client_s_address_survives(shared: Gunicorn) -> None:
    sessions = shared.session_on_each()
    with socket.create_connection(("127.0.0.1", shared.port), source_address=("127.0.0.2", 0)) as connection:
        http = HttpClient(connection)
        for _ in range(WORKERS * 2):  # whichever worker accepts it, the others get it handed over
            client = HttpClient(socket.create_connection(("127.0.0.1", shared.port), source_address=("127.0.0.3", 0)))
            for sid in sessions.values():
                assert client.post(polling(sid), b"3").status == 200
            assert who(client, open_polling(client))[1] == "127.0.0.3"
            client.close()
        sid = json.loads(http.get(polling(), "X-Forwarded-For: 9.9.9.9, 8.8.8.8\r\n").packets[0][1:])["sid"]
        assert who(http, sid)[1] == "8.8.8.8"


def test_pipelined_requests_of_different_sessions(shared: Gunicorn) -> None:
    sessions = shared.session_on_each()
    http = shared.http()
    for sid in [*sessions.values(), *sessions.values()]:
        http.request("POST", polling(sid), b'42["who"]')
    assert [http.response().status for _ in range(2 * WORKERS)] == [200] * (2 * WORKERS)
    for sid in sessions.values():
        http.request("GET", polling(sid))
    assert [json.loads(http.response().packets[0][2:])[1] for _ in sessions] == list(sessions)


def test_request_lines_and_bodies_in_pieces(shared: Gunicorn) -> None:
    sessions = shared.session_on_each()
    http = shared.http()
    for sid in sessions.values():
        body = b"42" + json.dumps(["big", "x" * 90_000]).encode()
        request = f"POST {polling(sid)} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        for piece in (request[:3], request[3:40], request[40:-1], request[-1:] + body[:10], body[10:]):
            http.send(piece)
            # Another connection's round trip: by now the server has read the piece alone.
            assert shared.http().get("/pid").status == 200
        assert http.response().body == b"ok"
        assert http.get(polling(sid)).body == b"4" + body[1:]


def test_an_upgrade_that_another_worker_accepts(shared: Gunicorn) -> None:
    for pid, sid in shared.session_on_each().items():
        for _ in range(3):
            abandoned = WebSocketClient(shared.connect(), f"EIO=4&transport=websocket&sid={sid}")
            abandoned.connection.close()
            eventually(lambda sid=sid: shared.http().post(polling(sid), b"3").status == 200)
        client = eventually(lambda sid=sid: upgrade(shared, sid))
        client.send(1, b'42["who"]')  # type: ignore[arg-type]
        assert json.loads(client.message()[2:])[1] == pid


def upgrade(server: Gunicorn, sid: str) -> WebSocketClient | None:
    from tests.server.wire import TEXT

    try:
        client = WebSocketClient(server.connect(), f"EIO=4&transport=websocket&sid={sid}")
    except AssertionError:  # the end of the earlier one has not been noticed yet
        return None
    client.send(TEXT, b"2probe")
    assert client.message() == "3probe"
    client.send(TEXT, b"5")
    return client


def test_a_session_of_a_dead_worker_is_unknown(shared: Gunicorn) -> None:
    http = shared.http()
    for sid in ("deadbeef-abc", "x-y", "~-1"):
        response = http.get(polling(sid))
        assert (response.status, json.loads(response.body)["code"]) == (400, 1)
    assert http.get("/pid").status == 200


class Owner:
    """Replaces another worker and does what a test asks."""

    def __init__(self, directory: Path) -> None:
        self.directory = RunDirectory(str(directory))
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.directory.path_of("owner"))
        self._listener.listen()
        self._listener.settimeout(PATIENCE)

    def accept(self) -> tuple[socket.socket, socket.socket]:
        """Accept a connection that is handed over; return the channel to confirm it on, and the connection."""
        channel, _ = self._listener.accept()
        _, (descriptor,), _, _ = socket.recv_fds(channel, 65_536, 1)
        return channel, socket.socket(fileno=descriptor)


@pytest.fixture
def owner(short_directory: Callable[[], Path], server: InThread) -> Owner:
    """Return the owner of the sessions `owner-…`, for a server that hands their requests over."""
    owner = Owner(short_directory())
    server.server.handover = Handover(owner.directory, server.chat.worker_id, server.server.adopt)
    return owner


def test_a_connection_that_its_owner_accepts_late_is_answered_only_by_the_owner(
    owner: Owner, server: InThread, http: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The owner may have been stopped for a while. Two answers would count as those to two requests."""
    monkeypatch.setattr(handover, "HANDOVER_TIMEOUT", 0.1)
    http.request("GET", polling("owner-x"))
    channel, connection = owner.accept()
    assert channel.recv(1) == b""  # the server no longer waits
    eventually(lambda: not server.server.busy)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate")
    assert http.response().body == b"late"
    connection.close()
    assert http.at_end()


def test_a_connection_that_its_owner_confirms_is_not_answered_here(
    owner: Owner, server: InThread, http: HttpClient
) -> None:
    http.request("GET", polling("owner-x"))
    channel, connection = owner.accept()
    channel.sendall(b"+")
    eventually(lambda: not server.server.busy)
    connection.close()
    assert http.at_end()


def test_a_connection_that_its_owner_refuses_is_answered_here(owner: Owner, http: HttpClient) -> None:
    http.request("GET", polling("owner-x"))
    for end in owner.accept():
        end.close()
    response = http.response()
    assert (response.status, json.loads(response.body)["code"]) == (400, 1)


def test_a_connection_whose_sender_dies_halfway_is_not_answered(shared: Gunicorn) -> None:
    (path, *_) = shared.sockets()
    client, ours = socket.socketpair()
    with client, ours, socket.socket(socket.AF_UNIX) as channel:
        request = b"GET /pid HTTP/1.1\r\nHost: x\r\n\r\n"
        channel.connect(str(path))
        socket.send_fds(channel, [struct.pack("!II", 2, len(request)) + b"[]" + request[:5]], [ours.fileno()])
        channel.close()
        ours.close()
        client.settimeout(PATIENCE)
        assert client.recv(10) == b""


REMOVALS: dict[str, Callable[[Path], object]] = {
    "the directory": shutil.rmtree,
    "its sockets": lambda directory: [path.unlink() for path in directory.iterdir() if path.is_socket()],
}


@pytest.mark.parametrize("removed", ["the directory", "its sockets"])
def test_removed_sockets_are_created_again_without_failing_requests(
    gunicorn: Callable[..., Gunicorn], removed: str
) -> None:
    server = gunicorn(workers=2)
    sessions = server.session_on_each()
    directory = server.sockets()[0].parent
    for _ in range(2):
        REMOVALS[removed](directory)
        for _ in range(4):  # so that every worker accepts a connection
            http = server.http()
            for pid, sid in sessions.items():
                assert who(http, sid)[0] == pid
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert "was removed, and is created again" in server.log()


def test_a_removed_run_directory_is_created_again_without_requests_and_for_new_workers(
    gunicorn: Callable[..., Gunicorn],
) -> None:
    server = gunicorn(workers=2)
    before = server.worker_pids()
    directory = server.sockets()[0].parent
    shutil.rmtree(directory)
    eventually(lambda: len(server.sockets()) == 2)
    shutil.rmtree(directory)
    server.process.send_signal(signal.SIGHUP)
    eventually(lambda: len(server.worker_pids()) == 2 and not set(server.worker_pids()) & set(before), 20)
    eventually(lambda: len(server.sockets()) == 2)
    http = server.http()
    for pid, sid in server.session_on_each().items():
        assert who(http, sid)[0] == pid


def test_a_directory_that_others_put_in_its_place_is_not_used(gunicorn: Callable[..., Gunicorn]) -> None:
    server = gunicorn(workers=2)
    directory = server.sockets()[0].parent
    shutil.rmtree(directory)
    directory.mkdir(mode=0o755)
    directory.chmod(0o755)
    eventually(lambda: server.log().count("can't be handed over") == 2)
    assert list(directory.iterdir()) == []
    assert server.http().get("/pid").status == 200
    directory.rmdir()
    eventually(lambda: len(server.sockets()) == 2)
    assert server.log().count("can't be handed over") == 2
    server.stop()


def test_the_cleaner_of_temporary_files_keeps_a_directory_in_use(gunicorn: Callable[..., Gunicorn]) -> None:
    """systemd's own cleaner goes by age, on Linux distributions once a day."""
    cleaner = shutil.which("systemd-tmpfiles")
    if cleaner is None:
        pytest.skip("systemd-tmpfiles is not installed")
    server = gunicorn(workers=2)
    configuration = server.directory / "cleaner.conf"
    configuration.write_text(f"e {server.tmp} - - - 0\n")
    sockets, stale = server.sockets(), server.tmp / "stale"
    stale.touch()
    subprocess.run([cleaner, "--clean", str(configuration)], check=True)
    assert not stale.exists()
    assert server.sockets() == sockets
    assert "was removed" not in server.log()


def test_other_users_can_not_connect_to_the_workers(shared: Gunicorn) -> None:
    directory = shared.sockets()[0].parent
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert directory.stat().st_uid == os.geteuid()


@pytest.mark.parametrize(
    "data",
    [b"", b"x", struct.pack("!II", 2, 0) + b"[]", struct.pack("!II", 2**31, 5), struct.pack("!II", 4, 0) + b"nope"],
)
def test_nonsense_on_a_hand_over_socket_is_dropped(shared: Gunicorn, data: bytes) -> None:
    for path in shared.sockets():
        with socket.socket(socket.AF_UNIX) as channel:
            channel.settimeout(10)
            channel.connect(str(path))
            channel.sendall(data)
            channel.shutdown(socket.SHUT_WR)
            assert channel.recv(10) == b""


def node_modules() -> Path:
    path = ROOT / "node_modules"
    if not (path / "socket.io-client").is_dir():
        pytest.skip("socket.io-client is not installed: npm ci")
    return path


class StockClients:
    """Many stock JavaScript clients in one process."""

    def __init__(self, server: Gunicorn, count: int, transports: str) -> None:
        self.process = subprocess.Popen(
            ["node", str(HERE / "clients.mjs"), str(node_modules()), server.url, str(count), transports],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.start = self.answer()

    def answer(self) -> dict[str, object]:
        assert self.process.stdout is not None
        answer: dict[str, object] = json.loads(self.process.stdout.readline())
        return answer

    def check(self, drops: int = 0) -> dict[str, object]:
        """Send 20 events back and forth for each client, after `drops` connections were lost and all are back."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"check {drops}\n")
        self.process.stdin.flush()
        return self.answer()

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.mark.timeout(120)
@pytest.mark.parametrize("transports", ["default", "polling", "websocket"])
def test_200_of_200_stock_clients_on_four_workers(shared: Gunicorn, transports: str) -> None:
    clients = StockClients(shared, 200, transports)
    try:
        assert clients.start == {"ready": 200, "connects": 200, "errors": 0, "drops": 0}
        checked = clients.check()
        assert set(checked["pids"]) <= set(shared.worker_pids())  # type: ignore[call-overload]
        assert (checked["ready"], checked["drops"]) == (200, 0)
    finally:
        clients.end()


@pytest.mark.parametrize("transports", [None, ["polling"], ["websocket"]])
def test_stock_python_clients(shared: Gunicorn, transports: list[str] | None) -> None:
    for _ in range(10):
        client = socketio.SimpleClient()
        client.connect(shared.url, transports=transports)
        client.emit("echo", "hello")
        assert client.receive(timeout=10) == ["echo", "hello"]
        assert client.transport == ("polling" if transports == ["polling"] else "websocket")
        # Not disconnect(): on long polling it may lose its own packet, and then waits for the server's next ping.
        client.client.eio.disconnect(abort=True)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("transports", ["default", "polling"])
def test_clients_of_a_killed_worker_reconnect_and_all_others_stay_connected(
    gunicorn: Callable[..., Gunicorn], transports: str
) -> None:
    server = gunicorn(workers=WORKERS)
    clients = StockClients(server, 60, transports)
    try:
        assert clients.start["ready"] == 60
        before = clients.check()["pids"]
        assert isinstance(before, list)
        # A request that the victim has just accepted would be lost with it, for any worker's session.
        eventually(lambda: server.quiet_sessions() == 60)
        victim = before[0]
        os.kill(victim, signal.SIGKILL)
        after = clients.check(drops=before.count(victim))
        assert after["ready"] == 60
        pids = after["pids"]
        assert isinstance(pids, list)
        assert victim not in pids
        assert all(isinstance(pid, int) for pid in pids)
        assert [new for old, new in zip(before, pids, strict=True) if old != victim] == [
            old for old in before if old != victim
        ]
        assert after["drops"] == before.count(victim)
    finally:
        clients.end()
    eventually(lambda: len(server.worker_pids()) == WORKERS and len(server.sockets()) == WORKERS)
    log = server.log()
    assert "Perhaps out of memory?" in log  # gunicorn logs a SIGKILL as an error in these words
    server.stop()
    assert list(server.tmp.iterdir()) == []


@pytest.mark.timeout(120)
def test_sessions_last_while_other_workers_are_replaced(gunicorn: Callable[..., Gunicorn]) -> None:
    """Each worker is replaced after some requests; a request for a session of one that stops gets a proper answer."""
    server = gunicorn(workers=2, arguments=("--max-requests", "30", "--max-requests-jitter", "20"))
    wrong: list[object] = []

    def client() -> None:
        for _ in range(4):
            try:
                http = server.http()
                response = http.get(polling())
                if response.status == 503:  # accepted just before the worker stopped
                    continue
                sid = json.loads(response.packets[0][1:])["sid"]
                for _ in range(5):
                    response = http.post(polling(sid), b"4x")
                    if response.status == 400:
                        assert json.loads(response.body)["code"] == 1
                        break
                    assert response.status == 200, response.status
                    http.get(polling(sid))
            except (EOFError, OSError):
                pass  # the worker was about to end
            except AssertionError as error:
                wrong.append(error)

    threads = [threading.Thread(target=client) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    eventually(lambda: server.http().get("/pid").status == 200)
    eventually(lambda: len(server.sockets()) == len(server.worker_pids()) == 2, 20)
