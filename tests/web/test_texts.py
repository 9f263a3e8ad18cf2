"""The operator's texts: their own files, or defaults whose numbers are those of the settings and of the store."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta, timezone
from urllib.parse import urljoin

import pytest

from animochat import create_app
from animochat.settings import Settings, SettingsError
from animochat.web import texts
from tests.helpers.servers import ROOT

LANGUAGES = ("en", "es", "fil")


def client_of(**settings):
    return create_app(Settings(**settings)).test_client()


@pytest.fixture
def directory(tmp_path):
    return tmp_path


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", texts.PAGES)
def test_each_page_has_a_default_in_each_language_and_leads_to_the_others(name, language):
    client = client_of()
    answer = client.get(f"/{name}", headers={"Accept-Language": language})
    assert answer.status_code == 200
    assert f'<html lang="{language}"' in answer.text
    assert answer.text.count("<h1>") == 1
    assert {"Accept-Language", "Cookie"} <= set(answer.headers["Vary"].split(", "))
    for address in re.findall(r'(?:href|src)="([^"]+)"', answer.text):
        assert not address.startswith("/")
        assert client.get(urljoin(f"/{name}", address)).status_code == 200, address


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_default_privacy_text_agrees_with_the_settings(language):
    def privacy(**settings):
        return client_of(**settings).get("/privacy", headers={"Accept-Language": language}).text

    def numbers(page):
        return [int(number) for number in re.findall(r"\b\d+\b", re.sub(r"<[^>]+>|&\w+;", " ", page))]

    days = [texts.BLOCK_MS // texts.DAY_MS, texts.REPORT_MS // texts.DAY_MS]
    assert numbers(privacy()) == [15, 24, *days]
    assert numbers(privacy(match_history_hours=7, report_window_minutes=3)) == [3, 7, *days]
    assert numbers(privacy(match_history_hours=0)) == [15, *days]
    assert numbers(privacy(store_messages=False)) == [24, *days]


def test_the_operators_own_texts_take_the_place_of_the_defaults(directory):
    (directory / "terms.md").write_text(
        "# Ours\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n[more](https://law.example/)", "utf-8"
    )
    (directory / "terms.es.md").write_text("# Las nuestras", "utf-8")
    (directory / "security.txt").write_text("Contact: mailto:us@chat.example\n", "utf-8")
    (directory / "robots.txt").write_text("User-agent: *\nDisallow: /\n", "utf-8")
    (directory / "favicon.ico").write_bytes(b"\0\0\1\0")
    client = client_of(texts_dir=str(directory))
    terms = client.get("/terms").text
    for part in ("<h1>Ours</h1>", "<td>2</td>", '<a href="https://law.example/">more</a>'):
        assert part in terms
    assert "<h1>Las nuestras</h1>" in client.get("/terms", headers={"Accept-Language": "es"}).text
    assert "<h1>Ours</h1>" in client.get("/terms", headers={"Accept-Language": "fil"}).text
    assert client.get("/.well-known/security.txt").text == "Contact: mailto:us@chat.example\n"
    assert client.get("/robots.txt").text == "User-agent: *\nDisallow: /\n"
    icon = client.get("/favicon.ico")
    assert (icon.data, icon.content_type) == (b"\0\0\1\0", "image/x-icon")
    assert "<h1>Privacy</h1>" in client.get("/privacy").text


def test_markup_and_scripts_in_a_text_are_text(directory):
    hostile = (
        "<script>alert(1)</script>\n\n<img src=x onerror=alert(1)>\n\n[a](javascript:alert(1)) [b](data:text/html,x)"
        " [c](vbscript:x) ![d](https://tracker.example/x.png) <a href=x>e</a> [f](<java\nscript:x>)\n\n"
        '[g](https://x.example/"onmouseover="alert(1)) ``<b>``\n\n[h]: javascript:alert(1)\n\n[h]'
    )
    (directory / "contact.md").write_text(hostile, "utf-8")
    page = client_of(texts_dir=str(directory)).get("/contact").text
    found = page[page.index("<main") : page.index("</main>")]
    tags = re.findall(r"<(\w+)([^>]*)>", found.partition(">")[2])
    assert {name for name, _ in tags} <= {"p", "a", "code"}
    assert [attributes for _, attributes in tags if attributes] == [
        ' href="https://tracker.example/x.png"',  # a link, where an image was wanted
        ' href="https://x.example/%22onmouseover=%22alert(1)"',
    ]


def test_a_text_that_cannot_be_read_stops_the_start_and_a_misspelt_name_is_logged(directory, caplog):
    (directory / "privcy.md").write_text("x", "utf-8")
    client_of(texts_dir=str(directory))
    assert "'privcy.md' is not the name of a text" in caplog.text
    (directory / "terms.md").write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match=r"terms\.md can't be read"):
        client_of(texts_dir=str(directory))
    with pytest.raises(SettingsError, match=r"TEXTS_DIR: .* is not a directory that exists"):
        Settings.from_environ({"TEXTS_DIR": str(directory / "nowhere")})


def test_the_default_security_txt_names_the_contact_page_and_is_never_out_of_date():
    text = client_of(public_url="https://chat.example/below/").get("/.well-known/security.txt").text
    fields = dict(line.split(": ", 1) for line in text.splitlines())
    assert fields["Contact"] == "https://chat.example/below/contact"
    expires = datetime.fromisoformat(fields["Expires"].replace("Z", "+00:00"))
    now = datetime.now(timezone.utc)
    assert now + timedelta(days=90) < expires < now + timedelta(days=365)
    assert client_of().get("/.well-known/security.txt").text.startswith("Contact: http://localhost/contact\n")


def test_link_previews_name_the_picture_by_its_whole_address_where_it_is_known():
    page = client_of(public_url="https://chat.example/").get("/").text
    (image,) = re.findall(r'<meta property="og:image" content="([^"]+)">', page)
    assert image.startswith("https://chat.example/static/v/")
    assert client_of().get("/" + image.removeprefix("https://chat.example/")).status_code == 200


def test_the_start_page_and_the_safety_note_lead_to_the_texts():
    page = client_of().get("/").text
    for name in texts.PAGES:
        assert f'href="./{name}"' in page
    assert page.count('href="./terms"') == 2


def test_the_texts_are_made_once(monkeypatch):
    client = client_of()
    addresses = ["/terms", "/robots.txt", "/favicon.ico"]
    first = [client.get(address).data for address in addresses]

    def fail(*_, **__):
        raise AssertionError("made again")

    monkeypatch.setattr(texts, "render_template", fail)
    monkeypatch.setattr("pathlib.Path.read_bytes", fail)
    assert [client.get(address).data for address in addresses] == first


def test_every_language_of_the_page_has_the_names_of_the_texts():
    for language in LANGUAGES:
        words = json.loads((ROOT / f"animochat/web/static/lang/{language}.json").read_text("utf-8"))
        assert {*texts.PAGES, "links"} <= set(words)
