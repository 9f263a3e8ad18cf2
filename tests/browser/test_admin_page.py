"""The operator's page in a browser: from a report to a ban, on a desktop and on a phone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.helpers.people import NO_RATES, meet
from tests.helpers.servers import Client, Server

TOKEN = "correct horse battery staple"

CONVERSATION = [
    ("anna", "Hi! Where are you from?"),
    ("bert", "never mind that, send me pics"),
    ("anna", "No, thank you."),
    ("bert", "<img src=x onerror=alert(1)> " + "do it " * 30),
]


@pytest.fixture(scope="module")
def server(module_servers: Callable[..., Server]) -> Server:
    return module_servers(env={**NO_RATES, "ADMIN_TOKEN": TOKEN, "LOBBIES": "main,cebu"})


def fits(page: Page) -> bool:
    return bool(page.evaluate("document.scrollingElement.scrollWidth <= document.scrollingElement.clientWidth"))


def test_the_operator_bans_a_reported_person(
    server: Server, browser: Browser, connect: Callable[..., Client], artifacts: Path
) -> None:
    for _ in range(2):
        anna, bert = connect(server), connect(server)
        meet(anna, bert)
        for name, text in CONVERSATION:
            (anna if name == "anna" else bert).call("send-message", text)
        anna.call("report-partner", {"reason": "harassment", "details": "He wouldn’t stop asking for pictures."})

    complaints: list[str] = []
    desktop, phone = {"width": 1100, "height": 900}, {"width": 320, "height": 640}
    context = browser.new_context(viewport=desktop, color_scheme="light")
    page = context.new_page()
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda it: complaints.append(it.text) if it.type == "error" and "401" not in it.text else None)
    page.on("dialog", lambda dialog: complaints.append("a dialog"))

    page.goto(server.url + "/admin")
    page.screenshot(path=artifacts / "admin-1-login.png")
    page.get_by_label("Token").fill("a wrong one")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("alert")).to_have_text("That token is wrong.")
    page.get_by_label("Token").fill(TOKEN)
    page.get_by_role("button", name="Log in").click()

    reports = page.locator("article:not(.row)").filter(has_text="Harassment")  # a ban's row names its reason too
    expect(reports).to_have_count(2)
    expect(reports.first.locator(".evidence li")).to_have_count(4)
    expect(reports.first).to_contain_text("<img src=x onerror=alert(1)>")
    page.screenshot(path=artifacts / "admin-2-reports.png", full_page=True)
    page.set_viewport_size(phone)
    page.emulate_media(color_scheme="dark")
    assert fits(page)
    page.screenshot(path=artifacts / "admin-3-reports-phone.png", full_page=True)
    page.set_viewport_size(desktop)

    page.get_by_label("Text").fill("Back in 5 minutes")
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_role("status")).to_have_text("Sent.")
    assert bert.wait("announcement") == {"text": "Back in 5 minutes"}

    page.get_by_role("link", name="cebu").click()
    expect(page.get_by_text("No open reports.")).to_be_visible()
    expect(page.get_by_role("heading", name="Announcement in cebu")).to_be_visible()
    page.get_by_label("Text").fill("Only here")
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_role("status")).to_have_text("Sent.")
    page.get_by_role("link", name="All lobbies").click()
    expect(reports.first.locator(".facts").first).to_contain_text("in main")
    assert bert.received("announcement") == [{"text": "Back in 5 minutes"}]

    reports.last.get_by_label("Duration").select_option("1 week")
    reports.last.get_by_label("Note").fill("pictures")
    reports.last.get_by_role("button", name="Ban", exact=True).click()
    expect(reports).to_have_count(1)
    assert bert.wait("error")["code"] == "banned"
    reports.get_by_role("button", name="Dismiss").click()
    expect(page.get_by_text("No open reports.")).to_be_visible()
    expect(page.locator("article").filter(has_text="pictures")).to_have_count(2)  # the device is banned as well
    ban = page.locator("article").filter(has_text="Person")
    expect(ban).to_contain_text("pictures")

    page.set_viewport_size(phone)
    assert fits(page)
    page.screenshot(path=artifacts / "admin-4-bans-phone.png", full_page=True)
    ban.get_by_role("button", name="Lift").click()
    expect(page.get_by_text("No one is banned.")).to_be_visible()

    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_label("Token")).to_be_visible()
    context.close()
    assert complaints == []
