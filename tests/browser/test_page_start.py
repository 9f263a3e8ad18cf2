"""The page before a chat: its visible parts, loading and its failures, and the chosen look."""

from __future__ import annotations

import re
from itertools import combinations

import pytest
from playwright.sync_api import expect

from tests.helpers.servers import eventually

#: Small phones, phones in landscape, a window beside a keyboard, and 400 % zoom.
SMALL = [(320, 568), (844, 390), (667, 375), (390, 400), (320, 256)]

#: Something that each supported browser has, as a script that takes it away.
NEEDED = {
    "dialog": "delete window.HTMLDialogElement",
    "requestSubmit": "delete HTMLFormElement.prototype.requestSubmit",
    "AbortSignal.timeout": "delete AbortSignal.timeout",
    "findLast": "delete Array.prototype.findLast",
    "container queries": "CSS.supports = () => false",
}

#: Features that some supported browser lacks, and that the page does not need.
DISPENSABLE = "delete URL.canParse; delete window.Notification; delete window.visualViewport"

#: The ratio of the luminances of an element's border and of what it stands on, as WCAG counts it.
BORDER_CONTRAST = """(element) => {
  const parse = (color) => color.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
    .map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  let ground = element.parentElement;
  while (parse(getComputedStyle(ground).backgroundColor)[3] === 0) ground = ground.parentElement;
  const [more, less] = [getComputedStyle(element).borderTopColor, getComputedStyle(ground).backgroundColor]
    .map((color) => light(parse(color))).sort((a, b) => b - a);
  return (more + 0.05) / (less + 0.05);
}"""


@pytest.mark.parametrize("language", ["en", "es", "fil"])
def test_start_is_in_sight_on_every_screen(server, person, artifacts, language):
    anna = person(server, locale=language)
    for width, height in SMALL:
        anna.page.set_viewport_size({"width": width, "height": height})
        anna.page.screenshot(path=artifacts / f"start-{language}-{width}x{height}.png")
        expect(anna.page.locator("#start-button")).to_be_in_viewport(ratio=1)


def test_every_dialog_opens_at_its_beginning_where_it_does_not_fit(server, person, meet, artifacts):
    anna, bert = person(server, first_visit=True), person(server)
    anna.page.set_viewport_size({"width": 320, "height": 256})

    def opens_at_its_beginning() -> None:
        dialog = anna.page.get_by_role("dialog")
        expect(dialog).to_be_visible()
        assert dialog.evaluate("it => it.scrollTop") == 0
        expect(dialog.get_by_role("heading")).to_be_in_viewport(ratio=0.9)
        anna.page.screenshot(path=artifacts / f"zoomed-{dialog.get_attribute('id')}.png")

    anna.search()
    opens_at_its_beginning()
    expect(anna.page.locator(".age")).to_be_in_viewport(ratio=0.9)
    anna.button("I’m 18 or older, let’s go").click()
    bert.search()
    expect(anna.heading).to_have_text("Stranger")
    for item in ("Report…", "Block…", "Settings"):
        anna.choose(item)
        opens_at_its_beginning()
        anna.press("Escape")
    bert.say("https://away.example/")
    anna.page.get_by_role("link", name="https://away.example/").click()
    opens_at_its_beginning()


def test_single_line_texts_are_not_cut_off_below(server, person, meet):
    anna, bert = person(server), person(server, viewport={"width": 320, "height": 640})
    meet(anna, bert)
    for someone in (anna, bert):
        heights = someone.page.evaluate(
            """[...document.querySelectorAll(".app *")].filter((it) => {
                const style = getComputedStyle(it);
                const text = [...it.childNodes].some((child) => child.nodeType === 3 && child.data.trim());
                return text && style.overflowY === "hidden" && !it.matches(".visually-hidden");
              }).map((it) => parseFloat(getComputedStyle(it).lineHeight) / parseFloat(getComputedStyle(it).fontSize))"""
        )
        assert len(heights) >= 2
        assert min(heights) >= 1.3


def test_of_two_choices_one_above_the_other_the_likelier_one_comes_first(server, person, meet, artifacts):
    anna, bert = person(server, viewport={"width": 320, "height": 640}), person(server)
    meet(anna, bert)
    bert.button("Stop").click()
    expect(anna.ended).to_be_visible()
    anna.page.screenshot(path=artifacts / "ended-320.png")
    quiet, likely = anna.button("Stop here").bounding_box(), anna.button("Meet someone new").bounding_box()
    assert likely["y"] < quiet["y"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_buttons_and_fields_have_a_visible_edge(server, person, meet, scheme):
    anna, bert = person(server, color_scheme=scheme), person(server)
    edged = ".field, textarea, select, .quiet, .lobbies a:not([aria-current])"

    def look() -> int:
        seen = [it for it in anna.page.locator(edged).all() if it.is_visible()]
        outer = [it for it in seen if it.evaluate("it => getComputedStyle(it).borderTopStyle") != "none"]
        for it in outer:
            assert it.evaluate(BORDER_CONTRAST) >= 3, it
        return len(outer)

    assert look() >= 2
    anna.page.get_by_role("button", name="Settings").click()
    assert look() >= 3
    anna.press("Escape")
    meet(anna, bert)
    assert look() >= 2
    anna.choose("Report…")
    assert look() >= 2


def test_the_waiting_face_moves_unless_motion_is_reduced(server, person):
    anna = person(server, reduced_motion="no-preference")
    anna.search()
    moving = "document.getAnimations().some((it) => it.effect.target.matches('.seeker .face'))"
    eventually(lambda: anna.page.evaluate(moving), what="the face moves")


def test_each_reply_button_is_named_for_its_message(server, person, meet):
    anna, bert = person(server), person(server)
    meet(anna, bert)
    said = ["one", "two {n} {text}", "three " * 60]
    for text in said:
        bert.say(text.strip())
    expect(anna.messages("partner")).to_have_count(3)
    names = anna.page.locator(".reply").evaluate_all("all => all.map((it) => it.ariaLabel)")
    assert [re.match("Reply to: (one|two {n} {text}|three three)", name) is not None for name in names] == [True] * 3
    assert max(map(len, names)) < 100
    assert all(one != other for one, other in combinations(names, 2))
    anna.choose("Settings")
    anna.page.get_by_label("Language").select_option("es")
    expect(anna.page.locator(".reply").nth(1)).to_have_attribute("aria-label", "Responder a: two {n} {text}")


# Loading


@pytest.mark.parametrize("name", ["menu.js", "main.js", "lang/en.json", "vendor/socket.io.esm.min.js"])
def test_a_file_that_does_not_load_is_reported_with_a_way_to_retry(server, person, artifacts, name):
    anna = person(server, open=False)
    anna.page.route(f"**/{name}", lambda route: route.abort())
    anna.page.goto(server.url)
    expect(anna.heading).to_have_text("This page didn’t load completely.")
    expect(anna.page.locator("#start-button")).to_be_hidden()
    anna.page.screenshot(path=artifacts / "broken.png")
    anna.complaints.clear()  # of the file
    anna.page.unroute(f"**/{name}")
    anna.button("Reload").click()
    expect(anna.page.locator("#online")).to_be_visible()
    expect(anna.page.locator("#start-button")).not_to_have_attribute("aria-disabled", "true")


def test_a_module_that_arrives_in_part_is_reported_too(server, person):
    anna = person(server, open=False)
    anna.page.route(
        "**/menu.js", lambda route: route.fulfill(body="export function menu(", content_type="text/javascript")
    )
    anna.page.goto(server.url)
    expect(anna.heading).to_have_text("This page didn’t load completely.")
    anna.complaints.clear()


def test_start_pressed_before_the_page_works_starts_once_it_does(server, person, artifacts):
    anna = person(server, open=False)
    held = []
    anna.page.route("**/view.js", lambda route: held.append(route))
    anna.page.goto(server.url, wait_until="commit")
    button = anna.button("Start chatting")
    expect(button).to_have_attribute("aria-disabled", "true")
    button.click(force=True)
    expect(anna.page.locator("#start-loading")).to_be_visible()
    anna.page.screenshot(path=artifacts / "loading.png")
    held[0].continue_()
    expect(anna.heading).to_have_text("Looking for someone…")


@pytest.mark.parametrize("without", NEEDED.values(), ids=NEEDED)
def test_a_browser_that_is_too_old_gets_a_notice(server, person, without):
    anna = person(server, open=False)
    anna.page.add_init_script(without)
    anna.page.goto(server.url)
    expect(anna.heading).to_have_text("This browser is too old for the chat.")
    expect(anna.button("Reload")).to_be_hidden()
    anna.complaints.clear()


def test_the_page_works_without_features_that_some_browsers_lack(server, person, meet):
    anna, bert = person(server, open=False), person(server)
    anna.page.add_init_script(DISPENSABLE)
    anna.open()
    meet(anna, bert)
    bert.say("https://away.example/")
    expect(anna.page.get_by_role("link", name="https://away.example/")).to_be_visible()


# Looks by choice


def test_theme_and_text_size_are_kept_and_hold_before_anything_is_painted(server, person, artifacts):
    anna = person(server, color_scheme="light")
    ground = "getComputedStyle(document.body.querySelector('.app')).backgroundColor"
    size = "parseFloat(getComputedStyle(document.documentElement).fontSize)"
    light = anna.page.evaluate(ground)
    anna.page.get_by_role("button", name="Settings").click()
    anna.page.get_by_label("Theme").select_option("Dark")
    anna.page.get_by_label("Text size").select_option("Larger")
    dark = anna.page.evaluate(ground)
    assert (dark, anna.page.evaluate(size)) == ("rgb(15, 22, 19)", 24)
    anna.page.route("**/main.js", lambda route: route.abort())  # without the page's modules
    anna.page.reload()
    assert (anna.page.evaluate(ground), anna.page.evaluate(size)) == (dark, 24)
    anna.complaints.clear()
    anna.page.unroute("**/main.js")
    anna.page.reload()
    anna.page.get_by_role("button", name="Settings").click()
    expect(anna.page.get_by_label("Theme")).to_have_value("dark")
    anna.page.get_by_label("Theme").select_option("Light")
    anna.page.emulate_media(color_scheme="dark")
    assert anna.page.evaluate(ground) == light
    anna.page.get_by_label("Theme").select_option("Automatic")
    assert anna.page.evaluate(ground) == dark
    anna.page.get_by_label("Text size").select_option("Normal")
    assert anna.page.evaluate(size) == 16


# Other addresses


@pytest.mark.parametrize("path", ["/nowhere", "/a/b/c/", "/static/nowhere.js"])
def test_an_address_where_nothing_is_leads_to_the_start_page(server, person, path, artifacts):
    anna = person(server, open=False, locale="es")
    assert anna.page.goto(server.url + path).status == 404
    expect(anna.heading).to_have_text("Aquí no hay nada.")
    expect(anna.heading).to_have_css("font-weight", "750")  # the style sheet was found
    anna.page.screenshot(path=artifacts / "missing.png")
    anna.complaints.clear()  # Chromium's, about the status
    anna.page.get_by_role("link").click()
    expect(anna.page).to_have_url(f"{server.url}/")
