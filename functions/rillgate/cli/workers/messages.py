"""What a worker and its supervisor say to each other: one line of compact JSON each, over a socketpair.

    worker                                   supervisor
      Ready ──────────────────────────────────►            from now on it takes connections
      Counted(0) ─────────────────────────────►            what it has counted, every few seconds and at its end
      Scrape(n) ──────────────────────────────► Count(m) to each other worker ─► Counted(m) back
      ◄──────────────────────────────── Total(n)           the sum over all
      Cancel(n) ──────────────────────────────► Cancel(m) to each other worker ─► Cancelled(m) back
      ◄──────────────────────────── Cancelled(n)
      ◄──────────────────── ModelNews, Drain, EndNow       the embedded model; the way down

Numbers of questions are the asker's own; 0 is none. The end of the channel is a message, too: the other one has gone.
"""

from __future__ import annotations

import msgspec

from rillgate.app.embedded_shared import ModelNews
from rillgate.telemetry.snapshot import Snapshot


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """The worker takes connections."""


class Count(msgspec.Struct, frozen=True, tag="count"):
    """What have you counted?"""

    number: int


class Counted(msgspec.Struct, frozen=True, tag="counted"):
    """This; an answer, or with the number 0 said without being asked."""

    snapshot: Snapshot
    number: int = 0


class Scrape(msgspec.Struct, frozen=True, tag="scrape"):
    """What have all counted? I have counted this."""

    number: int
    snapshot: Snapshot


class Total(msgspec.Struct, frozen=True, tag="total"):
    """All have."""

    number: int
    snapshot: Snapshot


class Cancel(msgspec.Struct, frozen=True, tag="cancel"):
    """End this request if you serve it, and if it is this owner's."""

    number: int
    request_id: str
    owner: str


class Cancelled(msgspec.Struct, frozen=True, tag="cancelled"):
    """Whether somebody served it."""

    number: int
    found: bool


class Drain(msgspec.Struct, frozen=True, tag="drain"):
    """Take nothing new, and end when the streams have ended or their grace is over."""


class EndNow(msgspec.Struct, frozen=True, tag="end_now"):
    """The grace is over."""


ToSupervisor = Ready | Counted | Scrape | Cancel | Cancelled
ToWorker = Count | Total | Cancel | Cancelled | ModelNews | Drain | EndNow


class Orders(msgspec.Struct, frozen=True):
    """What a worker must know before anything is said; an argument of its process, so there is no secret in it.

    Attributes:
        number: its place, from 1; whoever replaces it has the same.
        config, host, port: as `serve` was called.
        allow_unauthenticated: likewise.
        keys_required: what the supervisor has found to hold where it listens, which a worker cannot see.
        grace_s: see `GatewayServer`.
        speaks: whether it tells the operator which models there are.
    """

    number: int
    config: str | None
    host: str | None
    port: int | None
    allow_unauthenticated: bool
    keys_required: bool
    grace_s: float
    speaks: bool = False
