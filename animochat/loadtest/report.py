"""Report a run as text and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from animochat.loadtest.run_stats import RunStats

#: Milliseconds of the load generator's own lag above which the figures describe it rather than the server.
LATE_MS = 100.0


def report(tally: RunStats, target: str, people: int, seconds: float, late_ms: float, cpu: float) -> dict[str, Any]:
    """Return the report for JSON. Times are milliseconds; `cpu` is the share of a core that the load generator used."""
    rates = {"connects": "connected", "matches": "matched", "messages": "sent", "deliveries": "received"}
    return {
        "target": target,
        "people": people,
        "seconds": round(seconds, 1),
        "ok": not tally.mistakes,
        "mistakes": dict(tally.mistakes),
        "excused": {excuse.value: count for excuse, count in tally.excused.items()},
        "refusals": dict(tally.refusals),
        "counts": dict(tally.counts),
        # two people receive each match
        "perSecond": {
            name: round(tally.counts[count] / (2 if name == "matches" else 1) / max(seconds, 0.001), 2)
            for name, count in rates.items()
        },
        "milliseconds": {
            "connect": tally.connecting.percentiles(),
            "wait": tally.waiting.percentiles(),
            "acknowledge": tally.acknowledging.percentiles(),
            "deliver": tally.delivering.percentiles(),
        },
        "load": {"lateMs": round(late_ms, 1), "cpu": round(cpu, 2)},
    }


def text(outcome: Mapping[str, Any]) -> str:
    """Return the report as text."""
    rates, counts = outcome["perSecond"], Counter(outcome["counts"])
    lines = [
        f"{outcome['people']} people for {outcome['seconds']} s at {outcome['target']}",
        "",
        "per second   " + ", ".join(f"{rate:,.1f} {name}" for name, rate in rates.items()),
        "total        " + ", ".join(f"{count:,} {name}" for name, count in sorted(counts.items())),
        "",
        f"{'ms':<12}" + "".join(f"{name:>10}" for name in ("p50", "p90", "p99", "max")),
    ]
    for name, times in outcome["milliseconds"].items():
        lines.append(
            f"{name:<12}" + "".join(f"{value:>10,.1f}" for value in times.values()) if times else f"{name:<12}"
        )
    lines.append("")
    refusals = ", ".join(f"{count:,} {why}" for why, count in sorted(outcome["refusals"].items()))
    lines.append(f"refused      {refusals or 'nothing'}")
    if "HTTP 429" in refusals or "HTTP 503" in refusals:
        lines.append(
            "             (all connections come from one address: see RATE_CONNECTS, RATE_REQUESTS,"
            " MAX_CONNECTIONS_PER_ADDRESS, MAX_CONNECTIONS)"
        )
    mistakes = "; ".join(f"{kind}: {count:,}" for kind, count in sorted(outcome["mistakes"].items()))
    kept = "kept: each message arrived once and in order, every room had two people"
    lines.append(f"promises     {'BROKEN: ' + mistakes if mistakes else kept}")
    lines += [f"excused      {count:,}: {reason}" for reason, count in sorted(outcome["excused"].items())]
    load = outcome["load"]
    late = f"the load generator used {load['cpu']:.0%} of a core and was up to {load['lateMs']:,.0f} ms late"
    lines.append(f"load         {late}{': too many people for this machine' if load['lateMs'] > LATE_MS else ''}")
    return "\n".join(lines)
