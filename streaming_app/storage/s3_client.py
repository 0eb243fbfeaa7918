"""One boto3 client per process and options, and what its errors mean in words."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    EndpointConnectionError,
    InvalidEndpointDiscoveryConfigurationError,
    InvalidRegionError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    ProfileNotFound,
)

from streaming_app.errors import ConfigError, IngestError, SinkError
from streaming_app.storage.base import StorageOptions
from streaming_app.storage.s3_listing import EVENT, take_objects

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

ATTEMPTS: Final = 6  # of one request, by botocore's "standard" mode: about 15 s of waiting at most
_CONNECTIONS: Final = 32
_CONNECT_SECONDS: Final = 10
_READ_SECONDS: Final = 60

_cache: dict[tuple[StorageOptions, int], S3Client] = {}
_lock = threading.Lock()


def _forget() -> None:
    """In a forked child: sockets belong to the parent, and the lock may have been held by another thread."""
    global _lock  # noqa: PLW0603
    _lock = threading.Lock()
    _cache.clear()


os.register_at_fork(after_in_child=_forget)


def client(options: StorageOptions, attempts: int = ATTEMPTS) -> S3Client:
    """The process's client for these options; safe to share between threads."""
    with _lock:
        found = _cache.get((options, attempts))
        if found is None:
            found = _cache[options, attempts] = _connect(options, attempts)
        return found


def _connect(options: StorageOptions, attempts: int) -> S3Client:
    config = Config(
        retries={"mode": "standard", "total_max_attempts": attempts},
        max_pool_connections=_CONNECTIONS,
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_READ_SECONDS,
        tcp_keepalive=True,
        s3={"addressing_style": "path" if options.path_style else "auto"},
    )
    try:
        made = boto3.session.Session().client(
            "s3", endpoint_url=options.endpoint_url or None, region_name=options.region or None, config=config
        )
    except (BotoCoreError, ValueError) as error:  # ValueError: the endpoint is no URL
        raise explanation(error, options.endpoint_url or "S3") from error
    made.meta.events.register(EVENT, take_objects)
    return made


def code(error: BaseException) -> str:
    """S3's error code (`NoSuchKey`; only `404` where the answer had no body), empty when there was no answer."""
    return str(error.response.get("Error", {}).get("Code", "")) if isinstance(error, ClientError) else ""


def status(error: BaseException) -> int:
    """The HTTP status, 0 when there was no answer."""
    return (
        int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        if isinstance(error, ClientError)
        else 0
    )


@contextmanager
def explained(place: str) -> Iterator[None]:
    """Turn boto3's errors into ConfigError (this can never work) or SinkError (this request did not)."""
    try:
        yield
    except (BotoCoreError, ClientError) as error:
        raise explanation(error, place) from error


_CREDENTIALS: Final = (NoCredentialsError, PartialCredentialsError, ProfileNotFound)
_SETTINGS: Final = (NoRegionError, InvalidRegionError, InvalidEndpointDiscoveryConfigurationError, ValueError)

_CONFIG_CODES: Final = {
    "NoSuchBucket": "the bucket does not exist; create it or correct the name",
    "InvalidBucketName": "that is no valid bucket name; correct it",
    "PermanentRedirect": "the bucket is in another region; set lake.s3.region to its region",
    "AuthorizationHeaderMalformed": "the bucket is in another region; set lake.s3.region to its region",
    "IllegalLocationConstraintException": "the bucket is in another region; set lake.s3.region to its region",
    "InvalidAccessKeyId": "AWS does not know this access key; check the credentials that boto3 finds",
    "SignatureDoesNotMatch": "the secret key does not fit the access key; check the credentials that boto3 finds",
}
_SINK_CODES: Final = {
    "AccessDenied": "access denied; the role needs s3:GetObject, s3:PutObject, s3:DeleteObject, s3:AbortMultipartUpload,"
    " s3:ListMultipartUploadParts below the prefix and s3:ListBucket, s3:ListBucketMultipartUploads on the bucket (without"
    " ListBucket, S3 denies what merely does not exist), and kms:GenerateDataKey and kms:Decrypt where a KMS key is used",
    "ExpiredToken": "the credentials have expired; renew them, or use a role that renews them itself",
    "SlowDown": "S3 throttles this prefix and went on doing so; lower the number of files, or ask AWS for a higher rate",
    "RequestTimeTooSkewed": "this machine's clock is wrong by more than 15 minutes; set it",
}
_SINK_CODES["403"] = _SINK_CODES["AccessDenied"]


def in_words(name: str) -> str:
    """What an error code of S3 means that went on after all repetitions."""
    return _SINK_CODES.get(name, "S3 answered so again and again; try again later")


def explanation(error: BaseException, place: str) -> IngestError:
    """What went wrong at `place`, and what to do about it."""
    if isinstance(error, _CREDENTIALS):
        return ConfigError(
            f"{place}: no usable AWS credentials ({error}); set AWS_PROFILE, or AWS_ACCESS_KEY_ID and"
            " AWS_SECRET_ACCESS_KEY, or give the machine a role"
        )
    if isinstance(error, _SETTINGS):
        return ConfigError(f"{place}: {error}; check lake.s3.region and lake.s3.endpoint_url")
    if isinstance(error, EndpointConnectionError):
        return SinkError(f"{place}: {error}; check the network and lake.s3.endpoint_url")
    name = code(error)
    if name in _CONFIG_CODES:
        return ConfigError(f"{place}: {_CONFIG_CODES[name]} ({name})")
    return SinkError(f"{place}: {_SINK_CODES[name]} ({name})" if name in _SINK_CODES else f"{place}: {error}")
