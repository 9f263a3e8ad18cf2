"""The operator's charts in a browser: metrics of workers are drawn, described and in tables, and update by themselves.

The page and its API are served as they are, on a real store; time and the workers' numbers are passed in.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect
from werkzeug.serving import WSGIRequestHandler, make_server

from animochat.moderation.lobby_moderation import LobbyModeration
from animochat.telemetry.history import MetricHistory
from tests.helpers.metric_history import Workers
from tests.helpers.operator_app import operator_app
from tests.helpers.servers import ROOT
from tests.helpers.store import DirectPipeline

TOKEN = "correct horse battery staple"

AXE = ROOT / "node_modules/axe-core/axe.min.js"

#: Milliseconds between two questions of the page (static/charts.js).
PAUSE = 5000

#: For `add_init_script`: the page can be told that it is hidden, which Chromium without windows never is.
HIDEABLE = """
  window.isHidden = false;
  Object.defineProperty(document, "hidden", { get: () => window.isHidden });
  window.hide = (hidden) => { window.isHidden = hidden; document.dispatchEvent(new Event("visibilitychange")); };
"""


class Quiet(WSGIRequestHandler):
    def log_request(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture
def workers(store_url: str) -> Iterator[Workers]:
    """Record three samples of two workers: the first has 10, 11, 12 people online, the second 20, 21, 22."""
    workers = Workers(store_url)
    workers.add("one", "two")
    for number in range(3):
        tell(workers, number)
    yield workers
    workers.pipeline.close()


def tell(workers: Workers, number: int) -> None:
    for online, metrics in zip((10, 20), workers.metrics.values(), strict=True):
        metrics.people = {"idle": online, "waiting": number, "chatting": 0}
        metrics.matches += 1
        metrics.messages += 100 * online
        metrics.delivery_local.observe(0.002)
    workers.metrics["one"].match_wait.observe(15)
    workers.tell()
    workers.pass_time()


@pytest.fixture
def url(workers: Workers) -> Iterator[str]:
    pipeline = DirectPipeline(workers.url)
    app = operator_app(
        pipeline,
        LobbyModeration(pipeline, 0, 0),  # type: ignore[arg-type]
        MetricHistory(pipeline, "", clock=workers.clock),  # type: ignore[arg-type]
        admin_token=TOKEN,
    )
    alone = threading.Lock()

    def one_at_a_time(*request: Any) -> Any:
        with alone:
            return app(*request)

    server = make_server("127.0.0.1", 0, one_at_a_time, threaded=True, request_handler=Quiet)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()
    pipeline.close()


@pytest.fixture
def charts(browser: Browser, url: str) -> Iterator[Callable[..., Page]]:
    """A factory of windows in which the operator has opened the charts. Time stands still in them."""
    complaints: list[str] = []
    contexts = []

    def factory(**options: Any) -> Page:
        context = browser.new_context(timezone_id="UTC", locale="en-GB", **options)
        contexts.append(context)
        page = context.new_page()
        page.clock.install(time=0)
        page.clock.pause_at(1000)  # before there is a timer: the page asks again when a test says so, and only then
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "console",
            lambda it: (
                complaints.append(it.text)
                if it.type == "error" and "401" not in it.text and "ERR_INTERNET_DISCONNECTED" not in it.text
                else None
            ),
        )
        page.add_init_script(HIDEABLE)
        page.goto(url + "/admin/charts")
        log_in(page)
        return page

    yield factory
    for context in contexts:
        context.close()
    assert complaints == []


def log_in(page: Page) -> None:
    page.get_by_label("Token").fill(TOKEN)
    page.get_by_role("button", name="Log in").click()
    expect(page).to_have_url(re.compile("/admin/charts$"))
    expect(chart(page, "People").locator("canvas")).to_be_visible()


def chart(page: Page, title: str) -> Any:
    return page.get_by_role("article", name=title, exact=True)


def said(page: Page, title: str) -> Any:
    """Return the description of the selected moment."""
    return page.get_by_role("slider", name=f"{title}: moment")


def table(page: Page, title: str) -> list[list[str]]:
    found = chart(page, title)
    if not found.get_by_role("table").is_visible():
        found.get_by_text(f"Table: {title}", exact=True).click()
    rows = found.get_by_role("row")
    expect(rows.nth(1)).to_be_visible()
    return [row.locator("th, td").all_inner_texts() for row in rows.all()]


def test_all_workers_together_are_drawn_described_and_in_tables(charts: Callable[..., Page]) -> None:
    page = charts()
    titles = ["People", "Matches per minute", "Messages per minute", "Wait for a partner", "Message delivery"]
    expect(page.get_by_role("heading", level=3)).to_have_text(titles)
    expect(chart(page, "People").get_by_role("listitem")).to_have_text(["online 34", "waiting 4"])
    expect(said(page, "People")).to_have_attribute("aria-valuetext", "17:47:00: online 34, waiting 4")
    expect(chart(page, "People")).to_contain_text("Since 17:46: online 30 to 34, waiting 0 to 4.")
    assert table(page, "People") == [
        ["Time", "online", "waiting"],
        ["17:47:00", "34", "4"],
        ["17:46:50", "32", "2"],
        ["17:46:40", "30", "0"],
    ]
    assert table(page, "Messages per minute")[1] == ["17:47:00", "18,000"]
    assert table(page, "Wait for a partner")[:2] == [
        ["Time", "median", "99th percentile"],
        ["17:47:00", "15 s", "19.9 s"],
    ]
    expect(chart(page, "Message delivery").get_by_role("listitem")).to_have_text(
        ["median 1.75 ms", "99th percentile 2.49 ms"]
    )


def test_workers_are_shown_side_by_side_or_one_alone(charts: Callable[..., Page], workers: Workers) -> None:
    workers.tell("one")  # the other is dead
    workers.pass_time()
    page = charts()
    page.get_by_label("Show").select_option("all workers side by side")
    expect(page.get_by_role("heading", level=3)).to_have_count(8)
    one, two = "host of one one", "host of two two"
    expect(chart(page, "People: online").get_by_role("listitem")).to_have_text([f"{one} 12", f"{two} –"])
    assert table(page, "People: online") == [
        ["Time", one, two],
        ["17:47:10", "12", "–"],
        ["17:47:00", "12", "22"],
        ["17:46:50", "11", "21"],
        ["17:46:40", "10", "20"],
    ]
    dashes = (
        chart(page, "People: online")
        .locator("path")
        .evaluate_all("paths => paths.map((path) => path.getAttribute('stroke-dasharray'))")
    )
    assert len(set(dashes)) == 2, "no line depends on its colour alone"
    page.get_by_label("Show").select_option(two)
    expect(chart(page, "People").get_by_role("listitem")).to_have_text(["online –", "waiting –"])
    assert table(page, "People")[2] == ["17:47:00", "22", "2"]


def test_a_chart_is_read_with_the_keyboard_and_all_show_the_same_moment(
    charts: Callable[..., Page], workers: Workers
) -> None:
    page = charts()
    matches = chart(page, "Matches per minute")
    page.get_by_role("button", name="Pause").focus()
    page.keyboard.press("Tab")
    expect(said(page, "People")).to_be_focused()
    for key, text in [
        ("ArrowLeft", "17:46:50: online 32, waiting 2"),
        ("ArrowLeft", "17:46:40: online 30, waiting 0"),
        ("ArrowLeft", "17:46:40: online 30, waiting 0"),
        ("End", "17:47:00: online 34, waiting 4"),
        ("Home", "17:46:40: online 30, waiting 0"),
        ("ArrowUp", "17:46:50: online 32, waiting 2"),
    ]:
        page.keyboard.press(key)
        expect(said(page, "People")).to_have_attribute("aria-valuetext", text)
        expect(matches).to_contain_text(text.split(": ")[0])
    tell(workers, 3)
    page.clock.run_for(PAUSE)
    expect(said(page, "People")).to_have_attribute("aria-valuemax", "3")
    expect(said(page, "People")).to_have_attribute("aria-valuetext", "17:46:50: online 32, waiting 2")
    page.keyboard.press("Tab")
    expect(matches).to_contain_text("17:47:10")
    page.keyboard.press("Enter")
    expect(chart(page, "People").get_by_role("row")).to_have_count(5)


def test_the_charts_update_by_themselves_while_someone_looks(charts: Callable[..., Page], workers: Workers) -> None:
    page = charts()
    table(page, "People")
    people = chart(page, "People").get_by_role("row")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url.partition("?")[2]))

    def go_on(number: int) -> None:
        tell(workers, number)
        page.clock.run_for(PAUSE)

    go_on(3)
    expect(people).to_have_count(5)
    expect(people.nth(1)).to_contain_text("17:47:10")
    assert len(asked) == 1
    assert asked[0].removeprefix("since=").isdigit()

    for away, back in [
        ("hide(true)", "hide(false)"),
        ("document.querySelector('#pause').click()", "document.querySelector('#pause').click()"),
    ]:
        count, rows = len(asked), people.count()
        page.evaluate(away)
        go_on(4)
        assert (len(asked), people.count()) == (count, rows), away
        page.evaluate(back)
        expect(people).to_have_count(rows + 1)
        assert len(asked) == count + 1, f"not after {away}"


def test_outdated_charts_say_so(charts: Callable[..., Page], workers: Workers) -> None:
    page = charts()
    status = page.get_by_role("status")
    page.context.set_offline(True)
    page.clock.run_for(PAUSE)
    expect(status).to_have_text("Not up to date: the server can’t be reached. Trying again.")
    expect(chart(page, "People").get_by_role("listitem").first).to_have_text("online 34")
    page.context.set_offline(False)
    page.clock.run_for(PAUSE)
    expect(status).to_have_text("")
    page.context.clear_cookies()
    page.clock.run_for(PAUSE)
    log_in(page)  # the session was over; it comes back to the charts


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_to_complain_about(
    charts: Callable[..., Page], workers: Workers, artifacts: Any, scheme: str
) -> None:
    page = charts(color_scheme=scheme, viewport={"width": 320, "height": 640}, reduced_motion="reduce")
    page.evaluate(AXE.read_text("utf-8"))
    page.clock.resume()  # axe waits for timers
    for view in ("all workers combined", "all workers side by side"):
        page.get_by_label("Show").select_option(view)
        page.locator("summary").last.click()
        page.screenshot(path=artifacts / f"charts-{scheme}-{view.split()[-1]}.png", full_page=True)
        assert page.evaluate("document.scrollingElement.scrollWidth <= innerWidth")
        found = page.evaluate("axe.run({ resultTypes: ['violations'] })")
        assert len(found["passes"]) > 5
        assert [(it["id"], [node["html"] for node in it["nodes"]]) for it in found["violations"]] == [], view


def test_charts_without_measurements_say_so(charts: Callable[..., Page], workers: Workers) -> None:
    workers.pipeline.execute("FLUSHALL")
    page = charts()
    expect(chart(page, "People")).to_contain_text("No data yet.")
    tell(workers, 0)
    page.clock.run_for(PAUSE)
    expect(chart(page, "People").get_by_role("listitem").first).to_have_text("online 30")
