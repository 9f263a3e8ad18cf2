"""The order of open reports: threat and underage first, in one lobby and over several; and one reason alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from animochat.moderation.lobby_moderation import LobbyModeration
from animochat.moderation.service import ModerationService
from tests.helpers.operator_app import operator_app
from tests.helpers.store import Lobby

TOKEN = "a token of at least sixteen characters"


@pytest.fixture
def lobby(redis_url: str) -> Iterator[Lobby]:
    """With six open reports, a second apart, by people `r0` to `r5`."""
    lobby = Lobby(redis_url)
    for number, reason in enumerate(["spam", "underage", "other", "threat", "spam", "threat"]):
        reporter, _ = lobby.pair(f"r{number}", f"s{number}")
        reporter.report(reason)
        lobby.pass_time(1000)
    yield lobby
    lobby.close()


RANKED = [("r1", "underage"), ("r3", "threat"), ("r5", "threat"), ("r0", "spam"), ("r2", "other"), ("r4", "spam")]


def test_threat_and_underage_come_first_then_the_oldest_on_every_page(lobby: Lobby) -> None:
    total, reports = lobby.moderation.reports(0, 100)
    assert (total, [(report.reporter, report.reason) for report in reports]) == (6, RANKED)
    pages = [lobby.moderation.reports(offset, 2)[1] for offset in (0, 2, 4, 6)]
    assert [report.reporter for page in pages for report in page] == [name for name, _ in RANKED]
    assert [name for name, _ in lobby.moderation.report_order()] == [report.id for report in reports]


def test_one_reason_is_listed_and_counted_alone(lobby: Lobby) -> None:
    total, reports = lobby.moderation.reports(1, 100, "spam")
    assert (total, [report.reporter for report in reports]) == (2, ["r4"])
    assert lobby.moderation.reports(0, 100, "sexual") == (0, [])


def test_over_several_lobbies_the_order_is_the_same(lobby: Lobby) -> None:
    other = LobbyModeration(lobby.pipeline, 0, 0, lobby="other", clock=lobby.clock)  # type: ignore[arg-type]
    service = ModerationService([other, lobby.moderation])
    pages = [service.reports(offset, 4) for offset in (0, 4)]
    assert [total for total, _ in pages] == [6, 6]
    assert [report.reporter for _, page in pages for report in page] == [name for name, _ in RANKED]
    total, reports = service.reports(0, 10, reason="threat")
    assert (total, [report.reporter for report in reports]) == (2, ["r3", "r5"])


def test_a_report_whose_record_is_lost_is_neither_listed_nor_counted(lobby: Lobby) -> None:
    _, reports = lobby.moderation.reports(0, 1)
    lobby.pipeline.execute("DEL", f"{{lobby:main}}:report:{reports[0].id}")
    assert lobby.moderation.reports(0, 1)[0] == 5
    assert len(lobby.sorted_set(":reports")) == 5


def test_the_operator_s_page_and_api_show_one_reason(lobby: Lobby) -> None:
    client = operator_app(lobby.pipeline, lobby.moderation, admin_token=TOKEN).test_client()
    headers = {"Authorization": f"Bearer {TOKEN}"}
    answer = client.get("/admin/api/reports?reason=threat", headers=headers).json
    assert (answer["open"], [report["reporter"] for report in answer["reports"]]) == (2, ["r3", "r5"])
    page = client.get("/admin?reason=spam", headers=headers).text
    assert page.count("<article") == 2
    for path in ("/admin", "/admin/api/reports"):
        assert client.get(f"{path}?reason=nonsense", headers=headers).status_code == 400
