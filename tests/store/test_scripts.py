"""store/scripts.py: Lua files become scripts, with their includes."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest
import redis

from animochat.matchmaking import service as matchmaking
from animochat.moderation import lobby_moderation as moderation
from animochat.presence import service as presence
from animochat.rooms import service as rooms
from animochat.store import scripts
from animochat.store.scripts import Script, load
from animochat.telemetry import history as readings

ALL = presence.SCRIPTS + matchmaking.SCRIPTS + rooms.SCRIPTS + moderation.SCRIPTS + readings.SCRIPTS

FILES = sorted(scripts.PACKAGE.glob("*/scripts/*.lua"))
INCLUDES = sorted(scripts.PACKAGE.glob("*/scripts/include/*.lua"))


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty package to load scripts from."""
    monkeypatch.setattr(scripts, "PACKAGE", tmp_path)
    scripts._include.cache_clear()
    (tmp_path / "hall" / "scripts" / "include").mkdir(parents=True)
    yield tmp_path / "hall" / "scripts"
    scripts._include.cache_clear()


def test_a_script_is_named_by_folder_and_operation(package: Path) -> None:
    (package / "greet.lua").write_text("return 'hello'\n")
    script = load("hall/greet")
    assert (script.name, script.source) == ("hall/greet", "return 'hello'\n")


def test_the_sha_is_the_one_that_evalsha_takes(package: Path, redis_url: str) -> None:
    (package / "greet.lua").write_text("return 'hello – ¡hola!'\n")
    script = load("hall/greet")
    assert script.sha == hashlib.sha1(script.source.encode()).hexdigest()
    with redis.Redis.from_url(redis_url) as client:
        assert client.script_load(script.source) == script.sha


def test_an_include_replaces_its_line(package: Path) -> None:
    (package / "include" / "words.lua").write_text("local word = 'hello'\n")
    (package / "greet.lua").write_text("-- greets\n-- @include hall/words\nreturn word\n")
    assert load("hall/greet").source == "-- greets\nlocal word = 'hello'\n\nreturn word\n"


def test_an_include_comes_after_the_includes_that_it_needs(package: Path) -> None:
    (package / "include" / "words.lua").write_text("local word = 'hello'\n")
    (package / "include" / "say.lua").write_text("-- @include hall/words\nlocal function say() return word end\n")
    (package / "greet.lua").write_text("-- @include hall/say\nreturn say()\n")
    source = load("hall/greet").source
    assert source.index("local word") < source.index("local function say") < source.index("return say()")


def test_each_file_is_included_once(package: Path) -> None:
    (package / "include" / "words.lua").write_text("local word = 'hello'\n")
    (package / "include" / "one.lua").write_text("-- @include hall/words\nlocal one = word\n")
    (package / "include" / "two.lua").write_text("-- @include hall/words\nlocal two = word\n")
    (package / "greet.lua").write_text("-- @include hall/one\n-- @include hall/two\n-- @include hall/words\nreturn 1\n")
    source = load("hall/greet").source
    assert source.count("local word") == 1
    assert source.count("local one") == source.count("local two") == 1


def test_files_that_include_each_other_end(package: Path) -> None:
    (package / "include" / "one.lua").write_text("-- @include hall/two\nlocal one = 1\n")
    (package / "include" / "two.lua").write_text("-- @include hall/one\nlocal two = 2\n")
    (package / "greet.lua").write_text("-- @include hall/one\nreturn one\n")
    assert load("hall/greet").source.count("local one") == 1


def test_two_scripts_each_get_their_includes(package: Path) -> None:
    (package / "include" / "words.lua").write_text("local word = 'hello'\n")
    for name in ("greet", "shout"):
        (package / f"{name}.lua").write_text("-- @include hall/words\nreturn word\n")
    assert load("hall/greet").source == load("hall/shout").source


def test_an_include_in_the_middle_of_a_line_is_ignored(package: Path) -> None:
    (package / "greet.lua").write_text("return '-- @include hall/words'\n")
    assert load("hall/greet").source == "return '-- @include hall/words'\n"


@pytest.mark.parametrize("name", ["hall/nothing", "nowhere/greet"])
def test_a_missing_script_is_an_error(package: Path, name: str) -> None:
    with pytest.raises(FileNotFoundError):
        load(name)


def test_a_missing_include_is_an_error(package: Path) -> None:
    (package / "greet.lua").write_text("-- @include hall/nothing\nreturn 1\n")
    with pytest.raises(FileNotFoundError):
        load("hall/greet")


# The project's own


def test_every_script_file_is_loaded_by_its_folder_s_service() -> None:
    assert sorted(script.name for script in ALL) == sorted(f"{f.parent.parent.name}/{f.stem}" for f in FILES)


def test_every_include_file_is_used() -> None:
    used = set()
    for file in FILES + INCLUDES:
        used |= {f"{folder}/{name}" for folder, name in scripts.INCLUDE.findall(file.read_text())}
    assert used == {f"{f.parent.parent.parent.name}/{f.stem}" for f in INCLUDES}


@pytest.mark.parametrize("script", ALL, ids=lambda script: script.name)
def test_no_include_is_left_over(script: Script) -> None:
    """A misspelt include would be a comment; its function would only be missing when called."""
    assert "@include" not in script.source


def test_the_store_takes_every_script(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        assert [client.script_load(script.source) for script in ALL] == [script.sha for script in ALL]


@pytest.mark.parametrize("script", ALL, ids=lambda script: script.name)
def test_every_script_begins_with_its_purpose_arguments_and_result(script: Script) -> None:
    head = "".join(re.findall(r"\A(?:--.*\n)+", script.source))
    assert "KEYS[" in head
    assert "ARGV" in head
    assert "Returns" in head or script.name == "presence/touch"


@pytest.mark.parametrize("script", ALL, ids=lambda script: script.name)
def test_every_script_sets_no_global(script: Script) -> None:
    """Redis refuses a script that sets a global variable only when it gets there: check that each name is local."""
    assigned = set(re.findall(r"^(\w+)(?:\s*,\s*\w+)*\s*=[^=]", script.source, re.MULTILINE))
    assert not assigned - set(re.findall(r"local (\w+)", script.source))
    assert not re.search(r"^function ", script.source, re.MULTILINE)
