"""The word filter: the effect of the operator's patterns on a message (animochat/moderation/words.py)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from animochat.cli import main
from animochat.moderation.words import WordFilter, word_filter
from animochat.protocol.errors import InvalidPayload
from animochat.settings import Settings, SettingsError
from tests.helpers.people import NO_RATES, meet, say
from tests.helpers.servers import Client, Server

WORDS = r"""
# a comment, and an empty line

\bheck(ing)?\b
  scheiß.
b[a@]d word
"""


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., WordFilter | None]:
    """Return a function that makes a filter from a file with the given text."""

    def make(text: str | bytes, action: str = "mask") -> WordFilter | None:
        path = tmp_path / "words.txt"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return word_filter(Settings(word_filter_file=str(path), word_filter_action=action))

    return make


@pytest.mark.parametrize(
    ("said", "masked"),
    [
        ("what the heck", "what the ****"),
        ("HECKING Heck!", "******* ****!"),
        ("checked", "checked"),
        ("so eine Scheiße 😀", "so eine ******* 😀"),
        ("SCHEIẞE", "*******"),
        ("a b@d word, a BAD WORD", "a ********, a ********"),
        ("nothing at all", "nothing at all"),
        ("", ""),
        ("# a comment, and an empty line", "# a comment, and an empty line"),
    ],
)
def test_matches_are_masked(make: Callable[..., WordFilter], said: str, masked: str) -> None:
    assert make(WORDS).apply(said) == masked


def test_messages_with_a_match_are_refused(make: Callable[..., WordFilter]) -> None:
    words = make(WORDS, "refuse")
    assert words.apply("checked") == "checked"
    with pytest.raises(InvalidPayload, match="aren't allowed"):
        words.apply("what the HECK")


def test_a_file_may_begin_with_a_byte_order_mark_and_have_windows_lines(make: Callable[..., WordFilter]) -> None:
    assert make(b"\xef\xbb\xbfheck\r\ndarn\r\n").apply("heck, darn") == "****, ****"


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing yet\n"])
def test_without_patterns_there_is_no_filter(make: Callable[..., WordFilter | None], text: str) -> None:
    assert make(text) is None
    assert word_filter(Settings()) is None


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|a)*b", "(.*)*x", "(a?){50}a{50}z", "(a|aa)+$"])
def test_no_pattern_is_catastrophic(make: Callable[..., WordFilter], pattern: str) -> None:
    """Python's own `re` would take practically forever for some of these; then the test's time limit ends it."""
    said = "a" * 20_000 + "!"
    assert make(pattern, "refuse").apply(said) == said


@pytest.mark.parametrize(
    ("text", "line", "why"),
    [
        ("fine\na(", 2, "missing )"),
        ("[z-a]", 1, "invalid character class range"),
        ("\n# x\n(?=look)", 3, "invalid perl operator"),
        (r"(a)\1", 1, "invalid escape"),
        ("x*", 1, "matches empty text"),
    ],
)
def test_a_bad_pattern_is_named_with_its_line(make: Callable[..., WordFilter], text: str, line: int, why: str) -> None:
    with pytest.raises(SettingsError) as caught:
        make(text)
    (mistake,) = caught.value.mistakes
    assert mistake.startswith(f"WORD_FILTER_FILE: line {line}: ")
    assert why in mistake


def test_all_bad_patterns_are_named_at_once(make: Callable[..., WordFilter]) -> None:
    with pytest.raises(SettingsError) as caught:
        make("a(\nfine\nb(")
    assert len(caught.value.mistakes) == 2


def test_a_file_that_can_not_be_read_is_named(make: Callable[..., WordFilter], tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"WORD_FILTER_FILE: .*words.txt.* can't be read: it is not UTF-8"):
        make(b"\xff\xfe")
    with pytest.raises(SettingsError, match="can't be read: No such file"):
        word_filter(Settings(word_filter_file=str(tmp_path / "nothing")))


def test_a_bad_file_stops_the_start_with_a_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "words.txt").write_text("a(")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WORD_FILTER_FILE", "words.txt")
    with pytest.raises(SystemExit) as stopped:
        main(["serve", "--port", "1"])
    assert stopped.value.code == 2
    assert capsys.readouterr().err == "animochat: WORD_FILTER_FILE: line 1: missing ): a(\n"


@pytest.mark.parametrize("action", ["mask", "refuse"])
def test_people_meet_the_filter(
    servers: Callable[..., Server], connect: Callable[..., Client], tmp_path: Path, action: str
) -> None:
    (tmp_path / "words.txt").write_text(WORDS)
    env = {**NO_RATES, "WORD_FILTER_FILE": str(tmp_path / "words.txt"), "WORD_FILTER_ACTION": action}
    server = servers(env=env)
    anna, bert = connect(server), connect(server)
    meet(anna, bert)
    answer = anna.call("send-message", "what the heck")
    if action == "refuse":
        assert answer["error"]["code"] == "invalid-payload"
        assert "aren't allowed" in answer["error"]["message"]
        assert say(anna, bert, "sorry")["seq"] == 1
    else:
        assert bert.wait("message", where=lambda m: m["seq"] == 1)["content"] == "what the ****"
        bert.call("send-message", {"content": "?", "replyTo": answer["id"]})
        assert anna.wait("message", where=lambda m: m["seq"] == 2)["replyTo"]["content"] == "what the ****"
