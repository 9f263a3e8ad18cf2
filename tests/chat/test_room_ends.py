"""However a room ends, a live worker closes its log within a tick, and the log expires 15 minutes later."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest
import redis

from animochat.matchmaking import service as matchmaking
from animochat.moderation import lobby_moderation as moderation
from animochat.presence import service as presence
from animochat.rooms import service as rooms
from animochat.rooms.life import CLOSING_MS, ENDED_LIFE_MS, LOG_LIFE_MS, PORTION, TAKE_ENDED
from animochat.store import keys
from tests.helpers.local_chat import LocalClient, pair, start_chat
from tests.helpers.people import goodbye, meet, running, say
from tests.helpers.room_ends import ENDS
from tests.helpers.servers import Client, PythonClient, Server, eventually
from tests.helpers.store import GRACE_MS, Lobby, Person, cooperative, soon
from tests.helpers.store_kinds import Store, running_store

SCRIPTS = presence.SCRIPTS + matchmaking.SCRIPTS + rooms.SCRIPTS + moderation.SCRIPTS


@pytest.fixture
def lobby(redis_url: str) -> Iterator[Lobby]:
    lobby = Lobby(redis_url)
    lobby.load_scripts(*SCRIPTS)
    yield lobby
    lobby.close()


#: The scripts that these go through.
ENDING = {
    "rooms/leave_room", "matchmaking/next_match", "moderation/block_partner", "moderation/report_partner",
    "moderation/ban_person", "presence/disconnect", "matchmaking/tick", "presence/connect", "rooms/end_rooms",
}  # fmt: skip


def test_every_script_that_ends_rooms_is_tried_here() -> None:
    assert {script.name for script in SCRIPTS if "function end_room(" in script.source} == ENDING


def write(lobby: Lobby, room: str) -> None:
    """Return the room's messages in the store."""
    tag = keys.room(room)
    with lobby.batch() as batch:
        batch.xadd(f"{tag}:log", {"s": "a", "t": lobby.now, "m": "x"}, id="1-0")
        batch.hset(f"{tag}:meta", "seq", 1)
        for name in ("log", "meta"):
            batch.pexpire(f"{tag}:{name}", LOG_LIFE_MS)


def lives(lobby: Lobby, room: str) -> dict[str, int]:
    """PTTL of the room's keys, by name."""
    tag = keys.room(room)
    return {name: lobby.pipeline.execute("PTTL", f"{tag}:{name}") for name in ("log", "meta")}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS.keys())
def test_no_key_of_a_room_outlives_its_end_by_more_than_15_minutes(
    lobby: Lobby, end: Callable[[Lobby, Person, Person], object]
) -> None:
    anna, bert = lobby.pair("anna", "bert")
    room = anna.room or ""
    write(lobby, room)
    end(lobby, anna, bert)
    assert lobby.sorted_set(":rooms") == {}
    lobby.workers[-1].rooms.life.close_ended()
    assert all(0 < life <= 15 * 60_000 for life in lives(lobby, room).values()), lives(lobby, room)
    assert lobby.sorted_set(":ended") == {}
    assert lobby.hash(f":room:{room}") == {}


def test_where_nothing_is_stored_the_rest_goes_after_the_grace_time(lobby: Lobby) -> None:
    anna, _ = lobby.pair("anna", "bert")
    room = anna.room or ""
    write(lobby, room)
    anna.leave()
    lobby.worker.rooms.life._ended_life_ms = GRACE_MS
    lobby.worker.rooms.life.close_ended()
    assert all(0 < life <= GRACE_MS for life in lives(lobby, room).values())


@cooperative
def test_report_window_minutes_says_how_long_a_room_is_kept_and_may_be_named(store_url: str) -> None:
    chat = start_chat(store_url, REPORT_WINDOW_MINUTES="3")
    anna, _ = pair(chat)
    room = anna.payload("matched")["roomId"]
    anna.call("send-message", "hi")
    anna.call("leave-room")
    tag, past = keys.room(room), f"{keys.lobby()}:past:{room}"
    soon(lambda: all(0 < chat.pipeline.execute("PTTL", k) <= 180_000 for k in (f"{tag}:log", f"{tag}:meta", past)))
    limits = anna.payload("session")["limits"]
    assert (limits["reportAfterMs"], limits["reportsIncludeMessages"]) == (180_000, True)
    chat.stop(1)


@cooperative
def test_without_a_window_no_room_may_be_named_after_its_end_and_no_client_offers_it(store_url: str) -> None:
    chat = start_chat(store_url, REPORT_WINDOW_MINUTES="0", STORE_MESSAGES="0")
    anna, _ = pair(chat)
    room, token = anna.payload("matched")["roomId"], anna.payload("session")["token"]
    anna.call("leave-room")
    assert anna.call("block-partner", {"roomId": room})["error"]["code"] == "not-in-room"
    session = LocalClient(chat, {"token": token}).joined().payload("session")
    assert "lastRoom" not in session
    assert (session["limits"]["reportAfterMs"], session["limits"]["reportsIncludeMessages"]) == (0, False)
    chat.stop(1)


def test_the_first_close_of_a_log_sets_its_expiry(lobby: Lobby) -> None:
    """A worker that comes late, or a member who comes back late, must not keep it for longer."""
    anna, _ = lobby.pair("anna", "bert")
    room = anna.room or ""
    write(lobby, room)
    anna.leave()
    lobby.worker.rooms.life.close_ended()
    for name in ("log", "meta"):
        lobby.pipeline.execute("PEXPIRE", f"{keys.room(room)}:{name}", 1000)
    lobby.worker.rooms.life.close(room)
    assert lobby.worker.rooms.attach(room, "anna", "a", lobby.now).last_seq == 1
    assert all(0 < life <= 1000 for life in lives(lobby, room).values())


def take(lobby: Lobby) -> list[bytes]:
    return list(lobby.pipeline.call(TAKE_ENDED, [keys.lobby()], [PORTION, CLOSING_MS, ENDED_LIFE_MS, lobby.now]))


def test_logs_of_a_dead_worker_are_closed_by_another(lobby: Lobby) -> None:
    anna, _ = lobby.pair("anna", "bert")
    room = anna.room or ""
    write(lobby, room)
    anna.leave()
    assert take(lobby) == [room.encode()]
    other = lobby.add_worker()
    other.rooms.life.close_ended()
    assert lives(lobby, room)["log"] > ENDED_LIFE_MS  # the first may be at it
    lobby.pass_time(CLOSING_MS)
    other.rooms.life.close_ended()
    assert 0 < lives(lobby, room)["log"] <= ENDED_LIFE_MS


def test_one_script_takes_a_bounded_number_of_rooms_and_none_is_left(lobby: Lobby) -> None:
    names = {f"r{number}": 0 for number in range(2 * PORTION + 1)}
    with lobby.batch() as batch:
        batch.zadd(f"{keys.lobby()}:ended", names)
    assert len(take(lobby)) == PORTION
    lobby.pass_time(CLOSING_MS)
    lobby.worker.rooms.life.close_ended()
    assert lobby.sorted_set(":ended") == {}


# With servers, on each kind of store


def expiry(store: Store, name: str) -> int:
    """PTTL, asked at the node that has the key."""
    for admin in store.admins:
        with contextlib.suppress(redis.ResponseError):
            return int(admin.execute_command("PTTL", name))
    raise AssertionError("no node has it")


@pytest.fixture(scope="module", params=["redis", "redis-6.2", "cluster"])
def chat(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Store, Server]]:
    directory = tmp_path_factory.mktemp("ends")
    with (
        running_store(request.param, directory) as store,
        running(directory, store=store.url, RECONNECT_GRACE_MS="500") as (server,),
    ):
        yield store, server


def both_vanish(anna: Client, bert: Client) -> None:
    anna.drop()
    bert.drop()


def one_vanishes_and_the_other_says_goodbye(anna: Client, bert: Client) -> None:
    anna.drop()
    bert.wait("partner-reconnecting")
    goodbye(bert)


def both_say_goodbye(anna: Client, bert: Client) -> None:
    goodbye(anna)
    goodbye(bert)


@pytest.mark.parametrize("end", [both_vanish, one_vanishes_and_the_other_says_goodbye, both_say_goodbye])
def test_logs_are_closed_without_any_connection(
    chat: tuple[Store, Server], end: Callable[[Client, Client], None]
) -> None:
    store, server = chat
    anna, bert = PythonClient(server.url), PythonClient(server.url)
    try:
        for client in (anna, bert):
            client.connect(transports=["websocket"])
        room = meet(anna, bert)[0]["roomId"]
        say(anna, bert, "a secret")
        end(anna, bert)

        def closed() -> bool:
            names = [f"{keys.room(room)}:{name}" for name in ("log", "meta")]
            return all(0 < expiry(store, name) <= ENDED_LIFE_MS for name in names)

        eventually(closed, 20, "a log that goes")
    finally:
        for client in (anna, bert):
            client.close()
