"""Which addresses are this machine itself: for who may be listened to, and who may ask."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address


def is_loopback_address(address: str) -> bool:
    """Whether an address is in 127.0.0.0/8 or ::1. A socket for both versions writes the former as ::ffff:127.0.0.1."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
    return (mapped or parsed).is_loopback
