"""How the stream is reached: which stream, where, and as whom.

Without a role boto3's default chain finds the credentials (environment, profile, container, instance). With `role_arn` they are
those of that role, assumed through STS and renewed by themselves before they expire, in the driver and in every worker.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import boto3
import botocore.session
from botocore.config import Config
from botocore.credentials import DeferredRefreshableCredentials
from botocore.exceptions import BotoCoreError, ClientError, CredentialRetrievalError, HTTPClientError
from botocore.exceptions import ConnectionError as BotoConnectionError
from botocore.parsers import ResponseParserError

from streaming_app.errors import SourceError
from streaming_app.sources.kinesis.failures import TemporaryError

SESSION_NAME: Final = "qsr-ingest"
_THROTTLED: Final = frozenset({"Throttling", "ThrottlingException", "RequestLimitExceeded"})
_SERVER_ERROR: Final = 500
_ARN_PARTS: Final = 6  # arn:aws:kinesis:region:account:stream/name


@dataclass(frozen=True)
class Role:
    """A role to read as, usually in the account that owns the stream; `external_id` as its trust policy wants it."""

    arn: str
    external_id: str = ""
    session_name: str = SESSION_NAME
    sts_endpoint_url: str = ""


@dataclass(frozen=True)
class Endpoint:
    """Which stream (name or ARN), and where. An ARN brings its region; `endpoint_url` is for VPC endpoints and emulators."""

    stream: str
    region: str = ""
    endpoint_url: str = ""
    role: Role | None = None
    use_fips: bool = False
    use_dualstack: bool = False
    named: dict[str, str] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        is_arn = self.stream.startswith("arn:")
        object.__setattr__(self, "named", {"StreamARN" if is_arn else "StreamName": self.stream})
        if is_arn and not self.region:
            object.__setattr__(self, "region", region_of(self.stream))


def region_of(arn: str) -> str:
    """The region that an ARN names, empty for a text that is none."""
    parts = arn.split(":", _ARN_PARTS - 1)
    return parts[3] if len(parts) == _ARN_PARTS else ""


def kinesis_client(endpoint: Endpoint, config: Config) -> Any:
    """A boto3 client for the endpoint. Raises SourceError for a region or address that boto3 cannot use."""
    places = Config(
        use_fips_endpoint=endpoint.use_fips or None,
        use_dualstack_endpoint=endpoint.use_dualstack or None,
    )
    try:
        return _session(endpoint).client(
            "kinesis",
            region_name=endpoint.region or None,
            endpoint_url=endpoint.endpoint_url or None,
            config=config.merge(places),
        )
    except (BotoCoreError, ValueError) as error:
        raise SourceError(f"stream {endpoint.stream!r}: {error}; check region and endpoint_url") from error


def resolved(endpoint: Endpoint) -> tuple[str, str]:
    """Region and address that boto3 finds for the endpoint. Raises SourceError when there is no region."""
    meta = kinesis_client(endpoint, Config()).meta
    return str(meta.region_name), str(meta.endpoint_url)


def _session(endpoint: Endpoint) -> boto3.session.Session:
    role = endpoint.role
    if role is None:
        return boto3.session.Session()
    session = botocore.session.get_session()
    # botocore has no public way to give a session credentials that renew themselves.
    session._credentials = DeferredRefreshableCredentials(  # type: ignore[attr-defined]  # noqa: SLF001
        refresh_using=lambda: _assume(role, endpoint.region), method="sts-assume-role"
    )
    return boto3.session.Session(botocore_session=session)


def _assume(role: Role, region: str) -> dict[str, str]:
    """Fresh credentials; STS is asked in botocore's adaptive mode, since nobody else waits for its limits."""
    sts = boto3.session.Session().client(
        "sts",
        region_name=region or None,
        endpoint_url=role.sts_endpoint_url or None,
        config=Config(retries={"mode": "adaptive", "total_max_attempts": 3}, connect_timeout=5, read_timeout=10),
    )
    request = {"RoleArn": role.arn, "RoleSessionName": role.session_name}
    if role.external_id:
        request["ExternalId"] = role.external_id
    try:
        given = sts.assume_role(**request)["Credentials"]
    except (HTTPClientError, BotoConnectionError, ResponseParserError) as error:  # the last: a proxy answered
        raise TemporaryError(f"STS cannot be reached to assume role {role.arn}: {error}") from error
    except (BotoCoreError, ClientError) as error:
        if _may_pass(error):
            raise TemporaryError(f"role {role.arn} cannot be assumed just now: {error}") from error
        raise SourceError(
            f"role {role.arn} cannot be assumed: {error}; check its trust policy, external id and the own permissions"
        ) from error
    return {
        "access_key": given["AccessKeyId"],
        "secret_key": given["SecretAccessKey"],
        "token": given["SessionToken"],
        "expiry_time": given["Expiration"].isoformat(),
    }


def _may_pass(error: BotoCoreError | ClientError) -> bool:
    """Whether STS throttled or failed itself, or who gives the own credentials did, so that another call a little later may be answered."""
    if not isinstance(error, ClientError):
        return isinstance(error, CredentialRetrievalError)  # those that the role is assumed with
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return status >= _SERVER_ERROR or error.response.get("Error", {}).get("Code", "") in _THROTTLED
