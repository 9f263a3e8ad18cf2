"""How the page looks and loads: widths, schemes, larger text, no motion, forced colours, and nothing from elsewhere."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Locator, Page, Request, expect

from tests.helpers.servers import ROOT

#: By whether the window is a touch screen's.
SIZES = {
    False: {"desktop": (1280, 800), "zoomed": (640, 400), "tiny": (320, 256)},
    True: {"phone": (390, 844), "narrow": (320, 640)},
}
SCHEMES = ["light", "dark"]

AXE = ROOT / "node_modules/axe-core/axe.min.js"

LONG_WORD = "Donaudampfschifffahrtsgesellschaftskapitänskajütenschlüsselanhänger" * 3
TALK = [
    ("bert", "hey! how’s your evening going?"),
    ("anna", "Pretty good! Just got home from rehearsal."),
    ("anna", "You?"),
    ("bert", "I’m supposed to be studying for a botany exam, but the rain outside is far more interesting."),
    ("anna", "Second violin here, so I mostly count rests.\n\nWhat’s on the exam?"),
    ("bert", LONG_WORD),
]


def fits(page: Page) -> bool:
    """Check that nothing overflows sideways."""
    return page.evaluate(
        """() => [document.scrollingElement]
            .concat(...document.querySelectorAll(".screen:not([hidden]), .scroller, dialog[open]"))
            .every((it) => it.scrollWidth <= it.clientWidth)"""
    )


@pytest.mark.parametrize("touch", SIZES, ids=["mouse", "touch"])
def test_every_state_fits(server, person, meet, artifacts, touch):
    anna = person(server, is_mobile=touch, has_touch=touch)
    bert = person(server)

    def look(state: str, *parts: Locator) -> None:
        for size, (width, height) in SIZES[touch].items():
            anna.page.set_viewport_size({"width": width, "height": height})
            for scheme in SCHEMES:
                anna.page.emulate_media(color_scheme=scheme)
                anna.page.screenshot(path=artifacts / f"{size}-{scheme}-{state}.png")
                assert fits(anna.page), f"{state} does not fit into {width} pixels"
            for part in parts:
                expect(part).to_be_in_viewport(ratio=0.99)

    look("1-start")
    anna.search()
    expect(anna.heading).to_have_text("Looking for someone…")
    look("2-waiting")
    anna.button("Stop").click()
    meet(anna, bert)
    look("3-met")
    for name, text in TALK:
        (anna if name == "anna" else bert).say(text)
    expect(anna.messages("partner").last).to_have_text(LONG_WORD)
    bert.type("hm")
    expect(anna.page.locator("#typing")).to_be_visible()
    anna.draft.fill("a draft\nof three\nlines")
    look("4-chatting", anna.draft, anna.button("Send"), anna.button("Next"), anna.button("Stop"))
    bert.button("Stop").click()
    expect(anna.ended).to_be_visible()
    look("5-gone", anna.button("Meet someone new"))


@pytest.mark.parametrize("language", ["es", "fil"])
def test_every_language_fits(server, person, artifacts, language):
    anna = person(server, locale=language, viewport={"width": 320, "height": 640}, is_mobile=True, has_touch=True)
    bert = person(server)
    anna.page.screenshot(path=artifacts / f"{language}-1-start.png")
    assert fits(anna.page)
    anna.page.locator("#start-button").click()
    bert.search()
    bert.say("hi")
    expect(anna.messages("partner")).to_have_text(["hi"])
    bar = anna.page.locator(".bar").bounding_box()
    anna.page.locator("#next").click()  # it asks, in as little room
    anna.page.screenshot(path=artifacts / f"{language}-2-chatting.png")
    assert fits(anna.page)
    assert anna.page.locator(".bar").bounding_box() == bar
    anna.page.locator("#more").click()
    anna.page.locator("#menu-report").click()
    anna.page.screenshot(path=artifacts / f"{language}-3-report.png")
    assert fits(anna.page)


def test_twice_the_text_size_still_fits(server, person, meet, artifacts):
    anna, bert = person(server, viewport={"width": 390, "height": 844}), person(server)
    anna.page.evaluate("document.documentElement.style.fontSize = '200%'")
    assert fits(anna.page)
    meet(anna, bert)
    bert.say(LONG_WORD)
    expect(anna.messages("partner")).to_have_text([LONG_WORD])
    anna.page.screenshot(path=artifacts / "large-text.png")
    assert fits(anna.page)
    for part in (anna.draft, anna.button("Send"), anna.button("Next"), anna.button("Stop")):
        expect(part).to_be_in_viewport(ratio=0.99)


def test_the_composer_stays_above_a_phones_keyboard(server, person, meet):
    anna = person(server, viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True)
    bert = person(server)
    meet(anna, bert)
    for number in range(6):
        bert.say(f"{number}\n" * 6)
    expect(anna.messages("partner")).to_have_count(6)
    bar = anna.page.locator(".bar").bounding_box()
    anna.page.set_viewport_size({"width": 390, "height": 460})  # the room above the keyboard
    expect(anna.draft).to_be_in_viewport(ratio=0.99)
    expect(anna.messages("partner").last).to_be_in_viewport()  # a view at the end stays there
    assert anna.page.locator(".bar").bounding_box() == bar  # the bar above the conversation does not move


def test_reduced_motion_is_none(server, person, meet):
    anna, bert = person(server, reduced_motion="reduce"), person(server)
    running = "() => document.getAnimations().length"
    assert anna.page.evaluate(running) == 0
    anna.search()
    expect(anna.heading).to_have_text("Looking for someone…")
    assert anna.page.evaluate(running) == 0
    bert.search()
    expect(bert.heading).to_have_text("Stranger")
    bert.type("hm")
    expect(anna.page.locator("#typing")).to_be_visible()
    assert anna.page.evaluate(running) == 0


def test_forced_colours_keep_the_shapes(server, person, meet, artifacts):
    anna, bert = person(server, forced_colors="active", color_scheme="dark"), person(server)
    meet(anna, bert)
    bert.say("can you see this?")
    anna.say("every edge of it")
    anna.page.screenshot(path=artifacts / "forced-colours.png")
    for bubble in anna.page.locator(".bubble").all():
        expect(bubble).to_have_css("border-top-style", "solid")
        expect(bubble).to_have_css("border-top-color", "rgb(255, 255, 255)")


def test_screen_readers_find_their_way(server, person, meet):
    anna, bert = person(server), person(server)
    expect(anna.page.get_by_role("banner")).to_be_visible()
    expect(anna.page.get_by_role("main")).to_be_visible()
    meet(anna, bert)
    bert.say("hello")
    log = anna.page.get_by_role("log", name="Messages")
    expect(log).to_have_attribute("aria-live", "polite")
    expect(log.locator(".message.partner .bubble")).to_have_text("Stranger: hello")
    assert anna.heading.count() == 1
    for part in anna.page.locator("button:visible, textarea:visible").all():
        assert part.evaluate("it => it.textContent.trim() || it.ariaLabel || it.labels?.[0]?.textContent")
    bert.button("Stop").click()
    expect(anna.page.get_by_role("status")).to_have_text("The stranger has left the chat.")


def test_axe_finds_nothing_to_complain_about(server, person, meet, operator, artifacts):
    anna = person(server, viewport={"width": 390, "height": 844}, first_visit=True)
    bert = person(server)
    anna.page.evaluate(AXE.read_text("utf-8"))

    def check(state: str) -> None:
        for scheme in SCHEMES:
            anna.page.emulate_media(color_scheme=scheme)
            anna.page.screenshot(path=artifacts / f"axe-{scheme}-{state}.png")
            found = anna.page.evaluate("axe.run({ resultTypes: ['violations'] })")
            assert len(found["passes"]) > 5
            violations = [(it["id"], [node["html"] for node in it["nodes"]]) for it in found["violations"]]
            assert violations == [], f"{state}, {scheme}"

    field = anna.page.get_by_role("textbox", name="What would you like to talk about?")
    field.fill("music, night owls, ")
    field.fill("x" * 33)
    field.press("Enter")
    check("start")
    field.fill("")
    anna.search()
    check("first-visit")
    anna.button("I’m 18 or older, let’s go").click()
    expect(anna.heading).to_have_text("Looking for someone…")
    check("waiting")
    anna.button("Stop").click()
    anna.button("Remove music").click()
    anna.button("Remove night owls").click()
    meet(anna, bert)
    bert.say("look: https://away.example/")
    anna.page.locator(".message.partner").get_by_role("button", name="Reply").click()
    anna.say("no, thanks")
    bert.type("hm")
    expect(anna.page.locator("#typing")).to_be_visible()
    anna.page.locator(".message.own").get_by_role("button", name="Reply").click()
    anna.page.locator(".message.own .bubble").click()
    anna.button("Next").click()
    check("chatting")
    anna.button("More").click()
    check("menu")
    anna.press("Escape")
    anna.page.get_by_role("link", name="https://away.example/").click()
    check("link")
    anna.press("Escape")
    for item in ("Report…", "Block…", "Settings"):
        anna.choose(item)
        check(item.strip("…").lower())
        anna.press("Escape")
    bert.button("Stop").click()
    expect(anna.ended).to_be_visible()
    check("ended")
    operator.announce("Back in five minutes")
    expect(anna.page.locator("#announcement")).to_be_visible()
    anna.context.set_offline(True)
    expect(anna.banner).to_be_visible()
    check("offline")


def test_it_loads_little_and_nothing_from_elsewhere_and_its_files_once(server, person):
    anna = person(server, open=False)
    sizes: dict[str, int] = {}

    def finished(request: Request) -> None:
        size = request.sizes()
        sizes[request.url] = size["responseHeadersSize"] + size["responseBodySize"]

    anna.page.on("requestfinished", finished)
    addresses: list[str] = []
    anna.page.on("request", lambda request: addresses.append(request.url))
    anna.open()
    anna.page.wait_for_load_state("networkidle")
    assert all(re.match(re.escape(server.url) + "|data:", address) for address in addresses), addresses
    own = {url: size for url, size in sizes.items() if "/socket.io/" not in url}
    assert len(own) >= 27
    assert any(url.endswith("socket.io.esm.min.js") for url in own)
    assert sum(own.values()) <= 100_000

    anna.page.reload()
    expect(anna.page.locator("#online")).to_be_visible()
    fetched = anna.page.evaluate(
        """performance.getEntriesByType("resource").filter((it) => it.transferSize && !it.name.includes("/socket.io/"))
            .map((it) => it.name)"""
    )
    assert fetched == []
