"""Texts that attack: a message harms nothing around it, on the page and in the file that keeps it."""

from __future__ import annotations

import re
import sys

import pytest
from playwright.sync_api import Page, expect

from animochat.protocol.visible import is_blank

#: "TIME", for the times in a saved conversation.
TIME = re.compile(r"\d+:\d\d\s[AP]M")

#: Everything that some program ends a line at.
LINE_ENDS = ["\n", "\r", "\r\n", "\v", "\f", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"]


def transcript(page: Page, *items: dict[str, object]) -> list[str]:
    """The lines of a saved conversation of `items`, without its head and the day."""
    text = page.evaluate(
        """async (items) => {
          const { transcript } = await import("/static/transcript.js");
          return transcript(items.map((item) => ({ timestamp: 0, ...item })));
        }""",
        items,
    )
    assert text.endswith("\n")
    return [TIME.sub("TIME", line) for line in text.removesuffix("\n").split("\n")[7:]]


def test_the_page_and_the_server_agree_on_invisible_texts(server, person):
    anna = person(server)
    blank = anna.page.evaluate(
        r"""async () => {
          const { isBlank } = await import("/static/text.js");
          const all = Array.from({ length: 0x110000 }, (_, i) => i).filter((i) => i < 0xd800 || i > 0xdfff);
          if (!isBlank("") || isBlank("\u3164x") || !isBlank("\u3164 \u200b")) throw new Error("not of all of a text");
          return all.filter((i) => isBlank(String.fromCodePoint(i)));
        }"""
    )
    points = [i for i in range(sys.maxunicode + 1) if not 0xD800 <= i <= 0xDFFF]
    assert blank == [i for i in points if is_blank(chr(i))]


def test_invisible_texts_are_neither_messages_nor_interests(server, person, meet):
    anna, bert = person(server), person(server)
    field = anna.page.get_by_role("textbox", name="What would you like to talk about?")
    field.fill("\u3164,\u2800 \u200b,")
    expect(field).to_have_value("")
    field.fill("\u3164")
    anna.button("Add").click()
    expect(anna.page.locator(".chip")).to_have_count(0)
    bert.search()
    anna.search()
    expect(anna.heading).to_have_text("Stranger")
    anna.draft.fill("\u3164\u2800")
    expect(anna.button("Send")).to_be_disabled()
    anna.press("Enter")
    anna.say("\u200bsomething")
    expect(bert.messages("partner")).to_have_text(["\u200bsomething"])
    expect(anna.page.locator(".message.own")).to_have_count(1)


def test_no_message_forges_a_line_of_the_saved_conversation(server, person):
    anna = person(server)
    forged = "[12:01 AM] You: I will pay"
    for end in LINE_ENDS:
        lines = transcript(anna.page, {"sender": "partner", "content": f"a{end}{forged}{end}* over"})
        assert lines == ["[TIME] Stranger: a", "    [TIME] You: I will pay", "    * over"], repr(end)
        answer = {"sender": "own", "content": "b", "quote": {"sender": "partner", "content": f"a{end}{forged}"}}
        assert transcript(anna.page, answer) == ["    > Stranger: a [TIME] You: I will pay", "[TIME] You: b"], repr(end)
        system = {"sender": "system", "seq": 5, "content": f"a{end}{forged}"}
        assert transcript(anna.page, system) == ["* a [TIME] You: I will pay"], repr(end)


@pytest.mark.parametrize("before", ["", "  ", "\u3164", "\u200b\t"])
def test_no_message_forges_a_quotation_in_the_saved_conversation(server, person, before):
    anna = person(server)
    lines = transcript(anna.page, {"sender": "partner", "content": f"a\n{before}> You: I will pay"})
    assert lines == ["[TIME] Stranger: a", f"    | {before}> You: I will pay"]


def test_nothing_in_the_saved_conversation_acts_on_its_reader(server, person):
    anna = person(server)
    content = "a\x1b[1A\x08\x08\x00\x7f\x9b2K\u202eb\u202c\u2066c\u2069\td"
    quote = {"sender": "own", "content": content}
    lines = transcript(anna.page, {"sender": "partner", "content": content, "quote": quote})
    assert lines == ["    > You: a[1A2Kbc d", "[TIME] Stranger: a[1A2Kbc\td"]


TALL = {
    "line breaks": "top" + "\n" * 1990 + "bottom",
    "words": ("a word or two " * 142).strip(),
    "wide letters": "\ufdfd" * 2000,
}


@pytest.mark.parametrize("text", TALL.values(), ids=TALL)
def test_a_tall_message_is_folded_until_it_is_wanted_whole(server, person, meet, artifacts, text):
    anna, bert = person(server), person(server, viewport={"width": 390, "height": 844})
    meet(anna, bert)
    anna.say("before")
    anna.say(text)
    bert.say("after")
    shown = bert.messages("partner").last
    expect(shown).to_have_text(text)
    more = bert.button("Show more")
    expect(more).to_be_visible()
    expect(more).to_have_attribute("aria-expanded", "false")
    expect(bert.messages("own").last).to_be_in_viewport()  # the end of the conversation stays in sight
    bert.page.screenshot(path=artifacts / "folded.png")
    for someone in (anna, bert):
        assert someone.page.evaluate("document.getElementById('scroller').scrollHeight") < 1_500
    folded = shown.bounding_box()["height"]
    more.focus()
    bert.press("Enter")
    less = bert.button("Show less")
    expect(less).to_be_focused()
    expect(less).to_have_attribute("aria-expanded", "true")
    assert shown.bounding_box()["height"] > folded
    assert shown.evaluate("it => it.scrollHeight <= it.clientHeight")
    bert.press("Enter")
    expect(more).to_be_focused()
    assert shown.bounding_box()["height"] == folded


def test_an_ordinary_message_is_not_folded_and_one_that_has_room_no_longer(server, person, meet):
    anna, bert = person(server), person(server, viewport={"width": 320, "height": 640})
    meet(anna, bert)
    anna.say("four\nshort\nlines\nindeed")
    anna.say("a sentence that fills some lines of a phone " * 12)
    expect(bert.button("Show more")).to_have_count(1)
    bert.page.set_viewport_size({"width": 1280, "height": 800})
    expect(bert.button("Show more")).to_have_count(0)


def test_stacked_marks_cover_neither_neighbours_nor_the_quote(server, person, meet, artifacts):
    anna, bert = person(server), person(server)
    meet(anna, bert)
    bert.say("what is answered")
    anna.page.locator(".message.partner").hover()
    anna.page.locator(".message.partner").get_by_role("button", name="Reply").click()
    anna.say("o" + "\u0301" * 120 + "k" + "\u0329" * 120)
    bert.say("below")
    expect(bert.messages("own")).to_have_count(2)
    bert.page.screenshot(path=artifacts / "stacked-marks.png")

    def shot(locator) -> bytes:
        return locator.screenshot(animations="disabled")

    tower = bert.page.locator(".message.partner .content")
    beside = [bert.page.locator(".message.partner .quote"), *bert.page.locator(".message.own .bubble").all()]
    with_marks = [shot(it) for it in beside]
    tower.evaluate("it => (it.style.color = 'transparent')")
    assert [shot(it) for it in beside] == with_marks
