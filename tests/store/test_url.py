"""The store's address: one parser reads every form that is documented, or that the URL standard allows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import redis
from hypothesis import example, given, settings
from hypothesis import strategies as st

from animochat.settings import Settings, SettingsError
from animochat.store.connection import neighbour, seeds
from animochat.store.url import StoreUrl, StoreUrlError, masked_url, parse, problem

TLS_OPTIONS = (("ssl_ca_certs", __file__), ("ssl_check_hostname", "off"))


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://localhost", {"hosts": (("localhost", 6379),)}),
        ("REDIS://Store.Example:/", {"hosts": (("store.example", 6379),)}),
        ("redis://host:1/3/", {"hosts": (("host", 1),), "database": 3}),
        ("redis://host?db=3", {"hosts": (("host", 6379),), "database": 3}),
        ("redis://host/3?db=3", {"hosts": (("host", 6379),), "database": 3}),
        ("redis://us%40er@host", {"hosts": (("host", 6379),), "username": "us@er"}),
        ("redis://user:@host", {"hosts": (("host", 6379),), "username": "user"}),
        ("redis://:p%3A%2F%23@host", {"hosts": (("host", 6379),), "password": "p:/#"}),
        ("redis://a:b:c@d@host", {"hosts": (("host", 6379),), "username": "a", "password": "b:c@d"}),
        ("redis://@host", {"hosts": (("host", 6379),)}),
        ("redis://host?username=u&password=a%2Bb", {"hosts": (("host", 6379),), "username": "u", "password": "a+b"}),
        ("redis://[::1]", {"hosts": (("::1", 6379),)}),
        ("redis://[FE80::1%25eth0]:7", {"hosts": (("fe80::1%eth0", 7),)}),
        ("redis://[fe80::1%eth0]:7", {"hosts": (("fe80::1%eth0", 7),)}),
        ("unix:///run/a%20b.sock?db=2", {"kind": "unix", "path": "/run/a b.sock", "database": 2}),
        ("unix://u:p@/run/a.sock", {"kind": "unix", "path": "/run/a.sock", "username": "u", "password": "p"}),
        (
            "redis+cluster://u:p@[::1]:7000,two,[fe80::2%25lo]/",
            {
                "kind": "cluster",
                "hosts": (("::1", 7000), ("two", 6379), ("fe80::2%lo", 6379)),
                "username": "u",
                "password": "p",
            },
        ),
        (
            "redis+sentinel://one,[::2]:7/my%2Fmaster/4",
            {"kind": "sentinel", "hosts": (("one", 26379), ("::2", 7)), "service": "my/master", "database": 4},
        ),
        # python-socketio's order
        (
            "redis+sentinel://one/4/mymaster",
            {"kind": "sentinel", "hosts": (("one", 26379),), "service": "mymaster", "database": 4},
        ),
        # ours, where both are numbers
        ("redis+sentinel://one/7/4", {"kind": "sentinel", "hosts": (("one", 26379),), "service": "7", "database": 4}),
        ("redis+sentinel://one/mymaster", {"kind": "sentinel", "hosts": (("one", 26379),), "service": "mymaster"}),
    ],
)
def test_every_form_is_read(url: str, expected: dict[str, Any]) -> None:
    assert parse(url) == StoreUrl(**{"kind": "single", **expected})
    assert Settings.from_environ({"REDIS_URL": url}).redis_url == url


@pytest.mark.parametrize(
    "url",
    [
        "redis://host/0#fragment",
        "redis://ho\tst",
        "redis://host:0",
        "redis://[::1",
        "redis://[host]",
        "redis://::1",
        "redis://[::1%25]x",
        "redis://one,two",
        "redis://host/1?db=2",
        "redis://u:secret1@host?password=secret2",
        "redis://host?db=1&db=1",
        "redis://host?socket_timeout=0",
        "redis://host?socket_timeout=60",
        "redis://host?client_name=a%20b",
        "redis://%FF@host",
        "redis+cluster://one?db=1",
        "redis+cluster://one/mymaster",
        "redis+sentinel://one/a/b",
        "redis+sentinel://one/a/1/2",
        "redis+sentinel://one//1",
        "unix://host/run/a.sock",
        "redis:/host",
        "unix+cluster:///a",
    ],
)
def test_anything_else_is_refused(url: str) -> None:
    with pytest.raises(StoreUrlError):
        parse(url)
    with pytest.raises(SettingsError):
        Settings.from_environ({"REDIS_URL": url})


# Properties

words = st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=1, max_size=12)
names = st.from_regex(r"[a-z][a-z0-9._-]{0,10}", fullmatch=True)
ipv6 = st.ip_addresses(v=6).map(str)
zoned = st.builds(lambda zone: f"fe80::1%{zone}", st.from_regex(r"[a-z][a-z0-9._~-]{0,5}", fullmatch=True))
hosts = st.one_of(names, st.ip_addresses(v=4).map(str), ipv6, zoned)
servers = st.tuples(hosts, st.integers(1, 65_535))
credentials = {"username": st.just("") | words, "password": st.just("") | words}
databases = st.integers(0, 99_999)
services = words.filter(lambda name: not name.isdecimal())
options = st.lists(
    st.sampled_from([("socket_timeout", "1.5"), ("socket_keepalive", "yes"), ("client_name", "a&b=c")]), unique=True
).map(tuple)
several = st.lists(servers, min_size=1, max_size=4).map(tuple)

addresses = st.one_of(
    st.builds(
        StoreUrl,
        st.just("single"),
        st.booleans(),
        st.tuples(servers),
        database=databases,
        options=options,
        **credentials,
    ),
    st.builds(
        StoreUrl, st.just("unix"), path=words.map("/{}".format), database=databases, options=options, **credentials
    ),
    st.builds(StoreUrl, st.just("cluster"), st.booleans(), several, options=options, **credentials),
    st.builds(
        StoreUrl, st.just("sentinel"), st.booleans(), several, service=services, database=databases, **credentials
    ),
)


@given(addresses)
def test_an_address_is_parsed_as_it_was_written(address: StoreUrl) -> None:
    assert parse(address.url) == address
    assert problem(address.url) is None
    assert parse(address.url.replace("redis", "Redis", 1)) == address


@given(addresses)
def test_every_server_of_an_address_gets_its_user_password_and_options(address: StoreUrl) -> None:
    if address.kind == "cluster":
        assert [parse(url).hosts for url in seeds(address.url)] == [(host,) for host in address.hosts]
    other = parse(neighbour(address.url, "fe80::7%eth0", 7))
    assert (other.kind, other.hosts, other.place) == ("single", (("fe80::7%eth0", 7),), "[fe80::7%25eth0]:7")
    assert (other.tls, other.username, other.password, other.database, other.options) == (
        address.tls,
        address.username,
        address.password,
        address.database,
        address.options,
    )


@given(addresses.filter(lambda address: address.kind in ("single", "unix")))
def test_redis_py_parses_an_address_as_we_do(address: StoreUrl) -> None:
    """Its own parser agrees wherever it can read an address at all: it knows no zones."""
    if "%" in str(address.hosts):
        return
    theirs = redis.connection.parse_url(address.url)  # type: ignore[attr-defined]
    ours = {name: value for name, value in address.keywords().items() if value is not None}
    assert theirs.pop("host", None) == (address.hosts[0][0] if address.hosts else None)
    assert theirs.pop("port", None) == (address.hosts[0][1] if address.hosts else None)
    assert theirs.pop("path", "") == address.path
    theirs.pop("connection_class", None)
    assert {"db": 0, **theirs} == ours


SECRET = "hunter2-xy7"
pieces = st.sampled_from(
    [
        *(
            "redis",
            "rediss",
            "unix",
            "redis+sentinel",
            "redis+cluster",
            "http",
            "://",
            "//",
            ":",
            "/",
            "@",
            "?",
            "&",
            "=",
        ),
        *(
            "#",
            "%",
            "%zz",
            "[",
            "]",
            ",",
            "\t",
            "host",
            "user",
            "6379",
            "password=",
            "sentinel_password=",
            "db=",
            SECRET,
        ),
    ]
)


@settings(max_examples=1000)
@given(st.lists(pieces, max_size=14).map("".join))
@example(f"redis://user:{SECRET}")
@example(f"redis://host/0?password=p@{SECRET}")
@example(f"redis://user:{SECRET}?x@host")
@example(f"redis://user:{SECRET}/x@host")
def test_no_result_or_error_shows_a_password(url: str) -> None:
    shown = refusal(lambda: Settings.from_environ({"REDIS_URL": url}))
    # text that can't be told from a host or a path does not count as a password
    is_one = f":{SECRET}" in url or f"={SECRET}" in url or "@" in url.partition(SECRET)[2]
    if is_one and url.count(SECRET) == 1:
        assert SECRET not in shown
    assert SECRET not in refusal(lambda: parse(url))
    if not problem(url) and SECRET not in parse(url).place + parse(url).service:
        assert SECRET not in repr(parse(url)) + masked_url(url)


def refusal(action: Callable[[], object]) -> str:
    """Return the message of the error that `action` raises, "" for none."""
    try:
        action()
    except (SettingsError, StoreUrlError) as error:
        return str(error)
    return ""


def test_every_word_for_false_is_accepted() -> None:
    for value in ("off", "no", "false", "0", "OFF"):
        assert parse(f"rediss://host?ssl_check_hostname={value}").keywords()["ssl_check_hostname"] is False
