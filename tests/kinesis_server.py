"""A Kinesis for tests: moto's server in a child process (see `moto_server.py`) with a stream and one writer.

For resharding, limits and faults use `strict_kinesis.py`: moto keeps none of those rules.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.moto_server import MotoServer, moto_server

_PUT_RECORDS = 500  # most of one PutRecords call


@dataclass(frozen=True)
class KinesisServer:
    """A running server; put with this one writer only: moto loses records under concurrent PutRecords."""

    aws: MotoServer
    client: Any = field(repr=False)

    @property
    def url(self) -> str:
        return self.aws.url

    def create(self, stream: str, shards: int = 1) -> None:
        self.client.create_stream(StreamName=stream, ShardCount=shards)

    def put(self, stream: str, events: Sequence[bytes]) -> list[str]:
        """Append, the event itself its partition key; returns each record's shardId:sequenceNumber."""
        places = []
        for begin in range(0, len(events), _PUT_RECORDS):
            records = [
                {"Data": event, "PartitionKey": event.hex()[:256]} for event in events[begin : begin + _PUT_RECORDS]
            ]
            answer = self.client.put_records(StreamName=stream, Records=records)
            places += [f"{record['ShardId']}:{record['SequenceNumber']}" for record in answer["Records"]]
        return places


@contextmanager
def kinesis_server() -> Iterator[KinesisServer]:
    """A server of its own on a free port, gone at the end."""
    with moto_server() as aws:
        yield KinesisServer(aws, aws.client("kinesis"))
