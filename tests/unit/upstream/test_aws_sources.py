"""Where credentials come from: the order, each source against a fake, and what an operator is told."""

from __future__ import annotations

import sys
from pathlib import Path

import botocore.session
import botocore.utils
import pytest

from rillgate.domain.errors import UpstreamError
from rillgate.upstream.aws_metadata import CONTAINER_URL, INSTANCE_URL, may_carry_token
from rillgate.upstream.aws_sources import aws_region, aws_sources
from tests.fakes.aws import CONTAINER_PATH, ROLE, FakeAws, ReroutedExchange, answer, aws_and_exchange, document
from tests.fakes.script import Stall

pytestmark = pytest.mark.anyio

NO_PROFILES = {"AWS_CONFIG_FILE": "/nowhere/config", "AWS_SHARED_CREDENTIALS_FILE": "/nowhere/credentials"}
NO_METADATA = {"AWS_EC2_METADATA_DISABLED": "true"}
EXPIRES_S = 1_795_000_000.0


@pytest.fixture(autouse=True)
def no_aws_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """botocore reads some variables of the process itself."""
    for name in ("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def profiles(tmp_path: Path) -> dict[str, str]:
    """An environment with two profiles."""
    credentials = tmp_path / "credentials"
    credentials.write_text(
        "[default]\naws_access_key_id = AKIADEFAULT\naws_secret_access_key = secret-default\n"
        "[dev]\naws_access_key_id = AKIADEV\naws_secret_access_key = secret-dev\naws_session_token = token-dev\n"
    )
    return NO_METADATA | {"AWS_CONFIG_FILE": "/nowhere/config", "AWS_SHARED_CREDENTIALS_FILE": str(credentials)}


def full_uri(fake: FakeAws) -> dict[str, str]:
    return {"AWS_CONTAINER_CREDENTIALS_FULL_URI": fake.url + CONTAINER_PATH}


def replace(path: str, old: str, new: str) -> None:
    Path(path).write_text(Path(path).read_text().replace(old, new))


# The environment


async def test_environment_key_is_taken_before_everything_else(profiles: dict[str, str]) -> None:
    """A key in the environment needs no network and no file."""
    async with aws_and_exchange() as (fake, exchange):
        environment = profiles | full_uri(fake)
        environment |= {"AWS_ACCESS_KEY_ID": "AKIAENV", "AWS_SECRET_ACCESS_KEY": "s", "AWS_SESSION_TOKEN": "t"}
        found = await aws_sources(environment, exchange)()
    assert (found.access_key_id, found.secret_access_key, found.session_token) == ("AKIAENV", "s", "t")
    assert found.expires_s is None
    assert not exchange.asked


async def test_environment_key_without_its_secret_is_an_error() -> None:
    """Half a key is a mistake to name, not a reason to look elsewhere."""
    async with aws_and_exchange() as (_, exchange):
        with pytest.raises(UpstreamError, match="AWS_SECRET_ACCESS_KEY is not"):
            await aws_sources({"AWS_ACCESS_KEY_ID": "AKIAENV"}, exchange)()


async def test_environment_is_read_anew_at_each_fetch() -> None:
    """After a SnapStart restore the environment is another."""
    environment = {"AWS_ACCESS_KEY_ID": "AKIA1", "AWS_SECRET_ACCESS_KEY": "s"}
    async with aws_and_exchange() as (_, exchange):
        fetch = aws_sources(environment, exchange)
        await fetch()
        environment["AWS_ACCESS_KEY_ID"] = "AKIA2"
        assert (await fetch()).access_key_id == "AKIA2"


# The container endpoint


async def test_container_relative_uri_is_asked_at_the_fixed_address() -> None:
    """ECS gives a path; its host is AWS's own."""
    async with aws_and_exchange() as (fake, exchange):
        fake.serve_container(document("ONE", EXPIRES_S))
        relative = {"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": CONTAINER_PATH}
        found = await aws_sources(relative, exchange)()
    assert exchange.asked == [CONTAINER_URL]
    assert (found.access_key_id, found.session_token, found.expires_s) == ("AKIAONE", "token-ONE", EXPIRES_S)


async def test_container_token_is_sent_along() -> None:
    """Lambda SnapStart gives the token itself."""
    async with aws_and_exchange() as (fake, exchange):
        fake.serve_container(document())
        await aws_sources(full_uri(fake) | {"AWS_CONTAINER_AUTHORIZATION_TOKEN": "Basic abc"}, exchange)()
        assert fake.others[0].headers["authorization"] == "Basic abc"


async def test_container_token_file_is_read_anew_each_time(tmp_path: Path) -> None:
    """EKS rotates the file; it wins over the variable."""
    token = tmp_path / "token"
    async with aws_and_exchange() as (fake, exchange):
        fake.serve_container(document())
        environment = full_uri(fake) | {
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(token),
            "AWS_CONTAINER_AUTHORIZATION_TOKEN": "not this",
        }
        fetch = aws_sources(environment, exchange)
        for content in ("first", "second\n"):
            token.write_text(content)
            await fetch()
        assert [each.headers["authorization"] for each in fake.others] == ["first", "second"]


@pytest.mark.parametrize("content", ["a\r\nx-injected: 1", "caf\N{LATIN SMALL LETTER E WITH ACUTE}"])
async def test_container_token_that_is_no_header_is_refused(content: str, tmp_path: Path) -> None:
    """A broken token file names itself and is not quoted."""
    token = tmp_path / "token"
    token.write_text(content)
    async with aws_and_exchange() as (fake, exchange):
        with pytest.raises(UpstreamError, match="AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE") as caught:
            await aws_sources(full_uri(fake) | {"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(token)}, exchange)()
        assert not fake.others
    assert content not in caught.value.message


async def test_container_token_file_missing_names_it() -> None:
    """The message says which variable points where."""
    async with aws_and_exchange() as (fake, exchange):
        environment = full_uri(fake) | {"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": "/nowhere/token"}
        with pytest.raises(UpstreamError, match=r"TOKEN_FILE='/nowhere/token' cannot be read"):
            await aws_sources(environment, exchange)()


@pytest.mark.parametrize(
    "url",
    [
        "https://credentials.example.org/x",
        "http://127.0.0.1:8080/x",
        "http://127.8.9.10/x",
        "http://localhost/x",
        "http://[::1]:80/x",
        "http://169.254.170.2/x",
        "http://169.254.170.23/v1/credentials",
        "http://[fd00:ec2::23]/v1/credentials",
    ],
)
def test_container_full_uri_beside_the_gateway_or_with_tls_is_allowed(url: str) -> None:
    """Loopback, the documented link-local hosts, and anything over TLS."""
    assert may_carry_token(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://credentials.example.org/x",
        "http://169.254.169.254/x",
        "http://10.0.0.1/x",
        "http://127.0.0.1.example.org/x",
        "http://localhost@example.org/x",
        "http://[fd00:ec2::24]/x",
        "ftp://127.0.0.1/x",
        "file:///etc/passwd",
        "http://[broken/x",
        "127.0.0.1/x",
        "",
    ],
)
def test_container_full_uri_elsewhere_without_tls_is_not_allowed(url: str) -> None:
    """The authorization token would go there in the clear."""
    assert not may_carry_token(url)


async def test_container_full_uri_that_is_refused_is_never_called() -> None:
    """The message quotes the address and says what is allowed; no later source is tried."""
    environment = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://credentials.example.org/x"}
    async with aws_and_exchange() as (_, exchange):
        with pytest.raises(UpstreamError, match=r"credentials\.example\.org.*must be https") as caught:
            await aws_sources(environment, exchange)()
    assert not exchange.asked
    assert not caught.value.retryable


@pytest.mark.parametrize(
    ("content", "status", "message"),
    [
        (b"no", 500, "answered 500"),
        (b"{", 200, "without AWS credentials"),
        (b"[]", 200, "without AWS credentials"),
        (b'{"AccessKeyId": "AKIAX", "Token": "token-ONE"}', 200, "without AWS credentials"),
        (b'{"AccessKeyId": "AKIAX", "SecretAccessKey": 7}', 200, "without AWS credentials"),
    ],
)
async def test_container_answer_without_credentials_is_an_error(content: bytes, status: int, message: str) -> None:
    """A configured source that fails is an error, and nothing of the answer is quoted."""
    async with aws_and_exchange() as (fake, exchange):
        fake.routes["GET", CONTAINER_PATH] = answer(content, status)
        with pytest.raises(UpstreamError, match=message) as caught:
            await aws_sources(full_uri(fake), exchange)()
    assert "token-ONE" not in str(caught.value)
    assert caught.value.__cause__ is None


async def test_container_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fetch has an end of its own, and leaves no connection behind."""
    monkeypatch.setattr("rillgate.upstream.aws_metadata.CONTAINER_TIMEOUT_S", 0.05)
    async with aws_and_exchange() as (fake, exchange):
        fake.routes["GET", CONTAINER_PATH] = [Stall()]
        with pytest.raises(UpstreamError, match="did not answer within"):
            await aws_sources(full_uri(fake), exchange)()
        await fake.all_closed()


# botocore's chain


async def test_profile_from_a_file_is_found(profiles: dict[str, str]) -> None:
    """Outside Lambda, with neither key nor container, botocore's chain is asked."""
    async with aws_and_exchange() as (_, exchange):
        found = await aws_sources(profiles, exchange)()
    assert (found.access_key_id, found.secret_access_key, found.session_token, found.expires_s) == (
        "AKIADEFAULT",
        "secret-default",
        None,
        None,
    )


async def test_profile_that_is_named_is_taken(profiles: dict[str, str]) -> None:
    """AWS_PROFILE chooses."""
    async with aws_and_exchange() as (_, exchange):
        found = await aws_sources(profiles | {"AWS_PROFILE": "dev"}, exchange)()
    assert (found.access_key_id, found.session_token) == ("AKIADEV", "token-dev")


async def test_profile_edited_meanwhile_is_seen(profiles: dict[str, str]) -> None:
    """A refused key is replaced without a restart."""
    async with aws_and_exchange() as (_, exchange):
        fetch = aws_sources(profiles, exchange)
        await fetch()
        replace(profiles["AWS_SHARED_CREDENTIALS_FILE"], "AKIADEFAULT", "AKIANEW")
        assert (await fetch()).access_key_id == "AKIANEW"


async def test_profile_of_a_process_expires_when_it_says(profiles: dict[str, str], tmp_path: Path) -> None:
    """What botocore knows of an end is known to us."""
    config = tmp_path / "config"
    content = '{"Version": 1, "AccessKeyId": "AKIAP", "SecretAccessKey": "s", "Expiration": "2100-01-01T00:00:00Z"}'
    script = tmp_path / "process.py"
    script.write_text(f"print({content!r})")
    config.write_text(f"[profile made]\ncredential_process = {sys.executable} {script}\n")
    async with aws_and_exchange() as (_, exchange):
        found = await aws_sources(profiles | {"AWS_CONFIG_FILE": str(config), "AWS_PROFILE": "made"}, exchange)()
    assert (found.access_key_id, found.expires_s) == ("AKIAP", 4_102_444_800.0)


async def test_profile_that_does_not_exist_is_named(profiles: dict[str, str]) -> None:
    """A typing error in AWS_PROFILE is not passed over."""
    async with aws_and_exchange() as (_, exchange):
        with pytest.raises(UpstreamError, match=r"'typo' gave no credentials: ProfileNotFound"):
            await aws_sources(profiles | {"AWS_PROFILE": "typo"}, exchange)()


async def test_profile_on_lambda_is_never_looked_for(profiles: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A function has its key in the environment or at the container endpoint, and botocore costs its start."""

    def no_session(**_: object) -> None:
        pytest.fail("botocore was asked")

    monkeypatch.setattr(botocore.session, "Session", no_session)
    async with aws_and_exchange() as (_, exchange):
        with pytest.raises(UpstreamError, match="No AWS credentials found"):
            await aws_sources(profiles | {"AWS_LAMBDA_FUNCTION_NAME": "gateway"}, exchange)()
    assert not exchange.asked


# Instance metadata


async def test_instance_role_comes_by_way_of_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """IMDSv2: the fake answers nobody who has not asked for a token first. botocore's own way is never gone."""

    def no_look(_: object) -> None:
        pytest.fail("botocore looked at the instance metadata")

    monkeypatch.setattr(botocore.utils.InstanceMetadataFetcher, "retrieve_iam_role_credentials", no_look)
    async with aws_and_exchange() as (fake, exchange):
        fake.serve_instance(document("EC2", EXPIRES_S))
        found = await aws_sources(NO_PROFILES, exchange)()
        assert [each.path.rpartition("/")[2] for each in fake.others] == ["token", "", ROLE]
    assert set(exchange.asked) == {INSTANCE_URL}
    assert (found.access_key_id, found.expires_s) == ("AKIAEC2", EXPIRES_S)


async def test_instance_endpoint_of_the_environment_is_asked() -> None:
    """AWS_EC2_METADATA_SERVICE_ENDPOINT names another address."""
    async with aws_and_exchange() as (fake, exchange):
        fake.serve_instance(document("EC2"))
        await aws_sources(NO_PROFILES | {"AWS_EC2_METADATA_SERVICE_ENDPOINT": f"{fake.url}/"}, exchange)()
    assert set(exchange.asked) == {fake.url}


async def test_instance_without_answer_ends_soon_and_says_what_was_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A laptop without anything waits once, for a second at most, and learns what to set."""
    monkeypatch.setattr("rillgate.upstream.aws_metadata.INSTANCE_TIMEOUT_S", 0.05)
    async with aws_and_exchange() as (fake, exchange):
        fake.routes["PUT", "/latest/api/token"] = [Stall()]
        with pytest.raises(UpstreamError) as caught:
            await aws_sources(NO_PROFILES, exchange)()
        await fake.all_closed()
    assert exchange.asked == [INSTANCE_URL]
    for part in ("environment", "container endpoint", "profiles", "instance metadata", "Set AWS_ACCESS_KEY_ID"):
        assert part in caught.value.message


async def test_instance_without_a_role_is_no_source() -> None:
    """An instance with no role answers 404."""
    async with aws_and_exchange() as (fake, exchange):
        fake.serve_instance({})
        del fake.routes["GET", "/latest/meta-data/iam/security-credentials/"]
        with pytest.raises(UpstreamError, match="No AWS credentials found"):
            await aws_sources(NO_PROFILES, exchange)()


async def test_instance_with_a_role_that_gives_nothing_is_an_error() -> None:
    """A role that EC2 may not assume is named by its own message, not taken for absence."""
    async with aws_and_exchange() as (fake, exchange):
        fake.serve_instance({"Code": "AssumeRoleUnauthorizedAccess", "Message": "EC2 cannot assume the role"})
        with pytest.raises(UpstreamError, match="instance metadata answered without AWS credentials"):
            await aws_sources(NO_PROFILES, exchange)()


async def test_instance_metadata_switched_off_is_not_asked() -> None:
    """AWS_EC2_METADATA_DISABLED."""
    async with aws_and_exchange() as (_, exchange):
        with pytest.raises(UpstreamError, match="AWS_EC2_METADATA_DISABLED is set"):
            await aws_sources(NO_PROFILES | NO_METADATA, exchange)()
    assert not exchange.asked


# Beside


def test_region_is_the_one_that_the_environment_names() -> None:
    """AWS_REGION before AWS_DEFAULT_REGION; an empty one is none."""
    assert aws_region({"AWS_REGION": "eu-central-1", "AWS_DEFAULT_REGION": "us-east-1"}) == "eu-central-1"
    assert aws_region({"AWS_REGION": "", "AWS_DEFAULT_REGION": "us-east-1"}) == "us-east-1"
    assert aws_region({}) is None


async def test_container_credentials_are_shown_nowhere() -> None:
    """Neither the credentials nor what carries them show a secret."""
    async with aws_and_exchange() as (fake, exchange):
        fake.serve_container(document("ONE"))
        found = await aws_sources(full_uri(fake), exchange)()
    assert isinstance(exchange, ReroutedExchange)
    assert "secret-of-ONE" not in repr(found)
    assert "token-ONE" not in repr(found)
