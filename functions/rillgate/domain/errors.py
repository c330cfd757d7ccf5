"""Every error Rillgate reports, by whose fault it is.

RillgateError
├── ClientError              the caller's: a 4xx that names the field and the remedy
│   ├── AuthError            no key, or none that may do this; 401 or 403
│   └── BudgetError          a limit stands in the way; 429 or 403
├── CapacityError            ours: too many streams, shutting down; 503 with Retry-After
│   ├── BudgetUnavailable    the ledger's store did not answer; 503
│   └── BudgetUnreadable     what stands there is nothing that this version knows; 503, whatever `on_error` says
├── UpstreamError            the provider's: a 5xx (or its own 4xx passed on)
│   ├── UpstreamTimeout      it fell silent past its deadline; 504
│   └── UpstreamTruncated    it ended without its terminal event; 502
└── StreamEnded              not a fault: a stream was stopped from our side (deadline, shutdown, cancel)

An error carries what every dialect needs to say it in its own shape: the HTTP status, OpenAI's `type` and
`code`, the `param` it is about. Dialects render it; nothing else decides on a status.
Source: reference table of OpenAI error types and codes, https://platform.openai.com/docs/guides/error-codes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypedDict, Unpack


class Details(TypedDict, total=False):
    """What may be said of an error beside its message; see `RillgateError`."""

    status: int | None
    kind: str | None
    code: str | None
    param: str | None
    retry_after_s: float | None
    should_retry: bool | None
    headers: Mapping[str, str] | None


class RillgateError(Exception):
    """Base of all errors that reach a client.

    Args:
        message: one sentence that names the value with `!r` and the way out. Never prompt text, never a key.
        status: HTTP status, while one can still be sent.
        kind: OpenAI's `error.type`.
        code: OpenAI's `error.code`.
        param: the request field at fault, dotted, such as `messages[0].role`.
        retry_after_s: seconds for `Retry-After`; None sends none.
        should_retry: for `x-should-retry`, which steers the official SDKs; None sends none.
        headers: further headers of an error response, in lower case.
    """

    status: int = 500
    kind: str = "server_error"
    code: str | None = None

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        kind: str | None = None,
        code: str | None = None,
        param: str | None = None,
        retry_after_s: float | None = None,
        should_retry: bool | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = self.status if status is None else status
        self.kind = self.kind if kind is None else kind
        self.code = self.code if code is None else code
        self.param = param
        self.retry_after_s = retry_after_s
        self.should_retry = should_retry
        self.headers = headers or {}


class ClientError(RillgateError):
    """The request cannot be served as it stands; sending it again unchanged gives the same answer."""

    status = 400
    kind = "invalid_request_error"


class AuthError(ClientError):
    """Nothing, or nothing valid, was presented, or it does not allow this. Trying again changes nothing."""

    status = 401
    code = "invalid_api_key"


class BudgetError(ClientError):
    """A limit stands in the way. The message names scope, window and reset.

    Attributes:
        scope: whose limit it is.
    """

    status = 429
    kind = "insufficient_quota"
    code = "insufficient_quota"

    def __init__(self, message: str, *, scope: str, **details: Unpack[Details]) -> None:
        super().__init__(message, **details)
        self.scope = scope


class CapacityError(RillgateError):
    """This process cannot take the request now; the same request may succeed a moment later."""

    status = 503
    kind = "server_error"
    code = "overloaded"


class BudgetUnavailable(CapacityError):
    """The ledger's store did not answer in time, so nothing can be authorized; the same request may succeed soon."""

    code = "budget_unavailable"


class BudgetUnreadable(CapacityError):
    """A budget or a key stands in the store as this version cannot read it. It would be wrong to take it for none."""

    code = "budget_unreadable"


class UpstreamError(RillgateError):
    """The provider failed. `retryable` says whether the same call may succeed, here or at another provider."""

    status = 502
    kind = "server_error"
    code = "upstream_error"

    def __init__(self, message: str, *, retryable: bool = True, **details: Unpack[Details]) -> None:
        super().__init__(message, **details)
        self.retryable = retryable


class UpstreamTimeout(UpstreamError):
    """The provider said nothing within the time it had."""

    status = 504
    code = "upstream_timeout"


class UpstreamTruncated(UpstreamError):
    """The provider's stream ended without its terminal event: what was delivered is not a whole answer."""

    status = 502
    code = "upstream_truncated"


class StreamEnded(RillgateError):
    """The stream was ended from our side before it was finished (deadline, shutdown, cancel, a stalled client)."""

    status = 503


def forget_frames(error: BaseException | None) -> None:
    """Let an error and what caused it go on without the frames that they came through.

    Whoever keeps an error that came through its own frames would otherwise be left to the collector of cycles.
    """
    while error is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__
