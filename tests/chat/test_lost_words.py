"""Known losses of the store are detected: no one who misses a message recovers with "nothing missing".

A message is acknowledged while its receiver is away, and the store comes back without it, like a replica that was
behind and takes over. The sender's worker knows its client's last message.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from tests.chat.test_recovery import away, comes_back, meet, texts
from tests.faults.crowd import Crowd, Member
from tests.faults.network import Network
from tests.helpers.old_store import OldStore
from tests.helpers.people import NO_RATES, running
from tests.helpers.servers import RedisServer, eventually

GRACE_MS = 60_000


class Places(NamedTuple):
    """Anna's server, the way from it to the store; the way from Bert to his; the store."""

    annas: str
    to_store: Network
    berts: Network
    store: OldStore


@pytest.fixture
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Places]:
    directory = tmp_path_factory.mktemp("lost")
    store = RedisServer(directory).start()
    with contextlib.ExitStack() as stack:
        stack.callback(store.stop)
        to_store = stack.enter_context(Network(store.url))
        servers = []
        for name, url in (("annas", to_store.url), ("berts", store.url)):
            (directory / name).mkdir()
            servers += stack.enter_context(
                running(directory / name, 1, url, RECONNECT_GRACE_MS=str(GRACE_MS), **NO_RATES)
            )
        berts = stack.enter_context(Network(servers[1].url))
        yield Places(servers[0].url, to_store, berts, OldStore(store))


@pytest.fixture
def crowd(crowd_process: Crowd) -> Iterator[Crowd]:
    yield crowd_process
    crowd_process.send_away()


def tells(sender: Member, content: str) -> dict[str, Any]:
    """Send a message until it is stored; return the acknowledgement."""

    def stored() -> dict[str, Any] | None:
        answer = sender.call("send-message", {"content": content, "clientId": content})
        return answer if answer["ok"] else None

    answer = eventually(stored, what="a message that is stored")
    assert answer is not None
    return answer


def contents(session: dict[str, Any]) -> list[str]:
    return [message["content"] for message in session["room"]["messages"][1:]]


def shown(member: Member) -> dict[str, Any]:
    """Return the client's next session in a chat."""
    return member.wait("session", where=lambda session: session["state"] == "chatting")  # type: ignore[no-any-return]


@pytest.mark.parametrize("goes_on", [False, True], ids=["and says no more", "and goes on talking"])
def test_a_returning_client_learns_of_lost_messages(places: Places, crowd: Crowd, goes_on: bool) -> None:
    anna, bert = crowd.join(places.annas), crowd.join(places.berts.url)
    meet(anna, bert)
    tells(anna, "before")
    bert.wait("message", where=lambda message: message["content"] == "before")
    away(places.berts, anna)
    restore = places.store.snapshot()
    lost = tells(anna, "lost")
    restore()
    if goes_on:
        assert tells(anna, "kept")["seq"] == lost["seq"] + 1
    else:
        eventually(lambda: anna.call("typing", True)["ok"], what="a worker that has looked at everything")
    places.berts.up = True
    if goes_on:
        comes_back(bert, recovered=False)
    session = shown(bert)
    assert (session["recovered"], contents(session)) == (False, ["before", "kept"] if goes_on else ["before"])
    tells(anna, "after")
    bert.wait("message", where=lambda message: message["content"] == "after")
    # and once is enough
    places.berts.cut()
    bert.wait("disconnect")
    bert.wait("connect", where=lambda told: told["recovered"] is True)
    assert texts(bert).count("after") == 1


def test_a_client_that_returned_earlier_learns_of_the_loss_afterwards(places: Places, crowd: Crowd) -> None:
    anna, bert = crowd.join(places.annas), crowd.join(places.berts.url)
    meet(anna, bert)
    tells(anna, "before")
    bert.wait("message", where=lambda message: message["content"] == "before")
    away(places.berts, anna)
    restore = places.store.snapshot()
    tells(anna, "lost")
    places.to_store.up = False
    restore()
    places.to_store.cut()
    places.berts.up = True
    bert.wait("disconnect")
    comes_back(bert)
    assert bert.call("no-such-event")["ok"] is False
    places.to_store.up = True
    assert contents(shown(bert)) == ["before"]
    tells(anna, "after")
    bert.wait("message", where=lambda message: message["content"] == "after")


def test_a_client_without_losses_gets_no_new_session(places: Places, crowd: Crowd) -> None:
    anna, bert = crowd.join(places.annas), crowd.join(places.berts.url)
    meet(anna, bert)
    restore = places.store.snapshot()
    for number in range(3):
        tells(anna, f"anna {number}")
        tells(bert, f"bert {number}")
    for member, name in ((anna, "bert"), (bert, "anna")):
        member.wait("message", where=lambda message, name=name: message["content"] == f"{name} 2")
    restore()
    for member, name in ((anna, "anna"), (bert, "bert")):
        tells(member, f"{name} 3")
    for member, name in ((anna, "bert"), (bert, "anna")):
        member.wait("message", where=lambda message, name=name: message["content"] == f"{name} 3")
        member.settle()
        assert member.events().count("session") == 1
        assert texts(member) == [f"{name} {number}" for number in range(4)]
    places.berts.cut()
    bert.wait("disconnect")
    comes_back(bert)
