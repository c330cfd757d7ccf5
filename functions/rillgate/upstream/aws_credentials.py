"""AWS credentials that are always fresh enough to sign with. When they are refreshed says `fresh`, where they come from
`aws_sources`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from rillgate.domain.errors import UpstreamError
from rillgate.domain.ports import Clock
from rillgate.upstream.fresh import ADVISORY_S, MANDATORY_S, PAUSE_S, Fresh
from rillgate.wire.sigv4 import Credentials

__all__ = ["ADVISORY_S", "MANDATORY_S", "PAUSE_S", "AwsCredentials"]


class AwsCredentials(Fresh[Credentials]):
    """The credentials of this process; arguments as `Fresh` takes them."""

    def __init__(
        self,
        fetch: Callable[[], Awaitable[Credentials]],
        clock: Clock,
        *,
        on_error: Callable[[UpstreamError], None] | None = None,
    ) -> None:
        super().__init__(fetch, clock, what="AWS credentials", on_error=on_error)
