"""Two strangers in two windows: their actions on the page, and their views of each other."""

from __future__ import annotations

import re

from playwright.sync_api import expect


def test_two_strangers_meet_and_talk(server, person, meet):
    anna, bert = person(server), person(server)
    meet(anna, bert)
    expect(anna.messages("system")).to_have_text("You are now chatting with a stranger. Say hi!")

    anna.say("hello")
    expect(bert.messages("partner")).to_have_text(["hello"])
    bert.say("hi yourself")
    bert.say("how are you?")
    expect(anna.messages("partner")).to_have_text(["hi yourself", "how are you?"])

    for someone in (anna, bert):
        shown = someone.page.locator(".message .content").all_inner_texts()
        assert shown[0].startswith("You are now chatting"), "the system message comes first"
        assert shown[1:] == ["hello", "hi yourself", "how are you?"]


def test_everyone_sees_the_number_online(servers, person):
    server = servers()
    anna = person(server)
    expect(anna.page.locator("#online")).to_have_text("1 online")
    person(server)
    expect(anna.page.locator("#online")).to_have_text("2 online")


def test_typing_shows_until_the_message_comes(server, person, meet):
    anna, bert = person(server), person(server)
    meet(anna, bert)
    dots = bert.page.locator("#typing")
    anna.type("hel")
    expect(dots).to_be_visible()
    expect(bert.page.locator("#partner-status")).to_have_text("Typing…")
    anna.say("hello")
    expect(bert.messages("partner")).to_have_text(["hello"])
    expect(dots).to_be_hidden()


def test_typing_ends_when_the_draft_is_cleared_or_left_alone(server, person, meet):
    anna, bert = person(server), person(server)
    meet(anna, bert)
    dots = bert.page.locator("#typing")
    anna.type("hm")
    expect(dots).to_be_visible()
    anna.draft.fill("")
    expect(dots).to_be_hidden()
    anna.type("well")
    expect(dots).to_be_visible()
    expect(dots).to_be_hidden()  # by itself


def test_typing_is_sent_at_most_every_two_seconds(server, person, meet):
    anna, bert = person(server), person(server)
    sent: list[str] = []
    anna.page.on("websocket", lambda socket: socket.on("framesent", lambda frame: sent.append(str(frame))))
    anna.page.reload()
    expect(anna.page.locator("#online")).to_be_visible()
    meet(anna, bert)
    anna.type("a sentence of more than thirty key presses")
    anna.say("a sentence")
    typing = [frame for frame in sent if '"typing"' in frame]
    assert sum("true" in frame for frame in typing) <= 3
    assert "false" in typing[-1]


def test_stop_leaves_notifies_the_partner_and_keeps_the_conversation_visible(server, person, meet):
    anna, bert = person(server), person(server)
    meet(anna, bert)
    anna.say("bye")
    anna.button("Stop").click()
    expect(anna.ended).to_have_text("You left.")
    expect(anna.page.locator("#ended")).to_be_focused()
    expect(anna.messages("own")).to_have_text(["bye"])
    anna.button("Stop here").click()
    expect(anna.button("Start chatting")).to_be_focused()
    expect(bert.ended).to_have_text("The stranger has left the chat.")
    expect(bert.draft).to_be_hidden()
    bert.button("Stop here").click()
    expect(bert.button("Start chatting")).to_be_visible()


def test_next_notifies_the_partner_counts_the_cooldown_down_and_finds_someone_else(server, person, meet):
    anna, bert = person(server), person(server)
    meet(anna, bert)
    bert.say("so, about my stamp collection")
    anna.next()
    expect(anna.heading).to_have_text("Catching your breath…")
    expect(anna.page.locator("#waiting-hint")).to_contain_text(re.compile(r"in \d+\ss"))
    expect(bert.ended).to_have_text("The stranger moved on to someone else.")

    carla = person(server)
    carla.search()
    expect(anna.heading).to_have_text("Stranger")
    expect(anna.messages("partner")).to_have_count(0)  # a new page
    carla.say("hello")
    expect(anna.messages("partner")).to_have_text(["hello"])


def test_stop_while_waiting_ends_the_search(server, person):
    anna, bert = person(server), person(server)
    anna.search()
    expect(anna.heading).to_have_text("Looking for someone…")
    anna.button("Stop").click()
    expect(anna.button("Start chatting")).to_be_focused()
    bert.search()
    anna.search()
    expect(anna.heading).to_have_text("Stranger")


def test_escape_twice_within_a_moment_is_next_and_once_is_not(server, person, meet):
    anna, bert = person(server), person(server)
    meet(anna, bert)
    hint = anna.page.locator("#toast")
    anna.press("Escape")
    expect(hint).to_have_text("Press Esc again for the next stranger")
    expect(hint).to_be_hidden()  # the moment is over
    anna.press("Escape")
    expect(hint).to_be_visible()
    anna.press("a")  # typing in between: it was a slip
    expect(hint).to_be_hidden()
    anna.say("still here")
    expect(bert.messages("partner")).to_have_text(["still here"])

    anna.press("Escape")
    anna.press("Escape")
    expect(bert.ended).to_have_text("The stranger moved on to someone else.")
    bert.press("Escape")
    bert.press("Escape")
    expect(bert.heading).to_have_text("Looking for someone…")


def test_a_held_escape_key_is_one_press(server, person, meet):
    anna, bert = person(server), person(server)
    meet(anna, bert)
    anna.draft.focus()
    for _ in range(5):
        anna.page.keyboard.down("Escape")  # from the second on, with `repeat` set
    anna.page.keyboard.up("Escape")
    anna.say("still here")
    expect(bert.messages("partner")).to_have_text(["still here"])


def test_enter_sends_and_shift_enter_breaks_the_line(server, person, meet):
    anna, bert = person(server), person(server)
    meet(anna, bert)
    anna.type("one")
    anna.press("Shift+Enter")
    anna.type("two")
    expect(anna.draft).to_have_value("one\ntwo")
    anna.press("Enter")
    expect(anna.draft).to_have_value("")
    expect(bert.messages("partner")).to_have_count(1)
    assert bert.messages("partner").inner_text() == "one\ntwo"


def test_enter_that_ends_a_composition_does_not_send(server, person, meet):
    anna, bert = person(server), person(server)
    meet(anna, bert)
    anna.draft.focus()
    keyboard = anna.context.new_cdp_session(anna.page)
    keyboard.send("Input.imeSetComposition", {"text": "にほん", "selectionStart": 3, "selectionEnd": 3})
    anna.press("Enter")
    keyboard.send("Input.insertText", {"text": "日本"})
    expect(anna.draft).to_have_value(re.compile("日本"))
    expect(anna.messages("own")).to_have_count(0)
    anna.press("Enter")
    expect(bert.messages("partner")).to_have_text([re.compile("日本")])


def test_messages_are_text_and_never_markup(server, person, meet):
    anna, bert = person(server), person(server)
    meet(anna, bert)
    own = "document.title = 'owned'"
    nasty = f'<img src=x onerror="{own}"><script>{own}</script> &amp; <b>bold</b> {{{{ 7 * 7 }}}}'
    anna.say(nasty)
    expect(bert.messages("partner")).to_have_text([nasty])
    for someone in (anna, bert):
        log = someone.page.get_by_role("log")
        expect(log.locator("img, script, b")).to_have_count(0)
        expect(someone.page).not_to_have_title("owned")


def test_a_message_that_is_too_long_is_not_sent_and_says_so(server, person, meet):
    anna, bert = person(server), person(server)
    meet(anna, bert)
    count = anna.page.locator("#draft-count")
    anna.draft.fill("🎈" * 2_000)  # characters, not UTF-16 units
    expect(count).to_have_text("0 left")
    anna.draft.fill("🎈" * 2_001)
    expect(count).to_have_text("1 over the limit")
    anna.draft.press("Enter")
    expect(anna.notice).to_contain_text("The limit is 2,000 characters")
    expect(anna.messages("own")).to_have_count(0)
    anna.say("🎈" * 2_000)
    expect(bert.messages("partner")).to_have_text(["🎈" * 2_000])


def test_a_refused_message_says_why_and_can_be_tried_again(servers, person, meet):
    server = servers(env={"RATE_MESSAGES": "0.3"})  # three at once, then one every three seconds or so
    anna, bert = person(server), person(server)
    meet(anna, bert)
    said = ["one", "two", "three"]
    for text in said:
        anna.say(text)
    anna.draft.fill("four")
    anna.draft.press("Enter")
    last = anna.page.locator(".message.own").last
    expect(last).to_have_attribute("data-state", "failed")
    expect(anna.notice).to_contain_text(re.compile(r"A little slower, please\. Try again in \d\ss"))
    expect(anna.notice).to_be_hidden()  # by then the seconds it named are over
    last.get_by_role("button", name="Not sent. Tap to try again").click()
    expect(last).to_have_attribute("data-state", "sent")
    expect(bert.messages("partner")).to_have_text([*said, "four"])


def test_one_press_sends_everything_again_that_has_failed_in_its_order(server, person, meet):
    anna, bert = person(server, open=False), person(server)
    refuse = []

    def relay(socket):
        upstream = socket.connect_to_server()

        def to_server(frame):
            if refuse and "send-message" in str(frame):
                number = re.match(r"42(\d+)", str(frame))[1]
                socket.send(f'43{number}[{{"ok":false,"error":{{"code":"unavailable","message":"x"}}}}]')
            else:
                upstream.send(frame)

        socket.on_message(to_server)

    anna.page.route_web_socket("**/socket.io/**", relay)
    anna.open()
    meet(anna, bert)
    anna.say("one")
    refuse.append(True)
    for text in ("two", "three", "four"):
        anna.draft.fill(text)
        anna.press("Enter")
    failed = anna.page.locator(".message[data-state=failed]")
    expect(failed).to_have_count(3)
    refuse.clear()
    failed.nth(1).get_by_role("button", name="Not sent. Tap to try again").click()
    expect(failed).to_have_count(0)
    expect(bert.messages("partner")).to_have_text(["one", "two", "three", "four"])


def test_reading_further_up_is_not_disturbed_by_new_messages(server, person, meet):
    anna, bert = person(server), person(server)
    meet(anna, bert)
    for number in range(4):
        anna.say(f"{number}\n" * 12)
    scroller = bert.page.get_by_role("region", name="Conversation")
    expect(bert.messages("partner")).to_have_count(4)
    assert scroller.evaluate("it => it.scrollHeight - it.scrollTop - it.clientHeight") < 2, "it follows"
    scroller.evaluate("it => it.scrollTo(0, 0)")
    anna.say("news")
    news = bert.button("1 new message")
    expect(news).to_be_visible()
    assert scroller.evaluate("it => it.scrollTop") == 0
    anna.say("more news")
    bert.button("2 new messages").click()
    expect(bert.messages("partner").last).to_be_in_viewport()
    expect(bert.page.locator("#unseen")).to_be_hidden()


def test_the_whole_journey_by_keyboard_alone(server, person):
    anna, bert = person(server), person(server)

    def tab_to(someone, target):
        for _ in range(16):
            if target.evaluate("it => it === document.activeElement"):
                return
            someone.press("Tab")
        raise AssertionError(f"{target} can't be reached")

    for someone in (anna, bert):
        tab_to(someone, someone.button("Start chatting"))
        someone.press("Enter")
    for someone in (anna, bert):
        expect(someone.draft).to_be_focused()
    anna.page.keyboard.type("hello")
    anna.press("Enter")
    expect(bert.messages("partner")).to_have_text(["hello"])
    expect(anna.draft).to_be_focused()

    anna.press("Shift+Tab")  # one stop for all that can be answered
    expect(anna.button("Reply to: hello")).to_be_focused()
    anna.press("Shift+Tab")  # the conversation can be scrolled by keys
    expect(anna.page.get_by_role("region", name="Conversation")).to_be_focused()
    tab_to(anna, anna.button("Next"))
    anna.press("Enter")
    anna.page.wait_for_timeout(400)
    anna.press("Enter")  # really
    expect(anna.heading).to_be_focused()
    tab_to(anna, anna.button("Stop"))
    anna.press("Enter")
    expect(anna.button("Start chatting")).to_be_focused()

    # Someone who is typing must not press a button by it: the focus is on the news, one Tab before the buttons.
    panel = bert.page.get_by_role("group", name="The stranger moved on to someone else.")
    expect(panel).to_be_focused()
    tab_to(bert, bert.button("Meet someone new"))
    bert.press("Enter")
    expect(bert.heading).to_have_text("Looking for someone…")
