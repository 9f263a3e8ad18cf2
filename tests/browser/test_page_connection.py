"""The page when connections end: reloads, closed and duplicated tabs, networks and servers that go away."""

from __future__ import annotations

import re

from playwright.sync_api import WebSocketRoute, expect

from tests.browser.conftest import launch
from tests.helpers.servers import eventually


def test_a_reload_comes_back_into_the_same_chat(server, person, meet):
    anna, bert = person(server), person(server)
    meet(anna, bert)
    anna.say("from anna")
    bert.say("from bert")
    anna.page.reload()
    expect(anna.heading).to_have_text("Stranger")
    expect(anna.page.locator(".message .content")).to_have_text(
        ["You are now chatting with a stranger. Say hi!", "from anna", "from bert"]
    )
    expect(anna.messages("own")).to_have_text(["from anna"])
    bert.say("welcome back")
    anna.say("thanks")
    expect(anna.messages("partner")).to_have_text(["from bert", "welcome back"])
    expect(bert.messages("partner")).to_have_text(["from anna", "thanks"])


def test_a_draft_survives_a_reload_and_goes_with_its_chat(server, person, meet):
    anna, bert = person(server), person(server)
    meet(anna, bert)
    anna.draft.fill("half a thou")
    anna.page.reload()
    expect(anna.draft).to_have_value("half a thou")
    expect(anna.button("Send")).to_be_enabled()
    anna.press("Tab")
    anna.draft.press("End")
    anna.type("ght")
    anna.press("Enter")
    expect(bert.messages("partner")).to_have_text(["half a thought"])
    anna.page.reload()
    expect(anna.messages("own")).to_have_count(1)
    expect(anna.draft).to_have_value("")
    anna.draft.fill("never mind")
    bert.button("Stop").click()
    expect(anna.ended).to_be_visible()
    assert anna.page.evaluate("sessionStorage['animochat.draft'] ?? null") is None


def test_back_asks_before_it_drops_a_chat(server, person, meet, artifacts):
    anna, bert = person(server), person(server)
    meet(anna, bert)
    question = anna.page.get_by_role("dialog", name="Leave this chat?")
    for _ in range(2):
        anna.page.go_back(wait_until="commit")
        expect(question).to_be_visible()
        anna.page.screenshot(path=artifacts / "leave.png")
        anna.button("Stay").click()
    anna.say("still here")
    expect(bert.messages("partner")).to_have_text(["still here"])
    anna.page.go_back(wait_until="commit")
    question.get_by_role("button", name="Leave", exact=True).click()
    expect(anna.ended).to_have_text("You left.")
    expect(bert.ended).to_have_text("The stranger has left the chat.")
    anna.page.go_back(wait_until="commit")  # from what was said
    expect(anna.button("Start chatting")).to_be_visible()
    expect(question).to_be_hidden()


def test_once_a_chat_is_left_back_leads_where_it_did_before(server, person, meet):
    anna, bert = person(server), person(server)
    meet(anna, bert)
    anna.button("Stop").click()
    anna.button("Stop here").click()
    expect(anna.button("Start chatting")).to_be_visible()
    eventually(lambda: anna.page.evaluate("history.state") is None, what="the chat's entry is gone")
    anna.page.go_back()
    expect(anna.page).to_have_url("about:blank")


def test_a_reload_never_shows_the_start_of_a_chat_that_goes_on(server, person, meet):
    anna, bert = person(server), person(server)
    meet(anna, bert)
    anna.page.route("**/socket.io/**", lambda route: route.abort())
    anna.page.reload()
    expect(anna.heading).to_have_text("Coming back…")
    anna.page.unroute("**/socket.io/**")
    expect(anna.heading).to_have_text("Stranger")


def test_the_partner_sees_a_reload_as_a_short_absence(server, person, meet):
    anna, bert = person(server), person(server)
    meet(anna, bert)
    anna.page.goto("about:blank")
    expect(bert.notice).to_contain_text("connection dropped")
    expect(bert.page.locator("#partner-status")).to_have_text("Reconnecting…")
    anna.page.goto(server.url)
    expect(anna.heading).to_have_text("Stranger")
    expect(bert.notice).to_be_hidden()
    expect(bert.page.locator("#partner-status")).to_have_text("In the chat")


def test_the_partner_of_a_closed_tab_is_notified_and_can_go_on(servers, person, meet):
    server = servers(env={"RECONNECT_GRACE_MS": "1500"})
    anna, bert = person(server), person(server)
    meet(anna, bert)
    anna.say("brb")
    anna.page.close()
    expect(bert.notice).to_contain_text("connection dropped")
    expect(bert.ended).to_have_text("The stranger lost the connection and didn’t come back.")
    expect(bert.messages("partner")).to_have_text(["brb"])  # the messages can still be read
    bert.button("Meet someone new").click()
    expect(bert.heading).to_have_text("Looking for someone…")


def test_two_tabs_of_one_browser_are_two_people_who_never_meet(server, person):
    tabs = [anna := person(server), person(server, beside=anna)]
    for tab in tabs:
        tab.search()
        expect(tab.heading).to_have_text("Looking for someone…")
    for someone in (person(server), person(server)):
        someone.search()
        expect(someone.heading).to_have_text("Stranger")
    for tab in tabs:
        expect(tab.heading).to_have_text("Stranger")


def test_a_duplicated_tab_takes_the_chat_over_and_the_first_can_take_it_back(server, person, meet):
    anna, bert = person(server), person(server)
    meet(anna, bert)
    anna.say("one")
    copy = person(server, beside=anna, open=False)
    stored = anna.page.evaluate("JSON.stringify(Object.entries(sessionStorage))")
    copy.page.add_init_script(f"for (const [key, value] of {stored}) sessionStorage.setItem(key, value)")
    copy.page.goto(server.url)
    expect(copy.messages("own")).to_have_text(["one"])
    expect(anna.heading).to_have_text("You’re chatting in another tab.")
    copy.say("two")

    anna.button("Continue here").click()
    expect(anna.messages("own")).to_have_text(["one", "two"])
    expect(copy.heading).to_have_text("You’re chatting in another tab.")
    anna.say("three")
    expect(bert.messages("partner")).to_have_text(["one", "two", "three"])


def test_a_message_under_way_when_the_connection_drops_arrives_once(server, person, meet):
    anna, bert = person(server, open=False), person(server)
    sockets: list[WebSocketRoute] = []
    swallow = []

    def relay(socket: WebSocketRoute) -> None:
        upstream = socket.connect_to_server()

        def from_server(frame: str | bytes) -> None:
            if swallow and str(frame).startswith("43"):  # an acknowledgement
                swallow.pop()
                upstream.close()
                socket.close()
            else:
                socket.send(frame)

        upstream.on_message(from_server)
        sockets.append(socket)

    anna.page.route_web_socket("**/socket.io/**", relay)
    anna.open()
    meet(anna, bert)
    assert sockets, "the connection was upgraded"
    swallow.append(True)
    anna.draft.fill("did you get that?")
    anna.draft.press("Enter")
    expect(anna.banner).to_contain_text("Connection lost")
    expect(anna.banner).to_be_hidden()
    expect(anna.page.locator(".message.own")).to_have_attribute("data-state", "sent")
    anna.say("and that?")
    expect(bert.messages("partner")).to_have_text(["did you get that?", "and that?"])


def test_both_see_the_same_order_when_messages_cross(server, person, meet):
    anna, bert = person(server, open=False), person(server)
    held: list[tuple[WebSocketRoute, str | bytes]] = []

    def relay(socket: WebSocketRoute) -> None:
        upstream = socket.connect_to_server()

        def to_server(frame: str | bytes) -> None:
            if "send-message" in str(frame):
                held.append((upstream, frame))
            else:
                upstream.send(frame)

        socket.on_message(to_server)

    anna.page.route_web_socket("**/socket.io/**", relay)
    anna.open()
    meet(anna, bert)
    anna.draft.fill("anna, who was slow")
    anna.draft.press("Enter")
    expect(anna.page.locator(".message.own")).to_have_attribute("data-state", "sending")
    bert.say("bert, who was first")
    texts = anna.page.locator(".message:not(.system) .content")
    expect(texts).to_have_text(["anna, who was slow", "bert, who was first"])
    upstream, frame = held.pop()
    upstream.send(frame)
    for someone in (anna, bert):
        texts = someone.page.locator(".message:not(.system) .content")
        expect(texts).to_have_text(["bert, who was first", "anna, who was slow"])


def test_stop_while_the_connection_is_lost_is_sent_later(server, person, meet):
    anna, bert = person(server, open=False), person(server)
    sockets: list[WebSocketRoute] = []

    def relay(socket: WebSocketRoute) -> None:
        sockets.append(socket)
        socket.connect_to_server()

    anna.page.route_web_socket("**/socket.io/**", relay)
    anna.open()
    meet(anna, bert)
    anna.page.route("**/socket.io/**", lambda route: route.abort())
    sockets[-1].close()
    expect(anna.banner).to_be_visible()
    anna.button("Stop").click()
    expect(anna.ended).to_have_text("You left.")
    expect(bert.notice).to_contain_text("connection dropped")
    anna.page.unroute("**/socket.io/**")
    expect(bert.ended).to_have_text("The stranger has left the chat.")
    anna.button("Meet someone new").click()
    expect(anna.heading).to_have_text("Looking for someone…")


def test_while_offline_the_page_counts_attempts_and_claims_nothing_of_the_partner(server, person, meet, artifacts):
    anna, bert = person(server), person(server)
    meet(anna, bert)
    status = anna.page.locator("#partner-status")
    expect(status).to_have_text("In the chat")
    anna.context.set_offline(True)
    expect(anna.banner).to_have_text(re.compile(r"^Connection lost. Reconnecting, try \d+…$"))
    expect(status).to_have_text("You’re offline")
    expect(anna.banner).to_contain_text("try 3…")
    expect(status).to_have_text("You’re offline")
    anna.page.screenshot(path=artifacts / "offline.png")
    anna.context.set_offline(False)
    expect(anna.banner).to_be_hidden()
    expect(status).to_have_text("In the chat")
    anna.say("back")
    expect(bert.messages("partner")).to_have_text(["back"])


def test_a_partner_who_reconnects_is_shown_with_the_time_that_is_left(server, person, meet):
    anna, bert = person(server), person(server)
    meet(anna, bert)
    anna.page.goto("about:blank")
    expect(bert.page.locator("#partner-status")).to_have_text("Reconnecting…")
    first = int(re.search(r"Waiting (\d+) more\ss", bert.notice.inner_text())[1])
    assert 1 <= first <= 10  # RECONNECT_GRACE_MS is 10 s
    expect(bert.notice).not_to_contain_text(f"Waiting {first} more")


def test_a_page_left_for_another_says_so_and_goes_on_at_once_when_it_is_shown_again(browser, server, person, meet):
    keeping = launch(browser.browser_type, ignore_default_args=["--disable-back-forward-cache"])
    try:
        anna, bert = person(server, browser=keeping), person(server)
        meet(anna, bert)
        anna.page.evaluate("addEventListener('pageshow', (event) => { window.kept = event.persisted; })")
        anna.page.goto(f"{server.url}/static/favicon.svg")
        expect(bert.page.locator("#partner-status")).to_have_text("Reconnecting…")
        bert.say("still there?")
        anna.page.go_back(wait_until="commit")
        expect(bert.page.locator("#partner-status")).to_have_text("In the chat")
        assert anna.page.evaluate("window.kept"), "the page came out of the cache"
        expect(anna.messages("partner")).to_have_text(["still there?"])
        expect(anna.banner).to_be_hidden()
        anna.say("of course")
        expect(bert.messages("partner")).to_have_text(["of course"])
    finally:
        keeping.close()


def test_chats_and_searches_go_on_when_a_server_comes_back(servers, person, meet):
    server = servers()
    anna, bert, carla = person(server), person(server), person(server)
    meet(anna, bert)
    carla.search()
    expect(carla.heading).to_have_text("Looking for someone…")
    server.stop()
    for someone in (anna, bert, carla):
        expect(someone.banner).to_contain_text("Connection lost")
    server.start()
    for someone in (anna, bert, carla):
        expect(someone.banner).to_be_hidden(timeout=30_000)
    expect(anna.page.locator("#chat")).to_be_visible()
    # In every case, both see the same state and can talk: in the same chat, or with someone new.
    if anna.draft.is_visible():
        anna.say("still there?")
        expect(bert.messages("partner").last).to_have_text("still there?")
        anna.button("Stop").click()
    anna.button("Meet someone new").click()
    for someone in (anna, carla):
        expect(someone.heading).to_have_text("Stranger")


def test_the_page_is_there_before_the_connection(server, person):
    anna, bert = person(server, open=False), person(server)
    anna.page.route("**/socket.io/**", lambda route: route.abort())
    anna.page.goto(server.url)
    expect(anna.button("Start chatting")).to_be_visible()
    assert anna.page.evaluate("performance.getEntriesByName('first-contentful-paint').length") == 1
    expect(anna.banner).to_have_text(re.compile(r"^Can’t reach the server. Connecting, try \d+…$"))
    anna.search()
    expect(anna.page.locator("#waiting-hint")).to_have_text("Connecting…")
    anna.page.unroute("**/socket.io/**")
    bert.search()
    expect(anna.heading).to_have_text("Stranger")


def test_a_network_that_is_back_is_used_at_once(server, person):
    anna = person(server, open=False)
    anna.page.route("**/socket.io/**", lambda route: route.abort())
    anna.page.goto(server.url)
    expect(anna.banner).to_contain_text("Connecting, try")
    anna.page.evaluate(
        "for (let i = 0; i < 1e5; i += 1) clearTimeout(i)"
    )  # whatever was planned does not come by waiting
    anna.page.unroute("**/socket.io/**")
    anna.page.evaluate("window.dispatchEvent(new Event('online'))")
    expect(anna.page.locator("#online")).to_be_visible()
    expect(anna.banner).to_be_hidden()


def test_a_network_without_websockets_will_do(server, person, meet):
    anna, bert = person(server, open=False), person(server)
    anna.page.add_init_script("window.WebSocket = class { constructor() { throw new Error('forbidden here') } }")
    anna.open()
    meet(anna, bert)
    anna.say("by polling")
    expect(bert.messages("partner")).to_have_text(["by polling"])
    bert.say("fine")
    expect(anna.messages("partner")).to_have_text(["fine"])
