"""Chats on pages of other origins: the example in React, and the element of /widget.js."""

from __future__ import annotations

import functools
import http.server
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import PATIENCE
from tests.clients.test_js import CLIENT, bundle
from tests.helpers.balancers import replaced
from tests.helpers.servers import ROOT, Server


class Site(http.server.ThreadingHTTPServer):
    """A folder as a site of its own. `url` and `other_url` are its origins: two sites, to a browser."""

    def __init__(self, folder: Path) -> None:
        class Quiet(http.server.SimpleHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), functools.partial(Quiet, directory=folder))
        self.folder = folder
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.other_url = f"http://localhost:{self.server_port}"
        threading.Thread(target=self.serve_forever, daemon=True).start()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Site(tmp_path_factory.mktemp("site")) as site:
        yield site
        site.shutdown()


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[[str], Page]]:
    """Open an address in a window of its own."""
    contexts = []

    def visit(url: str) -> Page:
        context = browser.new_context()
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        page = context.new_page()
        page.goto(url)
        return page

    yield visit
    for context in contexts:
        context.close()


@pytest.fixture(scope="module")
def server(module_servers: Callable[..., Server], site: Site) -> Server:
    """A server with the example in React on a site that may use it, and with the element on one of another name."""
    server = module_servers(env={"CLIENT_URL": site.url, "EMBED_ORIGINS": site.other_url, "LOBBIES": "main,help"})
    alias = f"--alias:animochat-client/react={CLIENT}/src/react.js"
    options = ["--jsx=automatic", alias, '--define:process.env.NODE_ENV="production"']
    bundle(ROOT / "examples/react/chat.jsx", site.folder / "chat.js", *options)
    (site.folder / "index.html").write_text(
        f'<!doctype html><div id="chat" data-url="{server.url}"></div><script type="module" src="chat.js"></script>'
    )

    example = (ROOT / "examples/widget.html").read_text("utf-8")
    (site.folder / "widget.html").write_text(replaced(example, "http://localhost:3001", server.url))
    (site.folder / "frame.html").write_text(f'<!doctype html><iframe src="{server.url}"></iframe>')
    return server


def say(page: Page, text: str) -> None:
    page.get_by_role("textbox").fill(text)
    page.get_by_role("textbox").press("Enter")


def test_two_people_chat_with_the_example_in_react(server: Server, site: Site, visit: Callable[[str], Page]) -> None:
    anna, bert = visit(site.url), visit(site.url)
    for page in (anna, bert):
        page.get_by_role("button", name="Start chatting").click()
    for page in (anna, bert):
        expect(page.get_by_role("textbox")).to_be_visible()
    say(anna, "hello")
    expect(bert.locator("li").last).to_have_text("hello")
    expect(anna.locator("li.own")).to_have_attribute("data-state", "sent")
    say(bert, "hi yourself")
    expect(anna.locator("li").last).to_have_text("hi yourself")
    anna.get_by_role("button", name="Next").click()
    expect(anna.get_by_text("Looking for someone…")).to_be_visible()
    expect(bert.get_by_text("Your partner has left.")).to_be_visible()


def test_the_element_on_another_site_and_the_example_in_react_chat_with_each_other(
    server: Server, site: Site, visit: Callable[[str], Page]
) -> None:
    anna, bert = visit(f"{site.other_url}/widget.html"), visit(site.url)
    chat = anna.frame_locator("animochat-chat iframe")
    chat.get_by_role("button", name="Start chatting").click()
    chat.get_by_role("button", name="I’m 18 or older, let’s go").click()
    bert.get_by_role("button", name="Start chatting").click()
    expect(bert.get_by_role("textbox")).to_be_visible()
    chat.get_by_role("textbox", name="Message").fill("from the element")
    chat.get_by_role("textbox", name="Message").press("Enter")
    expect(bert.locator("li").last).to_have_text("from the element")
    say(bert, "from React")
    expect(chat.locator(".message.partner .content").last).to_have_text("from React")


def test_the_element_takes_the_lobby_that_it_names(server: Server, site: Site, visit: Callable[[str], Page]) -> None:
    page = visit(f"{site.other_url}/widget.html")
    page.evaluate("document.querySelector('animochat-chat').setAttribute('lobby', 'help')")
    expect(page.frame_locator("animochat-chat iframe").locator("body[data-lobby=help]")).to_be_attached()


def test_a_page_that_is_not_named_gets_neither_the_element_nor_a_frame(
    server: Server, site: Site, visit: Callable[[str], Page]
) -> None:
    page = visit(f"{site.url}/widget.html")
    assert page.evaluate("customElements.get('animochat-chat') === undefined")
    framed = visit(f"{site.url}/frame.html")
    assert framed.frames[1].locator("#online").count() == 0
    assert server.url not in framed.frames[1].url
