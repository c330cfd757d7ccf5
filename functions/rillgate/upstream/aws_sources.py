"""Where AWS credentials come from, in this order; the first source that is configured decides.

    environment          AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN      Lambda; fixed for its life
    container endpoint   AWS_CONTAINER_CREDENTIALS_RELATIVE_URI or …_FULL_URI             ECS, EKS, Lambda SnapStart
    botocore's chain     profiles, SSO, web identity, processes; never on Lambda          laptops, EKS with IRSA
    instance metadata    IMDSv2, one try of 1 s; never on Lambda                          EC2

botocore is imported only when its turn comes, in a thread, and without its own look at the instance metadata, which
retries and would make a laptop wait. The HTTP ones are in `aws_metadata`.

Source: AWS SDKs and Tools Reference Guide, "Standardized credential providers", read 2026-11-21.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from rillgate.domain.errors import UpstreamError
from rillgate.upstream.aws_metadata import ContainerSource, InstanceSource, SourceAbsent
from rillgate.upstream.exchange import Exchange
from rillgate.wire.sigv4 import Credentials

PROFILE_TIMEOUT_S = 20.0  # SSO and STS are behind it; botocore's own limits are a minute for each try
REMEDY = (
    "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, "
    "or give the task, function or instance that runs the gateway a role."
)

Source = Callable[[], Awaitable[Credentials]]
"""Raises SourceAbsent where it is not configured, UpstreamError where it is and gives nothing."""


def aws_sources(environment: Mapping[str, str], exchange: Exchange) -> SourceChain:
    """The sources for this process, as the fetch of `AwsCredentials`.

    Args:
        environment: read anew at each fetch: after a SnapStart restore it is another.
        exchange: carries the calls to the container endpoint and the instance metadata.
    """
    sources: list[Source] = [EnvironmentSource(environment), ContainerSource(environment, exchange)]
    if "AWS_LAMBDA_FUNCTION_NAME" not in environment:
        sources += [ProfileSource(environment), InstanceSource(environment, exchange)]
    return SourceChain(sources)


def aws_region(environment: Mapping[str, str]) -> str | None:
    """The region that the environment names, if any; Lambda sets AWS_REGION itself."""
    return environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION") or None


def aws_endpoint_url(environment: Mapping[str, str], service: str) -> str | None:
    """Another address for a service's calls, if the environment names one, as AWS's own tools read it.

    Args: service: AWS's id of it, with underscores for spaces: "dynamodb", "secrets_manager".
    Source: AWS SDKs and Tools Reference Guide, "Service-specific endpoints", read 2026-11-21.
    """
    if environment.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "").lower() == "true":
        return None
    own = environment.get(f"AWS_ENDPOINT_URL_{service.upper()}")
    return own or environment.get("AWS_ENDPOINT_URL") or None


class SourceChain:
    """The first source that is configured."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = sources

    async def __call__(self) -> Credentials:
        """Credentials from the first source that is configured; it is not passed over when it fails.

        Raises:
            UpstreamError: that source gave none, or no source is configured; the message says what to set.
        """
        tried = []
        for source in self._sources:
            try:
                return await source()
            except SourceAbsent as absent:
                tried.append(str(absent))
        raise UpstreamError(f"No AWS credentials found; tried: {'; '.join(tried)}. {REMEDY}")


class EnvironmentSource:
    """The access key in the environment. It has no known end: Lambda replaces the environment before it expires."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    async def __call__(self) -> Credentials:
        """The key as it is set now.

        Raises:
            SourceAbsent: AWS_ACCESS_KEY_ID is not set, or empty.
            UpstreamError: it is set without its secret.
        """
        key_id = self._environment.get("AWS_ACCESS_KEY_ID", "").strip()
        secret = self._environment.get("AWS_SECRET_ACCESS_KEY", "").strip()
        token = self._environment.get("AWS_SESSION_TOKEN", "").strip()
        if not key_id:
            raise SourceAbsent("the environment (AWS_ACCESS_KEY_ID is not set)")
        if not secret:
            raise UpstreamError("AWS_ACCESS_KEY_ID is set and AWS_SECRET_ACCESS_KEY is not; set both or neither.")
        return Credentials(key_id, secret, token or None)


class ProfileSource:
    """botocore's chain. Everything is read anew at each fetch, so a new login or an edited profile is seen."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    async def __call__(self) -> Credentials:
        """What botocore finds.

        Raises:
            SourceAbsent: it finds nothing, or is not installed.
            UpstreamError: it finds something that gives no credentials.
        """
        try:
            async with asyncio.timeout(PROFILE_TIMEOUT_S):
                return await asyncio.to_thread(self._load)
        except TimeoutError as error:
            raise UpstreamError(
                f"The AWS profile{self._named()} gave no credentials within {PROFILE_TIMEOUT_S:g} s."
            ) from error

    def _load(self) -> Credentials:
        try:
            from botocore.credentials import create_credential_resolver  # noqa: PLC0415 see the head of this file
            from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415
            from botocore.session import Session  # noqa: PLC0415
        except ImportError:
            raise SourceAbsent("AWS profiles (botocore is not installed)") from None
        try:
            session = Session(profile=self._profile())
            for variable, name in (("config_file", "AWS_CONFIG_FILE"), ("credentials_file", _CREDENTIALS_FILE)):
                if self._environment.get(name):
                    session.set_config_variable(variable, self._environment[name])
            resolver = create_credential_resolver(session, region_name=aws_region(self._environment))
            for own in ("env", "container-role", "iam-role"):
                resolver.remove(own)
            found = resolver.load_credentials()
            if found is None:
                raise SourceAbsent("AWS profiles (none with credentials)")
            return _taken(found)
        except (BotoCoreError, ClientError, OSError) as error:
            # Its text may quote what a credential process printed.
            raise UpstreamError(
                f"The AWS profile{self._named()} gave no credentials: {type(error).__name__}. "
                "See what `aws sts get-caller-identity` says; `aws sso login` where it is about SSO."
            ) from error

    def _profile(self) -> str | None:
        return self._environment.get("AWS_PROFILE") or self._environment.get("AWS_DEFAULT_PROFILE") or None

    def _named(self) -> str:
        return f" {self._profile()!r}" if self._profile() else ""


_CREDENTIALS_FILE = "AWS_SHARED_CREDENTIALS_FILE"


def _taken(found: Any) -> Credentials:
    """botocore's credentials as ours. It keeps the expiry to itself, under the same name in all that expire."""
    frozen = found.get_frozen_credentials()
    expires = getattr(found, "_expiry_time", None)
    return Credentials(frozen.access_key, frozen.secret_key, frozen.token, expires.timestamp() if expires else None)
