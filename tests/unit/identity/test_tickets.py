"""The form of tickets."""

from __future__ import annotations

import hmac
import string
from base64 import urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rillgate.domain.errors import AuthError, ClientError
from rillgate.domain.limits import Budget, Limit, Meter, Window
from rillgate.identity import tickets
from rillgate.identity.tickets import Ticket, sign, verify
from tests.unit.identity.vault_support import SECRET

NOW_S = 1_795_000_000
FULL = Ticket(
    ticket_id="0123456789abcdef",
    key_id="k" * 12,
    issued_s=NOW_S,
    expires_s=NOW_S + 600,
    user="ada ✓",
    team="core",
    models=("gpt-*", "fast"),
    budget=Budget(
        limits=(Limit(Meter.TOKENS, Window.DAY, 1000), Limit(Meter.COST, Window.TOTAL, 2_000_000_000)),
        streams_max=2,
        warn_percents=(50, 80),
    ),
    one_use=True,
)
BASE64URL = string.ascii_letters + string.digits + "-_"

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
budgets = st.builds(
    Budget,
    limits=st.lists(
        st.builds(Limit, st.sampled_from(Meter), st.sampled_from(Window), st.integers(0, 10**18)), max_size=5
    ).map(tuple),
    streams_max=st.none() | st.integers(1, 1000),
    warn_percents=st.lists(st.integers(1, 100), max_size=3).map(tuple),
)
made_tickets = st.builds(
    Ticket,
    ticket_id=st.text(BASE64URL, min_size=16, max_size=16),
    key_id=st.text(string.ascii_letters, min_size=12, max_size=12),
    issued_s=st.just(NOW_S),
    expires_s=st.integers(NOW_S + 1, NOW_S + 3600),
    user=st.none() | texts,
    team=st.none() | texts,
    models=st.lists(texts, max_size=5).map(tuple),
    budget=budgets,
    one_use=st.booleans(),
)


def refusal(token: str, now_s: int = NOW_S, secret: bytes = SECRET) -> tuple[str | None, str]:
    """Code and message of what a ticket is refused with."""
    with pytest.raises(AuthError) as refused:
        verify(token, secret, now_s)
    assert (refused.value.status, refused.value.should_retry) == (401, False)
    return refused.value.code, refused.value.message


def signed(payload: bytes) -> str:
    """A ticket of any content, signed with the right secret."""
    body = tickets.PREFIX + urlsafe_b64encode(payload).rstrip(b"=").decode()
    signature = urlsafe_b64encode(hmac.digest(SECRET, body.encode(), "sha256")).rstrip(b"=").decode()
    return f"{body}.{signature}"


@given(ticket=made_tickets)
def test_ticket_signed_and_verified_is_the_same(ticket: Ticket) -> None:
    """What is put into a ticket comes out of it, in at most 4 KiB that fit into an address as they are."""
    token = sign(ticket, SECRET)
    assert verify(token, SECRET, NOW_S) == ticket
    assert len(token) <= tickets.TICKET_CHARS_MAX
    assert set(token.removeprefix("rillt_")) <= set(BASE64URL + ".")


@given(data=st.data())
def test_ticket_with_any_byte_changed_is_refused(data: st.DataObject) -> None:
    """There is one spelling of a ticket: whatever single character is changed, to whatever, it is refused."""
    token = sign(FULL, SECRET)
    place = data.draw(st.integers(0, len(token) - 1))
    character = data.draw(st.sampled_from(BASE64URL + ".=") | st.characters())
    changed = token[:place] + character + token[place + 1 :]
    if changed != token:
        assert refusal(changed)[0] == "invalid_ticket"


def test_ticket_with_spare_bits_of_the_signature_changed_is_refused() -> None:
    """The last character of a signature has two bits that no byte needs: they cannot be changed either."""
    token = sign(FULL, SECRET)
    others = [token[:-1] + character for character in BASE64URL if character != token[-1]]
    assert {refusal(other)[0] for other in others} == {"invalid_ticket"}


@given(length=st.integers(0, len(sign(FULL, SECRET)) - 1))
def test_ticket_truncated_is_refused(length: int) -> None:
    """A ticket cut short anywhere is not whole."""
    code, message = refusal(sign(FULL, SECRET)[:length])
    assert code == "invalid_ticket"
    assert "not whole" in message


def test_ticket_of_another_gateway_is_refused() -> None:
    """Another secret, another signature."""
    code, message = refusal(sign(FULL, SECRET), secret=b"x" * 32)
    assert code == "invalid_ticket"
    assert "another gateway" in message


@pytest.mark.parametrize("token", ["", "rillt_", "rillt_.", "rill_" + "0" * 50, "eyJhbGciOiJub25lIn0.e30.", "é"])
def test_ticket_foreign_token_is_refused(token: str) -> None:
    """What is no ticket at all is refused by its form."""
    assert refusal(token)[0] == "invalid_ticket"


def test_ticket_over_long_is_refused_unread() -> None:
    """What is longer than any ticket of ours is not even hashed, however well it is signed."""
    code, message = refusal(signed(b'{"v":1}' + b" " * 4096))
    assert code == "invalid_ticket"
    assert "4096" in message


def test_ticket_that_would_be_too_long_is_not_signed() -> None:
    """Whoever asks for too much in one ticket hears of it, and not the browser that presents it."""
    long = Ticket("i" * 16, "k" * 12, NOW_S, NOW_S + 60, models=tuple(f"model-{n}" for n in range(1000)))
    with pytest.raises(ClientError) as refused:
        sign(long, SECRET)
    assert (refused.value.status, refused.value.code) == (400, "ticket_too_long")


@pytest.mark.parametrize(("after_s", "good"), [(-10, True), (0, True), (599, True), (600, False), (601, False)])
def test_ticket_is_good_until_it_expires(after_s: int, good: bool) -> None:
    """It is good up to the second it names. A clock behind the issuer's does no harm."""
    token = sign(FULL, SECRET)
    if good:
        assert verify(token, SECRET, NOW_S + after_s) == FULL
    else:
        assert refusal(token, NOW_S + after_s)[0] == "ticket_expired"


def test_ticket_expired_and_forged_is_called_forged() -> None:
    """The signature comes first: nothing is said about what a stranger wrote."""
    token = sign(FULL, b"x" * 32)
    assert refusal(token, NOW_S + 10_000)[0] == "invalid_ticket"


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"v":1}',
        b"\xff",
        b'{"v":2,"id":"i","key":"k","iat":1,"exp":2000000000}',
        b'{"v":1,"id":"i","key":"k","iat":1,"exp":"never"}',
        b'{"v":1,"id":"i","key":"k","iat":1,"exp":2000000000,"limits":[["tokens","week",1]]}',
    ],
)
def test_ticket_of_another_version_is_refused(payload: bytes) -> None:
    """Signed by us, but not as this version reads it: a limit that is not understood is never passed over."""
    assert refusal(signed(payload))[0] == "invalid_ticket"


def test_ticket_signature_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison is hmac's, over the whole signatures."""
    lengths: list[tuple[int, int]] = []

    def compare(first: bytes, second: bytes) -> bool:
        lengths.append((len(first), len(second)))
        return first == second

    token = sign(FULL, SECRET)
    monkeypatch.setattr(hmac, "compare_digest", compare)
    assert verify(token, SECRET, NOW_S) == FULL
    assert lengths == [(43, 43)]


def test_ticket_ids_are_96_random_bits() -> None:
    """16 characters of base64url, another each time."""
    ids = {tickets.new_ticket_id() for _ in range(100)}
    assert len(ids) == 100
    assert all(len(ticket_id) == 16 and set(ticket_id) <= set(BASE64URL) for ticket_id in ids)
