"""A Kinesis behind an address, as tests/kinesis_histories.py drives one."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from typing import Any

import boto3

from tests.moto_server import REGION

READY_WITHIN = 30.0  # seconds


class RemoteKinesis:
    """Shards are never expired, and nothing fails on demand: these steps of a history do nothing here."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.parents: dict[str, list[str]] = {}
        self.script: list[str] = []
        self._client = boto3.client("kinesis", endpoint_url=url, region_name=REGION)

    def reset(self) -> None:
        for stream in self._client.list_streams()["StreamNames"]:
            self._client.delete_stream(StreamName=stream, EnforceConsumerDeletion=True)
        _until(lambda: not self._client.list_streams()["StreamNames"])
        self.parents.clear()

    def create(self, stream: str, shards: int) -> None:
        self._client.create_stream(StreamName=stream, ShardCount=shards)
        self._settle(stream)

    def put(self, stream: str, events: Sequence[bytes]) -> list[str]:
        records = [{"Data": event, "PartitionKey": event.hex()} for event in events]
        answer = self._client.put_records(StreamName=stream, Records=records)["Records"] if records else []
        return [f"{record['ShardId']}:{record['SequenceNumber']}" for record in answer]

    def open_shards(self, stream: str) -> list[str]:
        return [shard["ShardId"] for shard in self._open(stream)]

    def adjacent_shards(self, stream: str) -> list[tuple[str, str]]:
        ranges = sorted((*_hashes(shard), shard["ShardId"]) for shard in self._open(stream))
        return [(one[2], two[2]) for one, two in itertools.pairwise(ranges) if one[1] + 1 == two[0]]

    def split(self, stream: str, shard: str) -> None:
        first, last = next(_hashes(one) for one in self._open(stream) if one["ShardId"] == shard)
        middle = str((first + last) // 2 + 1)
        self._client.split_shard(StreamName=stream, ShardToSplit=shard, NewStartingHashKey=middle)
        self._settle(stream)

    def merge(self, stream: str, first: str, second: str) -> None:
        self._client.merge_shards(StreamName=stream, ShardToMerge=first, AdjacentShardToMerge=second)
        self._settle(stream)

    def expire_shard(self, stream: str, shard: str, *, missing_ok: bool) -> None:
        """Nobody waits a day for it."""

    def set(self, **rules: float) -> None:
        """It fails only by itself."""

    def _open(self, stream: str) -> list[dict[str, Any]]:
        shards = self._client.list_shards(StreamName=stream)["Shards"]
        return [shard for shard in shards if "EndingSequenceNumber" not in shard["SequenceNumberRange"]]

    def _settle(self, stream: str) -> None:
        def active() -> bool:
            summary = self._client.describe_stream_summary(StreamName=stream)["StreamDescriptionSummary"]
            return bool(summary["StreamStatus"] == "ACTIVE")

        _until(active)
        for shard in self._client.list_shards(StreamName=stream)["Shards"]:
            named = (shard.get("ParentShardId"), shard.get("AdjacentParentShardId"))
            self.parents[shard["ShardId"]] = [parent for parent in named if parent]


def _hashes(shard: dict[str, Any]) -> tuple[int, int]:
    return int(shard["HashKeyRange"]["StartingHashKey"]), int(shard["HashKeyRange"]["EndingHashKey"])


def _until(done: Any) -> None:
    end = time.monotonic() + READY_WITHIN
    while not done():
        assert time.monotonic() < end, "the stream is not ready"
        time.sleep(0.05)
