"""A hundred thousand people waiting: how long the longest matchmaking script takes, and whether it finds whom it must.

    python bench/waiting.py CASE REDIS_URL      # bench/run.py --scenario waiting-… does this on a store of its own

Cases: `nobody-excluded`, `met-some`, `met-all`. Runs the scripts themselves, through the project's own services, on an
otherwise empty store, with no server around them. Times are the store's own: what everybody else who
uses that store has to wait for. The people who wait are written directly, because people who may meet would not stay
waiting.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

import redis

from animochat.matchmaking.service import SCRIPTS as MATCHMAKING_SCRIPTS
from animochat.matchmaking.service import Matchmaking
from animochat.presence.service import SCRIPTS as PRESENCE_SCRIPTS
from animochat.presence.service import Presence
from animochat.store import keys
from animochat.store.pipeline import Pipeline

WORKER = "benchmrk"
HISTORY_MS = 24 * 3600 * 1000
COOLDOWN_MS = 5000
INTEREST_WAIT_MS = 10_000

#: Commands that are written at once while filling the store.
BATCH = 1000

#: Calls of the tick after which a search that is still going on counts as endless.
MOST_TICKS = 5000

Result = dict[str, float]


class MissedPartner(AssertionError):
    """Somebody was left waiting although there was a partner, or was matched with somebody already met."""


class Lobby:
    """A store with one live worker and as many waiting people as a case wants.

    Time stands still at the moment of making, so that the worker's one heartbeat stays recent.
    """

    def __init__(self, url: str) -> None:
        self.store: Any = redis.Redis.from_url(url)
        self.now = int(time.time() * 1000)
        self.tag = keys.lobby()
        # Nobody is matched with a worker that does not listen.
        self._subscription = self.store.pubsub()
        self._subscription.subscribe(keys.worker_channel(WORKER))
        self._subscription.get_message(timeout=5)
        pipeline = Pipeline(url, [*MATCHMAKING_SCRIPTS, *PRESENCE_SCRIPTS])
        pipeline.start()
        self.presence = Presence(pipeline, WORKER, clock=lambda: self.now)
        self.matchmaking = Matchmaking(pipeline, HISTORY_MS, COOLDOWN_MS, INTEREST_WAIT_MS, clock=lambda: self.now)
        self.presence.heartbeat(0)

    def fill(self, count: int) -> list[str]:
        """Let `count` people wait; gives their names."""
        people = [f"waiting{number:06}" for number in range(count)]
        with self.store.pipeline(transaction=False) as batch:
            for arrival, person in enumerate(people, 1):
                record = {"worker": WORKER, "conn": f"c-{person}", "waiting": self.now, "v": 1}
                batch.hset(f"{self.tag}:person:{person}", mapping=record)
                batch.zadd(f"{self.tag}:pool", {person: arrival})
                if arrival % BATCH == 0:
                    batch.execute()
            batch.hset(f"{self.tag}:counters", "arrivals", count)
            batch.execute()
        return people

    def have_met(self, seeker: str, people: Iterable[str]) -> None:
        """Write that the seeker met these: what stands in the seeker's own set decides."""
        until = self.now + HISTORY_MS // 2
        met = list(people)
        for start in range(0, len(met), BATCH):
            self.store.zadd(f"{self.tag}:met:{seeker}", dict.fromkeys(met[start : start + BATCH], until))

    def arrive(self, people: Iterable[str]) -> None:
        """Connect these people."""
        for person in people:
            self.presence.connect(person, f"c-{person}")

    def seek(self, seeker: str) -> str:
        """Ask for a partner; "matched" or "waiting"."""
        return self.matchmaking.find_match(seeker, f"c-{seeker}").state

    def partner_of(self, person: str) -> str | None:
        """The person in the same room, or None."""
        room = self.store.hget(f"{self.tag}:person:{person}", "room")
        if room is None:
            return None
        members = [name.decode() for name in self.store.hmget(f"{self.tag}:room:{room.decode()}", "a", "b")]
        members.remove(person)
        return str(members[0])

    def tick_until_idle(self) -> int:
        """Run the tick while somebody's search is due; gives how often it ran."""
        for ticks in range(MOST_TICKS):
            if not self.store.zcount(f"{self.tag}:searching", "-inf", self.now):
                return ticks
            self.matchmaking.tick()
        raise MissedPartner(f"still searching after {MOST_TICKS} ticks")

    def watch(self) -> None:
        """Note the time of every script from here on."""
        self.store.config_set("latency-tracking-info-percentiles", "50 99 100")
        self.store.config_resetstat()

    def script_times(self) -> Result:
        """What the store's own statistics say of the scripts that ran since `watch`, in milliseconds.

        SLOWLOG would be the obvious tool, but it also notes every command within a script, in the script's own time.
        """
        percentiles = self.store.info("latencystats")["latency_percentiles_usec_evalsha"]
        return {
            "scripts": self.store.info("commandstats")["cmdstat_evalsha"]["calls"],
            "p50_ms": percentiles["p50"] / 1000,
            "p99_ms": percentiles["p99"] / 1000,
            "longest_ms": percentiles["p100"] / 1000,
        }


def nobody_excluded(lobby: Lobby) -> Result:
    """100,000 wait; 500 who know nobody come: each is matched at once."""
    lobby.fill(100_000)
    seekers = [f"seeker{number}" for number in range(500)]
    lobby.arrive(seekers)
    lobby.watch()
    waiting = [seeker for seeker in seekers if lobby.seek(seeker) != "matched"]
    if waiting:
        raise MissedPartner(f"{waiting} wait")
    return lobby.script_times()


def met_some(lobby: Lobby) -> Result:
    """100,000 wait; 30 come who have each met 10,000 of them: each is matched at once, with somebody else."""
    people = lobby.fill(100_000)
    met = {f"seeker{number}": set(random.sample(people, 10_000)) for number in range(30)}
    for seeker, acquaintances in met.items():
        lobby.have_met(seeker, acquaintances)
    lobby.arrive(met)
    lobby.watch()
    for seeker in met:
        lobby.seek(seeker)
    # A draw that hits acquaintances alone is rare and is made good by the next ticks.
    lobby.tick_until_idle()
    times = lobby.script_times()
    for seeker, acquaintances in met.items():
        partner = lobby.partner_of(seeker)
        if partner is None or partner in acquaintances:
            raise MissedPartner(f"{seeker} was matched with {partner}")
    return times


def met_all(lobby: Lobby) -> Result:
    """10,000 wait; 20 come at once who have met all of them, then 20 who have met all but one."""
    people = lobby.fill(10_000)
    knowing_all = [f"all{number}" for number in range(20)]
    knowing_most = {f"most{number}": person for number, person in enumerate(random.sample(people, 20))}
    for seeker in knowing_all:
        lobby.have_met(seeker, [*people, *knowing_all, *knowing_most])
    for seeker, stranger in knowing_most.items():
        lobby.have_met(seeker, {*people, *knowing_all, *knowing_most} - {stranger})
    lobby.arrive([*knowing_all, *knowing_most])
    lobby.watch()

    for seeker in knowing_all:
        lobby.seek(seeker)
    ticks = lobby.tick_until_idle()
    matched = [seeker for seeker in knowing_all if lobby.partner_of(seeker)]
    if matched:
        raise MissedPartner(f"{matched} met somebody again")

    for seeker in knowing_most:
        lobby.seek(seeker)
    ticks_to_find = lobby.tick_until_idle()
    times = lobby.script_times()
    for seeker, stranger in knowing_most.items():
        if lobby.partner_of(seeker) != stranger:
            raise MissedPartner(f"{seeker} was matched with {lobby.partner_of(seeker)}, not with {stranger}")
    return {**times, "ticks_for_20": ticks, "ticks_to_find_20": ticks_to_find}


CASES: dict[str, Callable[[Lobby], Result]] = {
    "nobody-excluded": nobody_excluded,
    "met-some": met_some,
    "met-all": met_all,
}


def measure(case: str, url: str) -> Result:
    """Run one case on the empty store at `url`.

    Raises:
        MissedPartner: the rules were broken.
    """
    return CASES[case](Lobby(url))


if __name__ == "__main__":
    print(json.dumps(measure(*sys.argv[1:])))
