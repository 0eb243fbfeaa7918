"""Loading files exactly once: plan, rules, reads, commit, in the same journals and steps as a streaming source.

One checkpoint for each kind of input (`checkpoints/backfill_stream`, `checkpoints/backfill_batch`), for all backfills of a
lake. What it holds, and in which order:

    plan of the epoch -> rules bound -> offsets/<batch> -> reads of files, staged files -> ledger entry -> published
    -> commits/<batch> -> epoch sealed

Guarantee: a file's rows are in the lake once, however often it is named, and whatever is killed at any moment. A run that
was cut off is finished first, by the next one, with the files and the rules that it began with.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from itertools import chain
from typing import Any, Final

from batch_app.backfill.inputs import Names, SourceFile
from batch_app.backfill.judged import sha256_of
from batch_app.backfill.loading import Loader, Work
from batch_app.backfill.present import Skip, require_published
from batch_app.backfill.reading import FileReader
from batch_app.backfill.watching import watched
from streaming_app.config import Loaded
from streaming_app.config.models import SourceName
from streaming_app.decode.csv_file import CsvFormat
from streaming_app.errors import ConfigError
from streaming_app.journal.ledger import Entry, Ledger
from streaming_app.journal.read_log import ReadLog, UnitRead
from streaming_app.journal.spark_log import COMMITS, OFFSETS, read_spark_log
from streaming_app.journal.suites import SuiteBindings
from streaming_app.places import BACKFILLS, checkpoint_of, compactions_of
from streaming_app.quality import Suite
from streaming_app.schema import InputSource
from streaming_app.sink import Committer, SinkOptions
from streaming_app.storage import Storage
from streaming_app.streams import limits_of, sink_options

MAX_FILES: Final = 1_000  # of one batch; Firehose's are small
MAX_BYTES: Final = 1 << 30
_NAMED: Final = 3
_FORGOTTEN: Final = "forgotten"  # in a plan: the one in whose place it stands
_MEND: Final = (
    "mend the rules or the limits and run the command again, it goes on with this batch. Its files cannot be exchanged for"
    " mended ones: to load these, give the batch up by `backfill --forget-plan` and name them (docs/batch.md)"
)
_PATIENCE: Final = 60.0  # seconds that a running service gets to publish what it has committed
_TOLD_EVERY: Final = 2.0  # seconds
Progress = Callable[[int], None]  # how many of the files are read


@dataclass
class Outcome:
    """What a backfill did, or a dry run would do.

    `ignored` and `unjudged`: files that were left out, see `Found`. `already`: files that other runs have loaded, left out. `finished`: batches of other runs that were finished here.
    """

    dry_run: bool
    files: int = 0
    bytes: int = 0
    already: int = 0
    ignored: int = 0
    unjudged: int = 0
    finished: int = 0
    read: int = 0
    clean: int = 0
    dead: int = 0
    duplicates: int = 0
    by_reason: Counter[str] = field(default_factory=Counter)
    batches: list[str] = field(default_factory=list)

    def add(self, name: str, entry: Entry, files: int) -> None:
        """One batch that was committed."""
        counts = entry.counts
        self.files += files
        self.read += counts.read
        self.clean += counts.clean
        self.dead += counts.dead
        self.duplicates += counts.duplicates
        self.by_reason.update(counts.by_reason)
        self.batches.append(f"{name}/{entry.batch_id}")

    def to_json(self) -> dict[str, Any]:
        """A JSON object; the keys are the attributes."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


class Backfill:
    """Loads files of one kind. `loader` is made when there is something to load; `patience`: see `require_published`."""

    def __init__(
        self,
        loaded: Loaded,
        suite: Suite,
        source: InputSource,
        loader: Callable[[], Loader],
        patience: float = _PATIENCE,
    ) -> None:
        self.name = next(name for name, label in BACKFILLS.items() if label is source)
        self._loaded, self._suite, self._loader, self._patience = loaded, suite, loader, patience
        like = next(name for name, label in SourceName.INPUT_SOURCE.items() if label is source)
        made = sink_options(loaded, like, suite)
        checkpoint = checkpoint_of(loaded.config, self.name)
        self._sink = replace(made, source=f"backfill:{source.value}", owner=self.name, checkpoint=checkpoint)
        self._storage_options = loaded.config.lake.s3.storage_options()
        csv = loaded.config.sources.csv
        form = CsvFormat(csv.delimiter, csv.max_record_bytes)
        self._reader = FileReader(source, checkpoint, loaded.dataset, form, self._storage_options)
        self._checkpoint: Storage = self._sink.open_checkpoint()
        self._log = ReadLog(self._checkpoint)
        self._names = Names(loaded.config.lake.root)

    def new(self, files: Sequence[SourceFile]) -> list[SourceFile]:
        """Those of the files that no run has loaded yet. Raises ConfigError for one that was, and holds something else now."""
        return list(self._pending(files).left.values())

    def run(
        self, files: Sequence[SourceFile], key: str | None, outcome: Outcome, progress: Progress | None = None
    ) -> None:
        """Finish what was cut off, then load what is new, until each file is in a batch that is done.

        Another run at the same time may take the next batch with files of its own: that one is finished, then ours follow.
        Raises QualityStop, DataLossError, SinkError.
        """
        ours = self._recover(outcome)
        pending = self._pending(files)
        while pending.left:
            done, epoch = len(files) - len(pending.left), pending.through + 1
            with watched(partial(self._log.count, epoch), _after(done, progress), _TOLD_EVERY):
                ours |= self._next(pending.through, _part(pending.left.values()), key, outcome)
            self._look(pending)
            if progress:
                progress(len(files) - len(pending.left))
        outcome.already += len({self._names.identity(file.name) for file in files} - ours)

    @property
    def ledger(self) -> Ledger:
        """The ledger of all backfills of this kind."""
        return Ledger(self._checkpoint)

    def unfinished(self) -> bool:
        """Whether a run was cut off before its batch was committed."""
        committed = self._committed()
        return any(epoch > committed for epoch in self._log.live_epochs())

    def forget(self, *, dry_run: bool = False) -> list[str]:
        """Give up the batch that a run could not finish; returns its files, nothing of which is in the lake.

        In its place comes an empty batch, whose plan in the read log keeps what was given up. Whatever dies on the way, the next
        run finishes it. Raises ConfigError where the batch is committed.
        """
        if not dry_run:
            Committer(self._sink).recover()
        batch = self._committed()
        plan = self._log.plan(batch + 1)
        if plan is None:
            return []
        if _FORGOTTEN not in plan:
            self._require_uncommitted(batch)
        given_up = plan.get(_FORGOTTEN, plan)
        if not dry_run:
            forgotten = {"files": [], "key": None, _FORGOTTEN: given_up, "at": datetime.now(UTC).isoformat()}
            self._log.replace_plan(batch + 1, forgotten)
            self._batch(batch, forgotten, Outcome(dry_run))
            self._require_uncommitted(batch)
        return [str(file["name"]) for file in given_up["files"]]

    def _require_uncommitted(self, batch: int) -> None:
        entry = self.ledger.get(batch)
        if entry and entry.counts.read:
            raise ConfigError(
                f"{self.name}: batch {batch} is committed, its rows are in the lake; run the backfill again, which ends it"
            )

    def publish(self) -> None:
        """Make visible what a run that was cut off has committed. Raises SinkError."""
        if self.ledger.unpublished():
            Committer(self._sink).recover()

    def _committed(self) -> int:
        """The epoch of the last batch that is done; epochs begin with 1, batches with 0."""
        return read_spark_log(self._checkpoint).last_committed + 1

    def _pending(self, files: Sequence[SourceFile]) -> _Pending:
        pending = _Pending(self._names, {self._names.identity(file.name): file for file in files})
        self._look(pending)
        return pending

    def _look(self, pending: _Pending) -> None:
        found = pending.look(self._log, self._committed())
        changed = [file.name for file, read in found if self._changed(file, read)]
        if changed:
            names = ", ".join(changed[:_NAMED]) + (
                f" and {len(changed) - _NAMED} more" if len(changed) > _NAMED else ""
            )
            raise ConfigError(
                f"{names}: loaded before, and changed since; its rows are in the lake already. Load what is new from a file"
                " with another name"
            )

    def _changed(self, file: SourceFile, read: UnitRead) -> bool:
        if (file.etag, file.size) == (read.detail["etag"], read.detail["size"]):
            return False
        return bool(file.size != read.detail["size"]) or sha256_of(file, self._storage_options) != read.detail["sha256"]

    def _recover(self, outcome: Outcome) -> set[str]:
        """Finish the batch that a killed run left, in whatever state. Returns which files it has."""
        Committer(self._sink).recover()
        committed = self._committed()
        if any(epoch <= committed for epoch in self._log.live_epochs()):
            self._log.seal(committed)  # cut off just before the end
        plan = self._log.plan(committed + 1)
        if plan is None:
            return set()
        outcome.finished += 1
        return self._batch(committed, plan, outcome)

    def _next(self, batch: int, files: Sequence[SourceFile], key: str | None, outcome: Outcome) -> set[str]:
        """One batch, after `batch` of them, whose files are known: with these files unless another run was faster.

        Returns which files of ours it has.
        """
        ours = {"files": [file.to_json() for file in files], "key": key}
        plan = self._log.put_plan_if_absent(batch + 1, ours)
        outcome.finished += plan != ours
        done = self._batch(batch, plan, outcome)
        return done if plan == ours else set()

    def _batch(self, batch: int, plan: dict[str, Any], outcome: Outcome) -> set[str]:
        """Load a plan, or what of it is not done yet. Returns which files it has."""
        epoch = batch + 1
        planned = [SourceFile.from_json(value) for value in plan["files"]]
        if planned:
            entry = self.ledger.get(batch) or self._write(batch, epoch, planned, plan["key"])
        else:
            entry = self._write_nothing(batch, epoch, plan)
        self._checkpoint.put(f"{COMMITS}/{batch}", b"v1\n{}")
        self._log.seal(epoch)
        outcome.add(self.name, entry, len(planned))
        return {self._names.identity(file.name) for file in planned}

    def _write(self, batch: int, epoch: int, files: Sequence[SourceFile], key: str | None) -> Entry:
        suite = self._bound()
        sink = self._under(suite)
        self._begin(batch, epoch)
        committer = Committer(sink, _MEND)
        results = self._loader().load(self._reader, Work(epoch, files, self._skip(key)), sink, suite)
        try:
            return committer.commit(results, batch)
        except BaseException:
            committer.abort(results, batch)
            raise

    def _write_nothing(self, batch: int, epoch: int, plan: dict[str, Any]) -> Entry:
        """An empty batch, under today's rules and no limits. A run that commits the files at this very moment has its way."""
        SuiteBindings(self._checkpoint).bind(self._suite.fingerprint, self._suite.source)
        self._begin(batch, epoch)
        reads = self._log.forget_units(epoch)
        entry = Committer(replace(self._sink, limits={})).commit([], batch)
        if entry.counts.read:
            for read in reads.values():
                self._log.put_if_absent(epoch, read)
            self._log.replace_plan(epoch, plan[_FORGOTTEN])
        return entry

    def _begin(self, batch: int, epoch: int) -> None:
        self._checkpoint.put(f"{OFFSETS}/{batch}", b"v1\n{}\n" + json.dumps({"epoch": epoch}).encode())

    def _skip(self, key: str | None) -> Skip | None:
        if key is None:
            return None
        require_published(self._loaded.config, self.name, self._patience)
        return Skip(key, compactions_of(self._loaded.config))

    def _bound(self) -> Suite:
        """The rules: those that an unfinished batch began with, otherwise today's; bound before anything is judged."""
        bindings = SuiteBindings(self._checkpoint)
        fingerprint = bindings.begun_under()
        suite = self._suite
        if fingerprint not in {None, suite.fingerprint}:
            document = bindings.document(str(fingerprint))
            suite = Suite.parse(document, f"{self._checkpoint.uri} (suite {fingerprint})", self._loaded.dataset)
        bindings.bind(suite.fingerprint, suite.source)
        return suite

    def _under(self, suite: Suite) -> SinkOptions:
        limits = limits_of(self._loaded, suite).to_json()
        return replace(self._sink, suite_fingerprint=suite.fingerprint, limits=limits)


@dataclass
class _Pending:
    """Files that no batch has read, by identity, as far as it was looked; `through`: the last epoch that was looked at."""

    names: Names
    left: dict[str, SourceFile]
    through: int = 0

    def look(self, log: ReadLog, committed: int) -> list[tuple[SourceFile, UnitRead]]:
        """Which of them were read by batches that were done since."""
        live = [(epoch, log.units(epoch)) for epoch in log.live_epochs() if self.through < epoch <= committed]
        sealed = log.sealed(self.through + 1)  # after the live ones: an epoch goes from there to here
        reads = (read for epoch, units in chain(live, sealed) if epoch <= committed for read in units.values())
        self.through = committed
        return [
            (self.left.pop(found), read) for read in reads if (found := self.names.identity(read.unit)) in self.left
        ]


def _after(done: int, progress: Progress | None) -> Progress | None:
    """Tells of the files of one batch, `done` of them before it."""
    return None if progress is None else lambda read: progress(done + read)


def _part(files: Iterable[SourceFile]) -> list[SourceFile]:
    """As many of the files as one batch takes, from the first one on."""
    part: list[SourceFile] = []
    size = 0
    for file in files:
        size += file.size
        if part and (len(part) >= MAX_FILES or size > MAX_BYTES):
            break
        part.append(file)
    return part
