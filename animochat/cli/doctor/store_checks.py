"""The doctor's checks of the store: whether it is reachable, suitable, and permits what the server needs.

Nothing here writes. A check that the store doesn't permit is skipped: the server itself doesn't need it.
"""

from __future__ import annotations

import re
import secrets
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence

import redis

from animochat.cli.doctor.check_result import CheckResult, Level
from animochat.cli.doctor.confirmation_check import confirmation
from animochat.cli.doctor.examined_store import ExaminedStore
from animochat.cli.doctor.worker_checks import agreement, heartbeats
from animochat.environment import masked_url
from animochat.settings import Settings
from animochat.store import keys
from animochat.store.cluster import find, slot_of
from animochat.store.connection import BROKEN, seeds
from animochat.store.reasons import reason
from animochat.store.scripts import PACKAGE, load
from animochat.store.url import parse

#: ZRANDMEMBER and similar commands are new in it.
OLDEST_VERSION = (6, 2)

#: Number of PINGs, and the median in milliseconds from which the store is too far away: a message waits for one round
#: trip.
PINGS = 20
SLOW_MS = 5.0

#: Share of `maxmemory` above which the operator should act.
FULL = 0.8

#: Difference in milliseconds between the store's clock and this machine's that people would notice in message times.
CLOCK_MS = 2_000

#: Further commands that Python itself sends, for rooms' logs and for the operator's page.
OWN_COMMANDS = ["EXISTS", "HEXISTS", "INCR", "PTTL", "SMEMBERS", "XLEN", "XREVRANGE"]

_CALL = re.compile(r"""redis\.p?call\('([A-Z]+)'(?:, '([A-Z]+)')?""")

#: Returns the arguments that the user may not run. Each argument is a command line, with words separated by spaces.
_MAY_RUN = """
local refused = {}
for _, line in ipairs(ARGV) do
  local words = {}
  for word in line:gmatch('%S+') do words[#words + 1] = word end
  if not redis.acl_check_cmd(unpack(words)) then refused[#refused + 1] = line end
end
return refused
"""


def store_findings(url: str, settings: Settings) -> Iterator[CheckResult]:
    """Yield all results about the store at `url`, in a cluster about each node that has a lobby. Never raises, shows no
    secret."""
    try:
        topology = find(url)
    except (*BROKEN, redis.RedisError) as error:
        yield _unreachable(error, url)
        return
    at: dict[str, list[str]] = {}
    for lobby in settings.lobbies:
        at.setdefault(topology.slots[slot_of(keys.lobby(lobby))] if topology is not None else "", []).append(lobby)
    sharded = topology is not None and topology.sharded
    for node, lobbies in at.items():
        about = f"{', '.join(lobbies)}: " if len(at) > 1 else ""
        for finding in _findings(ExaminedStore(node or seeds(url)[0], url, lobbies, sharded), settings):
            yield CheckResult(finding.level, finding.check, about + finding.text)


def _findings(store: ExaminedStore, settings: Settings) -> Iterator[CheckResult]:
    """Yield all results about a single server, or about the node of some lobbies."""
    try:
        with store:
            for check in (_version, _latency, _role, _memory, _persistence, confirmation, _slow_log, _cluster):
                yield from check(store, settings)
            yield from _permissions(store)
            yield from _clock(store)
            for lobby in store.lobbies:
                yield from heartbeats(store, lobby)
                yield from agreement(store, settings, lobby)
    except (*BROKEN, redis.RedisError) as error:
        if isinstance(error, BROKEN) and store.answered:
            text = f"{masked_url(store.url)} was lost during the checks ({reason(error, store.node)})"
            yield CheckResult(Level.ERROR, "store", text)
        else:
            yield _unreachable(error, store.url)


def _unreachable(error: Exception, url: str) -> CheckResult:
    """Return the result for a store that could not be used at all."""
    if not isinstance(error, BROKEN):
        return CheckResult(Level.ERROR, "store", f"{masked_url(url)} refuses this user: {reason(error, url)}")
    text = f"{masked_url(url)} can't be reached ({reason(error, url)})"
    if isinstance(error, redis.AuthenticationError):
        return CheckResult(Level.ERROR, "store", f"{text}: check the credentials in REDIS_URL")
    if isinstance(error, (redis.TimeoutError, TimeoutError)):
        return CheckResult(Level.ERROR, "store", f"{text}: check the host and any firewall")
    return CheckResult(Level.ERROR, "store", f"{text}: check that it runs, and the host and port in REDIS_URL")


def _version(store: ExaminedStore, settings: Settings) -> Iterator[CheckResult]:
    name = "valkey" if "valkey_version" in store.info else "redis"
    version = store.info.get("valkey_version") or store.info.get("redis_version")
    if version is None:
        text = f"{masked_url(store.url)} answers, but this user may not run INFO: version, memory and persistence are"
        yield CheckResult(Level.SKIPPED, "store", f"{text} not checked; run the doctor as another user")
        return
    # redis_version has the version that Valkey is compatible with.
    numbers = tuple(int(part) for part in store.info["redis_version"].split(".")[:2] if part.isdigit())
    text = f"{name} {version} at {masked_url(store.url)}"
    if numbers < OLDEST_VERSION:
        yield CheckResult(Level.ERROR, "store", f"{text}: too old; use Redis 6.2 or later, or Valkey")
    else:
        yield CheckResult(Level.OK, "store", text)


def _latency(store: ExaminedStore, settings: Settings) -> Iterator[CheckResult]:
    times = []
    for _ in range(PINGS):
        start = time.perf_counter()
        store.ask("PING")
        times.append(1000 * (time.perf_counter() - start))
    median = statistics.median(times)
    text = f"median round trip {median:.2f} ms, slowest of {PINGS} {max(times):.2f} ms"
    if median > SLOW_MS:
        yield CheckResult(
            Level.WARNING, "latency", f"{text}: each message waits for one; move the store closer to the server"
        )
    else:
        yield CheckResult(Level.OK, "latency", text)


def _role(store: ExaminedStore, settings: Settings) -> Iterator[CheckResult]:
    if store.info.get("role", "master") != "master":
        text = "this is a read-only replica: REDIS_URL must lead to the primary"
        yield CheckResult(Level.ERROR, "role", f"{text} (or to the Sentinels, redis+sentinel://)")


def _memory(store: ExaminedStore, settings: Settings) -> Iterator[CheckResult]:
    if "maxmemory" not in store.info:
        return
    policy, bound, used = (store.info.get(name, "0") for name in ("maxmemory_policy", "maxmemory", "used_memory"))
    if policy != "noeviction":
        level = Level.ERROR if bound != "0" else Level.WARNING
        text = f"maxmemory-policy is {policy}: a full store would delete people and rooms; set it to noeviction"
        yield CheckResult(level, "eviction", text)
    else:
        yield CheckResult(
            Level.OK, "eviction", "none: a full store refuses commands instead of deleting people and rooms"
        )
    if bound == "0":
        yield CheckResult(Level.OK, "memory", f"{_mib(used)} used, limited by the machine only")
    elif int(used) > FULL * int(bound):
        yield CheckResult(Level.WARNING, "memory", f"{_mib(used)} of {_mib(bound)} used: raise maxmemory")
    else:
        yield CheckResult(Level.OK, "memory", f"{_mib(used)} of {_mib(bound)} used")


def _mib(size: str) -> str:
    return f"{int(size) / 2**20:,.0f} MiB"


def _persistence(store: ExaminedStore, settings: Settings) -> Iterator[CheckResult]:
    if "aof_enabled" not in store.info:
        return
    failing = [name for name in ("rdb_last_bgsave_status", "aof_last_write_status") if store.info.get(name) == "err"]
    if failing:
        text = f"the store can't write to its disk ({', '.join(failing)}) and will refuse commands: free disk space"
        yield CheckResult(Level.ERROR, "persistence", text)
    elif store.info["aof_enabled"] == "1":
        yield CheckResult(Level.OK, "persistence", "append-only file: a restart loses one second at most")
    else:
        snapshots = store.config("save")
        kept = (
            "a restart loses everything" if snapshots == "" else "a restart loses the changes since the last snapshot"
        )
        text = f"no append-only file: {kept}, including rooms, meetings, blocks and bans"
        bans = sum(store.try_ask("ZCARD", keys.lobby(lobby) + ":bans") or 0 for lobby in store.lobbies)
        text += f" ({bans} ban{'s' * (bans != 1)} now)" if bans else ""
        if settings.production or bans:
            secret = "" if settings.secret_key else "; also set SECRET_KEY, or everyone becomes a new person"
            yield CheckResult(Level.WARNING, "persistence", f"{text}; set appendonly yes{secret}")
        else:
            yield CheckResult(Level.OK, "persistence", f"{text} (set appendonly yes in production)")


def _slow_log(store: ExaminedStore, settings: Settings) -> Iterator[CheckResult]:
    if not settings.store_messages and store.config("slowlog-log-slower-than") not in ("-1", None):
        text = "STORE_MESSAGES=0, but the slow log keeps commands with message text: set slowlog-log-slower-than -1"
        yield CheckResult(Level.WARNING, "slow log", text)


def _cluster(store: ExaminedStore, settings: Settings) -> Iterator[CheckResult]:
    if store.info.get("cluster_enabled") != "1":
        return
    reply = store.try_ask("CLUSTER", "INFO")
    if reply is None:
        yield CheckResult(Level.SKIPPED, "cluster", "this is a cluster, but this user may not run CLUSTER INFO")
        return
    state = dict(line.split(":", 1) for line in reply.decode().splitlines() if ":" in line)
    text = f"{state['cluster_size']} primaries of {state['cluster_known_nodes']} nodes, {state['cluster_slots_ok']} of"
    text += f" 16384 slots served; this node has {' and '.join(store.lobbies)}"
    if state["cluster_state"] != "ok" or state["cluster_slots_ok"] != "16384":
        yield CheckResult(Level.ERROR, "cluster", f"{text}: run `redis-cli --cluster check`")
    else:
        yield CheckResult(Level.OK, "cluster", text)


def script_commands() -> list[str]:
    """Return every command that our scripts run, with its subcommand: "PUBSUB NUMSUB", "ZADD"."""
    names = sorted(f"{path.parent.parent.name}/{path.stem}" for path in PACKAGE.glob("*/scripts/*.lua"))
    return sorted({" ".join(filter(None, call)) for name in names for call in _CALL.findall(load(name).source)})


def _permissions(store: ExaminedStore) -> Iterator[CheckResult]:
    wanted = _wanted(store.names, store.lobbies, parse(store.url).database)
    try:
        sha = store.ask("SCRIPT", "LOAD", _MAY_RUN)
        refused = [line.decode() for line in store.ask("EVALSHA", sha, 0, *(line for line, _, _ in wanted))]
    except redis.exceptions.NoPermissionError:
        text = "this user may not run scripts: allow SCRIPT LOAD and EVALSHA"
        yield CheckResult(Level.ERROR, "permissions", text)
        return
    except redis.ResponseError:  # Redis 6 has no acl_check_cmd
        yield CheckResult(Level.SKIPPED, "permissions", "can't be checked before Redis 7; the server logs missing ones")
        return
    missing: dict[str, dict[str, None]] = {}
    for line, command, where in wanted:
        if line in refused:
            missing.setdefault(where, {})[command] = None
    subscribe = store.names.get("SUBSCRIBE", "SUBSCRIBE")
    for channel in _subscribing_refused(store, subscribe):
        missing.setdefault(channel, {})[subscribe] = None
    if missing:
        places = "; ".join(f"{_some(list(commands))} on {where}" for where, commands in missing.items())
        yield CheckResult(Level.ERROR, "permissions", f"this user may not run {places}: allow it in the ACL")
    else:
        yield CheckResult(Level.OK, "permissions", "this user may run every command that the server needs")


def _channels(lobbies: Sequence[str], database: int) -> dict[str, str]:
    """Return each channel pattern as an ACL names it, with an example channel to test.

    The example of a worker's channel belongs to no worker.
    """
    unknown = f"doctor-{secrets.token_hex(4)}"
    channels = {keys.worker_channel("*", lobby): keys.worker_channel(unknown, lobby) for lobby in lobbies}
    return {**channels, **{(name := keys.everybody(lobby, database)): name for lobby in lobbies}}


def _wanted(names: Mapping[str, str], lobbies: Sequence[str], database: int = 0) -> list[tuple[str, str, str]]:
    """Return the permissions that we need: the whole line to check, its command, and where it is run."""
    publish = names.get("PUBLISH", "PUBLISH")
    wanted = [(f"{command} {keys.SECRET} 1", command, keys.SECRET) for command in ("SET", "GET", "EXPIRE")]
    wanted += [(f"{publish} {channel} x", publish, place) for place, channel in _channels(lobbies, database).items()]
    for command in sorted({*script_commands(), *OWN_COMMANDS} - {"PUBLISH"}):
        if command == "PUBSUB NUMSUB":
            name = names.get(command, command)
            wanted.append((f"{name} x", name, "the server"))
        elif command == "TIME":
            wanted.append((command, command, "the server"))
        else:
            # These would treat everything after the key as keys.
            rest = "" if command in ("DEL", "EXISTS") else " x x x"
            for lobby in lobbies:
                wanted.append((f"{command} {keys.lobby(lobby)}:pool{rest}", command, "{lobby:*"))
            wanted.append((f"{command} {keys.room('doctor')}:log{rest}", command, "{room:*"))
    return wanted


def _some(commands: list[str]) -> str:
    shown = ", ".join(commands[:4])
    return f"{shown} and {len(commands) - 4} more" if len(commands) > 4 else shown


def _subscribing_refused(store: ExaminedStore, subscribe: str) -> list[str]:
    """Return the refused channels. Subscribing changes a connection, so this uses another one. It reads nothing."""
    refused = []
    with ExaminedStore(store.node, store.url, store.lobbies, store.sharded) as other:
        for place, channel in _channels(store.lobbies, parse(store.url).database).items():
            try:
                other.ask(subscribe, channel)
            except redis.exceptions.NoPermissionError:
                refused.append(place)
            except redis.ResponseError:  # an incomplete cluster: another check reports it
                pass
    return refused


def _clock(store: ExaminedStore) -> Iterator[CheckResult]:
    before = time.time()
    reply = store.try_ask("TIME")
    if reply is None:
        return  # the permission check reports it
    between = (before + time.time()) / 2
    apart = 1000 * (int(reply[0]) + int(reply[1]) / 1e6 - between)
    if abs(apart) > CLOCK_MS:
        which = "ahead of" if apart > 0 else "behind"
        text = f"the store's clock is {abs(apart) / 1000:.1f} s {which} this machine's, and messages show it: run NTP"
        yield CheckResult(Level.WARNING, "clock", text)
    else:
        text = "the store's clock agrees with this machine's; the workers' clocks don't matter"
        yield CheckResult(Level.OK, "clock", text)
