"""Where Amazon Bedrock answers when no key of its own is given: each request is signed with AWS credentials.

Credentials come from where AWS's own tools find them and are renewed in time; see `upstream.aws_credentials`. A request
is signed when it goes out, so one that is tried again carries the time of that try.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from rillgate import __version__
from rillgate.domain.errors import UpstreamError
from rillgate.domain.ports import Clock
from rillgate.domain.request import Endpoint
from rillgate.telemetry.logs import log_event
from rillgate.upstream.aws import REFUSED_KEY, host_header
from rillgate.upstream.aws_credentials import AwsCredentials
from rillgate.upstream.aws_sources import aws_sources
from rillgate.upstream.exchange import Exchange
from rillgate.wire.sigv4 import Credentials, Signer

SERVICE = "bedrock"  # in signatures; the host's name has "bedrock-runtime"
SKEW_S_MIN = 240.0  # AWS allows 5 minutes; below that the clock was not the reason


class BedrockLocation:
    """The location of a provider that wants AWS's signatures: `domain.ports.Location`.

    Args:
        base_url: without a trailing slash.
        region: a part of each signature, such as "eu-central-1".
        headers: what every call carries.
        clock: wall time for signatures.
        environ: where credentials are looked for.
    """

    def __init__(
        self,
        base_url: str,
        region: str,
        clock: Clock,
        environ: Mapping[str, str],
        *,
        headers: Sequence[tuple[str, str]] = (),
    ) -> None:
        self._base_url = base_url
        self._headers = tuple(headers)
        # Credentials come from this machine's own metadata, and no proxy may see them.
        self._metadata = Exchange(connections_max=1, user_agent=f"rillgate/{__version__}", proxies=False)
        self.credentials = AwsCredentials(aws_sources(environ, self._metadata), clock, on_error=_log_no_credentials)
        self.signer = Signer(SERVICE, region)
        self.clock = clock
        self.skew_s = 0.0  # AWS's clock minus ours

    async def endpoint(self) -> Endpoint:
        """Where it answers, and how its requests are signed now.

        Raises: UpstreamError: there are no credentials. What a client is told does not say where they were looked for;
            the log does.
        """
        try:
            credentials = await self.credentials.current()
        except UpstreamError:  # logged where it was raised
            raise UpstreamError("The gateway has no AWS credentials for this provider.", code="provider_key") from None
        return Endpoint(self._base_url, self._headers, sign=_Signature(self, credentials))

    async def aclose(self) -> None:
        """Stop looking for credentials."""
        await self.credentials.aclose()
        await self._metadata.aclose()


class _Signature:
    """Signs with one set of credentials; `upstream.exchange.LearningSigner`."""

    def __init__(self, location: BedrockLocation, credentials: Credentials) -> None:
        self._location = location
        self._credentials = credentials

    def __call__(
        self, method: str, url: str, headers: Sequence[tuple[str, str]], body: bytes
    ) -> tuple[tuple[str, str], ...]:
        parts = urlsplit(url)
        return self._location.signer.headers(
            self._credentials,
            method=method,
            host=host_header(url),
            target=f"{parts.path}?{parts.query}" if parts.query else parts.path,
            headers=headers,
            body=body,
            at_s=self._location.clock.wall() + self._location.skew_s,
        )

    def learn(self, headers: Mapping[str, str]) -> None:
        """What a refusal says about our key or our clock."""
        kind = headers.get("x-amzn-errortype", "").partition(":")[0].rpartition("#")[2]
        if kind in REFUSED_KEY:
            self._location.credentials.refused(self._credentials)
        try:
            theirs_s = parsedate_to_datetime(headers.get("date", "")).timestamp()
        except ValueError:
            return  # no date
        skew_s = theirs_s - self._location.clock.wall()
        if abs(skew_s - self._location.skew_s) >= SKEW_S_MIN:
            self._location.skew_s = skew_s


def _log_no_credentials(error: UpstreamError) -> None:
    log_event("aws_credentials_failed", level="warning", error=error.message)
