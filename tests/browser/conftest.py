"""People in front of the page: real Chromium windows, each with a person of its own.

    def test_something(server, person, meet):
        anna, bert = person(server), person(server)
        meet(anna, bert)
        anna.say("hello")
        expect(bert.messages("partner")).to_have_text(["hello"])

The window and what can be seen and done in it is a `Person`, below.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    BrowserType,
    ConsoleMessage,
    Locator,
    Page,
    expect,
    sync_playwright,
)

from animochat.moderation.announcements import Announcements
from animochat.moderation.lobby_moderation import LobbyModeration
from animochat.settings import Settings
from tests.helpers.servers import Server, eventually
from tests.helpers.store import DirectPipeline

#: Milliseconds for what takes a few: a slow machine is no failure.
PATIENCE = 15_000

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


class Person:
    """One window with the page in it. `context` given: a second tab in that window's browser profile."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.context = context
        self.url = url
        self.page: Page = context.new_page()
        self.complaints: list[str] = []  # must stay empty: script errors, and violations of the security policy
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", self._listen)

    def _listen(self, message: ConsoleMessage) -> None:
        # A server that is stopped makes requests fail, by itself or through a proxy, and a session that it has ended is
        # unknown to it: no complaints.
        if message.type != "error" or "ERR_" in message.text or "WebSocket connection" in message.text:
            return
        if re.search(r"status of (400|502) ", message.text) and "/socket.io/" in message.location["url"]:
            return
        self.complaints.append(message.text)

    def open(self, path: str = "/") -> Person:
        self.page.goto(self.url + path)
        expect(self.page.locator("#online")).to_be_visible()  # there is a connection
        return self

    # a person's actions

    def search(self) -> None:
        self.page.get_by_role("button", name="Start chatting").click()

    def next(self) -> None:
        """Leave the partner for the next one: the button asks once, and acts on the second press."""
        self.button("Next").click()
        expect(self.button("Skip?")).to_be_visible()
        self.page.wait_for_timeout(400)  # sooner it would be a double click, which is one slip
        self.button("Skip?").click()

    def choose(self, item: str) -> None:
        """Press an item of the chat's menu."""
        self.button("More").click()
        self.page.locator("#menu").get_by_role("button", name=item, exact=True).click()

    def type(self, text: str) -> None:
        self.draft.press_sequentially(text)

    def say(self, text: str) -> None:
        """Send a message and wait until the server has it."""
        self.draft.fill(text)
        self.draft.press("Enter")
        expect(self.messages("own").last).to_have_text(text)
        expect(self.page.locator(".message.own").last).to_have_attribute("data-state", "sent")

    def press(self, key: str) -> None:
        self.page.keyboard.press(key)

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name, exact=True)

    @property
    def id(self) -> str:
        """Return the server's id of this person."""
        token: str = self.page.evaluate("JSON.parse(sessionStorage['animochat.token'])")
        return token.rpartition(".")[0]

    # a person's view

    @property
    def draft(self) -> Locator:
        return self.page.get_by_role("textbox", name="Message")

    @property
    def heading(self) -> Locator:
        return self.page.get_by_role("heading", level=1)

    @property
    def ended(self) -> Locator:
        return self.page.locator("#ended-reason")

    @property
    def notice(self) -> Locator:
        return self.page.locator(".screen:not([hidden]) > .notice:not([hidden])")

    @property
    def banner(self) -> Locator:
        return self.page.locator("#connection")

    def messages(self, sender: str) -> Locator:
        """Return the texts of "own", "partner" or "system" messages, in the order shown."""
        return self.page.locator(f".message.{sender} .content")


def launch(kind: BrowserType, **options: Any) -> Browser:
    """Start Debian's Chromium, else Playwright's own. Skip the test where there is neither."""
    own = kind.executable_path
    chromium = shutil.which("chromium") or (own if os.path.exists(own) else shutil.which("chromium-browser"))
    if chromium is None:
        pytest.skip("chromium is not installed")
    return kind.launch(executable_path=chromium, args=ARGUMENTS, **options)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One for a module, because Playwright keeps an event loop in this thread as long as it runs."""
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        browser = launch(playwright.chromium)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def quick_server(module_servers: Callable[..., Server]) -> Server:
    """Start one server for all tests of a module, with short times."""
    env = {"SKIP_COOLDOWN_MS": "2000", "INTEREST_WAIT_MS": "2000", "LOBBIES": "main,cebu"}
    return module_servers(env=env)


@pytest.fixture
def server(quick_server: Server) -> Server:
    """Return the module's server: every test has new people, who are gone after it."""
    return quick_server


class Operator(LobbyModeration):
    """The operator of a server's first lobby, on its store."""

    def announce(self, text: str) -> None:
        Announcements(self._pipeline, Settings().message_queue_channel).announce(text)


@pytest.fixture
def operator(server: Server) -> Iterator[Operator]:
    """Return the operator of the server."""
    pipeline = DirectPipeline(server.redis_url)
    yield Operator(pipeline, 0, 0)  # type: ignore[arg-type]
    pipeline.close()


@pytest.fixture
def person(browser: Browser) -> Iterator[Callable[..., Person]]:
    """A factory of people whose page is open and connected: `person(server, **options of Browser.new_context)`.

    With `beside=other` it is a second tab of the other one's browser. With `open=False` nothing is loaded yet.
    Everyone has been here before, and knows what a `first_visit` shows. `browser`: another than the module's.
    """
    usual = browser
    people: list[Person] = []
    visited: set[Server] = set()

    def factory(
        server: Server,
        *,
        beside: Person | None = None,
        open: bool = True,
        first_visit: bool = False,
        browser: Browser = usual,
        **options: Any,
    ) -> Person:
        options.setdefault("reduced_motion", "reduce")
        context = beside.context if beside else browser.new_context(**options)
        context.set_default_timeout(PATIENCE)
        if not first_visit and not beside:
            context.add_init_script("if (location.protocol !== 'about:') localStorage['animochat.welcomed'] = 'true'")
        someone = Person(context, server.url)
        people.append(someone)
        visited.add(server)
        return someone.open() if open else someone

    yield factory
    for context in {someone.context for someone in people}:
        context.close()
    for server in visited:
        if server.exit_status() is None:  # people of this test must not meet people of the next
            eventually(lambda server=server: server.get("/stats").json()["waitingUsers"] == 0, what="no one waiting")
    assert [complaint for someone in people for complaint in someone.complaints] == []


@pytest.fixture
def meet() -> Callable[[Person, Person], None]:
    """Match two people who have just come."""

    def meet(one: Person, other: Person) -> None:
        one.search()
        expect(one.heading).to_have_text("Looking for someone…")
        other.search()
        for someone in (one, other):
            expect(someone.heading).to_have_text("Stranger")
            expect(someone.messages("system")).to_have_count(1)

    return meet


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory for screenshots: ANIMOCHAT_ARTIFACTS, else a temporary one."""
    named = os.environ.get("ANIMOCHAT_ARTIFACTS")
    directory = Path(named) if named else tmp_path_factory.mktemp("artifacts")
    directory.mkdir(parents=True, exist_ok=True)
    return directory
