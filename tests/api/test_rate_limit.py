"""Rate limit per API key: token buckets."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.middleware.rate_limit import RateLimiter
from api.problems import RequestError


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


def left(headers):
    return re.findall(rb'"(\w+)";r=(\d+);t=(\d+)', dict(headers)[b"ratelimit"])


class TestRateLimiter:
    def test_burst(self):
        """A caller may use its whole bucket at once, then its rate; other callers are unaffected."""
        clock = Clock()
        rates = RateLimiter(requests=2, rows=0, burst=5, clock=clock)
        assert dict(rates.take_request("a"))[b"ratelimit-policy"] == b'"requests";q=10;w=5'
        for number in range(1, 10):
            assert left(rates.take_request("a")) == [(b"requests", b"%d" % (9 - number), b"%d" % -(-(number + 1) // 2))]
        with pytest.raises(RequestError) as caught:
            rates.take_request("a")
        assert caught.value.kind.status == 429
        assert caught.value.headers["retry-after"] == "1"
        rates.take_request("b")  # others are not concerned
        clock.now += 0.5
        rates.take_request("a")
        with pytest.raises(RequestError):
            rates.take_request("a")

    def test_rows_are_charged_afterwards(self):
        """Rows beyond the bucket become a debt, which the caller must wait for."""
        clock = Clock()
        rates = RateLimiter(requests=0, rows=100, burst=5, clock=clock)
        rates.take_request("a")
        rates.charge_rows("a", 1500)
        with pytest.raises(RequestError) as caught:
            rates.take_request("a")
        assert caught.value.headers["retry-after"] == "10"
        assert "100 rows per second" in caught.value.detail
        clock.now += 10.5
        assert left(rates.take_request("a")) == [(b"rows", b"50", b"5")]

    def test_shared_file(self, tmp_path):
        """Two workers with one file take from the same buckets."""
        clock = Clock()
        one, other = (RateLimiter(1, 0, 2, tmp_path / "rates", clock) for _ in range(2))
        one.take_request("a")
        other.take_request("a")
        for rates in (one, other):
            with pytest.raises(RequestError):
                rates.take_request("a")
        other.take_request("b")

    @given(st.floats(0.1, 50), st.floats(0.1, 10), st.lists(st.floats(0, 3), max_size=60))
    def test_upper_bound(self, rate, burst, waits):
        """Never more requests are admitted than rate and burst allow; one after Retry-After is admitted."""
        clock = Clock()
        rates = RateLimiter(rate, 0, burst, clock=clock)
        admitted = 0
        for wait in waits:
            clock.now += wait
            try:
                rates.take_request("a")
            except RequestError as error:
                clock.now += int(error.headers["retry-after"])
                rates.take_request("a")  # a request after Retry-After is admitted
            admitted += 1
        assert admitted <= rate * (clock.now - Clock.now) + max(rate * burst, 1) + 1e-6
