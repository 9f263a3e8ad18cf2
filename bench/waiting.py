"""A hundred thousand waiting people: how long the longest matchmaking script takes, and whether it finds the partner.

    python bench/waiting.py CASE REDIS_URL      # bench/run.py --scenario waiting-… does this on a store of its own

Cases: `nobody-excluded`, `met-some`, `met-all`, `other-interests`, `same-interests`, `same-interests-met`. It runs the
scripts through the project's own services, on an otherwise empty store, without a server. Times are the store's own:
the delay for all other users of that store. Waiting people are written directly, because people who may meet would not
stay waiting.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import redis

from animochat.matchmaking.interests import by_name
from animochat.matchmaking.service import SCRIPTS as MATCHMAKING_SCRIPTS
from animochat.matchmaking.service import Matchmaking
from animochat.presence.service import SCRIPTS as PRESENCE_SCRIPTS
from animochat.presence.service import Presence
from animochat.store import keys
from animochat.store.pipeline import Pipeline
from animochat.store.scripts import Script

WORKER = "benchmrk"
HISTORY_MS = 24 * 3600 * 1000
COOLDOWN_MS = 5000
INTEREST_WAIT_MS = 10_000

#: Commands per write while filling the store.
BATCH = 1000

#: Milliseconds between two rounds of ticks (animochat/chat/worker.py).
TICK_MS = 250

#: Calls of the tick after which an unfinished search counts as endless.
MOST_TICKS = 5000

Result = dict[str, float]


class WatchedPipeline(Pipeline):
    """Measures the CPU time of the store's process for each script, without other load on the machine.

    The wall time is in the store's statistics, but its maximum depends on the scheduler: among some thousands of
    scripts there is always one that another process has interrupted.
    """

    def __init__(self, url: str, scripts: list[Script], pid: int) -> None:
        super().__init__(url, scripts)
        self._schedstat = Path(f"/proc/{pid}/schedstat")
        self._stat = Path(f"/proc/{pid}/stat")
        #: milliseconds for each script, including reading the command and writing the reply
        self.cpu_ms: list[float] = []

    def call(self, script: Script, keys: Sequence[str], args: Sequence[Any] = ()) -> Any:
        """Do the same as Pipeline.call."""
        before = self._cpu_ms()
        reply = super().call(script, keys, args)
        self.cpu_ms.append(self._cpu_ms() - before)
        return reply

    def _cpu_ms(self) -> float:
        # The kernel updates a process's time when it goes to sleep.
        while self._stat.read_text().rpartition(")")[2].split()[0] != "S":
            pass
        return int(self._schedstat.read_text().split()[0]) / 1e6


class MissedPartner(AssertionError):
    """A person was left waiting although a partner existed, or was matched with a person met before."""


class Lobby:
    """A store with one live worker and as many waiting people as a case needs.

    Time stands still except for `pass_time`, so that the worker's last heartbeat stays recent.
    """

    def __init__(self, url: str) -> None:
        self.store: Any = redis.Redis.from_url(url)
        self.now = int(time.time() * 1000)
        self.tag = keys.lobby()
        # People on a worker without a subscription are not matched.
        self._subscription = self.store.pubsub()
        self._subscription.subscribe(keys.worker_channel(WORKER))
        self._subscription.get_message(timeout=5)
        scripts = [*MATCHMAKING_SCRIPTS, *PRESENCE_SCRIPTS]
        self._pipeline = pipeline = WatchedPipeline(url, scripts, self.store.info("server")["process_id"])
        pipeline.start()
        self.presence = Presence(pipeline, WORKER, clock=lambda: self.now)
        self.matchmaking = Matchmaking(pipeline, HISTORY_MS, COOLDOWN_MS, INTEREST_WAIT_MS, clock=lambda: self.now)
        self.presence.heartbeat(0)

    def fill(self, count: int) -> list[str]:
        """Let `count` people wait; return their names."""
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

    def fill_with_interests(self, count: int, interests: Callable[[int], list[str]], open_at: int) -> list[str]:
        """Let `count` people wait, with an interest wait until `open_at` (ms); return their names."""
        people = [f"waiting{number:06}" for number in range(count)]
        with self.store.pipeline(transaction=False) as batch:
            for arrival, person in enumerate(people, 1):
                wanted = by_name(interests(arrival))
                opens = open_at + arrival * INTEREST_WAIT_MS // count
                record = {"worker": WORKER, "conn": f"c-{person}", "waiting": self.now, "v": 1, "open": opens}
                record |= {"interests": " ".join(wanted), "spelled": json.dumps(list(wanted.values()))}
                batch.hset(f"{self.tag}:person:{person}", mapping=record)
                batch.zadd(f"{self.tag}:selective", {person: opens})
                for interest in wanted:
                    batch.zadd(f"{self.tag}:interest:{interest}", {person: arrival})
                if arrival % BATCH == 0:
                    batch.execute()
            batch.hset(f"{self.tag}:counters", "arrivals", count)
            batch.execute()
        return people

    def have_met(self, seeker: str, people: Iterable[str]) -> None:
        """Write that the seeker has met these people: the seeker's own set decides."""
        until = self.now + HISTORY_MS // 2
        met = list(people)
        for start in range(0, len(met), BATCH):
            self.store.zadd(f"{self.tag}:met:{seeker}", dict.fromkeys(met[start : start + BATCH], until))

    def arrive(self, people: Iterable[str]) -> None:
        """Connect these people."""
        for person in people:
            self.presence.connect(person, f"c-{person}")

    def seek(self, seeker: str, interests: Sequence[str] = ()) -> str:
        """Search for a partner; return "matched" or "waiting"."""
        return self.matchmaking.find_match(seeker, f"c-{seeker}", interests).state

    def pass_time(self, ms: int) -> None:
        """Advance the clock; meanwhile the worker has sent its heartbeat."""
        self.now += ms
        self.presence.heartbeat(0)

    def partner_of(self, person: str) -> str | None:
        """Return the person in the same room, or None."""
        room = self.store.hget(f"{self.tag}:person:{person}", "room")
        if room is None:
            return None
        members = [name.decode() for name in self.store.hmget(f"{self.tag}:room:{room.decode()}", "a", "b")]
        members.remove(person)
        return str(members[0])

    def tick_until_idle(self) -> int:
        """Run the tick while a search or an interest wait is due; return how often it ran."""
        agendas = [f"{self.tag}:searching", f"{self.tag}:selective"]
        for ticks in range(MOST_TICKS):
            if not any(self.store.zcount(agenda, "-inf", self.now) for agenda in agendas):
                return ticks
            self.matchmaking.tick()
        raise MissedPartner(f"still searching after {MOST_TICKS} ticks")

    def watch(self) -> None:
        """Record the time of every script from now on."""
        self.store.config_set("latency-tracking-info-percentiles", "50 99 100")
        # The store's own housekeeping would count as part of some script.
        self.store.config_set("activerehashing", "no")
        self.store.config_resetstat()
        self._warm_up()
        self._pipeline.cpu_ms.clear()

    def _warm_up(self) -> None:
        """Let two people meet elsewhere: the first use of a command makes the store allocate its statistics."""
        presence = Presence(self._pipeline, WORKER, "warm-up", clock=lambda: self.now)
        matchmaking = Matchmaking(
            self._pipeline, HISTORY_MS, COOLDOWN_MS, INTEREST_WAIT_MS, "warm-up", clock=lambda: self.now
        )
        presence.heartbeat(0)
        for person in ("a", "b"):
            presence.connect(person, "c")
            matchmaking.find_match(person, "c", ["tea"])
            matchmaking.next_match(person, "c", ["tea"])
            matchmaking.tick()

    def script_times(self) -> Result:
        """Return the store's own statistics of the scripts since `watch`, in milliseconds of wall time, and the
        maximum: no script took longer than the longest one in wall time, nor than the longest one in CPU time.

        SLOWLOG would be the obvious tool, but it also records every command within a script, in the script's own time.
        """
        percentiles = self.store.info("latencystats")["latency_percentiles_usec_evalsha"]
        return {
            "scripts": self.store.info("commandstats")["cmdstat_evalsha"]["calls"],
            "p50_ms": percentiles["p50"] / 1000,
            "p99_ms": percentiles["p99"] / 1000,
            "longest_ms": percentiles["p100"] / 1000,
            "longest_own_ms": min(percentiles["p100"] / 1000, max(self._pipeline.cpu_ms)),
        }


def nobody_excluded(lobby: Lobby) -> Result:
    """100,000 wait; 500 come who have met no one: each is matched at once."""
    lobby.fill(100_000)
    seekers = [f"seeker{number}" for number in range(500)]
    lobby.arrive(seekers)
    lobby.watch()
    waiting = [seeker for seeker in seekers if lobby.seek(seeker) != "matched"]
    if waiting:
        raise MissedPartner(f"{waiting} wait")
    return lobby.script_times()


def met_some(lobby: Lobby) -> Result:
    """100,000 wait; 30 come who have each met 10,000 of them: each is matched at once, with a stranger."""
    people = lobby.fill(100_000)
    met = {f"seeker{number}": set(random.sample(people, 10_000)) for number in range(30)}
    for seeker, acquaintances in met.items():
        lobby.have_met(seeker, acquaintances)
    lobby.arrive(met)
    lobby.watch()
    for seeker in met:
        lobby.seek(seeker)
    # A draw of only known people is rare; the next ticks make up for it.
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
        raise MissedPartner(f"{matched} met again")

    for seeker in knowing_most:
        lobby.seek(seeker)
    ticks_to_find = lobby.tick_until_idle()
    times = lobby.script_times()
    for seeker, stranger in knowing_most.items():
        if lobby.partner_of(seeker) != stranger:
            raise MissedPartner(f"{seeker} was matched with {lobby.partner_of(seeker)}, not with {stranger}")
    return {**times, "ticks_for_20": ticks, "ticks_to_find_20": ticks_to_find}


def other_interests(lobby: Lobby) -> Result:
    """100,000 wait, each for an interest that no one else names; people come who share none with any of them.

    Newcomers with ten interests meet the one newcomer who shares them, those without interests only each other. Then
    two seconds pass, in which the waits of every fifth person end, and these meet.
    """
    people = lobby.fill_with_interests(100_000, lambda number: [f"interest {number}"], lobby.now + TICK_MS)
    pairs = [(f"first{number}", f"second{number}") for number in range(100)]
    free = [f"free{number}" for number in range(100)]
    lobby.arrive([seeker for pair in pairs for seeker in pair] + free)
    lobby.watch()
    for which in (0, 1):
        for number, pair in enumerate(pairs):
            lobby.seek(pair[which], [f"interest {number} {tag}" for tag in range(10)])
    for seeker in free:
        lobby.seek(seeker)
    for first, second in pairs:
        if lobby.partner_of(first) != second:
            raise MissedPartner(f"{first} was matched with {lobby.partner_of(first)}, not with {second}")
    for seeker in free:
        if lobby.partner_of(seeker) not in free:
            raise MissedPartner(f"{seeker} was matched with {lobby.partner_of(seeker)}")
    ticks = 0
    for _ in range(2000 // TICK_MS):
        lobby.pass_time(TICK_MS)
        ticks += lobby.tick_until_idle()
    times = lobby.script_times()
    over = people[: (2000 - TICK_MS) * len(people) // INTEREST_WAIT_MS]
    left = [person for person in over if lobby.partner_of(person) is None]
    if len(left) > 1:
        raise MissedPartner(f"{len(left)} are left waiting, the first: {left[0]}")
    if lobby.partner_of(people[-1]) is not None:
        raise MissedPartner(f"{people[-1]} did not want {lobby.partner_of(people[-1])}")
    return {**times, "ticks": ticks}


TEN = [f"interest {number}" for number in range(10)]


def same_interests(lobby: Lobby) -> Result:
    """100,000 wait for the same ten interests; 500 come with these interests, too: each is matched at once."""
    lobby.fill_with_interests(100_000, lambda number: TEN, lobby.now + INTEREST_WAIT_MS)
    seekers = [f"seeker{number}" for number in range(500)]
    lobby.arrive(seekers)
    lobby.watch()
    waiting = [seeker for seeker in seekers if lobby.seek(seeker, TEN) != "matched"]
    if waiting:
        raise MissedPartner(f"{waiting} wait")
    return lobby.script_times()


def same_interests_met(lobby: Lobby) -> Result:
    """10,000 wait for the same ten interests; ten come with these interests who have met all of them but one."""
    people = lobby.fill_with_interests(10_000, lambda number: TEN, lobby.now + INTEREST_WAIT_MS)
    strangers = {f"seeker{number}": person for number, person in enumerate(random.sample(people, 10))}
    for seeker, stranger in strangers.items():
        lobby.have_met(seeker, {*people, *strangers} - {stranger})
    lobby.arrive(strangers)
    lobby.watch()
    for seeker in strangers:
        lobby.seek(seeker, TEN)
    ticks = lobby.tick_until_idle()
    times = lobby.script_times()
    for seeker, stranger in strangers.items():
        if lobby.partner_of(seeker) != stranger:
            raise MissedPartner(f"{seeker} was matched with {lobby.partner_of(seeker)}, not with {stranger}")
    return {**times, "ticks_to_find_10": ticks}


CASES: dict[str, Callable[[Lobby], Result]] = {
    "nobody-excluded": nobody_excluded,
    "met-some": met_some,
    "met-all": met_all,
    "other-interests": other_interests,
    "same-interests": same_interests,
    "same-interests-met": same_interests_met,
}


def measure(case: str, url: str) -> Result:
    """Run one case on the empty store at `url`.

    Raises:
        MissedPartner: the rules were broken.
    """
    return CASES[case](Lobby(url))


if __name__ == "__main__":
    print(json.dumps(measure(*sys.argv[1:])))
