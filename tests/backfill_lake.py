"""A lake with files to backfill, without Spark: the real reader and writer, one rule, and storages that die on demand."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path

import pyarrow.dataset as ds

from batch_app.audit import audit
from batch_app.backfill import engine
from batch_app.backfill.engine import Backfill, Outcome
from batch_app.backfill.inputs import Wanted, find
from batch_app.backfill.loading import stage
from streaming_app.journal.ledger import Ledger
from streaming_app.journal.read_log import ReadLog
from streaming_app.schema import Decoded, InputSource
from streaming_app.sink.commit import Committer
from tests.audit_lake import LakeBuilder
from tests.dead_lake import HEADER, Row, csv_row, event, judged

STREAM, BATCH = InputSource.STREAM, InputSource.BATCH


class PlainLoader:
    """The real reader and the real writer, and between them a rule that needs no Spark: there is no Atlantis."""

    def __init__(self, dataset):
        self._dataset = dataset

    def load(self, reader, work, sink, suite):
        del suite
        batches = [self._judged(batch) for batch in reader.read_all(work.epoch, work.files)]
        return [stage(batches, sink, self._dataset, work.skip)]

    def _judged(self, batch):
        rows = batch.to_pylist()
        dead = [bool(row["decode_error"]) or row["city"] == "Atlantis" for row in rows]
        found = [
            Row(row["source_position"], row["raw"].decode("latin-1"), *(("rule", ("city.in_set",)) if bad else ()))
            for row, bad in zip(rows, dead, strict=True)
        ]
        made = judged(self._dataset, found)
        place = made.schema.get_field_index("order_id")
        return made.set_column(place, "order_id", batch.column("order_id"))


@dataclass
class Rig:
    folder: Path
    builder: LakeBuilder

    @property
    def lake(self) -> Path:
        return Path(self.builder.root)

    def write(self, name: str, data: bytes) -> None:
        file = self.lake / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)

    def loaded(self):
        return self.builder.loaded(self.folder)

    def backfill(self, source=STREAM) -> Backfill:
        return Backfill(*self.loaded(), source, lambda: PlainLoader(self.builder.dataset))

    def find(self, *paths: str, **more) -> list:
        found = find(Wanted(tuple(str(self.lake / path) for path in paths), **more), self.loaded()[0].config)
        return [file for files in found.files.values() for file in files]

    def run(self, *paths: str, source=STREAM, key=None) -> Outcome:
        outcome = Outcome(dry_run=False)
        self.backfill(source).run(self.find(*paths), key, outcome)
        return outcome

    def rows(self, table: str = "clean") -> list[str]:
        folder = self.lake / table
        if not folder.exists():
            return []
        return sorted(ds.dataset(folder, format="parquet").to_table([Decoded.POSITION.value]).column(0).to_pylist())

    def audit(self, *, settled: bool = True):
        report = audit(*self.loaded(), settled=settled)
        assert report.ok, report.differences
        return {source.source: source for source in report.sources}


def backfill_lake(tmp_path, orders) -> Rig:
    """Two files of the stream's copy and one CSV file; nothing is loaded yet."""
    made = Rig(tmp_path, LakeBuilder(str(tmp_path / "lake"), orders))
    several = "".join(event(f"o{n}") for n in range(1, 4)) + event("o4", city="Atlantis")
    made.write(
        "raw_stream/2026/03/01/09/pos-1", gzip.compress(several.encode())
    )  # as Firehose writes without a delimiter
    made.write("raw_stream/2026/03/02/10/pos-2", f"{event('o5')}\n{event('o6')}\n".encode())
    made.write("raw/day.csv", f"{HEADER}\n{csv_row('c1')}\n{csv_row('c2', city='Atlantis')}\n".encode())
    return made


class Crash(BaseException):
    pass


class Dying:
    """A storage that dies at the n-th change, before or after it."""

    def __init__(self, storage, left):
        self._storage, self._left = storage, left

    def __getattr__(self, name):
        method = getattr(self._storage, name)
        if name not in {"put", "put_if_absent", "delete", "publish"}:
            return method

        def call(*arguments):
            self._left[0] -= 1
            if self._left[0] == 0:
                raise Crash
            result = method(*arguments)
            self._left[0] -= 0.5
            if self._left[0] == 0:
                raise Crash
            self._left[0] += 0.5
            return result

        return call


def die_at(run: Backfill, at: float, monkeypatch) -> list[float]:
    """Let the n-th change die (n.5: just after it took effect)."""
    left = [at]
    run._checkpoint = Dying(run._checkpoint, left)
    run._log = ReadLog(run._checkpoint)

    class DyingCommitter(Committer):
        def __init__(self, options, *more):
            super().__init__(options, *more)
            self._lake, self._checkpoint = Dying(self._lake, left), Dying(self._checkpoint, left)
            self._ledger = Ledger(self._checkpoint)

    monkeypatch.setattr(engine, "Committer", DyingCommitter)
    return left
