"""The page below a path, behind nginx with a minimal configuration."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.helpers.balancers import alive, balancer
from tests.helpers.servers import Server, eventually, free_port

#: A proxy's additional headers: none, or those of deploy/nginx.conf.
PASSED_ON = {
    "proxy_pass alone": "",
    "Host and upgrades": """
      proxy_http_version 1.1;
      proxy_set_header Host $http_host;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;""",
}


@dataclass(frozen=True)
class Proxied:
    """A server behind a proxy, with what the fixture `person` has to know of it."""

    url: str
    get: Callable[[str], Any]
    exit_status: Callable[[], int | None]


@pytest.fixture(params=PASSED_ON.values(), ids=PASSED_ON)
def below(request: pytest.FixtureRequest, quick_server: Server, tmp_path: Path) -> Iterator[Proxied]:
    """The server behind an nginx that serves it below /chat/: where its page is."""
    port = free_port()
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    own_files = " ".join(f"{kind}_temp_path {tmp_path}/{kind};" for kind in kinds)
    text = f"""
events {{ worker_connections 256; }}
http {{
  {own_files} access_log off;
  map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
  server {{
    listen 127.0.0.1:{port};
    location /chat/ {{
      proxy_pass http://127.0.0.1:{quick_server.port}/;{request.param}
    }}
  }}
}}"""
    options = f"daemon off; pid {tmp_path}/pid; error_log {tmp_path}/log;"
    url = f"http://127.0.0.1:{port}/chat"
    with ExitStack() as stack:
        stack.enter_context(balancer(tmp_path, "nginx", text, ["-c", "{file}", "-g", options, "-e", f"{tmp_path}/log"]))
        eventually(lambda: alive(url), what=f"nginx at {url}")
        yield Proxied(url, quick_server.get, quick_server.exit_status)


def test_two_people_talk_on_a_page_below_a_path(below: Proxied, person: Callable, meet: Callable) -> None:
    anna, bert = person(below), person(below)
    meet(anna, bert)
    anna.say("hello")
    expect(bert.messages("partner")).to_have_text(["hello"])
    bert.page.reload()  # identity and language belong to this page
    expect(bert.messages("partner")).to_have_text(["hello"])
    bert.say("and hello")
    expect(anna.messages("partner")).to_have_text(["and hello"])


def test_lobbies_and_languages_stay_below_the_path(below: Proxied, person: Callable) -> None:
    anna = person(below)
    anna.button("Settings").click()
    anna.page.get_by_label("Language").select_option("es")
    anna.press("Escape")
    anna.page.get_by_role("link", name="cebu").click()
    expect(anna.page).to_have_url(f"{below.url}/?lobby=cebu")
    expect(anna.page.locator("html")).to_have_attribute("lang", "es")
    expect(anna.page.locator("#online")).to_be_visible()
    (cookie,) = [cookie for cookie in anna.context.cookies() if cookie["name"] == "language"]
    assert cookie["path"] == "/chat/"
    anna.page.goto(f"{below.url}/?lobby=nowhere")
    anna.page.locator("#to-start").click()
    expect(anna.page).to_have_url(f"{below.url}/")
    anna.complaints.clear()  # the browser's own, of the 404
