"""Which shards the next epoch reads, and from where: pure, so that any history of splits and merges can be tried on it.

The rules (Kinesis keeps order only within a shard, and a key's records move from parent to child):

- A shard is finished only when a read reached its end, never because a listing shows it closed.
- A child starts, at TRIM_HORIZON, once none of its parents is being read or still has to be. Where its parents were
  begun at a moment of time and gave nothing, it begins at that moment too.
- A finished shard is remembered until all its children have started, so that a listing that still has it starts nothing.
- A parent that is not listed and was never read has expired: legitimate.
- A shard that Kinesis no longer knows is finished without its end: what descends from it and is listed starts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from streaming_app.errors import SourceError
from streaming_app.sources.kinesis.positions import TRIM_HORIZON, is_timestamp

Parents = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class ShardEnd:
    """Where the read of one shard in one epoch ended. `lost`: Kinesis no longer knows the shard."""

    position: str
    closed: bool = False
    lost: bool = False
    at_tip: bool = False
    children: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def over(self) -> bool:
        """Nothing more will come of this shard."""
        return self.closed or self.lost


@dataclass(frozen=True)
class Offset:
    """What epoch `epoch` reads: each shard from its position. `finished`: shards read to their end, and where that was.

    `lag`: how far behind the reads before it ended, to be seen in Spark's progress; nothing is decided by it.
    As JSON it is Spark's offset: `{"epoch": 7, "shards": {id: position}, "finished": {id: position}, "lag": {...}}`.
    """

    epoch: int
    shards: Mapping[str, str]
    finished: Mapping[str, str] = field(default_factory=dict)
    lag: Mapping[str, Any] | None = field(default=None, compare=False)

    def to_json(self) -> dict[str, Any]:
        """Always the same text for the same offset: Spark compares texts."""
        offset = {
            "epoch": self.epoch,
            "shards": dict(sorted(self.shards.items())),
            "finished": dict(sorted(self.finished.items())),
        }
        return offset | ({"lag": dict(self.lag)} if self.lag is not None else {})

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Offset:
        """The inverse of `to_json`. Raises SourceError for what this source did not write."""
        try:
            return cls(int(value["epoch"]), dict(value["shards"]), dict(value["finished"]), value.get("lag"))
        except (KeyError, TypeError, ValueError) as error:
            raise SourceError(f"{value!r} is no offset of this source; the checkpoint is another source's") from error


def start_at_roots(listing: Parents, position: str) -> Offset:
    """Epoch 0 from the oldest shards that are kept; their descendants follow."""
    roots = [shard for shard, parents in listing.items() if not any(parent in listing for parent in parents)]
    return Offset(0, dict.fromkeys(roots, position))


def leaves(listing: Parents) -> list[str]:
    """The youngest shards: the open ones, and one that was closed just now and whose children are not listed yet."""
    inner = {parent for parents in listing.values() for parent in parents}
    return sorted(shard for shard in listing if shard not in inner)


def relatives(shards: Iterable[str], listing: Parents) -> set[str]:
    """These shards, all their ancestors, and all shards that descend from them."""
    own = set(shards)
    past = {ancestor for shard in own for ancestor in _ancestors(shard, listing)}
    younger = {shard for shard in listing if not own.isdisjoint(_ancestors(shard, listing))}
    return own | past | younger


def needs_listing(offset: Offset, ends: Mapping[str, ShardEnd], known: Parents) -> bool:
    """Whether ListShards must be asked before `plan`: a shard ended, or a finished one has no child that is known."""
    if any(end.over for end in ends.values()):
        return True
    with_child = {parent for parents in known.values() for parent in parents}
    return not with_child.issuperset(offset.finished)


def plan(offset: Offset, ends: Mapping[str, ShardEnd], listing: Parents) -> Offset:
    """The epoch after `offset`, whose reads ended at `ends` (every shard of it); `listing` maps shards to their parents."""
    known = _known(listing, ends)
    active = {shard: end.position for shard, end in ends.items() if not end.over}
    finished = {**offset.finished, **{shard: end.position for shard, end in ends.items() if end.over}}
    unread = set(_candidates(known, active, finished, any_lost=any(end.lost for end in ends.values())))
    started = {shard: _child_position(known[shard], finished) for shard in _startable(unread, known, active)}
    shards = {**active, **started}
    return Offset(offset.epoch + 1, shards, _still_needed(finished, shards, known))


def _known(listing: Parents, ends: Mapping[str, ShardEnd]) -> dict[str, tuple[str, ...]]:
    known = dict(listing)
    for end in ends.values():
        for shard, parents in end.children.items():
            known.setdefault(shard, parents)
    return known


def _ancestors(shard: str, known: Parents) -> Iterator[str]:
    seen: set[str] = set()
    ahead = list(known.get(shard, ()))
    while ahead:
        parent = ahead.pop()
        if parent not in seen:
            seen.add(parent)
            yield parent
            ahead += known.get(parent, ())


def _candidates(known: Parents, active: Iterable[str], finished: Iterable[str], *, any_lost: bool) -> Iterator[str]:
    """Children of finished shards that were not read yet; after a loss also what has lost all its ancestors."""
    read = {*active, *finished}
    past = {ancestor for shard in read for ancestor in _ancestors(shard, known)}
    finished_shards = set(finished)
    for shard, parents in known.items():
        if shard not in read and shard not in past:
            orphan = any_lost and not any(parent in known for parent in parents)
            if orphan or not finished_shards.isdisjoint(parents):
                yield shard


def _startable(unread: set[str], known: Parents, active: Iterable[str]) -> list[str]:
    """Those with no ancestor that is being read, or unread itself."""
    ahead = {*active, *unread}
    return sorted(shard for shard in unread if ahead.isdisjoint(_ancestors(shard, known)))


def _child_position(parents: Iterable[str], finished: Mapping[str, str]) -> str:
    ended_at = [finished[parent] for parent in parents if parent in finished]
    if ended_at and all(is_timestamp(position) for position in ended_at):
        return min(ended_at)
    return TRIM_HORIZON


def _still_needed(finished: Mapping[str, str], shards: Mapping[str, str], known: Parents) -> dict[str, str]:
    """Finished shards some of whose children have not started, or have not been seen."""
    gone = {*shards, *finished}
    needed = {}
    for shard, position in finished.items():
        children = [child for child, parents in known.items() if shard in parents]
        if not children or any(child not in gone for child in children):
            needed[shard] = position
    return needed
