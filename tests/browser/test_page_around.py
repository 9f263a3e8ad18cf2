"""The page around a chat: interests, the first visit, languages, and notifications while the page is hidden."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from animochat.moderation.lobby_moderation import NOTHING
from tests.helpers.servers import eventually

#: For `add_init_script`: the page can be told that it is hidden, which Chromium without windows never is.
HIDEABLE = """
  window.isHidden = false;
  Object.defineProperty(document, "hidden", { get: () => window.isHidden });
  window.hide = (hidden) => { window.isHidden = hidden; document.dispatchEvent(new Event("visibilitychange")); };
"""


# The start


def test_the_first_visit_tells_about_safety_and_age_once(server, person):
    anna = person(server, first_visit=True)
    note = anna.page.get_by_role("dialog", name="Before you start")
    anna.search()
    expect(note).to_contain_text("you must be 18 or older")
    note.get_by_role("button", name="Cancel").click()
    expect(note).to_be_hidden()
    expect(anna.button("Start chatting")).to_be_focused()
    anna.search()
    anna.button("I’m 18 or older, let’s go").click()
    expect(anna.heading).to_have_text("Looking for someone…")
    anna.button("Stop").click()
    anna.page.reload()
    anna.search()
    expect(anna.heading).to_have_text("Looking for someone…")


def test_each_lobby_has_an_address_and_people_of_its_own(server, person, meet):
    anna, bert, carla = (person(server, open=False) for _ in range(3))
    anna.open("/?lobby=cebu")
    bert.open()
    lobbies = bert.page.get_by_role("navigation", name="Lobby")
    expect(lobbies.get_by_role("link")).to_have_text(["main", "cebu"])
    expect(lobbies.locator("[aria-current=page]")).to_have_text("main")
    in_main = bert.id
    lobbies.get_by_role("link", name="cebu").click()
    expect(bert.page.locator(".place")).to_have_text("Lobby cebu")
    expect(bert.page.locator("#online-count")).to_have_text("2 online")
    carla.open()
    expect(carla.page.locator("#online-count")).to_have_text("1 online")
    carla.search()
    meet(anna, bert)
    bert.page.reload()
    expect(bert.heading).to_have_text("Stranger")
    bert.say("still here")
    expect(anna.messages("partner")).to_have_text(["still here"])
    bert.open()
    expect(bert.button("Start chatting")).to_be_visible()
    eventually(lambda: bert.id == in_main)
    expect(carla.heading).to_have_text("Looking for someone…")


def test_an_address_of_a_lobby_that_there_is_not_says_so_and_leads_to_the_first(server, person):
    anna = person(server, open=False, locale="es-ES")
    assert anna.page.goto(f"{server.url}/?lobby=nowhere").status == 404
    anna.complaints.clear()  # Chromium's, about that
    expect(anna.heading).to_have_text("Esta sala no existe.")
    assert anna.page.evaluate("performance.getEntriesByType('resource').some((it) => it.name.endsWith('.js'))") is False
    anna.page.get_by_role("link", name="Ir a la página de inicio").click()
    expect(anna.page.locator(".place")).to_have_text("Sala main")
    expect(anna.page.locator("#online")).to_be_visible()


def test_a_lobby_that_has_been_closed_meanwhile_says_so(servers, person):
    server = servers(env={"LOBBIES": "main,cebu"})
    anna = person(server, open=False).open("/?lobby=cebu")
    server.stop()
    server._env["LOBBIES"] = "main"
    server.start()
    expect(anna.heading).to_have_text("This lobby doesn’t exist.")
    anna.page.get_by_role("link", name="Go to the start page").click()
    expect(anna.page.locator("#online")).to_be_visible()
    expect(anna.page.get_by_role("navigation", name="Lobby")).to_have_count(0)


def test_interests_become_chips_that_are_remembered(server, person):
    anna = person(server)
    field = anna.page.get_by_role("textbox", name="What would you like to talk about?")
    chips = anna.page.locator(".chip")
    field.fill("Music")
    field.press("Enter")
    field.press_sequentially("night owls,")
    field.fill("MUSIC")  # the same
    anna.button("Add").click()
    expect(field).to_have_value("")
    expect(chips).to_have_text(["Music", "night owls"])
    field.fill("cats, dogs , ,birds,")
    expect(chips).to_have_text(["Music", "night owls", "cats", "dogs", "birds"])
    anna.button("Remove cats").click()
    field.press("Backspace")
    anna.page.reload()
    expect(chips).to_have_text(["Music", "night owls", "dogs"])
    field.press("Enter")  # nothing to add: off we go
    expect(anna.heading).to_have_text("Looking for someone…")


def test_an_interest_that_cannot_be_added_stays_in_the_field_and_says_why(server, person):
    anna = person(server)
    field = anna.page.get_by_role("textbox", name="What would you like to talk about?")
    note = anna.page.locator("#interests-note")
    field.fill("x" * 33)
    field.press("Enter")
    expect(note).to_have_text("Up to 32 characters each.")
    field.fill("".join(f"{number}," for number in range(10)))
    expect(anna.page.locator(".chip")).to_have_count(10)
    field.fill("one more")
    anna.button("Start chatting").click()
    expect(note).to_have_text("You can add up to 10 interests. Remove one to add another.")
    expect(field).to_have_value("one more")
    expect(anna.button("Start chatting")).to_be_visible()


def test_the_bounds_of_interests_come_from_the_server(server, person):
    anna = person(server)
    field = anna.page.get_by_role("textbox", name="What would you like to talk about?")
    field.fill("tea,chess,botany,cats,")
    expect(anna.page.locator(".chip")).to_have_count(4)

    def answer(route):
        response = route.fetch()
        session = response.text().replace('"maxInterests":10', '"maxInterests":2')
        route.fulfill(response=response, body=session.replace('"maxInterestLength":32', '"maxInterestLength":5'))

    anna.page.route_web_socket("**/socket.io/**", lambda socket: socket.close())  # so that all goes by long polling
    anna.page.route("**/socket.io/**", answer)
    anna.page.reload()
    expect(anna.page.locator(".chip")).to_have_text(["tea", "chess"])
    note = anna.page.locator("#interests-note")
    field.fill("botany,")
    expect(note).to_have_text("Up to 5 characters each.")
    field.fill("cats,")
    expect(note).to_have_text("You can add up to 2 interests. Remove one to add another.")
    anna.page.unroute_all(behavior="ignoreErrors")


def test_those_who_share_an_interest_meet_and_see_what_they_have_in_common(server, person):
    anna, bert, carla = person(server), person(server), person(server)
    wishes = {anna: "Ferns,", bert: "stamps,", carla: "FERNS, tea,"}
    for someone, wish in wishes.items():
        someone.page.get_by_role("textbox", name="What would you like to talk about?").fill(wish)
    anna.search()
    expect(anna.page.locator("#waiting-hint")).to_have_text(re.compile("only one|share your interests"))
    bert.search()
    carla.search()
    common = "#common"
    expect(anna.page.locator(common)).to_have_text("In common: Ferns")  # as each has written it
    expect(carla.page.locator(common)).to_have_text("In common: FERNS")
    carla.page.reload()
    expect(carla.page.locator(common)).to_have_text("In common: FERNS")
    expect(bert.heading).to_have_text("Looking for someone…")
    dora = person(server)
    dora.search()  # anyone will do, and after a while for bert too
    expect(bert.heading).to_have_text("Stranger")
    expect(dora.page.locator(common)).to_be_hidden()


def test_interests_can_be_changed_and_left_aside_while_waiting(servers, person, artifacts):
    server = servers(env={"INTEREST_WAIT_MS": "60000"})
    anna, bert, carla, dora = (person(server) for _ in range(4))
    name = "What would you like to talk about?"
    for someone, wish in ((anna, "ferns,"), (bert, "stamps,"), (carla, "tea,")):
        someone.page.get_by_role("textbox", name=name).fill(wish)
        someone.search()
        expect(someone.page.locator("#waiting-hint")).to_have_text(re.compile("only one|share your interests"))
    bert.page.get_by_role("textbox", name=name).fill("Ferns,")
    for someone, common in ((anna, "ferns"), (bert, "Ferns")):
        expect(someone.heading).to_have_text("Stranger")
        expect(someone.page.locator("#common")).to_have_text(f"In common: {common}")
    dora.search()
    carla.page.screenshot(path=artifacts / "waiting.png")
    carla.button("Match anyone now").click()
    for someone in (carla, dora):
        expect(someone.heading).to_have_text("Stranger")
    carla.button("Stop").click()
    carla.button("Meet someone new").click()  # the wish was for one search
    expect(carla.button("Match anyone now")).to_be_visible()


def test_someone_who_waits_can_invite_others_into_the_same_lobby(server, person):
    anna = person(server, open=False)
    anna.context.grant_permissions(["clipboard-read", "clipboard-write"])
    anna.page.add_init_script("delete Navigator.prototype.share")
    anna.open("/?lobby=cebu")
    anna.search()
    anna.button("Invite someone").click()
    expect(anna.notice).to_have_text("The link is copied. Send it to someone.")
    assert anna.page.evaluate("navigator.clipboard.readText()") == f"{server.url}/?lobby=cebu"
    anna.page.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(new Error('forbidden')); }")
    anna.button("Invite someone").click()
    expect(anna.notice).to_have_text(f"Send this link to someone: {server.url}/?lobby=cebu")


# The operator


def test_an_announcement_stays_until_it_is_dismissed(server, person, meet, operator):
    anna, bert = person(server), person(server)
    meet(anna, bert)
    operator.announce("Back in <b>five</b> minutes")
    for someone in (anna, bert):
        expect(someone.page.locator("#announcement-text")).to_have_text("Back in <b>five</b> minutes")
    expect(anna.page.get_by_role("status")).to_have_text("Back in <b>five</b> minutes")
    anna.button("Dismiss").click()
    expect(anna.page.locator("#announcement")).to_be_hidden()
    anna.say("see you then")
    expect(bert.messages("partner")).to_have_text(["see you then"])


def test_a_banned_person_sees_the_end_of_the_ban_and_does_not_reconnect(server, person, meet, operator):
    anna, bert = person(server), person(server)
    meet(anna, bert)
    operator.ban(anna.id, 3_600_000, NOTHING, "")
    expect(anna.heading).to_have_text("You can’t chat for now.")
    expect(anna.page.locator("#closed-text")).to_contain_text("You’ve been suspended until ")
    expect(bert.ended).to_have_text("The stranger lost the connection and didn’t come back.")
    anna.page.reload()
    expect(anna.heading).to_have_text("You can’t chat for now.")
    expect(anna.button("Continue here")).to_be_hidden()


# Languages


def test_the_browsers_language_is_spoken_and_another_can_be_chosen(server, person, meet):
    anna, bert = person(server, locale="es-MX"), person(server)
    expect(anna.heading).to_have_text("Saluda a alguien que no conoces.")
    anna.page.get_by_role("button", name="Empezar a chatear").click()
    bert.search()
    expect(anna.heading).to_have_text("La otra persona")
    expect(anna.messages("system")).to_have_text("Ya estás chateando. ¡Saluda a la otra persona!")
    bert.say("hola")
    anna.page.get_by_role("button", name="Más").click()
    anna.page.locator("#menu").get_by_role("button", name="Ajustes").click()
    anna.page.get_by_label("Idioma").select_option("fil")  # in the middle of a chat, which goes on
    expect(anna.page.get_by_role("dialog", name="Settings")).to_be_visible()
    anna.press("Escape")
    expect(anna.heading).to_have_text("Stranger")
    expect(anna.messages("system")).to_have_text("May kausap ka nang stranger. Kumustahin mo!")
    expect(anna.messages("partner")).to_have_text(["hola"])
    anna.page.reload()
    expect(anna.heading).to_have_text("Stranger")
    expect(anna.page.locator("html")).to_have_attribute("lang", "fil")


def test_a_language_chosen_later_says_the_same_as_one_chosen_before(server, person):
    anna, bert = person(server), person(server, locale="fil")
    everything = """() => [...document.querySelectorAll("body :not(noscript)")].flatMap((it) => [
        it.children.length ? "" : it.textContent.trim(), it.ariaLabel ?? "", it.placeholder ?? ""])"""
    for someone in (anna, bert):
        expect(someone.page.locator("#online-count")).to_have_text("2 online")
    anna.page.get_by_role("button", name="Settings").click()
    anna.page.get_by_label("Language").select_option("fil")
    expect(anna.page.locator("html")).to_have_attribute("lang", "fil")
    anna.press("Escape")
    assert anna.page.evaluate(everything) == bert.page.evaluate(everything)


# Looking elsewhere


def test_the_title_counts_what_is_unread_while_the_page_is_hidden(server, person, meet):
    anna, bert = person(server, open=False), person(server)
    anna.page.add_init_script(HIDEABLE)
    anna.open()
    meet(anna, bert)
    bert.say("seen")
    expect(anna.messages("partner")).to_have_count(1)
    expect(anna.page).to_have_title("Chatting · AniMoChat")
    anna.page.evaluate("hide(true)")
    bert.say("one")
    bert.say("two")
    expect(anna.page).to_have_title("(2) Chatting · AniMoChat")
    anna.page.evaluate("hide(false)")
    expect(anna.page).to_have_title("Chatting · AniMoChat")


def test_in_a_hidden_tab_a_match_counts_until_it_is_looked_at_or_the_room_ends(server, person, meet):
    anna, bert = person(server, open=False), person(server)
    anna.page.add_init_script(HIDEABLE)
    anna.open()
    anna.search()
    expect(anna.page).to_have_title("Looking… · AniMoChat")
    anna.page.evaluate("hide(true)")
    bert.search()
    expect(anna.page).to_have_title("(1) Chatting · AniMoChat")
    bert.say("hello")
    expect(anna.page).to_have_title("(2) Chatting · AniMoChat")
    anna.page.evaluate("hide(false)")
    expect(anna.page).to_have_title("Chatting · AniMoChat")
    anna.page.evaluate("hide(true)")
    bert.say("are you there?")
    expect(anna.page).to_have_title("(1) Chatting · AniMoChat")
    bert.button("Stop").click()
    expect(anna.page).to_have_title("Chat over · AniMoChat")
    anna.page.evaluate("hide(false)")
    expect(anna.page).to_have_title("Chat over · AniMoChat")


def test_sound_and_notification_come_only_if_switched_on(server, person, meet):
    anna, bert = person(server, open=False), person(server)
    anna.context.grant_permissions(["notifications"])
    anna.page.add_init_script(HIDEABLE)
    anna.page.add_init_script("""
      window.heard = 0;
      window.told = [];
      const start = OscillatorNode.prototype.start;
      OscillatorNode.prototype.start = function (when) { window.heard += 1; start.call(this, when); };
      window.Notification = class extends Notification {
        constructor(title, options) { super(title, options); window.told.push(options.body); }
      };
    """)
    anna.open()
    meet(anna, bert)
    anna.page.evaluate("hide(true)")
    bert.say("psst, a secret")
    expect(anna.messages("partner")).to_have_count(1)
    assert anna.page.evaluate("[heard, told]") == [0, []]  # not asked for

    anna.page.evaluate("hide(false)")
    anna.choose("Settings")
    anna.page.get_by_role("switch", name="Play a sound").click()
    anna.page.get_by_role("switch", name="Notify me").click()
    expect(anna.page.get_by_role("switch", name="Notify me")).to_be_checked()
    anna.button("Close").click()
    anna.page.evaluate("heard = 0")  # it was played once, to be known
    bert.say("not hidden")
    expect(anna.messages("partner")).to_have_count(2)
    assert anna.page.evaluate("[heard, told]") == [0, []]
    anna.page.evaluate("hide(true)")
    bert.say("hidden")
    expect(anna.messages("partner")).to_have_count(3)
    assert anna.page.evaluate("[heard, told]") == [
        2,
        ["A stranger wrote to you."],
    ]  # two notes; nothing of what was said


def test_notifications_that_the_browser_forbids_are_not_switched_on(server, person):
    anna = person(server, open=False)
    anna.page.add_init_script("Notification.requestPermission = async () => 'denied'")
    anna.open()
    anna.page.get_by_role("button", name="Settings").click()
    switch = anna.page.get_by_role("switch", name="Notify me")
    switch.click()
    expect(switch).not_to_be_checked()
    expect(anna.page.locator("#notify-note")).to_have_text(
        "Notifications are blocked for this page in your browser’s settings."
    )
