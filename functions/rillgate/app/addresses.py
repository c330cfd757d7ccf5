"""What is counted for each client's address: how fast it asks, and how much of it is open. No I/O, and no clock.

An IPv4 address stands for itself, an IPv6 address for its /64: that is what one subscriber gets, and counting single
addresses of it would count nothing. What is remembered is bounded, whatever strangers do: rates by `ADDRESSES_MAX`,
counts by the connections and requests that are open.
Source: RFC 6177, section 2 (the size of an end site); ITU-T I.371, annex A (the generic cell rate algorithm, a token
bucket kept as one time for each address).
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

ADDRESSES_MAX = 65_536  # rates remembered at once, some 15 MB; above it the one that asked longest ago is forgotten
SITE_BITS = 64  # of an IPv6 address: one subscriber's network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


def parse_address(text: str) -> Address | None:
    """An address without a port; IPv4 in IPv6, as sockets for both versions write it, is IPv4. None: it is none."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def site_of(address: Address) -> str:
    """Under which name an address is counted.

    Shape: 203.0.113.9 → '203.0.113.9'; 2001:db8::1:2 → '2001:db8::/64'
    """
    if isinstance(address, IPv4Address):
        return str(address)
    return f"{IPv6Address(int(address) >> SITE_BITS << SITE_BITS)}/{SITE_BITS}"


class Networks:
    """A few networks, such as those of the trusted proxies.

    Args: cidrs: as the configuration has checked them.
    """

    def __init__(self, cidrs: Sequence[str]) -> None:
        self._networks: tuple[Network, ...] = tuple(ip_network(cidr) for cidr in cidrs)

    def __contains__(self, address: Address) -> bool:
        return any(address in network for network in self._networks)

    def __bool__(self) -> bool:
        return bool(self._networks)


class Rates:
    """A token bucket for each name: so many requests a second, and so many at once after a pause.

    Args:
        per_s: tokens that a bucket gets each second.
        burst: tokens that it holds.
        names_max: see `ADDRESSES_MAX`. Who is forgotten starts with a full bucket: too many addresses let more in,
            never less.
    """

    def __init__(self, per_s: float, burst: int, *, names_max: int = ADDRESSES_MAX) -> None:
        self._token_s = 1 / per_s
        self._burst_s = burst * self._token_s
        self._names_max = names_max
        self._full_at: dict[str, float] = {}  # when each bucket is full again; who asked longest ago stands first

    def __len__(self) -> int:
        """Names that are remembered."""
        return len(self._full_at)

    def take(self, name: str, now_s: float) -> float:
        """Take a token, if there is one.

        Returns: 0 where there was; else, with nothing taken, the seconds until there is.
        """
        full_at = max(self._full_at.pop(name, now_s), now_s) + self._token_s
        wait_s = full_at - now_s - self._burst_s
        # A billionth: sums of fractions must not cost the last token of a bucket.
        self._full_at[name] = full_at if wait_s <= 1e-9 else full_at - self._token_s
        if len(self._full_at) > self._names_max:
            del self._full_at[next(iter(self._full_at))]
        return wait_s if wait_s > 1e-9 else 0.0


class Counts:
    """How many of something each name has open."""

    def __init__(self) -> None:
        self._open: dict[str, int] = {}

    def __len__(self) -> int:
        """Names that have something open."""
        return len(self._open)

    def of(self, name: str) -> int:
        """How many this name has open."""
        return self._open.get(name, 0)

    def opened(self, name: str) -> int:
        """One more; returns how many there are now."""
        self._open[name] = now = self._open.get(name, 0) + 1
        return now

    def closed(self, name: str) -> None:
        """One less."""
        left = self._open[name] - 1
        if left:
            self._open[name] = left
        else:
            del self._open[name]
