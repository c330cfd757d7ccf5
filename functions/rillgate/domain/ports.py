"""What the floors need from each other, as protocols. `app` alone fills them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol

from rillgate.domain.delta import Delta
from rillgate.domain.errors import RillgateError, UpstreamError
from rillgate.domain.limits import Amounts, Budget
from rillgate.domain.principal import Principal, VirtualKey
from rillgate.domain.request import AnswerHead, ChatRequest, Endpoint, UpstreamRequest
from rillgate.domain.spending import Ask, Grant, Level, Record
from rillgate.domain.usage import Usage

# What Rillgate adds to an answer: the content of its field `rillgate`, empty when there is nothing to say.
Report = Mapping[str, Any]


class TimerHandle(Protocol):
    """A pending call of a clock."""

    def cancel(self) -> None:
        """Forget the call; harmless when it has run."""


class Clock(Protocol):
    """Time as an argument: the loop's in production, a hand-moved one in tests."""

    def now(self) -> float:
        """Monotonic seconds."""

    def wall(self) -> float:
        """Seconds since 1970-01-01 UTC."""

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> TimerHandle:
        """Run `callback` once, `delay_s` seconds from now, on the event loop."""


class Frame(Protocol):
    """One complete wire unit. `raw` is exactly what came, its terminator included; `data` is its payload.

    `plain` is True when `raw` may be passed on as it is to a client of the same dialect.
    """

    @property
    def raw(self) -> bytes: ...
    @property
    def data(self) -> bytes: ...
    @property
    def event(self) -> str: ...
    @property
    def plain(self) -> bool: ...


class FrameReader(Protocol):
    """Bytes to frames, cut anywhere. Raises UpstreamError for a frame past its bound."""

    def feed(self, chunk: bytes) -> Sequence[Frame]: ...
    def feed_eof(self) -> Sequence[Frame]: ...


class StreamDecoder(Protocol):
    """Frames of one stream to deltas; state lives as long as the stream."""

    def decode(self, frame: Frame) -> list[Delta] | None:
        """The deltas of one frame, in order; [] when it says nothing we count, None when it is not of this protocol.

        Raises:
            UpstreamError: the frame is of this protocol and broken.
        """


class Location(Protocol):
    """Finds a provider: at once for a configured one, when it has started for one that we start ourselves."""

    async def endpoint(self) -> Endpoint:
        """Where the provider answers, waiting until it does.

        Raises:
            UpstreamError: it never will; the message says what to set instead.
        """


class Provider(Protocol):
    """One API family, as pure translation. `dialect` names the client dialect that its frames already are, if any."""

    @property
    def dialect(self) -> str: ...
    @property
    def handling(self) -> Mapping[str, str]:
        """What becomes of each feature of a request: see `providers.features`."""

    @property
    def bills_after_cancel(self) -> bool:
        """Whether it goes on and bills for what it makes after its connection was closed.

        Such a one is always held to its cap, and what was abandoned there is charged as if it had used it up.
        """

    def build(self, request: ChatRequest, model: str, output_tokens_max: int) -> UpstreamRequest:
        """The provider's own request for `model`, with the cap under the name that the provider reads.

        Raises: ClientError: the request asks for something that this provider cannot do, or cannot be translated.
        """

    def reader(self) -> FrameReader:
        """A frame reader for one stream."""

    def decoder(self, request: ChatRequest | None = None) -> StreamDecoder:
        """A decoder for one stream.

        Args: request: what it answers; without it, names that `build` had to write differently stay so.
        """

    def decode_answer(self, body: bytes, request: ChatRequest | None = None) -> list[Delta]:
        """A whole answer as deltas.

        Args: request: as for `decoder`.
        Raises:
            UpstreamError: the body is no answer, or says that there is none.
        """

    def models_request(self) -> UpstreamRequest | None:
        """What asks for the list of models; None where there is nobody to ask."""

    def decode_models(self, body: bytes) -> list[str]:
        """The ids of a list of models.

        Raises: UpstreamError: it is no list.
        """

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
        """What an answer with an error status means. Header names are in lower case."""


class Encoder(Protocol):
    """Writes one stream in a client's dialect. Every method gives whole frames, ready for the wire."""

    def open(self) -> bytes:
        """What stands before everything else; mostly nothing."""

    def heartbeat(self) -> bytes:
        """Says that the stream is alive, in a form that the dialect's own clients survive."""

    def forward(self, frame: Frame) -> bytes:
        """A frame that already is in this dialect, unchanged."""

    def amend(self, frame: Frame, *, without_usage: bool, drop_choices: Collection[int], report: Report) -> bytes:
        """A frame that is in this dialect, with something taken out or `report` added; b"" if nothing is left."""

    def encode(self, deltas: Sequence[Delta], report: Report) -> bytes:
        """Deltas from another API family, in this dialect."""

    def cut(self, choice: int, notice: str, report: Report) -> bytes:
        """End one choice at its limit, as the model itself would: `notice` as text, then finish reason "length"."""

    def usage(self, usage: Usage) -> bytes:
        """Token counts of the whole stream, where the client asked for them."""

    def error(self, error: RillgateError) -> bytes:
        """An error after the first byte, in-band. Nothing may follow it."""

    def end(self) -> bytes:
        """The terminal event."""


class Dialect(Protocol):
    """One client protocol."""

    @property
    def name(self) -> str: ...
    @property
    def stream_headers(self) -> Sequence[tuple[str, str]]:
        """What the head of its streams says beside what that of every event stream does."""

    def encoder(self, request_id: str, model: str, created_s: int) -> Encoder:
        """An encoder for one stream."""

    def answer(self, body: bytes, usage: Usage | None, report: Report) -> bytes:
        """A whole answer that already is in this dialect, with our usage and report added where given."""

    def encode_answer(self, head: AnswerHead, deltas: Sequence[Delta], usage: Usage, report: Report) -> bytes:
        """A whole answer from another API family, in this dialect.

        Args: usage: of the whole answer; what `deltas` say of it is not looked at.
        """

    def error_body(self, error: RillgateError) -> bytes:
        """The JSON body of an error response."""


class Encoding(Protocol):
    """A tokenizer. tiktoken's `Encoding` behind it in production."""

    @property
    def name(self) -> str: ...
    def count(self, text: str) -> int:
        """Number of tokens of `text`, special tokens taken as plain text."""

    def pieces(self, text: str) -> list[str]:
        """`text` cut by the encoding's own pre-tokenizer; no token crosses a cut."""


class Ledger(Protocol):
    """Holds and charges. Every method may be called again with the same arguments without harm."""

    async def authorize(self, ask: Ask) -> Grant:
        """Hold what a request may take, in all of its scopes or in none.

        Raises:
            BudgetError: a limit, a block or an unknown price stands in the way; nothing stays held.
            BudgetUnavailable: the store did not answer; what was held by then is captured when it expires.
        """

    async def extend(self, grant: Grant, output_tokens: int) -> bool:
        """Hold `output_tokens` more for each choice, in all scopes; changes `grant`. False where that was refused; then
        `grant.lowered_by` says by whom.

        Raises: BudgetUnavailable: the store did not answer; the old hold is the bound.
        """

    async def settle(self, grant: Grant, actual: Amounts, record: Record) -> None:
        """Charge what was taken, release the rest, and keep the record. Nothing at all in `actual` voids the hold.

        Raises: BudgetUnavailable: some of it could not be written; what is still held is captured when it expires.
        """

    async def levels(self, scopes: Sequence[str]) -> Sequence[Level]:
        """How full the limits of these scopes are now.

        Raises: BudgetUnavailable: the store did not answer.
        """


class KeyVault(Protocol):
    """Keys and the secret behind tickets, as a store has them."""

    async def key(self, key_id: str) -> VirtualKey | None:
        """A virtual key as it is now, revoked and expired ones too; None for none.

        Raises: BudgetUnavailable: the store did not answer.
        """

    async def ticket_secret(self) -> bytes:
        """The secret that signs tickets, 32 bytes; made on first use, and the same for everybody.

        Raises: BudgetUnavailable: the store did not answer.
        """

    async def use_ticket(self, ticket_id: str, expires_s: int) -> bool:
        """Mark a ticket for one use as used; False when it was already. True is given once for each ticket.

        Raises: BudgetUnavailable: the store did not answer; whether the ticket is used up is not known.
        """


class Gatekeeper(Protocol):
    """From a credential to whoever presents it."""

    async def principal(self, credential: str) -> Principal:
        """Check a key, or a ticket that may be sent with many requests.

        Raises:
            AuthError: 401, and what is wrong: it is no key of ours, mistyped, unknown, revoked or expired; a ticket
                is not ours, expired, for one use, or its key is no longer good. The credential is not repeated.
            BudgetUnavailable: the store did not answer.
        """

    async def principal_for_one_use(self, ticket: str) -> Principal:
        """Check a ticket for one use, and use it up if nothing else is wrong with it. Nothing else is taken.

        Raises: as `principal`, and AuthError for a ticket that was used.
        """

    async def issue_ticket(
        self,
        issuer: Principal,
        *,
        user: str | None,
        ttl_s: int,
        models: Sequence[str],
        budget: Budget,
        one_use: bool,
    ) -> str:
        """A signed ticket in the name of `issuer`'s key.

        Args:
            issuer: who presented a key.
            user: who the ticket is charged to; None for the key's own.
            ttl_s: 1 to 3600 seconds from now; to 60 for one use.
            models: globs that restrict the ticket further than its key; empty for no further.
            budget: the ticket's own limits. Its version and block do not travel.
            one_use: whether it is good for one request only.
        Raises:
            AuthError: 403, the issuer is itself a ticket; 401, it presented nothing.
            ClientError: 400, `ttl_s` or `user` is out of bounds, or the ticket would be longer than 4 KiB.
            BudgetUnavailable: the store did not answer.
        """


class CancelFlags(Protocol):
    """Wishes to end a request that may be served by another process on the same ledger."""

    async def put_up(self, request_id: str, owner: str) -> None:
        """Ask for it. Whether such a request is served anywhere is not known.

        Args:
            request_id: ours or the client's own.
            owner: `Principal.owner` of who asks; only a request of the same owner will end.
        Raises: BudgetUnavailable: the store did not answer.
        """

    async def is_up(self, request_ids: Sequence[str], owner: str) -> bool:
        """Whether the owner of a request has asked for its end, by one of its ids.

        Raises: BudgetUnavailable: the store did not answer.
        """


class Siblings(Protocol):
    """Other processes that share this one's listening socket: what they serve and what they have counted."""

    async def cancel(self, request_id: str, owner: str) -> bool:
        """End a running request of `owner`'s in whichever of them serves it; False where none does.

        Args:
            request_id: ours or the client's own.
            owner: `Principal.owner` of who asks.
        """

    async def metrics(self) -> tuple[bytes, str]:
        """What `GET /metrics` answers for all of them together and this one: the body and its content type.

        Raises: CapacityError: the sum cannot be had now.
        """


class AwsCalls(Protocol):
    """Signed calls to one AWS service over kept connections."""

    async def call(self, target: str, body: bytes, timeout_s: float) -> tuple[int, bytes]:
        """One POST of JSON; gives status and body of whatever answer came. It is not repeated.

        Args:
            target: `x-amz-target`, such as "DynamoDB_20120810.UpdateItem".
            body: the request's JSON.
            timeout_s: for the whole call once connected.
        Raises:
            UpstreamError: no connection, no answer in time, or a broken one. A connection that was late is closed.
        """
