"""Any history of splits, merges, expiries and restarts: nothing is skipped or read twice, parents before children."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from streaming_app.sources.kinesis.lineage import Offset, ShardEnd, leaves, needs_listing, plan, start_at_roots
from streaming_app.sources.kinesis.positions import TRIM_HORIZON, after

AT = "AT_TIMESTAMP:2026-03-01T00:00:00.000Z"


@dataclass
class Stream:
    """Shards with records 1, 2, 3, ... in order of time; a closed shard's children hold only younger ones."""

    parents: dict[str, tuple[str, ...]] = field(default_factory=dict)
    records: dict[str, list[int]] = field(default_factory=dict)
    closed: set[str] = field(default_factory=set)
    expired: set[str] = field(default_factory=set)
    clock: int = 0

    def add(self, *parents: str) -> str:
        shard = f"s{len(self.parents):03d}"
        self.parents[shard], self.records[shard] = parents, []
        self.closed |= set(parents)
        return shard

    def put(self, shard: str) -> None:
        self.clock += 1
        self.records[shard].append(self.clock)

    def open(self) -> list[str]:
        return sorted(self.parents.keys() - self.closed)

    def listing(self) -> dict[str, tuple[str, ...]]:
        return {shard: parents for shard, parents in self.parents.items() if shard not in self.expired}

    def children(self, shard: str) -> dict[str, tuple[str, ...]]:
        return {child: parents for child, parents in self.parents.items() if shard in parents}


class Reader:
    """The source without Spark: reads some of each shard, plans, and is sometimes restarted from its offset alone."""

    def __init__(self, stream: Stream, start: Offset) -> None:
        self.stream, self.offset = stream, start
        self.known: dict[str, tuple[str, ...]] = {}
        self.delivered: list[tuple[str, int]] = []

    def restart(self) -> None:
        self.offset = Offset.from_json(json.loads(json.dumps(self.offset.to_json())))
        self.known = {}

    def epoch(self, draw) -> None:
        late = draw is not None and draw(st.booleans(), label="children are not known yet")
        ends = {shard: self.read(shard, position, draw, late) for shard, position in self.offset.shards.items()}
        if not late and needs_listing(self.offset, ends, self.known):
            self.known = self.stream.listing()
        self.offset = plan(self.offset, ends, self.known)

    def read(self, shard: str, position: str, draw, late: bool = False) -> ShardEnd:
        waiting = self.waiting(shard, position)
        taken = waiting if draw is None else waiting[: draw(st.integers(0, len(waiting)), label=f"read of {shard}")]
        self.delivered += [(shard, record) for record in taken]
        end = after(str(taken[-1])) if taken else position
        closed = shard in self.stream.closed and len(taken) == len(waiting)
        return ShardEnd(end, closed=closed, children=self.stream.children(shard) if closed and not late else {})

    def waiting(self, shard: str, position: str) -> list[int]:
        first = int(position.removeprefix("AFTER:")) if position.startswith("AFTER:") else 0
        return [record for record in self.stream.records[shard] if record > first]

    def finish(self) -> None:
        for _ in range(2 * len(self.stream.parents) + 2):
            self.epoch(None)


def change(stream: Stream, reader: Reader | None, draw) -> None:
    kind = draw(st.sampled_from(["put", "put", "put", "split", "merge", "expire"]), label="change")
    opened = stream.open()
    shard = draw(st.sampled_from(opened), label="shard")
    if kind == "put":
        stream.put(shard)
    elif kind == "split" and len(stream.parents) < 24:
        stream.add(shard), stream.add(shard)
    elif kind == "merge" and len(opened) > 1:
        stream.add(shard, draw(st.sampled_from([other for other in opened if other != shard])))
    elif kind == "expire" and reader is not None:
        expire_oldest_read(stream, reader)


def expire_oldest_read(stream: Stream, reader: Reader) -> None:
    """Retention takes closed shards, parents before children; here only such as the reader has finished."""
    reading = {*reader.offset.shards, *pending(stream, reader)}
    for shard in sorted(stream.closed - stream.expired - reading):
        if all(parent in stream.expired for parent in stream.parents[shard]):
            stream.expired.add(shard)
            return


def pending(stream: Stream, reader: Reader) -> set[str]:
    """Descendants of what is being read."""
    ahead, found = list(reader.offset.shards), set()
    while ahead:
        for child in stream.children(ahead.pop()):
            if child not in found:
                found.add(child)
                ahead.append(child)
    for finished in reader.offset.finished:
        found |= stream.children(finished).keys()
    return found


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.data(), st.sampled_from([TRIM_HORIZON, AT]))
def test_every_record_is_delivered_once_and_parents_before_children(data, position):
    stream = Stream()
    for _ in range(data.draw(st.integers(1, 3), label="first shards")):
        stream.add()
    for _ in range(data.draw(st.integers(0, 10), label="before the start")):
        change(stream, None, data.draw)
    reader = Reader(stream, start_at_roots(stream.listing(), position))
    for _ in range(data.draw(st.integers(0, 25), label="steps")):
        step = data.draw(st.sampled_from(["change", "change", "epoch", "restart"]), label="step")
        {"change": lambda: change(stream, reader, data.draw), "epoch": lambda: reader.epoch(data.draw),
         "restart": reader.restart}[step]()  # fmt: skip
    reader.finish()
    expected = sorted((shard, record) for shard, records in stream.records.items() for record in records)
    assert sorted(reader.delivered) == expected
    in_order(stream, reader.delivered)
    assert set(reader.offset.shards) == set(stream.open())
    assert not reader.offset.finished


def in_order(stream: Stream, delivered: list[tuple[str, int]]) -> None:
    last_of: dict[str, int] = {}
    first_of: dict[str, int] = {}
    for place, (shard, record) in enumerate(delivered):
        assert record >= last_of.get(f"record {shard}", 0)
        last_of[f"record {shard}"], last_of[shard] = record, place
        first_of.setdefault(shard, place)
    for shard, parents in stream.parents.items():
        for parent in parents:
            if shard in first_of and parent in last_of:
                assert last_of[parent] < first_of[shard], f"{shard} before the end of {parent}"


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.data())
def test_latest_begins_at_the_youngest_shards_and_never_goes_back(data):
    stream = Stream()
    stream.add(), stream.add()
    for _ in range(data.draw(st.integers(0, 15), label="before the start")):
        change(stream, None, data.draw)
    old = stream.clock
    start = {shard: after(str(old)) for shard in leaves(stream.listing())}
    assert set(start) == set(stream.open())
    reader = Reader(stream, Offset(0, start))
    for _ in range(data.draw(st.integers(0, 15), label="steps")):
        change(stream, reader, data.draw)
        reader.epoch(data.draw)
    reader.finish()
    younger = sorted((shard, r) for shard, records in stream.records.items() for r in records if r > old)
    assert sorted(reader.delivered) == younger


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.data())
def test_after_shards_were_lost_everything_that_is_listed_is_still_read_once(data):
    stream = Stream()
    stream.add(), stream.add()
    reader = Reader(stream, start_at_roots(stream.listing(), TRIM_HORIZON))
    reader.epoch(data.draw)
    for _ in range(data.draw(st.integers(1, 15), label="changes")):
        change(stream, None, data.draw)
    lose = data.draw(st.integers(0, len(stream.closed)), label="lost shards")
    stream.expired |= set(sorted(stream.closed)[:lose])
    assume(stream.expired)
    already = set(reader.delivered)
    ends = {
        shard: ShardEnd(position, lost=True) if shard in stream.expired else reader.read(shard, position, data.draw)
        for shard, position in reader.offset.shards.items()
    }
    reader.known = stream.listing()
    reader.offset = plan(reader.offset, ends, reader.known)
    reader.finish()
    listed = {(shard, r) for shard, records in stream.records.items() if shard not in stream.expired for r in records}
    assert len(set(reader.delivered)) == len(reader.delivered)
    assert set(reader.delivered) == listed | {found for found in already if found[0] in stream.expired}


@pytest.mark.parametrize("kept", [{}, {"a": TRIM_HORIZON}])
def test_an_offset_survives_json_with_the_same_text(kept):
    offset = Offset(3, {"b": "AT:1", "a": TRIM_HORIZON}, kept)
    again = Offset.from_json(json.loads(json.dumps(offset.to_json())))
    assert json.dumps(again.to_json()) == json.dumps(offset.to_json())
