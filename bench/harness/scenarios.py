"""The scenarios, their numbers, and the bounds to reach."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

#: The reference of a bound: the Node server in the same round, another scenario, or nothing (the figure itself).
NODE = "node"

#: The load is waiting.py, on a store without servers, instead of a scenario of load/main.js.
WAITING = "waiting"


@dataclass(frozen=True)
class Bound:
    """`figure OP limit`; the figure is a ratio to `against`, unless that is None."""

    limit: float
    against: str | None = NODE
    at_least: bool = False

    def is_met(self, value: float) -> bool:
        """Return whether a measured value keeps this bound."""
        return value >= self.limit if self.at_least else value <= self.limit


@dataclass(frozen=True)
class Scenario:
    """One line of the table: a load, its servers, and the main figure."""

    name: str
    title: str
    #: A scenario of load/main.js, or WAITING.
    load: str
    #: A key of its result.
    figure: str
    unit: str
    options: Mapping[str, object]
    #: Options that `--quick` changes.
    quick: Mapping[str, object] = field(default_factory=dict)
    #: Server processes of one worker each, on one store.
    servers: int = 1
    kinds: tuple[str, ...] = ("node", "animochat")
    bounds: tuple[Bound, ...] = ()
    #: Scenarios of one group alternate within a round, so that they can be compared with each other.
    group: str = ""
    #: Number of rounds, if one is always enough.
    rounds: int | None = None
    #: Seconds after which a run is given up: several times its duration on an idle machine.
    timeout: float = 120.0


#: A closed loop, long enough for the just-in-time compiler and for 10 ms clock ticks.
WINDOW = {"warmupS": 5.0, "seconds": 6.0}
QUICK_WINDOW = {"warmupS": 1.5, "seconds": 2.5}


def _relay(
    name: str,
    title: str,
    *,
    pairs: int = 100,
    text: str = "ascii-40",
    acks: bool = False,
    servers: int = 1,
    bounds: tuple[Bound, ...] = (),
    group: str = "",
    kinds: tuple[str, ...] = ("node", "animochat"),
    rounds: int | None = None,
) -> Scenario:
    return Scenario(
        name=name,
        title=title,
        load="relay",
        figure="cpu_us",
        unit="µs CPU/message",
        options={"pairs": pairs, "text": text, "acks": acks, **WINDOW},
        quick=QUICK_WINDOW,
        servers=servers,
        bounds=bounds,
        group=group,
        kinds=kinds,
        rounds=rounds,
    )


def _workers(count: int, *, pairs_each: int | None = None, bounds: tuple[Bound, ...] = ()) -> Scenario:
    """Return a relay with every partner on another worker: `pairs_each` pairs on each, or 100 pairs over all."""
    suffix, pairs = ("", pairs_each * count) if pairs_each else ("-fixed", 100)
    return _relay(
        f"workers-{count}{suffix}",
        f"relay over {count} worker{'s' if count > 1 else ''}, {pairs} pairs",
        pairs=pairs,
        servers=count,
        bounds=bounds,
        group="workers" + suffix,
        kinds=("animochat",),
    )


def _open_loop(name: str, title: str, *, servers: int, limit_ms: float) -> Scenario:
    return Scenario(
        name=name,
        title=title,
        load="open-loop",
        figure="p99_ms",
        unit="ms p99",
        options={"rooms": 500, "rate": 1000, "warmupS": 2.0, "seconds": 10.0},
        quick={"warmupS": 1.0, "seconds": 4.0},
        servers=servers,
        bounds=(Bound(1.0), Bound(limit_ms, None)),
    )


#: Interest wait (ms, the server's default); random interests, one to three of 50.
INTERESTS = {"of": 50, "most": 3, "waitMs": 10_000}


def _storm(users: int, *, servers: int, limit_s: float, interests: bool = False) -> Scenario:
    title = f"match storm, {users:,} users, {servers} worker{'s' if servers > 1 else ''}"
    return Scenario(
        name=f"storm-{users}" + ("-interests" if interests else ""),
        title=title + (", 1 to 3 of 50 interests each" if interests else ""),
        load="storm",
        figure="seconds",
        unit="s until all are matched",
        options={"users": users, **({"interests": INTERESTS} if interests else {})},
        servers=servers,
        kinds=("animochat",) if interests else ("node", "animochat"),
        bounds=(Bound(limit_s, None),),
    )


def _waiting(case: str, title: str) -> Scenario:
    return Scenario(
        name=f"waiting-{case}",
        title=title,
        load=WAITING,
        figure="longest_own_ms",
        unit="ms longest script",
        options={"case": case},
        kinds=("animochat",),
        bounds=(Bound(1.0, None),),
    )


SCENARIOS = (
    _relay("relay", "relay, partners on one worker, 40 bytes", bounds=(Bound(0.50),)),
    _relay("relay-acks", "the same, every message acknowledged", acks=True, bounds=(Bound(0.50),)),
    _relay("relay-two", "relay, partners on two workers, 40 bytes", servers=2, bounds=(Bound(0.75),)),
    _relay("relay-two-acks", "the same, every message acknowledged", servers=2, acks=True, bounds=(Bound(0.75),)),
    _relay("relay-long", "relay, 2,000 characters ASCII", text="ascii-2000", bounds=(Bound(0.70),)),
    _relay("relay-non-latin", "relay, 40 characters non-Latin", text="non-latin-40", bounds=(Bound(0.70),)),
    _relay("relay-non-latin-long", "relay, 2,000 characters non-Latin", text="non-latin-2000", bounds=(Bound(0.70),)),
    _workers(1, pairs_each=50),
    _workers(2, pairs_each=50),
    _workers(4, pairs_each=50),
    _workers(8, pairs_each=50, bounds=(Bound(1.15, "workers-2"),)),
    _workers(2),
    _workers(8, bounds=(Bound(1.15, "workers-2-fixed"),)),
    _open_loop("open-loop", "1,000 messages/s over 500 rooms, one worker", servers=1, limit_ms=5.0),
    _open_loop("open-loop-two", "1,000 messages/s over 500 rooms, two workers", servers=2, limit_ms=10.0),
    _storm(1000, servers=1, limit_s=0.3),
    _storm(10_000, servers=2, limit_s=4.0),
    _storm(1000, servers=1, limit_s=0.3, interests=True),
    _storm(10_000, servers=2, limit_s=4.0, interests=True),
    Scenario(
        name="conversation",
        title="2,000 people over two servers, 20 messages in each room",
        load="conversation",
        figure="mistakes",
        unit="mistakes",
        options={"users": 2000, "perPerson": 10},
        servers=2,
        bounds=(Bound(0, None),),
        rounds=1,
    ),
    _waiting("nobody-excluded", "100,000 wait, no one excluded"),
    _waiting("met-some", "100,000 wait, the seeker has met 10,000 of them"),
    _waiting("met-all", "10,000 wait, the seeker has met all of them"),
    _waiting("other-interests", "100,000 wait, all for other interests"),
    _waiting("same-interests", "100,000 wait for the seeker's ten interests"),
    _waiting("same-interests-met", "10,000 wait for the seeker's ten interests, who has met all but one"),
    Scenario(
        name="idle",
        title="5,000 idle connections",
        load="idle",
        figure="kb_each",
        unit="kB each",
        options={"first": 1000, "count": 5000, "settleS": 5.0},
        quick={"first": 500, "count": 2000, "settleS": 2.0},
        bounds=(Bound(18, None),),
    ),
    Scenario(
        name="connects",
        title="connects, one worker",
        load="connects",
        figure="rate",
        unit="connects/s",
        options={"warmup": 500, "count": 4000, "concurrency": 50},
        quick={"warmup": 300, "count": 1500},
        bounds=(Bound(0.8, at_least=True),),
    ),
    _relay("naive", "the naive Flask-SocketIO server, once for scale", kinds=("naive",), rounds=1),
)
