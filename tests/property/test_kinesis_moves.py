"""Any history of a stream whose reader moves to a new checkpoint now and then: each record once, in order, over all of them."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streaming_app.sources.kinesis.standing import Standing, exported, standing_of
from streaming_app.storage.local import LocalStorage
from tests.kinesis_histories import BATCHES, RESHARDING, STEPS, FastClock, History, histories
from tests.kinesis_reading import STREAM, context, credentials, task
from tests.spark_files import LoggedQuery
from tests.strict_kinesis import strict_kinesis


@dataclass
class MovingHistory(History):
    """`reader` is replaced by one with a new checkpoint that begins where the old one's export says."""

    folder: Path = Path()
    batch: int = 1
    moves: int = 0

    def new_reader(self, start: str) -> LoggedQuery:
        folder = self.folder / str(self.moves)
        limits = {"max_records_per_shard": self.batch, "max_tasks": 3, "throttle_timeout": 1e6}
        made = LoggedQuery(
            lambda: context(self.kinesis.url, folder, FastClock(), starting_position=start, **limits), folder
        )
        made.start()
        return made

    @property
    def standing(self) -> Standing:
        return standing_of(LocalStorage(str(self.reader.folder)))

    def move(self, _: int) -> None:
        """Stop, export, and go on elsewhere."""
        old = self.reader
        old.epochs.stop()
        start = exported(STREAM, self.standing).to_text()
        self.moves += 1
        self.reader = self.new_reader(start)
        self.reader.rows[:0] = old.rows

    def move_with_a_batch_begun(self, which: int) -> None:
        """Some of its tasks ended; none of it counts."""
        if self.reader.plan():
            parts = self.reader.epochs.partitions(*self.reader.offsets[-2:])
            for part in parts[: which % (len(parts) + 1)]:
                task(self.reader.make(), part)
        self.move(which)

    def move_when_a_shard_has_ended(self, which: int) -> None:
        """Its children have not begun yet: the new checkpoint begins them."""
        self.split(which)
        for _ in range(10):
            if self.standing.offset.finished:
                break
            self.reader.run(1)
        self.move(which)


MOVES = [MovingHistory.move, MovingHistory.move_with_a_batch_begun, MovingHistory.move_when_a_shard_has_ended]
NO_LIMIT = {"deadline": None, "suppress_health_check": [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]}


@pytest.fixture(scope="module")
def kinesis():
    with pytest.MonkeyPatch.context() as patch, strict_kinesis() as server:
        credentials(patch)
        yield server


def live(kinesis, steps, shards: int, batch: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        kinesis.reset()
        kinesis.create(STREAM, shards=shards)
        history = MovingHistory(kinesis, None, folder=Path(folder), batch=batch)
        history.reader = history.new_reader("TRIM_HORIZON")
        for step, number in steps:
            step(history, number)
        history.finish()


@settings(max_examples=40, **NO_LIMIT)
@given(steps=histories([*STEPS, *RESHARDING, *MOVES]), shards=st.integers(1, 4), batch=BATCHES)
def test_what_was_put_is_delivered_once_and_in_order_over_all_checkpoints(kinesis, steps, shards, batch):
    live(kinesis, steps, shards, batch)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@settings(max_examples=1000, **NO_LIMIT)
@given(steps=histories([*STEPS, *RESHARDING, *MOVES]), shards=st.integers(1, 4), batch=BATCHES)
def test_what_was_put_is_delivered_once_and_in_order_over_all_checkpoints_a_thousand_times(
    kinesis, steps, shards, batch
):
    live(kinesis, steps, shards, batch)
