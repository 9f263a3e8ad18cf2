"""Each way to start the server works, or is refused at once, in one line with advice."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.helpers.servers import ROOT, alive, eventually, free_port

BIN = Path(sys.executable).parent


@pytest.fixture
def directory() -> Iterator[Path]:
    """Return an empty directory with a short name and the two files of a platform's plain `gunicorn wsgi:app`."""
    with tempfile.TemporaryDirectory(prefix="animochat-test-") as path:
        for name in ("wsgi.py", "gunicorn.conf.py"):
            (Path(path) / name).symlink_to(ROOT / name)
        (Path(path) / "plain.py").touch()  # another configuration for gunicorn
        yield Path(path)


def answers(url: str) -> bool:
    """Return whether /health there reports that all works."""
    with contextlib.suppress(requests.RequestException):
        return requests.get(f"{url}/health", timeout=5).status_code == 200
    return False


class Started:
    """A server started by any command; `log` is everything that it has printed."""

    def __init__(self, command: list[str], directory: Path, env: dict[str, str]) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = directory / "log"
        inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [part.format(port=self.port, bin=BIN, python=sys.executable) for part in command],
                cwd=directory, env={**inherited, "PORT": str(self.port), "WEB_CONCURRENCY": "2", **env},
                stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def serves(self) -> bool:
        """Return whether /health reports that all works; fail if the process has ended."""
        assert self.process.poll() is None, self.log
        return answers(self.url)

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(30)


@pytest.fixture
def start(directory: Path) -> Iterator[Any]:
    started: list[Started] = []

    def start(*command: str, env: dict[str, str] | None = None, where: Path = directory) -> Started:
        started.append(Started(list(command), where, env or {}))
        return started[-1]

    yield start
    for server in started:
        server.end()
        assert "Traceback" not in server.log


SERVE = ["{bin}/animochat", "serve"]
GUNICORN = ["{bin}/gunicorn", "wsgi:app"]


def in_shell(command: list[str], redirection: str) -> list[str]:
    return ["sh", "-c", f"exec {' '.join(command)} {redirection}"]


WAYS: dict[str, tuple[list[str], dict[str, str]]] = {
    "animochat serve": (SERVE, {}),
    "python -m animochat": (["{python}", "-m", "animochat", "serve"], {}),
    "gunicorn": (GUNICORN, {}),
    "python -m gunicorn": (["{python}", "-m", "gunicorn", "wsgi:app"], {}),
    "the factory": ([GUNICORN[0], "animochat:create_app()"], {}),
    "reuse port": ([*GUNICORN, "--reuse-port"], {}),
    "threads": ([*GUNICORN, "--threads", "4"], {}),
    "our worker class by name": ([*GUNICORN, "-k", "animochat.server.process.worker.Worker"], {}),
    "no standard input": (in_shell(SERVE, "<&-"), {}),
    "no standard input, with gunicorn": (in_shell(GUNICORN, "<&-"), {}),
    "production": (SERVE, {"APP_ENV": "production"}),
    "locale C": (SERVE, {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}),
    "an encoding that is not UTF-8": (SERVE, {"PYTHONIOENCODING": "euc_jp"}),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_way_to_start_that_works(start: Any, store_url: str, way: str) -> None:
    command, env = WAYS[way]
    server = start(*command, env={"REDIS_URL": store_url, **env})
    eventually(server.serves, 30)
    assert "AniMoChat is at http://localhost:" in server.log


REFUSED = {
    "sync": ([*GUNICORN, "-k", "sync"], "leave --worker-class out"),
    "gthread": ([*GUNICORN, "-k", "gthread", "--threads", "4"], "leave --worker-class out"),
    "gevent, two workers": ([*GUNICORN, "-k", "gevent", "-w", "2"], "leave --worker-class out for more than one"),
    "gevent-websocket, two workers": (
        [*GUNICORN, "-k", "geventwebsocket.gunicorn.workers.GeventWebSocketWorker", "-w", "2"],
        "leave --worker-class out for more than one",
    ),
    "gevent without WebSocket": ([*GUNICORN, "-k", "gunicorn.workers.ggevent.GeventPyWSGIWorker"], "can't serve it"),
    "preload": ([*GUNICORN, "--preload"], "without --preload"),
    "preloaded factory": ([GUNICORN[0], "--preload", "animochat:create_app()"], "without --preload"),
    "PROXY protocol": ([*GUNICORN, "--proxy-protocol", "auto"], "set TRUSTED_PROXIES"),
    "TLS": ([*GUNICORN, "--certfile", "wsgi.py", "--keyfile", "wsgi.py"], "end it at a proxy"),
    "another configuration": ([*GUNICORN, "-c", "plain.py"], "animochat.server.process.worker.Worker"),
    "flask run": (["{bin}/flask", "--app", "animochat", "run", "-p", "{port}"], "`animochat serve`"),
    "flask run with wsgi": (["{bin}/flask", "--app", "wsgi", "run", "-p", "{port}"], "`animochat serve`"),
    "another server": (["{python}", "-c", "import wsgi"], "`animochat serve`"),
}


@pytest.mark.parametrize("way", REFUSED)
@pytest.mark.parametrize("store", ["a store", "embedded"])
def test_a_way_to_start_that_is_refused_in_one_line(start: Any, store_url: str, way: str, store: str) -> None:
    command, advice = REFUSED[way]
    # one worker: if two fail at the same time, gunicorn's master may print a traceback of its own
    environment = {"WEB_CONCURRENCY": "1", **({"REDIS_URL": store_url} if store == "a store" else {})}
    server = start(*command, env=environment)
    assert server.process.wait(30) != 0
    lines = {line.partition("] [")[2] or line for line in server.log.splitlines()}
    (ours,) = [line for line in lines if line.startswith("animochat: ")]
    assert advice in ours
    # besides it there are only gunicorn's own lines about its start and end
    others = [line for line in lines if line != ours and "INFO]" not in line]
    assert all(re.search("App failed to load|exited with code 4|Shutting down", line) for line in others), lines


def test_with_another_configuration_our_worker_class_refuses_too(start: Any, store_url: str) -> None:
    plain = [*GUNICORN, "-c", "plain.py", "-k", "animochat.server.process.worker.Worker"]
    for option in (["--preload"], ["--proxy-protocol", "v1"], ["--certfile", "wsgi.py", "--keyfile", "wsgi.py"]):
        server = start(*plain, *option, env={"REDIS_URL": store_url})
        assert server.process.wait(30) != 0
        assert server.log.count("Can't start: ") + server.log.count("animochat: ") == 1


@pytest.mark.parametrize("command", [SERVE, ["{python}", "-m", "animochat", "serve"]], ids=["animochat", "python -m"])
def test_from_the_parent_of_a_folder_called_animochat(start: Any, directory: Path, command: list[str]) -> None:
    (directory / "animochat" / "animochat").mkdir(parents=True)
    eventually(start(*command).serves, 30)


@pytest.mark.parametrize(
    "name", ["x" * (96 - len("/tmp/")), "a#b", "a b", "a%20b", "a?b", "ü"], ids=["long", "#", "space", "%", "?", "ü"]
)
def test_temporary_files_may_be_anywhere(start: Any, name: str) -> None:
    """With the embedded store, the socket's path has to be short and to fit into a URL."""
    place = Path("/tmp") / name
    place.mkdir(exist_ok=True)
    try:
        eventually(start(*SERVE, env={"TMPDIR": str(place)}).serves, 30)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def masters(server: Started) -> list[int]:
    """Return the process ids of all masters that have listened, in that order."""
    return [int(pid) for pid in re.findall(r"\[(\d+)\] \[INFO\] AniMoChat is at ", server.log)]


@pytest.mark.parametrize("command", [SERVE, GUNICORN], ids=["animochat serve", "gunicorn"])
def test_usr2_replaces_the_master_and_its_replacement(start: Any, store_url: str, command: list[str]) -> None:
    server = start(*command, env={"REDIS_URL": store_url})
    try:
        for generation in (1, 2):
            eventually(lambda n=generation: len(masters(server)) == n and answers(server.url), 30)
            # a master ignores it while its own master is still ending
            eventually(lambda n=generation: server.log.count("Master has been promoted") == n - 1, 30)
            os.kill(masters(server)[-1], signal.SIGUSR2)
            eventually(lambda n=generation: len(masters(server)) == n + 1, 30, server.log)
            os.kill(masters(server)[-2], signal.SIGTERM)
            eventually(lambda: not alive(masters(server)[-2]), 30)
            eventually(lambda: answers(server.url), 30)
    finally:
        for pid in masters(server):
            if alive(pid):
                os.kill(pid, signal.SIGTERM)
        eventually(lambda: not any(map(alive, masters(server))), 30)


def test_usr2_is_refused_with_an_embedded_store(start: Any) -> None:
    server = start(*SERVE)
    eventually(server.serves, 30)
    os.kill(server.process.pid, signal.SIGUSR2)
    eventually(lambda: "SIGUSR2 needs REDIS_URL" in server.log)
    assert server.serves()
    assert len(masters(server)) == 1


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "latin-1"])
@pytest.mark.parametrize("command", [SERVE, GUNICORN], ids=["serve", "gunicorn"])
def test_a_file_dot_env_in_another_encoding_is_named_in_one_line(
    start: Any, directory: Path, command: list[str], encoding: str
) -> None:
    (directory / ".env").write_text("# größer\nLOG_LEVEL=debug\n", encoding)
    server = start(*command)
    assert server.process.wait(30) != 0
    assert server.log == "animochat: .env can't be read: it is not UTF-8\n"


def test_a_file_dot_env_may_begin_with_a_byte_order_mark(start: Any, directory: Path) -> None:
    (directory / ".env").write_text("LOG_LEVEL=nonsense\n", "utf-8-sig")
    server = start(*SERVE)
    assert server.process.wait(30) != 0
    assert server.log.startswith("animochat: LOG_LEVEL: 'nonsense'")


def test_a_file_dot_env_that_may_not_be_read_is_named_in_one_line(start: Any, directory: Path) -> None:
    (directory / ".env").mkdir()
    server = start(*SERVE)
    assert server.process.wait(30) != 0
    assert server.log == "animochat: .env can't be read: Is a directory\n"


@pytest.fixture(scope="module", params=["ja_JP EUC-JP", "de_DE ISO-8859-1"])
def locale(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the environment of a locale that is not UTF-8, made for this test."""
    language, encoding = request.param.split()
    path = tmp_path_factory.mktemp("locales")
    name = f"{language}.{encoding}"
    if shutil.which("localedef") is None:
        pytest.skip("localedef is not installed")
    made = subprocess.run(["localedef", "-i", language, "-f", encoding, path / name], capture_output=True)
    if made.returncode and not (path / name).exists():
        pytest.skip("the sources of locales are not installed")
    environment = {"LOCPATH": str(path), "LC_ALL": name}
    code = "import locale; print(locale.getpreferredencoding(False))"
    shown = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert shown.stdout.strip().lower() != "utf-8"
    return environment


@pytest.mark.may_skip
def test_any_locale_will_do(start: Any, directory: Path, store_url: str, locale: dict[str, str]) -> None:
    (directory / "filter").write_text("größer\n字\n", "utf-8")
    (directory / ".env").write_text("# größer 字\nWORD_FILTER_FILE=filter\n", "utf-8")
    server = start(*SERVE, env={"REDIS_URL": store_url, **locale})
    eventually(server.serves, 30)
    assert "Español" in requests.get(server.url + "/", timeout=10).content.decode()
    for arguments in (["--help"], ["serve", "--help"], ["doctor"]):
        command = [BIN / "animochat", *arguments]
        env = {**locale, "REDIS_URL": store_url, "PORT": str(server.port)}
        shown = subprocess.run(command, cwd=directory, env=env, capture_output=True)
        assert shown.returncode in (0, 1), shown.stderr
        assert b"Traceback" not in shown.stderr


#: Makes everything read-only except /dev/shm, and leaves no other place for temporary files.
READ_ONLY = """
mount --make-rprivate /
for place in /tmp /var/tmp /usr/tmp /run; do
    if [ -d $place ]; then mount -t tmpfs -o ro,size=4k tmpfs $place; fi
done
mount -o remount,bind,ro /
{memory}
cd /dev && exec "$@"
"""


def read_only(command: list[str], memory: str = "") -> list[str]:
    return ["unshare", "--mount", "sh", "-c", READ_ONLY.format(memory=memory), "sh", *command]


def may_mount() -> bool:
    return subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode == 0


@pytest.mark.may_skip
@pytest.mark.skipif(
    not may_mount() or ROOT.is_relative_to("/tmp"), reason="only root may mount file systems, and not over itself"
)
def test_a_read_only_root_without_tmp_is_enough(start: Any, store_processes: Any) -> None:
    eventually(start(*read_only(SERVE)).serves, 30)


@pytest.mark.may_skip
@pytest.mark.skipif(
    not may_mount() or ROOT.is_relative_to("/tmp"), reason="only root may mount file systems, and not over itself"
)
def test_a_start_without_a_writable_place_fails_with_one_line(start: Any) -> None:
    command = read_only(SERVE, "mount -t tmpfs -o ro,size=4k tmpfs /dev/shm; mount -o remount,bind,ro /dev")
    for store in ({}, {"REDIS_URL": "redis://127.0.0.1:1"}):
        server = start(*command, env=store)
        assert server.process.wait(30) != 0
        lines = [line for line in server.log.splitlines() if "[INFO]" not in line]
        assert ["set TMPDIR to one of at most" in line for line in lines] == [True], server.log


def test_no_file_is_read_in_whatever_encoding_the_locale_has(start: Any, store_url: str) -> None:
    """Python itself warns about it, if asked to (PEP 597)."""
    env = {"REDIS_URL": store_url, "PYTHONWARNDEFAULTENCODING": "1", "PYTHONWARNINGS": "always::EncodingWarning"}
    server = start(*SERVE, env=env)
    eventually(server.serves, 30)
    for path in ("/", "/docs", "/metrics"):
        assert requests.get(server.url + path, timeout=10).status_code == 200
    subprocess.run([BIN / "animochat", "doctor"], env={**os.environ, **env, "PORT": str(server.port)}, check=False)
    assert not [line for line in server.log.splitlines() if "EncodingWarning" in line and f"{ROOT}/animochat" in line]
