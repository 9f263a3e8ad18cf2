"""Results as a Markdown table: medians, spread, ratios, and whether the bounds are met."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median

from harness.runner import Result, Results
from harness.scenarios import NODE, Bound, Scenario

OURS = "animochat"

#: A cell without a number.
NOTHING = "–"

HEAD = ("scenario", "figure", "AniMoChat", "Node", "ratio", "bound", "met")
#: Further measurements: a column's title, the result's key, whether it is a share of a core.
BESIDE = (
    ("a second", "rate", False),
    ("server µs each", "cpu_us", False),
    ("Redis µs each", "redis_us", False),
    ("server's core", "server_share", True),
    ("load's core", "load_share", True),
    ("p50 ms", "p50_ms", False),
    ("p99 ms", "p99_ms", False),
    ("max ms", "max_ms", False),
    ("p99 ms since due", "p99_due_ms", False),
)


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join([_row(head), _row("---" for _ in head), *map(_row, rows)])


def _number(value: float) -> str:
    """Return three significant digits, without an exponent."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _spread(values: Sequence[float]) -> str:
    """Return `median (lowest–highest)`, or the only value."""
    if not values:
        return NOTHING
    if len(values) == 1:
        return _number(values[0])
    return f"{_number(median(values))} ({_number(min(values))}–{_number(max(values))})"


def _by_round(results: Results, scenario: str, figure: str, kind: str) -> dict[int, float]:
    return {number: result[figure] for number, result in results.get(scenario, {}).get(kind, {}).items()}


def _figures(results: Results, scenario: Scenario, kind: str) -> list[float]:
    return list(_by_round(results, scenario.name, scenario.figure, kind).values())


def _ratios(results: Results, scenario: Scenario, against: str = NODE) -> list[float]:
    """Return our figures divided by Node's, or by ours in another scenario, round by round: both ran close together."""
    ours = _by_round(results, scenario.name, scenario.figure, OURS)
    if against == NODE:
        others = _by_round(results, scenario.name, scenario.figure, NODE)
    else:
        others = _by_round(results, against, scenario.figure, OURS)
    return [ours[number] / others[number] for number in ours if others.get(number)]


def measured_against(bound: Bound, results: Results, scenario: Scenario) -> float | None:
    """Return the number that this bound limits, or None if it was not measured."""
    values = _ratios(results, scenario, bound.against) if bound.against else _figures(results, scenario, OURS)
    return median(values) if values else None


def _bound_text(bound: Bound, scenario: Scenario) -> str:
    sign = "≥" if bound.at_least else "≤"
    if bound.against is None:
        return f"{sign} {bound.limit:g} {scenario.unit.split()[0]}"
    return f"{sign} {bound.limit:g} of {'Node' if bound.against == NODE else bound.against}"


def _verdict(bound: Bound, results: Results, scenario: Scenario) -> str:
    value = measured_against(bound, results, scenario)
    if value is None:
        return "not measured"
    return "yes" if bound.is_met(value) else f"**no**, {_number(value)}"


def main_table(scenarios: Iterable[Scenario], results: Results) -> str:
    """Return one line for each scenario with a result."""
    rows = []
    for scenario in scenarios:
        if scenario.name not in results:
            continue
        against = next((bound.against for bound in scenario.bounds if bound.against), NODE)
        rows.append(
            (
                f"`{scenario.name}` {scenario.title}",
                scenario.unit,
                # The naive server's only figure is in our column: its line names it.
                _spread(_figures(results, scenario, scenario.kinds[-1])),
                _spread(_figures(results, scenario, NODE)),
                _spread(_ratios(results, scenario, against)),
                "; ".join(_bound_text(bound, scenario) for bound in scenario.bounds) or NOTHING,
                "; ".join(_verdict(bound, results, scenario) for bound in scenario.bounds) or NOTHING,
            )
        )
    return _table(HEAD, rows)


def beside_table(scenarios: Iterable[Scenario], results: Results) -> str:
    """Return throughput, further costs per message, user or connection, the load of the two cores, and latencies."""
    rows = []
    for scenario in scenarios:
        for kind, runs in results.get(scenario.name, {}).items():
            cells = [_median_cell(list(runs.values()), key, is_share) for _, key, is_share in BESIDE]
            if any(cell != NOTHING for cell in cells):
                rows.append((scenario.name, kind, *cells))
    return _table(("scenario", "server", *(title for title, _, _ in BESIDE)), rows)


def _median_cell(runs: Sequence[Result], key: str, is_share: bool) -> str:
    values = [run[key] for run in runs if key in run]
    if not values:
        return NOTHING
    return f"{median(values):.0%}" if is_share else _number(median(values))
