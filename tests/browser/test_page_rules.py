"""Rules of the page that hold whatever comes over the wire, or from a keyboard, and whenever it comes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from playwright.sync_api import Page, WebSocketRoute, expect

from tests.helpers.servers import eventually

#: Markup that would show, run, or swallow text if it were taken for such.
MARKUP = "<b>bold</b><img src=x onerror=\"document.title='owned'\"> &lt; &amp; <!-- --> </p>"


class Wire:
    """The page's WebSocket, through which a test sends server events. Create it before the page loads."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self._sockets: list[WebSocketRoute] = []
        self._upgraded = False
        page.route_web_socket("**/socket.io/**", self._open)

    def _open(self, socket: WebSocketRoute) -> None:
        server = socket.connect_to_server()

        def to_server(text: str | bytes) -> None:
            server.send(text)
            self._upgraded = self._upgraded or text == "5"

        socket.on_message(to_server)
        self._sockets.append(socket)

    def receive(self, event: str, *arguments: Any) -> None:
        """Send the page an event, as if the server had sent it."""

        def upgraded() -> bool:
            self.page.wait_for_timeout(10)  # Playwright's own loop has to run for it
            return self._upgraded

        eventually(upgraded, what="the WebSocket is in use")
        self._sockets[-1].send(f"42{json.dumps([event, *arguments])}")


@pytest.fixture
def wired(server, person):
    """A person, with the wire into the page."""
    anna = person(server, open=False)
    wire = Wire(anna.page)
    anna.open()
    return anna, wire


def message(room: str, seq: int, content: str) -> dict[str, object]:
    """A message of the partner's."""
    return {"id": f"{room}-{seq}", "roomId": room, "seq": seq, "senderId": "them", "content": content,
            "timestamp": 1_700_000_000_000 + seq, "type": "text"}  # fmt: skip


def key(locator: Any, **options: Any) -> bool:
    """Press a key that no keyboard of a test can; return whether the browser may do what it usually does."""
    return bool(
        locator.evaluate(
            "(it, options) => it.dispatchEvent(new KeyboardEvent('keydown', options))",
            {"bubbles": True, "cancelable": True, **options},
        )
    )


# Text stays text


def test_a_quotation_is_text_wherever_it_is_shown(server, person, meet):
    anna, bert = person(server), person(server)
    meet(anna, bert)
    anna.say(MARKUP)
    theirs = bert.page.locator(".message.partner")
    theirs.hover()
    theirs.get_by_role("button", name="Reply").click()
    expect(bert.page.locator("#replying-text")).to_have_text(MARKUP)
    bert.say("an answer")
    for someone, sender in ((bert, "own"), (anna, "partner")):
        expect(someone.page.locator(f".message.{sender} .quoted")).to_have_text(MARKUP)
    anna.page.reload()  # and when it comes with the conversation
    expect(anna.page.locator(".message.partner .quoted")).to_have_text(MARKUP)
    for someone in (anna, bert):
        for place in ("#replying", ".quote", ".content"):
            expect(someone.page.locator(f"{place} :is(img, b:not(.quote > b, #replying-to))")).to_have_count(0)
        expect(someone.page).not_to_have_title("owned")


def test_texts_of_the_operator_and_the_server_are_never_markup(wired):
    anna, wire = wired
    wire.receive("announcement", {"text": MARKUP})
    expect(anna.page.locator("#announcement-text")).to_have_text(MARKUP)
    wire.receive("matched", {"roomId": "r1", "userId": "me", "partnerId": "them", "interests": [MARKUP, "tea"]})
    expect(anna.page.locator("#common")).to_have_text(f"In common: {MARKUP}, tea")
    wire.receive("message", {**message("r1", 4, MARKUP), "type": "system", "senderId": "system"})
    expect(anna.messages("system")).to_have_text(MARKUP)
    expect(anna.page.locator("main img, main .content b, #announcement img, #common b")).to_have_count(0)


# Rooms


def test_a_late_message_of_another_room_is_not_shown(server, person, meet, wired):
    anna, wire = wired
    bert, carl = person(server), person(server)
    meet(anna, bert)
    bert.say("to you, in this room")
    expect(anna.messages("partner")).to_have_count(1)
    anna.next()
    carl.search()
    expect(anna.heading).to_have_text("Stranger")
    expect(anna.messages("partner")).to_have_count(0)
    wire.receive("message", message("an old room", 7, "late"))
    carl.say("hello")
    expect(anna.messages("partner")).to_have_text(["hello"])


def test_late_events_of_a_left_room_change_nothing(wired):
    anna, wire = wired
    wire.receive("matched", {"roomId": "r1", "userId": "me", "partnerId": "them", "interests": []})
    expect(anna.heading).to_have_text("Stranger")
    wire.receive("partner-disconnected", {"reason": "left"})
    expect(anna.ended).to_have_text("The stranger has left the chat.")
    for event, *arguments in (
        ("partner-typing", {"isTyping": True}),
        ("partner-reconnecting", {"graceMs": 5000}),
        ("partner-reconnected",),
        ("partner-disconnected", {"reason": "skipped"}),
        ("online-count", 17),
    ):
        wire.receive(event, *arguments)
    expect(anna.page.locator("#online-count")).to_contain_text("17")  # all of them are there now
    expect(anna.ended).to_have_text("The stranger has left the chat.")
    expect(anna.page.locator("#partner-status")).to_have_text("Left")
    expect(anna.page.locator("#typing")).to_be_hidden()
    expect(anna.notice).to_have_count(0)


def test_a_message_is_shown_once_and_in_its_place(wired):
    anna, wire = wired
    wire.receive("matched", {"roomId": "r1", "userId": "me", "partnerId": "them", "interests": []})
    for seq in (2, 1, 2, 10, 9, 1):
        wire.receive("message", message("r1", seq, f"number {seq}"))
    expect(anna.messages("partner")).to_have_text([f"number {seq}" for seq in (1, 2, 9, 10)])


def test_nothing_meant_for_one_stranger_goes_to_the_next(server, person, meet, wired):
    anna, _ = wired
    bert, carl = person(server), person(server)
    meet(anna, bert)
    bert.say("answer me")
    anna.page.locator(".message.partner").hover()
    anna.page.locator(".message.partner").get_by_role("button", name="Reply").click()
    anna.type("for bert alone")
    bert.button("Stop").click()
    expect(anna.ended).to_be_visible()
    anna.button("Meet someone new").click()
    carl.search()
    expect(anna.heading).to_have_text("Stranger")
    expect(anna.draft).to_have_value("")
    expect(anna.page.locator("#replying")).to_be_hidden()
    expect(anna.button("Send")).to_be_disabled()
    anna.say("hello")
    expect(carl.messages("partner")).to_have_text(["hello"])
    expect(carl.page.locator(".quote")).to_have_count(0)


# Keyboards

#: How browsers mark a key that an input method takes: Safari by the code alone.
COMPOSING = [{"keyCode": 229}, {"isComposing": True, "keyCode": 13}]


def test_enter_belongs_to_the_input_method_while_it_composes(server, person, meet):
    anna, bert = person(server), person(server)
    field = anna.page.get_by_role("textbox", name="What would you like to talk about?")
    field.fill("tea")
    for how in COMPOSING:
        assert key(field, key="Enter", **how)
        expect(anna.page.locator(".chip")).to_have_count(0)
    field.fill("")
    for how in COMPOSING:  # nor does it begin the search
        assert key(field, key="Enter", **how)
        expect(anna.button("Start chatting")).to_be_visible()
    meet(anna, bert)
    anna.draft.fill("日本")
    for how in COMPOSING:
        assert key(anna.draft, key="Enter", **how)
        expect(anna.draft).to_have_value("日本")
    anna.press("Enter")
    expect(anna.messages("own")).to_have_text(["日本"])
    expect(bert.messages("partner")).to_have_text(["日本"])


def test_a_held_enter_sends_once(server, person, meet):
    anna, bert = person(server), person(server)
    meet(anna, bert)
    anna.draft.fill("held")
    assert not key(anna.draft, key="Enter", repeat=True)  # no line break either
    expect(anna.draft).to_have_value("held")
    assert not key(anna.draft, key="Enter")
    expect(bert.messages("partner")).to_have_text(["held"])


def test_escape_belongs_to_the_input_method_while_it_composes(server, person, meet):
    anna, bert = person(server), person(server)
    meet(anna, bert)
    bert.say("answer me")
    anna.page.locator(".message.partner").hover()
    anna.page.locator(".message.partner").get_by_role("button", name="Reply").click()
    for how in COMPOSING:
        key(anna.draft, key="Escape", **how)
        expect(anna.page.locator("#replying")).to_be_visible()
    anna.press("Escape")
    expect(anna.page.locator("#replying")).to_be_hidden()
    for how in COMPOSING * 2:
        key(anna.draft, key="Escape", **how)
    anna.say("still here")
    expect(bert.messages("partner")).to_have_text(["still here"])
