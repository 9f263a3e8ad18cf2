"""Make the pictures of the running page: the README's, and the one that a shared link shows.

    .venv/bin/python tools/screenshots.py

Start a server of its own with an embedded store, let two people talk, and write docs/screenshot.png (a desktop and a
phone side by side, so that both can be read) and animochat/web/static/icons/share.png.
"""

from __future__ import annotations

import base64
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, expect, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "docs/screenshot.png"
SHARED = ROOT / "animochat/web/static/icons/share.png"
#: Seconds for the server to start.
PATIENCE = 30

DESKTOP = {"viewport": {"width": 800, "height": 700}, "color_scheme": "light"}
PHONE = {
    "viewport": {"width": 360, "height": 700},
    "color_scheme": "dark",
    "is_mobile": True,
    "has_touch": True,
}
#: The size that link previews are made for.
PREVIEW = {"viewport": {"width": 1200, "height": 630}, "color_scheme": "light"}

TALK = [
    ("phone", "hey! a fern person!"),
    ("desktop", "Guilty. Just got home, they get watered next."),
    ("phone", "ooh, what do you play?"),
    ("desktop", "Second violin, so I mostly count rests and hope nobody notices when I come in late."),
    ("phone", "they don’t even flower, they just… unfurl at you"),
]

FRAME = """
<style>
  body { display: flex; gap: 40px; margin: 0; padding: 40px; width: max-content; background: #d4e6da; }
  img { display: block; border-radius: 20px; box-shadow: 0 12px 40px rgb(20 50 35 / 25%%); }
  .phone { border: 8px solid #13201b; border-radius: 32px; margin: -8px; background: #13201b; }
</style>
<img src="data:image/png;base64,%s"><img class="phone" src="data:image/png;base64,%s">
"""


@contextmanager
def server() -> Iterator[str]:
    """Serve the page from this checkout. Yields its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environ = {**os.environ, "PORT": str(port), "APP_ENV": "development", "LOBBIES": "main", "REDIS_URL": ""}
    process = subprocess.Popen([sys.executable, "-m", "animochat", "serve"], cwd=ROOT, env=environ)
    try:
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + PATIENCE
        while not _is_healthy(url):
            if time.monotonic() > deadline or process.poll() is not None:
                sys.exit("screenshots: the server does not start")
            time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait()


def _is_healthy(url: str) -> bool:
    try:
        return urllib.request.urlopen(f"{url}/health", timeout=1).status == 200
    except (urllib.error.URLError, OSError):
        return False


def opened(browser: Browser, url: str, **options: object) -> Page:
    """Open the page in a window of its own, past the first visit's safety note."""
    context = browser.new_context(reduced_motion="reduce", locale="en-US", **options)  # type: ignore[arg-type]
    context.add_init_script("localStorage['animochat.welcomed'] = 'true'")
    page = context.new_page()
    page.goto(url)
    expect(page.locator("#online")).to_be_visible()
    return page


def say(page: Page, text: str) -> None:
    page.locator("#draft").fill(text)
    page.locator("#draft").press("Enter")
    expect(page.locator(".message.own").last).to_have_attribute("data-state", "sent")


def talk(desktop: Page, phone: Page) -> None:
    """Let the two meet over an interest, and talk."""
    for page in (desktop, phone):
        page.locator("#interest").fill("ferns,")
        page.locator("#start-button").click()
    for page in (desktop, phone):
        expect(page.locator("#common")).to_be_visible()
    for who, text in TALK:
        if text.startswith("Second"):
            desktop.locator(".message.partner").last.hover()
            desktop.locator(".message.partner .reply").last.click()
            desktop.mouse.move(0, 0)
        say(desktop if who == "desktop" else phone, text)
    desktop.locator("#draft").press_sequentially("They sound dramatic. I like them.")
    expect(phone.locator("#typing")).to_be_visible()


def main() -> None:
    with server() as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        desktop, phone = opened(browser, url, **DESKTOP), opened(browser, url, **PHONE)
        talk(desktop, phone)
        parts = [base64.b64encode(page.screenshot()).decode() for page in (desktop, phone)]
        frame = browser.new_page(viewport={"width": 1280, "height": 780})
        frame.set_content(FRAME % tuple(parts))
        frame.locator("body").screenshot(path=PICTURE)
        opened(browser, url, **PREVIEW).screenshot(path=SHARED)
        browser.close()


if __name__ == "__main__":
    main()
