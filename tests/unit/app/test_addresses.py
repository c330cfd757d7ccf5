"""What is counted for each address: names, buckets and counts, without a clock."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rillgate.app.addresses import ADDRESSES_MAX, Counts, Networks, Rates, parse_address, site_of


@pytest.mark.parametrize(
    ("text", "site"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8::ffff:1:2:3", "2001:db8::/64"),
        ("2001:db8:0:1::1", "2001:db8:0:1::/64"),
        ("::1", "::/64"),
        ("fe80::1%eth0", "fe80::/64"),
    ],
)
def test_site_is_the_address_or_its_64(text: str, site: str) -> None:
    """IPv4 counts by itself, also where it came in IPv6; all of one subscriber's IPv6 counts together."""
    address = parse_address(text)
    assert address is not None
    assert site_of(address) == site


@pytest.mark.parametrize("text", ["", "unknown", "203.0.113.9:80", "[::1]", "203.0.113", "1.2.3.4.5", "_hidden", "é"])
def test_parse_address_of_anything_else_is_none(text: str) -> None:
    """Nothing is guessed."""
    assert parse_address(text) is None


def test_networks_hold_their_addresses_of_both_versions() -> None:
    """An address is in a network of its own version alone; no networks hold nobody."""
    networks = Networks(("10.0.0.0/8", "2001:db8::/32"))
    inside = [parse_address(text) for text in ("10.9.8.7", "::ffff:10.9.8.7", "2001:db8:1::1")]
    outside = [parse_address(text) for text in ("11.0.0.1", "2001:db9::1", "::a09:807")]
    assert [address is not None and address in networks for address in inside + outside] == [True] * 3 + [False] * 3
    assert not Networks(())


def test_rates_full_bucket_gives_its_burst_and_then_its_rate() -> None:
    """So many at once, then one for each token's time; who is refused is told exactly how long it is."""
    rates = Rates(4.0, 3)
    assert [rates.take("a", 100.0) for _ in range(4)] == [0, 0, 0, 0.25]
    assert rates.take("a", 100.1) == pytest.approx(0.15)
    assert rates.take("a", 100.25) == 0
    assert rates.take("a", 100.25) > 0


def test_rates_refusal_takes_nothing() -> None:
    """Who asks a thousand times while refused waits no longer for it."""
    rates = Rates(1.0, 1)
    assert rates.take("a", 0.0) == 0
    assert {rates.take("a", 0.5) for _ in range(1_000)} == {0.5}
    assert rates.take("a", 1.0) == 0


def test_rates_of_one_name_are_not_another_s() -> None:
    """A flood of one address costs the next nothing."""
    rates = Rates(1.0, 1)
    assert rates.take("a", 0.0) == 0
    assert rates.take("a", 0.0) > 0
    assert rates.take("b", 0.0) == 0


@given(
    st.floats(0.01, 1_000),
    st.integers(1, 50),
    st.lists(st.floats(0, 3), max_size=80),
)
def test_rates_let_in_what_a_counted_bucket_lets_in(per_s: float, burst: int, gaps: list[float]) -> None:
    """One time for each name says the same as a bucket whose tokens are counted."""
    rates, tokens, now = Rates(per_s, burst), float(burst), 0.0
    for gap in gaps:
        now += gap
        tokens = min(burst, tokens + gap * per_s)
        wait = rates.take("a", now)
        if abs(tokens - 1) > 1e-6:  # exactly one token is a matter of rounding
            assert (wait == 0) == (tokens > 1)
        if wait == 0:
            tokens -= 1
        else:
            assert wait == pytest.approx((1 - tokens) / per_s, abs=1e-6)


def test_rates_remember_no_more_names_than_their_bound() -> None:
    """A million made-up addresses cost the memory of the bound; who asks steadily is not forgotten for them."""
    rates = Rates(1.0, 1, names_max=100)
    for number in range(10_000):
        rates.take(f"stranger-{number}", number / 1_000)
        assert rates.take("steady", number / 1_000) == 0 or number % 1_000
    assert len(rates) == 100
    assert rates.take("steady", 9.999) > 0


def test_rates_memory_at_their_bound_is_megabytes() -> None:
    """What a name costs, times the bound, is what the module says."""
    rates = Rates(1.0, 1)
    names = [f"2001:db8:{number >> 8:x}:{number & 255:x}::/64" for number in range(1_000)]
    for name in names:
        rates.take(name, 1.0)
    dictionary = sys.getsizeof(dict.fromkeys(range(ADDRESSES_MAX)))
    assert dictionary + ADDRESSES_MAX * (max(map(sys.getsizeof, names)) + sys.getsizeof(1.0)) < 15_000_000


def test_counts_forget_whoever_has_nothing_open() -> None:
    """The table is as large as what is open."""
    counts = Counts()
    assert [counts.opened("a"), counts.opened("a"), counts.opened("b")] == [1, 2, 1]
    counts.closed("a")
    assert (counts.of("a"), counts.of("b"), len(counts)) == (1, 1, 2)
    counts.closed("a")
    counts.closed("b")
    assert (counts.of("a"), len(counts)) == (0, 0)
