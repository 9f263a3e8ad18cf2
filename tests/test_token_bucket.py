"""A token bucket alone, with the test's own time."""

from __future__ import annotations

from animochat.token_bucket import TokenBucket


def test_a_bucket_holds_ten_seconds_worth_and_no_more() -> None:
    bucket = TokenBucket()
    assert [bucket.take(2, 1000.0) for _ in range(20)] == [0] * 20
    assert bucket.take(2, 1000.0) > 0
    assert [bucket.take(2, 2000.0) for _ in range(20)] == [0] * 20, "a long pause fills it"
    assert bucket.take(2, 2000.0) > 0, "and no further"


def test_a_bucket_returns_the_time_until_the_next_token() -> None:
    bucket = TokenBucket()
    now = 1000.0
    for _ in range(30):
        bucket.take(3, now)
    for _ in range(5):
        wait = bucket.take(3, now)
        assert 0 < wait <= 334
        assert bucket.take(3, now + (wait - 2) / 1000) > 0, "not sooner"
        now += wait / 1000
        assert bucket.take(3, now) == 0


def test_without_a_rate_there_is_no_limit() -> None:
    bucket = TokenBucket()
    assert {bucket.take(0, 1000.0) for _ in range(1000)} == {0}


def test_a_slow_rate_still_allows_one_immediately() -> None:
    bucket = TokenBucket()
    assert bucket.take(0.01, 1000.0) == 0
    assert bucket.take(0.01, 1000.0) > 99_000
    assert bucket.take(0.01, 1101.0) == 0


def test_drained_tokens_return_with_time() -> None:
    bucket = TokenBucket()
    assert bucket.take(1, 1000.0) == 0
    bucket.drain(100)
    assert bucket.take(1, 1000.0) > 0
    assert bucket.take(1, 1001.0) == 0
