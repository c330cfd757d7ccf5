"""Signatures, judged by botocore's own signer over arbitrary requests, and by what AWS has published."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from unittest.mock import patch
from urllib.parse import quote

import pytest
from botocore.auth import SIGNED_HEADERS_BLACKLIST, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotocoreCredentials
from hypothesis import given
from hypothesis import strategies as st

from rillgate.wire.sigv4 import UNSIGNED, Credentials, Signer, canonical_path

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
KEY = Credentials("AKIDEXAMPLE", SECRET)
AT_S = datetime(2015, 8, 30, 12, 36, tzinfo=UTC).timestamp()

Headers = list[tuple[str, str]]

TEXT = st.characters(min_codepoint=33, max_codepoint=0x2FF)
SEGMENTS = st.one_of(st.sampled_from(["", ".", "..", "model", "anthropic.claude-3:0"]), st.text(TEXT, max_size=8))
PATHS = st.lists(SEGMENTS, max_size=5).map(lambda each: "/" + "/".join(quote(one, safe="") for one in each))
QUERIES = st.lists(st.tuples(st.text(TEXT, min_size=1, max_size=5), st.text(TEXT, max_size=5)), max_size=4)
NAMES = st.one_of(
    st.sampled_from(["Content-Type", "x-amz-target", "X-Amz-Meta"]),
    st.text("abcXYZ-019", min_size=1, max_size=8).filter(str.strip),
).filter(lambda name: name.lower() not in {*SIGNED_HEADERS_BLACKLIST, *UNSIGNED, "host", "date"})
VALUES = st.text(st.sampled_from("aB1 \t;=/é"), max_size=20)
HEADERS = st.lists(st.tuples(NAMES, VALUES), max_size=5)
TIMES = st.floats(min_value=0, max_value=4_000_000_000, allow_nan=False)
KEYS = st.builds(
    Credentials,
    access_key_id=st.text("AKIZ2345", min_size=4, max_size=20),
    secret_access_key=st.text("abcXYZ+/=019", min_size=1, max_size=40),
    session_token=st.none() | st.text("abcXYZ+/=019", min_size=1, max_size=60),
)


def signed(
    credentials: Credentials = KEY,
    *,
    method: str = "GET",
    host: str = "example.amazonaws.com",
    target: str = "/",
    headers: Headers | None = None,
    body: bytes = b"",
    at_s: float = AT_S,
    signer: Signer | None = None,
) -> dict[str, str]:
    added = (signer or Signer("service", "us-east-1")).headers(
        credentials, method=method, host=host, target=target, headers=headers or [], body=body, at_s=at_s
    )
    return dict(added)


def signature(headers: dict[str, str]) -> str:
    return headers["authorization"].rpartition("Signature=")[2]


def by_botocore(
    credentials: Credentials, *, method: str, url: str, headers: Headers, body: bytes, at_s: float
) -> dict[str, Any]:
    request = AWSRequest(method=method, url=url, data=body)
    for name, value in headers:
        request.headers.add_header(name, value)
    key = BotocoreCredentials(credentials.access_key_id, credentials.secret_access_key, credentials.session_token)
    with patch("botocore.auth.get_current_datetime", lambda: datetime.fromtimestamp(int(at_s), UTC)):
        SigV4Auth(key, "bedrock", "eu-central-1").add_auth(request)
    return {name.lower(): value for name, value in request.headers.items()}


@given(
    credentials=KEYS,
    method=st.sampled_from(["GET", "POST", "PUT"]),
    path=PATHS,
    query=QUERIES,
    headers=HEADERS,
    body=st.binary(max_size=64),
    at_s=TIMES,
)
def test_signer_any_request_agrees_with_botocore(
    *,
    credentials: Credentials,
    method: str,
    path: str,
    query: list[tuple[str, str]],
    headers: Headers,
    body: bytes,
    at_s: float,
) -> None:
    """For any key, path, query, headers, body and time, the headers are those that botocore would send."""
    encoded = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in query)
    target = f"{path}?{encoded}" if encoded else path
    ours = signed(
        credentials,
        method=method,
        target=target,
        headers=headers,
        body=body,
        at_s=at_s,
        signer=Signer("bedrock", "eu-central-1"),
    )
    theirs = by_botocore(
        credentials,
        method=method,
        url=f"https://example.amazonaws.com{target}",
        headers=headers,
        body=body,
        at_s=at_s,
    )
    assert ours["authorization"] == theirs["authorization"]
    assert ours["x-amz-date"] == theirs["x-amz-date"]
    assert ours.get("x-amz-security-token") == theirs.get("x-amz-security-token")


@given(query=QUERIES)
def test_signer_query_less_encoded_than_it_could_be_signs_the_same(query: list[tuple[str, str]]) -> None:
    """A service decodes what it received and encodes it in the one way; so do we."""
    strict = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in query)
    lax = "&".join(f"{quote(name, safe=':/,@')}={quote(value, safe=':/,@')}" for name, value in query)
    assert signature(signed(target=f"/?{lax}")) == signature(signed(target=f"/?{strict}"))


@pytest.mark.parametrize(
    ("method", "target", "expected"),
    [
        ("GET", "/", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
        ("POST", "/", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
        (
            "GET",
            "/?Param2=value2&Param1=value1",
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
        ),
        ("GET", "/example1/example2/../..", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
        ("GET", "//", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
    ],
    ids=["vanilla", "post", "query order", "relative", "slashes"],
)
def test_signer_published_vector_agrees(method: str, target: str, expected: str) -> None:
    """The cases of AWS's own signature test suite."""
    headers = signed(method=method, target=target)
    assert headers["x-amz-date"] == "20150830T123600Z"
    assert headers["authorization"] == (
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
        f"SignedHeaders=host;x-amz-date, Signature={expected}"
    )


def test_signer_published_example_with_headers_and_query_agrees() -> None:
    """The worked example of the IAM documentation."""
    headers = signed(
        Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
        host="iam.amazonaws.com",
        target="/?Action=ListUsers&Version=2010-05-08",
        headers=[("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")],
        signer=Signer("iam", "us-east-1"),
    )
    assert signature(headers) == "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"


def test_canonical_path_model_id_with_colon_is_encoded_twice() -> None:
    """Bedrock's model ids hold colons: encoded on the wire, and once more where they are signed."""
    assert canonical_path("/model/anthropic.claude-v2%3A1/invoke") == "/model/anthropic.claude-v2%253A1/invoke"
    assert canonical_path("/model/anthropic.claude-v2:1/invoke") == "/model/anthropic.claude-v2%3A1/invoke"


@pytest.mark.parametrize(
    "changed",
    [
        {"method": "POST"},
        {"host": "example.org"},
        {"target": "/a"},
        {"target": "/?a=1"},
        {"headers": [("x-amz-target", "Other")]},
        {"body": b"other"},
        {"at_s": AT_S + 1},
        {"credentials": Credentials("AKIDEXAMPLE", "another")},
        {"credentials": Credentials("AKIDEXAMPLE", SECRET, "token")},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_signer_anything_changed_changes_the_signature(changed: dict[str, Any]) -> None:
    """Every part of a request is under the signature."""
    assert signature(signed(**changed)) != signature(signed())


def test_signer_headers_that_proxies_change_are_not_signed() -> None:
    """A proxy that adds its own words does not break the signature."""
    headers = [(name, "x") for name in sorted(UNSIGNED)]
    assert signature(signed(headers=headers)) == signature(signed())


def test_signer_used_over_midnight_and_over_a_rotation_signs_as_a_new_one() -> None:
    """The kept key of the day is never used for another day or another secret."""
    signer = Signer("service", "us-east-1")
    other = Credentials("AKIDEXAMPLE", "another")
    for credentials, at_s in [(KEY, AT_S), (KEY, AT_S + 86400), (other, AT_S + 86400), (KEY, AT_S), (KEY, AT_S)]:
        assert signed(credentials, at_s=at_s, signer=signer) == signed(credentials, at_s=at_s)


def test_credentials_repr_shows_no_secret() -> None:
    """What ends up in a log or a traceback names the key and nothing else."""
    shown = repr(Credentials("AKIDEXAMPLE", "the-secret", "the-token", 1.5))
    assert "AKIDEXAMPLE" in shown
    assert "the-secret" not in shown
    assert "the-token" not in shown
