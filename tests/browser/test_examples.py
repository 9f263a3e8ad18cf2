"""The examples are clients that work: each talks with another one through a real server."""

from __future__ import annotations

import functools
import http.server
import queue
import re
import shutil
import subprocess
import sys
import threading
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.helpers.people import running
from tests.helpers.servers import PATIENCE, ROOT, Client, Server

EXAMPLES = ROOT / "examples"


class Terminal:
    """An example that talks in a terminal."""

    def __init__(self, command: list[str], url: str) -> None:
        self.process = subprocess.Popen(
            [*command, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line.decode().removesuffix("\n"))

    def type(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n".encode())
        self.process.stdin.flush()

    def wait(self, text: str) -> str:
        """Return the first line that has `text` in it."""
        seen = []
        while True:
            try:
                seen.append(self._lines.get(timeout=PATIENCE))
            except queue.Empty:
                pytest.fail(f"no {text!r}; printed: {seen}")
            if text in seen[-1]:
                return seen[-1]

    def end(self) -> None:
        """The end of its input; fails unless it ends well."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        assert self.process.wait(PATIENCE) == 0


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that is served at `page_origin`."""
    folder = tmp_path_factory.mktemp("pages")
    shutil.copy(EXAMPLES / "browser.html", folder)
    return folder


@pytest.fixture(scope="module")
def page_origin(pages: Path) -> Iterator[str]:
    """Return the origin of the example page, which is not the chat's."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=pages)) as served:
        threading.Thread(target=served.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{served.server_port}"
        served.shutdown()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, page_origin: str) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("examples"), CLIENT_URL=page_origin, SKIP_COOLDOWN_MS="1") as (server,):
        yield server


@pytest.fixture
def terminal(server: Server) -> Iterator[Callable[..., Terminal]]:
    terminals: list[Terminal] = []

    def start(*command: str) -> Terminal:
        terminals.append(Terminal(list(command), server.url))
        return terminals[-1]

    yield start
    for started in terminals:
        started.process.kill()
        started.process.wait()


def test_a_node_and_a_python_client_talk(terminal: Callable[..., Terminal]) -> None:
    node = terminal("node", str(EXAMPLES / "client.mjs"))
    node.wait("Waiting")
    python = terminal(sys.executable, str(EXAMPLES / "client.py"))
    for client in (node, python):
        client.wait("You are now chatting with a stranger")
    node.type("Hello from Node")
    python.wait("> Hello from Node")
    python.type("Hello from Python")
    node.wait("> Hello from Python")
    node.type(" ")
    node.wait("empty-message")
    python.type("/next")
    node.wait("Alone again (skipped)")
    python.wait("Resting for")
    node.end()
    python.end()


#: Messages that try to control a terminal, or to look like a line of the client's own. Each contains "end".
HOSTILE = [
    "\x1b]0;title\x07\x1b[2J\x1b[H end",
    "a\r> b\nMatched\x0b\x0c end",
    "\u009b2J\u0085\u2028\u2029Matched end",
    "\u202eworht\u2066\u2069\u061c\u200f end",
    "\x08\x08\x7f\x00 end",
]


@pytest.mark.parametrize(
    "command", [["node", str(EXAMPLES / "client.mjs")], [sys.executable, str(EXAMPLES / "client.py")]]
)
def test_a_terminal_prints_each_message_as_one_line_without_control_characters(
    terminal: Callable[..., Terminal], connect: Callable[..., Client], server: Server, command: list[str]
) -> None:
    client = terminal(*command)
    client.wait("Waiting")
    partner = connect(server)
    partner.emit("find-match")
    client.wait("You are now chatting with a stranger")
    for text in HOSTILE:
        assert partner.call("send-message", text)["ok"]
        line = client.wait("end")
        assert line.startswith("> ")
        acting = [c for c in line if unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp")]
        assert acting == []
    assert partner.call("send-message", "👩\u200d🚀 end")["ok"]
    assert client.wait("end") == "> 👩\u200d🚀 end"
    client.end()


def test_two_of_the_40_lines_pages_talk_from_another_origin(server: Server, browser: Browser, page_origin: str) -> None:
    assert len((EXAMPLES / "browser.html").read_text().splitlines()) <= 40
    complaints: list[str] = []
    pages = []
    for _ in range(2):
        page = browser.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(f"{page_origin}/browser.html?server={server.url}")
        expect(page.locator("li").first).to_be_visible()
        pages.append(page)
    anna, bert = pages
    for page in pages:
        expect(page.locator("li").last).to_have_text("You are now chatting with a stranger. Say hi!")
    anna.get_by_label("Message").fill("Hello")
    anna.get_by_label("Message").press("Enter")
    expect(anna.locator("li").last).to_have_text("You: Hello")
    expect(bert.locator("li").last).to_have_text("Stranger: Hello")
    bert.reload()  # the same person again, in the same room
    expect(bert.locator("li").last).to_have_text("Stranger: Hello")
    anna.get_by_role("button", name="Next").click()
    expect(bert.locator("li").last).to_have_text("The stranger is gone.")
    assert complaints == []
    for page in pages:
        page.close()


def test_the_readmes_client_of_five_lines_works_when_pasted(
    server: Server, browser: Browser, connect: Callable[..., Client], pages: Path, page_origin: str
) -> None:
    (snippet,) = re.findall(r"```html\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len(snippet.splitlines()) == 2 + 5
    page = browser.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    (pages / "index.html").write_text(snippet.replace("http://localhost:3001", server.url))
    page.goto(f"{page_origin}/index.html")
    partner = connect(server)
    partner.emit("find-match")
    assert partner.wait("message", where=lambda message: message["type"] == "text")["content"] == "Hello!"
    assert partner.call("send-message", "Hello yourself")["ok"]
    expect(page.locator("body")).to_contain_text("text: Hello yourself")
    assert complaints == []
    page.close()
