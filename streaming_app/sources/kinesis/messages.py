"""What Kinesis answers, as structs that msgspec fills straight from the JSON body (base64 undone on the way).

Field names and meanings: the Kinesis API reference, GetRecords and ListShards. Unknown fields are ignored.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec


class HashRange(NamedTuple):
    """The hash keys (numbers of 128 bits) that belong to a shard, both ends included; it never changes."""

    first: int
    last: int

    def __contains__(self, hash_key: object) -> bool:
        return isinstance(hash_key, int) and self.first <= hash_key <= self.last


class HashKeyRange(msgspec.Struct, frozen=True, rename={"first": "StartingHashKey", "last": "EndingHashKey"}):
    """The same as Kinesis writes it: decimal texts."""

    first: str = ""
    last: str = ""

    @property
    def numbers(self) -> HashRange | None:
        """None where the answer left it out."""
        return HashRange(int(self.first), int(self.last)) if self.first and self.last else None


class Record(
    msgspec.Struct,
    gc=False,
    rename={
        "arrival": "ApproximateArrivalTimestamp",
        "data": "Data",
        "key": "PartitionKey",
        "sequence": "SequenceNumber",
    },
):
    """One record; `arrival` is in seconds since 1970 and, as Kinesis says, neither accurate nor always increasing."""

    data: bytes
    key: str
    sequence: str
    arrival: float


class ChildShard(
    msgspec.Struct,
    frozen=True,
    rename={"shard": "ShardId", "parents": "ParentShards", "hash_keys": "HashKeyRange"},
):
    """A shard that came out of a closed one."""

    shard: str
    parents: list[str] = []
    hash_keys: HashKeyRange = HashKeyRange()


class RecordsAnswer(
    msgspec.Struct,
    rename={
        "records": "Records",
        "next_iterator": "NextShardIterator",
        "millis_behind": "MillisBehindLatest",
        "children": "ChildShards",
    },
):
    """The answer of GetRecords; no `next_iterator` means that the shard is closed and was read to its end."""

    records: list[Record]
    next_iterator: str | None = None
    millis_behind: int | None = None
    children: list[ChildShard] | None = None


class PushedEvent(
    msgspec.Struct,
    rename={
        "records": "Records",
        "continuation": "ContinuationSequenceNumber",
        "millis_behind": "MillisBehindLatest",
        "children": "ChildShards",
    },
):
    """One event of SubscribeToShard; no `continuation` means that the shard is closed and this is its end."""

    records: list[Record] = []
    continuation: str | None = None
    millis_behind: int | None = None
    children: list[ChildShard] | None = None


class StreamSummary(msgspec.Struct, frozen=True):
    """What DescribeStreamSummary says of a stream; `created` is in seconds since 1970."""

    arn: str
    created: float
    retention_hours: int


class SequenceRange(msgspec.Struct, frozen=True, rename={"last": "EndingSequenceNumber"}):
    """A shard's sequence numbers; the last one is there as soon as the shard is closed."""

    last: str | None = None


class ShardListed(
    msgspec.Struct,
    frozen=True,
    rename={
        "shard": "ShardId",
        "parent": "ParentShardId",
        "adjacent": "AdjacentParentShardId",
        "hash_keys": "HashKeyRange",
        "sequences": "SequenceNumberRange",
    },
):
    """One shard of ListShards; an expired parent is named although it is not listed itself."""

    shard: str
    parent: str | None = None
    adjacent: str | None = None
    hash_keys: HashKeyRange = HashKeyRange()
    sequences: SequenceRange = SequenceRange()

    @property
    def closed(self) -> bool:
        """Nothing is written to it any more; records may still wait in it."""
        return self.sequences.last is not None

    @property
    def parents(self) -> tuple[str, ...]:
        """None, one (after a split) or two (after a merge)."""
        return tuple(name for name in (self.parent, self.adjacent) if name)


RECORDS: Final = msgspec.json.Decoder(RecordsAnswer)
PUSHED: Final = msgspec.json.Decoder(PushedEvent)
