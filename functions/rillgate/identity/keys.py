"""The form of a virtual key: `rill_…`, 55 characters, which a secret scanner finds with one regular expression.

    rill_ 4Vz0aHq8RtYb 9f…32 characters…Kd 0x3Qs1
    prefix key id (12)  secret (32)         checksum (6)

All of it is base62. The key id is public: it names the key in lists, logs and scopes. The checksum is the CRC-32 of
everything before it, so that a mistyped key, or a scanner's false alarm, is known without asking anybody; it keeps
nobody out.

Only a digest is stored: plain SHA-256 of the whole key. Slow hashes protect what people make up; the secret here is
190 random bits, which nobody guesses however fast the hash is.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import string
import zlib
from collections.abc import Callable

from rillgate.identity import refusals

PREFIX = "rill_"
KEY_ID_CHARS = 12
SECRET_CHARS = 32
CHECKSUM_CHARS = 6  # 62⁶ > 2³²
KEY_CHARS = len(PREFIX) + KEY_ID_CHARS + SECRET_CHARS + CHECKSUM_CHARS
KEY_PATTERN = rf"{PREFIX}[0-9A-Za-z]{{{KEY_CHARS - len(PREFIX)}}}"  # for secret scanners too

BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase
_KEY = re.compile(KEY_PATTERN)


def new_key(key_id: str | None = None, *, choose: Callable[[str], str] = secrets.choice) -> str:
    """A new key, to be shown once.

    Args:
        key_id: of a key that is rotated, which keeps its id; None for a new one.
        choose: gives one character of an alphabet, each as likely as the others and not to be foreseen.
    """
    if key_id is None:
        key_id = "".join(choose(BASE62) for _ in range(KEY_ID_CHARS))
    body = PREFIX + key_id + "".join(choose(BASE62) for _ in range(SECRET_CHARS))
    return body + _checksum(body)


def parse(credential: str) -> str:
    """The key id of something that looks like a key. Whether it is one, only its digest says.

    Raises:
        AuthError: 401, it is not of this form, or its checksum does not fit.
    """
    if not credential.startswith(PREFIX):
        raise refusals.foreign_credential()
    if _KEY.fullmatch(credential) is None:
        raise refusals.malformed_key()
    if credential[-CHECKSUM_CHARS:] != _checksum(credential[:-CHECKSUM_CHARS]):
        raise refusals.mistyped_key()
    return credential[len(PREFIX) : len(PREFIX) + KEY_ID_CHARS]


def digest(key: str) -> str:
    """What is stored of a key: SHA-256 of all of it, 64 hexadecimal digits."""
    return hashlib.sha256(key.encode()).hexdigest()


def same_digest(presented: str, stored: str) -> bool:
    """Whether two digests are equal, in a time that does not depend on where they differ."""
    return hmac.compare_digest(presented.encode(), stored.encode())


def _checksum(body: str) -> str:
    number = zlib.crc32(body.encode())
    digits = []
    for _ in range(CHECKSUM_CHARS):
        number, digit = divmod(number, 62)
        digits.append(BASE62[digit])
    return "".join(reversed(digits))
