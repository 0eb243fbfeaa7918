"""Which hash keys belong to which shard, as the driver learns it on the way: from listings, and from closed shards' ends."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from streaming_app.journal.read_log import UnitRead
from streaming_app.sources.kinesis.messages import HashRange, ShardListed


class HashRanges:
    """Hash key ranges by shard. A range never changes, so it is asked for once; None where Kinesis does not tell."""

    def __init__(self, listing: Callable[[], list[ShardListed]]) -> None:
        self._listing = listing
        self._known: dict[str, HashRange | None] = {}

    def learn(self, listed: Iterable[ShardListed]) -> None:
        """What a listing says."""
        self._known |= {item.shard: item.hash_keys.numbers for item in listed}

    def learn_children(self, reads: Iterable[UnitRead]) -> None:
        """What the last answers of closed shards said of their children."""
        for read in reads:
            for child in read.detail["children"]:
                if child.get("hash_range"):
                    self._known[child["id"]] = HashRange(*child["hash_range"])

    def need(self, shards: Iterable[str]) -> None:
        """Ask for a listing where one of these shards is unknown: at a start, then hardly ever."""
        unknown = [shard for shard in shards if shard not in self._known]
        if unknown:
            self.learn(self._listing())
            self._known = dict.fromkeys(unknown) | self._known  # an expired shard is asked for once

    def of(self, shard: str) -> HashRange | None:
        """The shard's range, if it is known."""
        return self._known.get(shard)
