"""The checker finds every violation: each of these histories has exactly one."""

from __future__ import annotations

from typing import Any

import pytest

from animochat.loadtest.history import Excuse, History

ROOM, OTHER = "r1", "r2"


def meeting(history: History, room: str = ROOM, anna: str = "anna", bert: str = "bert") -> None:
    """Match the two; their user ids are made of their names and the room's."""
    for one, two in ((anna, bert), (bert, anna)):
        history.event(one, "matched", {"roomId": room, "userId": one + room, "partnerId": two + room})


def message(sender: str, content: str, seq: int, room: str = ROOM) -> dict[str, Any]:
    names = {"id": f"{room}-{seq}", "roomId": room, "seq": seq, "senderId": sender + room}
    return {**names, "content": content, "type": "text"}


def says(history: History, sender: str, content: str, seq: int | None, room: str = ROOM) -> None:
    """The sender's events of one message; `seq` None: never acknowledged."""
    history.note(sender, "sent", room=room, content=content)
    if seq is not None:
        history.note(sender, "acknowledged", content=content, id=f"{room}-{seq}", seq=seq)


def hears(history: History, receiver: str, sender: str, content: str, seq: int, room: str = ROOM) -> None:
    history.event(receiver, "message", message(sender, content, seq, room))


@pytest.fixture
def history() -> History:
    """Two people who talk; all their messages have arrived."""
    history = History()
    meeting(history)
    says(history, "anna", "a1", 1)
    hears(history, "bert", "anna", "a1", 1)
    says(history, "bert", "b1", 2)
    hears(history, "anna", "bert", "b1", 2)
    return history


def the_violation(history: History) -> str:
    found = history.violations()
    assert len(found) == 1, found
    return found[0]


def the_violation_of(history: History, kind: str) -> str:
    (found,) = [violation for violation in history.violations() if violation.startswith(kind)]
    return found


# Right


def test_a_conversation_is_right(history: History) -> None:
    assert history.violations() == []
    assert history.counts()["received"] == 2


def test_an_unacknowledged_message_may_or_may_not_have_arrived(history: History) -> None:
    says(history, "anna", "a2", None)
    says(history, "anna", "a3", None)
    hears(history, "bert", "anna", "a3", 3)
    assert history.violations() == []


def test_the_last_words_of_a_room_that_is_over_may_be_missing(history: History) -> None:
    says(history, "anna", "a2", 3)
    history.event("anna", "partner-disconnected", {"reason": "left"})
    history.note("bert", "leaving", room=ROOM)
    assert history.violations() == []


def test_a_new_session_shows_all_messages(history: History) -> None:
    says(history, "anna", "a2", 3)
    messages = [message("anna", "a1", 1), message("bert", "b1", 2), message("anna", "a2", 3)]
    shown = {"roomId": ROOM, "userId": "bert" + ROOM, "partnerId": "anna" + ROOM, "messages": messages}
    history.event("bert", "session", {"room": shown})
    assert history.violations() == []


def test_one_after_the_other_are_not_two_rooms(history: History) -> None:
    for name in ("anna", "bert"):
        history.event(name, "partner-disconnected", {"reason": "disconnected"})
    meeting(history, OTHER, "anna", "carla")
    assert history.violations() == []


def test_a_message_under_way_is_not_lost_yet(history: History) -> None:
    says(history, "anna", "a2", 3)
    assert history.violations(settled=False) == []


# Excuses: each is valid only under its condition


def unreceived(history: History) -> None:
    """Anna sends a message that never arrives."""
    says(history, "anna", "a2", 3)


def test_receiver_left_excuses_last_words_alone(history: History) -> None:
    unreceived(history)
    says(history, "anna", "a3", 4)
    history.note("bert", "leaving", room=ROOM)
    history.event("anna", "partner-disconnected", {"reason": "left"})
    assert history.violations() == []
    assert history.excused == {Excuse.RECEIVER_LEFT: 2}
    hears(history, "bert", "anna", "a3", 4)
    assert the_violation(history) == "lost: anna's 'a2' (r1-3) never arrived"
    assert not history.excused


def test_receiver_left_does_not_excuse_the_leavers_own_words(history: History) -> None:
    says(history, "bert", "b2", 3)
    history.note("bert", "leaving", room=ROOM)
    history.event("anna", "partner-disconnected", {"reason": "left"})
    assert the_violation(history) == "lost: bert's 'b2' (r1-3) never arrived"


def test_grace_time_excuses_a_partner_who_is_gone_and_no_other() -> None:
    for note, expected in (("gone", []), ("leaving", ["alone: bert is in r1, which its partner knows to be over"])):
        history = History()
        meeting(history)
        history.note("anna", note, room=ROOM)
        history.note("anna", "leaving", room=ROOM)
        assert history.violations() == expected
        assert history.excused[Excuse.GRACE_TIME] == (note == "gone")


def test_receiver_unaware_does_not_excuse_a_receiver_that_knew_the_room() -> None:
    for aware in (False, True):
        history = History()
        history.event("anna", "matched", {"roomId": ROOM, "userId": "anna" + ROOM, "partnerId": "bert" + ROOM})
        if aware:
            history.event("bert", "matched", {"roomId": ROOM, "userId": "bert" + ROOM, "partnerId": "anna" + ROOM})
            history.event("bert", "partner-disconnected", {"reason": "disconnected"})
        unreceived(history)
        history.note("anna", "leaving", room=ROOM)
        found = [violation for violation in history.violations() if violation.startswith("lost")]
        assert bool(found) == aware
        assert history.excused[Excuse.RECEIVER_UNAWARE] == (not aware)


def test_room_lost_does_not_excuse_a_member_at_the_end(history: History) -> None:
    unreceived(history)
    history.event("bert", "session", {})
    history.event("anna", "partner-disconnected", {"reason": "disconnected"})
    assert history.violations() == []
    assert history.excused == {Excuse.ROOM_LOST: 1}


def test_room_lost_does_not_excuse_an_end_that_someone_chose(history: History) -> None:
    unreceived(history)
    history.event("bert", "partner-disconnected", {"reason": "left"})
    history.event("bert", "session", {})
    history.note("anna", "leaving", room=ROOM)
    assert the_violation(history) == "lost: anna's 'a2' (r1-3) never arrived"


def test_crossed_excuses_no_message_after_the_end(history: History) -> None:
    for sent_before in (True, False):
        history = History()
        meeting(history)
        if sent_before:
            history.note("anna", "sent", room=ROOM, content="a2")
        history.note("bert", "leaving", room=ROOM)
        history.note("bert", "left", room=ROOM)
        if not sent_before:
            history.note("anna", "sent", room=ROOM, content="a2")
        history.note("anna", "acknowledged", content="a2", id=f"{ROOM}-1", seq=1)
        history.event("anna", "partner-disconnected", {"reason": "left"})
        assert [v.partition(":")[0] for v in history.violations()] == ([] if sent_before else ["over"])
        assert history.excused[Excuse.CROSSED] == sent_before


@pytest.mark.parametrize(("shown", "excused"), [([3], 1), ([1], 0)])
def test_older_than_shown_excuses_nothing_newer(history: History, shown: list[int], excused: int) -> None:
    says(history, "anna", "a2", 3)
    hears(history, "bert", "anna", "a2", 3)
    texts = {1: "a1", 3: "a2"}
    messages = [message("anna", texts[seq], seq) for seq in shown]
    names = {"roomId": ROOM, "userId": "bert" + ROOM, "partnerId": "anna" + ROOM}
    history.event("bert", "session", {"room": {**names, "messages": messages}})
    assert bool(history.violations()) == (not excused)
    assert history.excused[Excuse.OLDER_THAN_SHOWN] == excused


def test_met_again_does_not_excuse_people_who_may_not_meet() -> None:
    history = History(may_meet_again=True, forbidden=[("anna", "bert")])
    for room in (ROOM, OTHER):
        meeting(history, room)
        for name in ("anna", "bert"):
            history.event(name, "partner-disconnected", {"reason": "left"})
    assert the_violation(history).startswith("forbidden:")
    assert history.excused == {Excuse.MET_AGAIN: 1}


def test_on_its_way_excuses_only_what_has_not_arrived_yet(history: History) -> None:
    unreceived(history)
    assert history.violations(settled=False) == []
    assert history.excused == {Excuse.ON_ITS_WAY: 1}
    hears(history, "anna", "bert", "never said", 4)
    assert len(history.violations(settled=False)) == 1
    assert the_violation_of(history, "lost") == "lost: anna's 'a2' (r1-3) never arrived"


def test_each_excuse_has_its_reason_and_each_violation_its_name() -> None:
    assert all(len(excuse.value) > 20 for excuse in Excuse)
    assert len({excuse.value for excuse in Excuse}) == len(Excuse)


# Wrong


def test_a_lost_message_is_found(history: History) -> None:
    says(history, "anna", "a2", 3)
    assert the_violation(history) == "lost: anna's 'a2' (r1-3) never arrived"


def test_a_message_lost_in_the_middle_is_found_even_if_the_room_is_over(history: History) -> None:
    says(history, "anna", "a2", 3)
    says(history, "anna", "a3", 4)
    hears(history, "bert", "anna", "a3", 4)
    for name in ("anna", "bert"):
        history.event(name, "partner-disconnected", {"reason": "disconnected"})
    assert the_violation(history) == "lost: anna's 'a2' (r1-3) never arrived"


@pytest.mark.parametrize("reason", ["left", "skipped", "disconnected"])
def test_last_words_that_are_missing_where_their_receiver_stayed_are_found(history: History, reason: str) -> None:
    says(history, "anna", "a2", 3)
    history.note("anna", "leaving", room=ROOM)
    history.event("bert", "partner-disconnected", {"reason": reason})
    assert the_violation(history) == "lost: anna's 'a2' (r1-3) never arrived"


def test_a_message_that_arrives_twice_is_found(history: History) -> None:
    hears(history, "bert", "anna", "a1", 1)
    assert the_violation(history).startswith("twice:")


def test_a_message_that_is_stored_twice_is_found(history: History) -> None:
    hears(history, "bert", "anna", "a1", 3)
    assert the_violation(history).startswith("twice:")


def test_a_message_that_a_session_has_shown_and_that_comes_again_is_found(history: History) -> None:
    shown = {
        "roomId": ROOM, "userId": "bert" + ROOM, "partnerId": "anna" + ROOM, "messages": [message("anna", "a1", 1)],
    }  # fmt: skip
    history.event("bert", "session", {"room": shown})
    hears(history, "bert", "anna", "a1", 1)
    assert the_violation(history).startswith("twice:")


def test_a_session_without_an_arrived_message_is_found(history: History) -> None:
    shown = {"roomId": ROOM, "userId": "bert" + ROOM, "partnerId": "anna" + ROOM, "messages": []}
    history.event("bert", "session", {"room": shown})
    assert the_violation(history).startswith("lost:")


def test_two_messages_that_change_places_are_found(history: History) -> None:
    says(history, "anna", "a2", 3)
    says(history, "anna", "a3", 4)
    hears(history, "bert", "anna", "a3", 4)
    hears(history, "bert", "anna", "a2", 3)
    assert {found.partition(":")[0] for found in history.violations()} == {"late", "order"}


def test_another_order_than_the_senders_is_found(history: History) -> None:
    says(history, "anna", "a2", 4)
    says(history, "anna", "a3", 3)
    hears(history, "bert", "anna", "a3", 3)
    hears(history, "bert", "anna", "a2", 4)
    assert [found.partition(":")[0] for found in history.violations()] == ["late", "late"]


def test_messages_that_arrive_after_newer_ones_are_found(history: History) -> None:
    """As when a worker stores a replaced connection's message much later, without an acknowledgement."""
    says(history, "anna", "a2", None)
    says(history, "anna", "a3", 3)
    hears(history, "bert", "anna", "a3", 3)
    hears(history, "bert", "anna", "a2", 4)
    assert the_violation(history) == "late: bert got anna's 'a2' behind what was said later in r1"


def test_messages_that_were_stored_after_newer_ones_are_found(history: History) -> None:
    says(history, "anna", "a2", 4)
    says(history, "anna", "a3", 3)
    for name in ("anna", "bert"):
        history.event(name, "partner-disconnected", {"reason": "disconnected"})
    assert the_violation_of(history, "late") == "late: anna's 'a3' (3) was stored ahead of what was said earlier in r1"


@pytest.mark.parametrize("how", ["told", "left", "session"])
def test_acknowledgements_in_a_room_that_was_over_are_found(history: History, how: str) -> None:
    """The partner knew it: it got the end, an acknowledgement of its own leaving, or a new session without the room."""
    if how == "told":
        history.event("bert", "partner-disconnected", {"reason": "disconnected"})
    elif how == "left":
        history.note("bert", "leaving", room=ROOM)
        history.note("bert", "left", room=ROOM)
    else:
        history.event("bert", "session", {})
    says(history, "anna", "a2", 3)
    history.event("anna", "partner-disconnected", {"reason": "left"})
    assert the_violation_of(history, "over") == "over: anna's 'a2' was acknowledged in r1, over when it was sent"


def test_the_last_attempt_to_send_a_message_counts(history: History) -> None:
    history.note("anna", "sent", room=ROOM, content="a2")
    history.note("bert", "leaving", room=ROOM)
    history.note("bert", "left", room=ROOM)
    history.note("anna", "repeated", room=ROOM, content="a2")
    history.note("anna", "acknowledged", content="a2", id="r1-3", seq=3)
    history.event("anna", "partner-disconnected", {"reason": "left"})
    assert the_violation(history).startswith("over:")


def test_messages_under_way_when_the_room_ends_may_be_acknowledged(history: History) -> None:
    history.note("anna", "sent", room=ROOM, content="a2")
    history.note("bert", "leaving", room=ROOM)
    history.note("bert", "left", room=ROOM)
    history.note("anna", "acknowledged", content="a2", id="r1-3", seq=3)
    history.event("anna", "partner-disconnected", {"reason": "left"})
    assert history.violations() == []


def test_a_place_with_two_messages_is_found(history: History) -> None:
    """As when the store has lost the end of its data and counts on from there."""
    says(history, "anna", "a2", 2)
    assert any(found.startswith("place: 2 in r1") for found in history.violations())


def test_another_place_for_the_sender_than_for_the_receiver_is_found(history: History) -> None:
    says(history, "anna", "a2", 3)
    hears(history, "bert", "anna", "a2", 4)
    assert "lost: anna's 'a2' (r1-3) never arrived" in history.violations()


def test_messages_without_a_sender_are_found(history: History) -> None:
    hears(history, "bert", "anna", "I'm a bot", 3)
    assert the_violation(history).startswith("invented:")


def test_a_strangers_messages_are_found(history: History) -> None:
    meeting(history, OTHER, "carla", "dora")
    says(history, "carla", "c1", None, OTHER)
    hears(history, "bert", "anna", "c1", 3)
    assert the_violation(history).startswith("invented:")


def test_messages_of_another_room_are_found(history: History) -> None:
    hears(history, "bert", "anna", "a1", 1, OTHER)
    assert the_violation(history).startswith("wrong room:")


def test_messages_after_the_end_of_the_room_are_found(history: History) -> None:
    for name in ("anna", "bert"):
        history.event(name, "partner-disconnected", {"reason": "left"})
    hears(history, "bert", "anna", "a2", 3)
    assert the_violation(history).startswith("wrong room:")


def test_messages_stored_without_the_sender_in_the_room_are_found(history: History) -> None:
    says(history, "anna", "a2", 1, OTHER)
    assert the_violation(history).startswith("wrong room:")


def test_a_person_in_two_rooms_is_found(history: History) -> None:
    meeting(history, OTHER, "anna", "carla")
    assert "two rooms: anna came into r2 while in r1" in history.violations()


def test_three_in_a_room_are_found(history: History) -> None:
    history.event("carla", "matched", {"roomId": ROOM, "userId": "x", "partnerId": "y"})
    assert the_violation(history).startswith("crowd:")


def test_partners_who_do_not_have_each_other_are_found() -> None:
    history = History()
    history.event("anna", "matched", {"roomId": ROOM, "userId": "u1", "partnerId": "u2"})
    history.event("bert", "matched", {"roomId": ROOM, "userId": "u3", "partnerId": "u1"})
    assert the_violation(history).startswith("names:")


def test_people_who_meet_again_are_found(history: History) -> None:
    for name in ("anna", "bert"):
        history.event(name, "partner-disconnected", {"reason": "disconnected"})
    meeting(history, OTHER)
    assert the_violation(history) == "again: ['anna', 'bert'] met 2 times"
    history.may_meet_again = True
    assert history.violations() == []


def test_people_who_may_not_meet_are_found() -> None:
    history = History(forbidden=[("anna", "bert")])
    meeting(history)
    assert the_violation(history) == "forbidden: ['anna', 'bert'] met"


def test_a_partner_who_vanished_without_notice_is_found(history: History) -> None:
    history.event("bert", "partner-disconnected", {"reason": "disconnected"})
    assert the_violation(history) == "alone: anna is in r1, which its partner knows to be over"


def test_a_match_without_a_partner_is_found() -> None:
    history = History()
    history.event("anna", "matched", {"roomId": ROOM, "userId": "u1", "partnerId": "u2"})
    assert the_violation(history) == "alone: anna is in r1 without a partner"


def test_the_end_of_an_unknown_room_is_found(history: History) -> None:
    history.event("carla", "partner-disconnected", {"reason": "left"})
    assert the_violation(history).startswith("no room:")
