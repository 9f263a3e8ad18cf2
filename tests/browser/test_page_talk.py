"""Actions within a chat: answering, links, blocking and reporting, saving it as a file, and leaving it."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from tests.helpers.servers import eventually

PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}


def swipe(person, target, by: int) -> None:
    """Swipe a finger on `target` by `by` pixels to the right."""
    box = target.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    finger = person.context.new_cdp_session(person.page)

    def touch(kind: str, *points: dict[str, float]) -> None:
        finger.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", {"x": x, "y": y})
    for step in range(1, 6):
        touch("touchMove", {"x": x + by * step / 5, "y": y})
    touch("touchEnd")
    finger.detach()


def quote(person, sender: str):
    return person.page.locator(f".message.{sender} .quote")


# Answers


def test_a_reply_quotes_and_leads_to_its_original(server, person, meet):
    anna, bert = person(server), person(server)
    meet(anna, bert)
    anna.say("first things first")
    for number in range(3):
        anna.say(f"{number}\n" * 10)
    first = bert.page.locator(".message.partner").first
    first.hover()
    first.get_by_role("button", name="Reply").click()
    expect(bert.page.locator("#replying")).to_contain_text("Replying to the stranger")
    expect(bert.page.locator("#replying-text")).to_have_text("first things first")
    expect(bert.draft).to_be_focused()
    bert.say("second!")
    expect(bert.page.locator("#replying")).to_be_hidden()
    expect(quote(bert, "own")).to_have_text("Stranger: first things first")
    expect(quote(anna, "partner")).to_have_text("You: first things first")
    own = bert.page.locator(".message.own")
    own.hover()
    own.get_by_role("button", name="Reply").click()
    expect(bert.page.locator("#replying-to")).to_have_text("Replying to yourself")
    bert.press("Escape")

    original = anna.page.locator(".message.own").first
    expect(original).not_to_be_in_viewport()
    quote(anna, "partner").click()
    expect(original).to_be_in_viewport()
    expect(original).to_be_focused()

    anna.page.reload()  # the quotation comes back with the conversation
    expect(quote(anna, "partner")).to_have_text("You: first things first")


def test_a_swipe_answers_and_a_short_one_does_not(server, person, meet):
    anna, bert = person(server, **PHONE), person(server)
    meet(anna, bert)
    bert.say("swipe me")
    bubble = anna.page.locator(".message.partner .bubble")
    swipe(anna, bubble, 40)
    expect(anna.page.locator("#replying")).to_be_hidden()
    swipe(anna, bubble, 90)
    expect(anna.page.locator("#replying-text")).to_have_text("swipe me")
    anna.say("swiped")
    expect(quote(bert, "partner")).to_have_text("You: swipe me")


def test_an_answer_by_keyboard_alone_and_escape_takes_it_back(server, person, meet):
    anna, bert = person(server), person(server)
    meet(anna, bert)
    bert.say("one")
    bert.say("two")
    expect(anna.messages("partner")).to_have_count(2)
    anna.draft.focus()
    anna.press("Shift+Tab")
    anna.press("ArrowUp")
    anna.press("Enter")
    expect(anna.page.locator("#replying-text")).to_have_text("one")
    anna.press("Escape")
    expect(anna.page.locator("#replying")).to_be_hidden()
    expect(anna.page.locator("#toast")).to_be_hidden()  # it was not the first half of "next"
    anna.say("just so")
    expect(quote(bert, "partner")).to_have_count(0)


# Messages


def test_day_and_time_are_shown_on_hover_and_on_tap(server, person, meet):
    anna, bert = person(server), person(server, **PHONE)
    meet(anna, bert)
    anna.say("when was this?")
    line = anna.page.locator(".message.own .line")
    label = "it => getComputedStyle(it, '::after').opacity + getComputedStyle(it, '::after').content"
    day = anna.page.evaluate(
        "new Date().toLocaleDateString('en-US', {weekday: 'short', month: 'short', day: 'numeric'})"
    )
    assert line.evaluate(label).startswith("0")
    line.hover()
    assert line.evaluate(label).startswith(f'1"{day}')

    told = bert.page.locator(".message.partner .day")
    expect(told).to_be_hidden()
    bert.page.locator(".message.partner .bubble").tap()
    expect(told).to_be_visible()
    expect(told).to_have_text(re.compile(r"^\w+day, \w+ \d+$"))
    bert.page.locator(".message.partner .bubble").tap()
    expect(told).to_be_hidden()


EMOJI = ["😀", "👍🏽", "❤️", "👨‍👩‍👧‍👦", "🇵🇭", "1️⃣", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "☝🏽", "😀😀😀", " 🙂 🙃 ", "🏳️‍🌈🇵🇭👍"]
NO_EMOJI = ["😀😀😀😀", "1", "123", "*", "❤", "a😀", "😀!", "™", "🇵"]


def test_a_message_of_one_to_three_emoji_is_large(server, person):
    anna = person(server)
    large = anna.page.evaluate(
        """async (texts) => {
          const { build } = await import("/static/message.js");
          return texts.filter((content) => build({ sender: "own", content, timestamp: 0 }).matches(".emoji"));
        }""",
        EMOJI + NO_EMOJI,
    )
    assert large == EMOJI


def test_the_time_is_shown_once_for_the_messages_of_a_minute(server, person):
    anna = person(server)
    # Minutes of the messages; of either person, the last message of each minute shows it.
    minutes = [0, 0, 1, 3, 3, 3]
    shown = anna.page.evaluate(
        """async (minutes) => {
          document.getElementById("start").hidden = true;
          document.getElementById("chat").hidden = false;
          const { Conversation } = await import("/static/conversation.js");
          const conversation = new Conversation({ retry() {} });
          conversation.begin("r", "me");
          minutes.forEach((minute, i) => conversation.add({ id: `${i}`, roomId: "r", seq: i + 1, type: "text",
            senderId: i % 2 ? "me" : "them", content: "x", timestamp: 60_000 * minute + 1_000 * i }));
          return [...document.querySelectorAll("#messages time")].map((it) => it.checkVisibility());
        }""",
        minutes,
    )
    assert shown == [False, True, True, False, False, True]


def test_a_pasted_or_dropped_file_says_that_only_text_can_be_sent_and_harms_nothing(server, person, meet):
    anna, bert = person(server), person(server)
    meet(anna, bert)
    anna.draft.fill("a draft")
    give = """(draft, [type, where]) => {
      const data = new DataTransfer();
      data.items.add(new File(["x"], "x.png", { type: "image/png" }));
      const target = where === "draft" ? draft : document.body;
      const event = type === "paste"
        ? new ClipboardEvent(type, { clipboardData: data, bubbles: true, cancelable: true })
        : new DragEvent(type, { dataTransfer: data, bubbles: true, cancelable: true });
      return target.dispatchEvent(event);
    }"""
    for type, where in (("paste", "draft"), ("drop", "draft"), ("drop", "body")):
        anna.draft.evaluate(give, [type, where])
        expect(anna.notice).to_have_text("Only text can be sent.")
        anna.page.evaluate("document.querySelector('#chat .notice').hidden = true")
    assert anna.draft.evaluate(give, ["dragover", "body"]) is False  # else the file would take the page's place
    expect(anna.draft).to_have_value("a draft")


LINKS = {
    "look: https://example.com/a?b=1&c#d.": ["https://example.com/a?b=1&c#d"],
    "(HTTP://EXAMPLE.com), see https://x.example/Fern_(plant)!": [
        "http://example.com/",
        "https://x.example/Fern_(plant)",
    ],
    "javascript:alert(1) data:text/html,x ftp://x.example file:///etc/passwd": [],
    "https://bank.example@evil.example/ http://": [],
    'https://x.example/"><img src=x onerror=alert(1)>': ["https://x.example/"],
    "https://bücher.example/": ["https://xn--bcher-kva.example/"],
}


def test_only_plain_web_addresses_become_links(server, person):
    anna = person(server)
    for text, links in LINKS.items():
        found = anna.page.evaluate(
            """async (text) => {
              const { appendText } = await import("/static/links.js");
              const place = document.createElement("p");
              appendText(place, text);
              if (place.textContent !== text) throw new Error(place.textContent);
              return [...place.children].map((it) => [it.href, it.rel, it.target]);
            }""",
            text,
        )
        assert found == [[link, "noopener noreferrer nofollow ugc", "_blank"] for link in links], text


def test_a_link_opens_only_after_a_warning_and_without_a_referrer(server, person, meet):
    anna, bert = person(server), person(server)
    asked = []

    def elsewhere(route):
        asked.append(route.request.headers)
        route.fulfill(body="elsewhere", content_type="text/plain")

    bert.context.route("https://away.example/**", elsewhere)
    meet(anna, bert)
    anna.say("read https://away.example/page?x=1")
    link = bert.page.get_by_role("link", name="https://away.example/page?x=1")
    for way in ("left", "middle"):
        link.click(button=way)
        dialog = bert.page.get_by_role("dialog", name="This link leaves AniMoChat")
        expect(dialog.locator("#link-host")).to_have_text("away.example")
        expect(dialog.locator("#link-address")).to_have_text("https://away.example/page?x=1")
        expect(bert.button("Cancel")).to_be_focused()
        bert.press("Escape")
        expect(dialog).to_be_hidden()
    assert not asked
    assert len(bert.context.pages) == 1
    link.click()
    with bert.context.expect_page() as opened:
        bert.page.get_by_role("link", name="Open the link").click()
    opened.value.wait_for_load_state()
    assert opened.value.evaluate("window.opener === null && document.referrer === ''")
    assert "referer" not in asked[0]
    expect(bert.heading).to_have_text("Stranger")


# Leaving


def test_next_has_to_be_pressed_twice_and_not_as_a_double_click(server, person, meet):
    anna, bert = person(server), person(server)
    meet(anna, bert)
    anna.button("Next").dblclick()
    expect(anna.button("Skip?")).to_be_visible()
    expect(anna.page.get_by_role("status")).to_have_text("Press again for the next stranger")
    expect(anna.button("Next")).to_be_visible()  # it asks for a moment only
    anna.say("still here")
    expect(bert.messages("partner")).to_have_text(["still here"])
    anna.next()
    expect(bert.ended).to_have_text("The stranger moved on to someone else.")


def test_blocking_ends_the_chat_for_both_and_they_never_meet_again(servers, person, meet):
    server = servers(env={"MATCH_HISTORY_HOURS": "0", "SKIP_COOLDOWN_MS": "0"})
    anna, bert = person(server), person(server)
    meet(anna, bert)
    anna.choose("Block…")
    dialog = anna.page.get_by_role("dialog", name="Block this stranger?")
    dialog.get_by_role("button", name="Cancel").click()
    expect(anna.button("More")).to_be_focused()
    anna.say("a second chance")
    anna.choose("Block…")
    dialog.get_by_role("button", name="Block", exact=True).click()
    expect(anna.ended).to_have_text("Blocked. The two of you won’t be matched again.")
    expect(bert.ended).to_have_text("The stranger has left the chat.")  # no one learns that they were blocked

    for someone in (anna, bert):
        someone.button("Meet someone new").click()
        expect(someone.heading).to_have_text("Looking for someone…")
    carla = person(server)
    carla.search()
    expect(carla.heading).to_have_text("Stranger")  # one of the two, who had waited for it
    headings = [anna.heading, bert.heading]
    eventually(lambda: sorted(it.inner_text() for it in headings) == ["Looking for someone…", "Stranger"])


def test_a_report_goes_to_the_operator_with_the_messages_and_ends_the_chat(server, person, meet, operator):
    anna, bert = person(server), person(server)
    meet(anna, bert)
    bert.say("send me money")
    expect(anna.messages("partner")).to_have_count(1)
    before, _ = operator.reports(0, 1)
    anna.choose("Report…")
    dialog = anna.page.get_by_role("dialog", name="Report this stranger")
    dialog.get_by_role("button", name="Send the report").click()
    expect(dialog).to_be_visible()  # not without a reason
    dialog.get_by_label("Spam or a scam").check()
    dialog.get_by_label("Anything to add? (optional)").fill(" He asked twice. ")
    dialog.get_by_role("button", name="Send the report").click()
    expect(anna.ended).to_have_text("Thank you, your report was sent. The two of you won’t be matched again.")
    expect(bert.ended).to_have_text("The stranger has left the chat.")
    total, reports = operator.reports(before, 1)
    assert total == before + 1
    assert (reports[0].reason, reports[0].details, reports[0].reported) == ("spam", "He asked twice.", bert.id)
    assert [said.content for said in reports[0].evidence] == ["send me money"]


def test_an_open_report_stays_with_its_text_when_the_partner_leaves(server, person, meet, operator, artifacts):
    anna, bert = person(server), person(server)
    meet(anna, bert)
    bert.say("send me money")
    before, _ = operator.reports(0, 1)
    anna.choose("Report…")
    dialog = anna.page.get_by_role("dialog", name="Report this stranger")
    expect(dialog).to_contain_text("The chat ends")
    dialog.get_by_label("Spam or a scam").check()
    dialog.get_by_label("Anything to add? (optional)").fill("He asked twice.")
    bert.button("Stop").click()
    expect(dialog).not_to_contain_text("The chat ends")
    expect(dialog.get_by_label("Anything to add? (optional)")).to_have_value("He asked twice.")
    anna.page.screenshot(path=artifacts / "report-after-the-end.png")
    dialog.get_by_role("button", name="Send the report").click()
    expect(anna.ended).to_have_text("Thank you, your report was sent. The two of you won’t be matched again.")
    for button in anna.page.get_by_role("button", name="Report…").all():
        expect(button).to_be_hidden()  # it is done
    _, reports = operator.reports(before, 1)
    assert (reports[0].reason, reports[0].details, reports[0].reported) == ("spam", "He asked twice.", bert.id)
    assert [said.content for said in reports[0].evidence] == ["send me money"]


def test_a_report_that_does_not_arrive_keeps_its_text(server, person, meet):
    anna, bert = person(server), person(server)
    meet(anna, bert)
    anna.choose("Report…")
    dialog = anna.page.get_by_role("dialog", name="Report this stranger")
    dialog.get_by_label("Something else").check()
    dialog.get_by_label("Anything to add? (optional)").fill("this and that")
    anna.context.set_offline(True)
    expect(anna.banner).to_be_visible()
    dialog.get_by_role("button", name="Send the report").click()
    expect(dialog.get_by_role("alert")).to_have_text("There’s no connection at the moment.")
    anna.context.set_offline(False)
    expect(anna.banner).to_be_hidden()
    dialog.get_by_role("button", name="Send the report").click()
    expect(anna.ended).to_contain_text("your report was sent")


def test_a_chat_that_is_over_can_be_blocked_and_reported_also_after_a_reload(server, person, meet, operator, artifacts):
    anna, bert = person(server, viewport={"width": 320, "height": 640}), person(server)
    meet(anna, bert)
    bert.say("goodbye, idiot")
    expect(anna.messages("partner")).to_have_count(1)
    bert.button("Stop").click()
    expect(anna.ended).to_have_text("The stranger has left the chat.")
    anna.page.screenshot(path=artifacts / "ended-with-safety.png")
    anna.page.locator("#ended-block").click()
    dialog = anna.page.get_by_role("dialog", name="Block this stranger?")
    dialog.get_by_role("button", name="Block", exact=True).click()
    expect(anna.ended).to_have_text("Blocked. The two of you won’t be matched again.")
    expect(anna.page.locator("#ended-block")).to_be_hidden()
    expect(anna.page.locator("#ended-report")).to_be_visible()

    anna.page.reload()
    last = anna.page.locator("#last")
    expect(last).to_contain_text("Something wrong with your last chat?")
    before, _ = operator.reports(0, 1)
    last.get_by_role("button", name="Report…").click()
    anna.page.get_by_label("Harassment or hate").check()
    anna.button("Send the report").click()
    expect(anna.page.locator("#start .notice").first).to_contain_text("your report was sent")
    expect(last).to_be_hidden()
    _, reports = operator.reports(before, 1)
    assert reports[0].reported == bert.id
    assert [said.content for said in reports[0].evidence] == ["goodbye, idiot"]


def test_where_nothing_is_stored_the_report_says_so_and_without_a_window_nothing_is_offered(servers, person, meet):
    server = servers(env={"STORE_MESSAGES": "0", "REPORT_WINDOW_MINUTES": "0"})
    anna, bert = person(server), person(server)
    meet(anna, bert)
    anna.choose("Report…")
    dialog = anna.page.get_by_role("dialog")
    expect(dialog).to_contain_text("Messages aren’t stored here")
    bert.button("Stop").click()
    expect(dialog).to_be_hidden()  # it was about a chat of which nothing is left
    expect(anna.ended).to_have_text("The stranger has left the chat.")
    expect(anna.page.locator("#ended-report")).to_be_hidden()
    anna.button("More").click()
    expect(anna.button("Save the conversation")).to_be_focused()
    anna.press("Escape")
    expect(anna.button("More")).to_be_focused()
    anna.button("Stop here").click()
    expect(anna.page.locator("#last")).to_be_hidden()


def test_forget_me_makes_a_new_person(server, person, meet):
    anna, bert = person(server), person(server)
    anna.page.get_by_role("textbox", name="What would you like to talk about?").fill("ferns,")
    anna.page.evaluate("localStorage['animochat.device'] = JSON.stringify('a device')")
    meet(anna, bert)
    before = anna.id
    anna.choose("Settings")
    anna.button("Forget me").click()
    anna.page.wait_for_timeout(400)  # sooner it would be a double click, which is one slip
    anna.button("Sure? Press again").click()
    expect(bert.ended).to_have_text("The stranger has left the chat.")
    expect(anna.button("Start chatting")).to_be_visible()
    expect(anna.page.locator("#online")).to_be_visible()
    assert anna.id != before
    assert anna.page.evaluate("localStorage['animochat.device']") != '"a device"'
    expect(anna.page.locator(".chip")).to_have_count(0)
    expect(anna.page.locator("#last")).to_be_hidden()


def test_the_conversation_is_saved_as_a_text_file(server, person, meet):
    anna, bert = person(server), person(server)
    meet(anna, bert)
    anna.say("one\nand a half")
    expect(bert.messages("partner")).to_have_count(1)
    bert.page.locator(".message.partner").hover()
    bert.page.locator(".message.partner").get_by_role("button", name="Reply").click()
    bert.say("two <b>")
    expect(anna.messages("partner")).to_have_count(1)
    with anna.page.expect_download() as download:
        anna.choose("Save the conversation")
    assert re.fullmatch(r"animochat-\d{4}-\d\d-\d\d-\d{4}\.txt", download.value.suggested_filename)
    text = download.value.path().read_text("utf-8").replace("\u202f", " ")
    title, date, lobby, partner, _, day, *lines = text.splitlines()
    assert (title, lobby, partner) == ("AniMoChat conversation", "Lobby: main", "With: Stranger")
    assert re.fullmatch(r"Date: \w+day, \w+ \d+, \d{4} at \d+:\d\d [AP]M", date)
    assert re.fullmatch(r"\w+day, \w+ \d+ \d{4}", day)
    assert [re.sub(r"\d+:\d\d [AP]M", "TIME", line) for line in lines] == [
        "",
        "* You are now chatting with a stranger. Say hi!",
        "[TIME] You: one",
        "    and a half",
        "    > You: one and a half",
        "[TIME] Stranger: two <b>",
    ]


# MetricSample from right to left


def test_the_page_can_be_read_from_right_to_left(server, person, meet, artifacts):
    anna, bert = person(server, **PHONE), person(server)
    meet(anna, bert)
    anna.page.evaluate("document.documentElement.dir = 'rtl'")
    bert.say("שלום! מה שלומך?")
    bert.say("and this is from left to right")
    anna.say("the other side")
    own, theirs = (anna.page.locator(f".message.{who} .bubble").last for who in ("own", "partner"))
    assert own.bounding_box()["x"] < theirs.bounding_box()["x"]
    hebrew, english = anna.messages("partner").all()
    assert [it.evaluate("it => getComputedStyle(it).direction") for it in (hebrew, english)] == ["rtl", "ltr"]
    swipe(anna, theirs, -90)  # the other way round as well
    expect(anna.page.locator("#replying-text")).to_have_text("and this is from left to right")
    anna.page.screenshot(path=artifacts / "right-to-left.png")
    assert fits(anna.page)


def fits(page: Page) -> bool:
    """Check that nothing overflows sideways."""
    return page.evaluate(
        "document.getElementById('scroller').scrollWidth <= document.getElementById('scroller').clientWidth"
    )
