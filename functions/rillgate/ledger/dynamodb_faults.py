"""What an error answer of DynamoDB means: whether, and how long, a call is repeated; and what an operator can do.

Everything here is pure; the store that awaits and the one that blocks read the same table.
Source: Amazon DynamoDB developer guide, "Error handling with DynamoDB", and API reference, ThrottlingReason,
read 2026-11.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum, auto

import msgspec

from rillgate.ledger.writes import EMPTY, Item, StoreUnavailable, read_attributes

# A call stands before the first token: three tries with two short waits between. 150 ms bound a larger number.
TRIES = 3
WAIT_MIN_S = 0.010
WAIT_MAX_S = 0.050
WAITING_S_MAX = 0.150

CONDITION_FAILED = "ConditionalCheckFailedException"

NAME_CHARS_MAX = 100  # of a type; AWS's have up to 40
_MESSAGE_CHARS_MAX = 300

Attributes = Mapping[str, Mapping[str, str]]


class Course(Enum):
    """What to do after an answer that is an error."""

    CONDITION = auto()  # not an error: a condition did not hold
    REPEAT = auto()  # done or not done, nobody can say
    THROTTLED = auto()  # not done, and soon it may be
    RENEW = auto()  # not done; once more, since the refusal has new credentials fetched, or a clock set right
    GIVE_UP = auto()  # not done, and never will be


_COURSES = {
    CONDITION_FAILED: Course.CONDITION,
    "InternalServerError": Course.REPEAT,
    "InternalFailure": Course.REPEAT,
    "ServiceUnavailable": Course.REPEAT,
    "TransactionInProgressException": Course.REPEAT,
    "ProvisionedThroughputExceededException": Course.THROTTLED,
    "ThrottlingException": Course.THROTTLED,
    "RequestLimitExceeded": Course.THROTTLED,
    "TransactionConflictException": Course.THROTTLED,
    "ReplicatedWriteConflictException": Course.THROTTLED,
    "ExpiredTokenException": Course.RENEW,
    "UnrecognizedClientException": Course.RENEW,
    "InvalidSignatureException": Course.RENEW,
}

_REMEDIES = {
    "ResourceNotFoundException": "it does not exist: correct the ledger's url, or create the table with the string "
    "keys pk and sk",
    "AccessDeniedException": "the credentials may not do this: allow dynamodb:GetItem, BatchGetItem, UpdateItem and, "
    "for operators, Query on this table",
    "UnrecognizedClientException": "the credentials are not known there: check them, and the region",
    "InvalidSignatureException": "the signature was refused: check the secret key, and this machine's clock",
    "IncompleteSignatureException": "the signature was refused: check the credentials",
    "MissingAuthenticationTokenException": "the call was not signed: check the credentials",
    "ExpiredTokenException": "the credentials have expired: renew them",
}
_NO_REMEDY = "check that it is a table of this ledger, with the string keys pk and sk"


class Fault(msgspec.Struct, frozen=True):
    """An answer that is an error.

    Attributes:
        kind: AWS's name of it, without namespace; "HTTP 502" where the answer names none.
        course: what to do.
        message: AWS's own words. Those of a refused signature repeat the session token, so only `told` decides
            whether they may be shown.
        item: what was there when a condition failed.
        hot: whether one key takes more than a partition can: this scope needs shards.
    """

    kind: str
    course: Course
    message: str = ""
    item: Item = msgspec.field(default_factory=lambda: EMPTY)
    hot: bool = False

    def told(self) -> str:
        """Type and remedy, for an operator. Never credentials."""
        told = f"{self.kind}: {_REMEDIES.get(self.kind, _NO_REMEDY)}"
        if self.kind == "ValidationException" and self.message:
            told += f" (AWS says: {self.message[:_MESSAGE_CHARS_MAX]})"
        return told


def fault(kind: str, status: int, message: str = "", item: Attributes | None = None, *, hot: bool = False) -> Fault:
    """A fault from an answer's parts.

    Args:
        kind: `__type`, with or without its namespace and "#"; empty where the answer has none.
        status: of HTTP.
        item: the old image, as DynamoDB's JSON has it.
    """
    name = kind.rpartition("#")[2][:NAME_CHARS_MAX] or f"HTTP {status}"
    course = _COURSES.get(name, Course.REPEAT if status >= 500 else Course.GIVE_UP)
    return Fault(name, course, message, read_attributes(item or {}), hot)


class Patience:
    """How often and how long one call may still be repeated.

    Args:
        what: is being called, for the message.
        random: gives numbers from 0 to below 1.
        tries: at most so many, the first one included.
        wait_min_s, wait_max_s: each wait is drawn between them, so that many writers of one item drift apart.
        waiting_s_max: of all waits together.
    """

    def __init__(
        self,
        what: str,
        random: Callable[[], float],
        *,
        tries: int = TRIES,
        wait_min_s: float = WAIT_MIN_S,
        wait_max_s: float = WAIT_MAX_S,
        waiting_s_max: float = WAITING_S_MAX,
    ) -> None:
        self._what = what
        self._random = random
        self._tries = self._tries_left = tries
        self._tried = 0
        self._wait_min_s = wait_min_s
        self._wait_span_s = wait_max_s - wait_min_s
        self._waiting_left_s = waiting_s_max
        self._renewed = False

    def progress(self) -> None:
        """Something was done: the tries begin anew; the time goes on."""
        self._tries_left = self._tries

    def spend(self, why: str) -> float:
        """Take one repeat; gives the seconds to wait before it.

        Raises: StoreUnavailable: there is none left. `why` is the last trouble.
        """
        self._tried += 1
        self._tries_left -= 1
        wait_s = self._wait_min_s + self._wait_span_s * self._random()
        if self._tries_left <= 0 or wait_s > self._waiting_left_s:
            raise StoreUnavailable(f"{self._what}: gave up after {self._tried} tries: {why}")
        self._waiting_left_s -= wait_s
        return wait_s

    def renew(self) -> bool:
        """Whether a call whose credentials were refused may be repeated: the first time only."""
        renewed, self._renewed = self._renewed, True
        return not renewed
