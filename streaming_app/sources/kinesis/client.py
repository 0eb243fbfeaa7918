"""The calls of Kinesis that the source makes, over boto3, each ending in an answer or in one kind of error.

GetRecords answers never go through botocore's own parser, which is most of their cost (110,000 records/s a core): a
handler on botocore's `before-parse` event decodes the body with msgspec into structs and leaves the parser a small one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final, NamedTuple, NoReturn, Protocol

import msgspec
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, CredentialRetrievalError, HTTPClientError
from botocore.exceptions import ConnectionError as BotoConnectionError

from streaming_app.errors import SourceError
from streaming_app.sources.kinesis.access import Endpoint, kinesis_client
from streaming_app.sources.kinesis.failures import (
    InUseError,
    InvalidPositionError,
    IteratorExpiredError,
    LimitError,
    NotFoundError,
    TemporaryError,
)
from streaming_app.sources.kinesis.messages import RECORDS, RecordsAnswer, ShardListed, StreamSummary
from streaming_app.sources.kinesis.positions import iterator_arguments, starting_position
from streaming_app.sources.kinesis.pushed import PushedBody, PushedEvents

# Threads wait for shards, not for each other's interpreter: two that decode at once cost 1.8 times the CPU of one after the
# other (measured: 5.2 against 2.95 microseconds an event), so one lock lets them take turns.
DECODING: Final = threading.Lock()
_THROTTLED: Final = frozenset(
    {
        "ProvisionedThroughputExceededException",
        "KMSThrottlingException",
        "ThrottlingException",
        "Throttling",
        "RequestLimitExceeded",
    }
)
_AHEAD: Final = "timestampInMillis"  # a moment that Kinesis' clock has not reached; ours may be a little ahead
_SERVER_ERROR: Final = 500
_HTTP_OK_BELOW: Final = 300
_LISTING_RESTARTS: Final = 3
_ANSWER: Final = "DecodedAnswer"


class Fetched(NamedTuple):
    """A decoded answer and the server's clock (the Date header), None where the server sent none."""

    answer: RecordsAnswer
    server_date: str | None


class Consumer(NamedTuple):
    """A registered consumer; `status` is CREATING, ACTIVE or DELETING."""

    arn: str
    status: str


class KinesisApi(Protocol):
    """What the source needs of Kinesis."""

    def get_records(self, iterator: str, limit: int) -> Fetched:
        """Up to `limit` records; raises TemporaryError, IteratorExpiredError, NotFoundError or SourceError."""
        ...

    def shard_iterator(self, shard: str, position: str) -> str:
        """An iterator for a position, or for LATEST; raises InvalidPositionError, or as `get_records`."""
        ...

    def list_shards(self) -> list[ShardListed]:
        """Every shard that is not expired; raises as `get_records`."""
        ...

    def describe(self) -> StreamSummary:
        """Which stream this is, and how long it keeps records; raises as `get_records`."""
        ...

    def subscribe(self, consumer: str, shard: str, position: str) -> PushedEvents:
        """A subscription of a registered consumer (its ARN); raises InUseError within 5 s of the last one."""
        ...

    def consumer(self, stream: str, name: str) -> Consumer:
        """A registered consumer of a stream (its ARN); raises NotFoundError where there is none of this name."""
        ...

    def register_consumer(self, stream: str, name: str) -> None:
        """Begin to register a consumer; InUseError: there is one of this name, LimitError: maybe as many as there can be."""
        ...

    def deregister_consumer(self, stream: str, name: str) -> None:
        """Begin to remove a consumer; raises NotFoundError where there is none of this name."""
        ...


class KinesisClient:
    """One stream's calls; safe to share between threads. Nothing is retried here."""

    def __init__(self, endpoint: Endpoint, connections: int = 32) -> None:
        self._stream, self._named = endpoint.stream, endpoint.named
        self._arn = {name: value for name, value in endpoint.named.items() if name == "StreamARN"}
        self._boto = _boto_client(endpoint, connections)
        self._boto.meta.events.register("before-parse.kinesis.GetRecords", _decode_records)
        self._boto.meta.events.register("before-parse.kinesis.SubscribeToShard", _keep_body)

    def get_records(self, iterator: str, limit: int) -> Fetched:
        response = self._call(self._boto.get_records, ShardIterator=iterator, Limit=limit, **self._arn)
        return Fetched(response[_ANSWER], response["ResponseMetadata"]["HTTPHeaders"].get("date"))

    def shard_iterator(self, shard: str, position: str) -> str:
        arguments = {"ShardIteratorType": "LATEST"} if position == "LATEST" else iterator_arguments(position)
        response = self._call(self._boto.get_shard_iterator, **self._named, ShardId=shard, **arguments)
        return str(response["ShardIterator"])

    def list_shards(self) -> list[ShardListed]:
        for _ in range(_LISTING_RESTARTS):
            try:
                return self._list_shards()
            except _ListingExpiredError:  # its token lives 300 s
                continue
        raise TemporaryError(f"listing the shards of stream {self._stream!r} takes longer than a listing lives (300 s)")

    def describe(self) -> StreamSummary:
        found = self._call(self._boto.describe_stream_summary, **self._named)["StreamDescriptionSummary"]
        return StreamSummary(
            found["StreamARN"], found["StreamCreationTimestamp"].timestamp(), found["RetentionPeriodHours"]
        )

    def subscribe(self, consumer: str, shard: str, position: str) -> PushedEvents:
        response = self._call(
            self._boto.subscribe_to_shard,
            ConsumerARN=consumer,
            ShardId=shard,
            StartingPosition=starting_position(position),
        )
        body: PushedBody = response[_ANSWER]
        return body

    def consumer(self, stream: str, name: str) -> Consumer:
        found = self._call(self._boto.describe_stream_consumer, StreamARN=stream, ConsumerName=name)
        description = found["ConsumerDescription"]
        return Consumer(description["ConsumerARN"], description["ConsumerStatus"])

    def register_consumer(self, stream: str, name: str) -> None:
        self._call(self._boto.register_stream_consumer, StreamARN=stream, ConsumerName=name)

    def deregister_consumer(self, stream: str, name: str) -> None:
        self._call(self._boto.deregister_stream_consumer, StreamARN=stream, ConsumerName=name)

    def _list_shards(self) -> list[ShardListed]:
        arguments: dict[str, Any] = dict(self._named)
        shards: list[ShardListed] = []
        while arguments:
            response = self._call(self._boto.list_shards, **arguments)
            shards += msgspec.convert(response["Shards"], list[ShardListed])
            token = response.get("NextToken")
            arguments = {"NextToken": token} if token else {}
        return shards

    def _call(self, operation: Callable[..., Any], **arguments: Any) -> dict[str, Any]:
        try:
            response: dict[str, Any] = operation(**arguments)
        except ClientError as error:
            self._refused(error)
        except (HTTPClientError, BotoConnectionError) as error:
            raise TemporaryError(f"stream {self._stream!r}: Kinesis cannot be reached: {error}") from error
        except CredentialRetrievalError as error:  # who gives credentials may be out of reach for a moment, too
            raise TemporaryError(f"stream {self._stream!r}: credentials cannot be had: {error}") from error
        except BotoCoreError as error:
            raise SourceError(
                f"stream {self._stream!r}: {error}; check region, credentials and endpoint_url"
            ) from error
        except msgspec.MsgspecError as error:
            raise TemporaryError(f"stream {self._stream!r}: an answer could not be understood: {error}") from error
        return response

    def _refused(self, error: ClientError) -> NoReturn:
        code = error.response.get("Error", {}).get("Code", "")
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        kind = TemporaryError if _AHEAD in str(error) else _kind(code, status)
        raise kind(f"stream {self._stream!r}: {error}") from error


class _ListingExpiredError(SourceError):
    """The token of a listing is too old."""


def _kind(code: str, status: int) -> type[SourceError]:
    if code == "LimitExceededException":
        return LimitError
    if code in _THROTTLED or status >= _SERVER_ERROR:
        return TemporaryError
    kinds: dict[str, type[SourceError]] = {
        "ExpiredIteratorException": IteratorExpiredError,
        "ResourceNotFoundException": NotFoundError,
        "ResourceInUseException": InUseError,
        "InvalidArgumentException": InvalidPositionError,
        "ExpiredNextTokenException": _ListingExpiredError,
    }
    return kinds.get(code, SourceError)


def _decode_records(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_event: Any) -> None:
    """Decode a good answer in one C call; errors are left to botocore."""
    if response_dict["status_code"] < _HTTP_OK_BELOW:
        with DECODING:
            customized_response_dict[_ANSWER] = RECORDS.decode(response_dict["body"])
        response_dict["body"] = b"{}"


def _keep_body(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_event: Any) -> None:
    """Keep the stream of events for us; botocore's parser gets the first message, which says that all is well."""
    if response_dict["status_code"] < _HTTP_OK_BELOW:
        body = PushedBody(response_dict["body"], DECODING)
        customized_response_dict[_ANSWER] = response_dict["body"] = body


def _boto_client(endpoint: Endpoint, connections: int) -> Any:
    """A client that retries nothing: the source's own backoff knows the shard's limits and counts what it does."""
    config = Config(
        retries={"total_max_attempts": 1, "mode": "standard"},
        connect_timeout=5,
        read_timeout=30,
        tcp_keepalive=True,
        max_pool_connections=connections,
        user_agent_extra="qsr-ingest",
    )
    return kinesis_client(endpoint, config)


_CREATING = threading.Lock()


@lru_cache(maxsize=16)
def _shared(endpoint: Endpoint) -> KinesisClient:
    return KinesisClient(endpoint)


def shared_client(endpoint: Endpoint) -> KinesisClient:
    """This process's one client of a stream; creating one takes boto3 about 0.2 s."""
    with _CREATING:
        return _shared(endpoint)
