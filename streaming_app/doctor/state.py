"""What is in a source's checkpoint, read once; damaged records are named instead of raised."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from streaming_app.config import Loaded
from streaming_app.config.models import SourceName
from streaming_app.errors import SinkError
from streaming_app.journal.ledger import LEDGER, Entry, Ledger
from streaming_app.journal.read_log import READ_LOG, ReadLog, SealedEpoch
from streaming_app.journal.spark_log import COMMITS, METADATA, OFFSETS, SparkLog, offset_of_batch, read_spark_log
from streaming_app.places import checkpoint_of, is_foreign, source_label
from streaming_app.schema import CLEAN, DEAD_LETTER
from streaming_app.storage import StagedFile, Storage, open_storage
from streaming_app.storage.many import get_all

LOOKED_AT: Final = 1000  # the latest batches and epochs; older ones are the audit's
POINTER: Final = f"{LEDGER}/published.json"
_MALFORMED: Final = (AttributeError, KeyError, TypeError, ValueError)  # what reading a damaged record raises


@dataclass(frozen=True)
class Place:
    """One source: its checkpoint, the lake, and what the configuration calls it. `start` is where a new one begins.

    `foreign`: another connector reads it, with offsets and notes of its own and no read log.
    """

    source: str
    checkpoint: Storage
    lake: Storage
    label: str
    start: str
    foreign: bool = False

    @classmethod
    def of(cls, loaded: Loaded, source: str) -> Place:
        """As the configuration says."""
        config = loaded.config
        options = config.lake.s3.storage_options()
        return cls(
            source=source,
            checkpoint=open_storage(checkpoint_of(config, source), options),
            lake=open_storage(config.lake.root, options),
            label=source_label(config, source),
            start=loaded.start_positions or config.sources.kinesis.start if source == SourceName.KINESIS else "",
            foreign=is_foreign(config, source),
        )


@dataclass(frozen=True)
class State:
    """A checkpoint's contents. `offsets` are those of Spark's last two batches, None for one that cannot be read.

    `epochs` and `batches` are the numbers in read log and ledger among the last 1,000; `reads` are those of the epochs
    that still matter, `staged` the lake's files that nobody can see. `damaged` maps keys to what is wrong with them.
    """

    spark: SparkLog
    offsets: dict[int, Any]
    epochs: tuple[int, ...]
    live_epochs: tuple[int, ...]
    reads: dict[int, SealedEpoch]
    stream_note: str
    batches: tuple[int, ...]
    last_entry: Entry | None
    published: int
    unpublished: tuple[Entry, ...]
    staged: tuple[StagedFile, ...]
    damaged: dict[str, str]

    @property
    def begun(self) -> bool:
        """Whether any query ever began here."""
        return bool(self.spark.logged or self.spark.committed or self.epochs or self.live_epochs or self.batches)

    @property
    def newest_epoch(self) -> int:
        """The newest epoch that the read log knows, -1 when it knows none."""
        return max((*self.epochs, *self.live_epochs), default=-1)

    @property
    def known_epochs(self) -> tuple[int, ...]:
        """Epochs of the read log, folded or not, from the first that was looked at."""
        first = min(self.epochs, default=0)
        return tuple(sorted({*self.epochs, *(epoch for epoch in self.live_epochs if epoch >= first)}))

    def is_damaged(self, folder: str) -> bool:
        """Whether something below a folder cannot be read, or nobody knows where it is."""
        return any(key.startswith((folder, "a record")) for key in self.damaged)

    def epoch_of(self, batch: int) -> int | None:
        """The epoch of one of the last two batches, None where Spark's log does not say."""
        offset = self.offsets.get(batch)
        epoch = offset.get("epoch") if isinstance(offset, dict) else None
        return epoch if isinstance(epoch, int) else None


def read_state(place: Place) -> State:
    """Raises ConfigError or SinkError only when the place itself cannot be reached."""
    checkpoint, damaged = place.checkpoint, dict(_damaged(place.checkpoint))
    spark = read_spark_log(checkpoint)
    offsets = {batch: _offset(checkpoint, batch) for batch in spark.logged[-2:]}
    read_log = ReadLog(checkpoint)
    epochs, _ = _numbers(((epoch.epoch, epoch) for epoch in read_log.history(_first(read_log.newest()))), damaged)
    batches, last_entry = _entries(Ledger(checkpoint), damaged)
    published, unpublished = _publication(Ledger(checkpoint))
    live = _live(checkpoint)
    return State(
        spark=spark,
        offsets=offsets,
        epochs=epochs,
        live_epochs=live,
        reads=_reads(read_log, {*live, *(_epoch(offset) for offset in offsets.values())}),
        stream_note=_stream_note(read_log),
        batches=batches,
        last_entry=last_entry,
        published=published,
        unpublished=unpublished,
        staged=tuple(place.lake.staged(place.source, [CLEAN, DEAD_LETTER])),
        damaged=damaged,
    )


def seconds_since_change(checkpoint: Storage) -> float | None:
    """Seconds since a running service last wrote here, None when nothing was begun."""
    folders: Iterable[str] = (OFFSETS, COMMITS, f"{READ_LOG}/live", f"{READ_LOG}/notes")
    times = [item.modified for folder in folders for item in checkpoint.list(folder)]
    return (datetime.now(UTC) - max(times)).total_seconds() if times else None


def _first(newest: int) -> int:
    return max(0, newest - LOOKED_AT + 1)


def _damaged(checkpoint: Storage) -> Iterator[tuple[str, str]]:
    """Objects that cannot be read, and why."""
    folders = (f"{READ_LOG}/live", f"{READ_LOG}/notes", f"{READ_LOG}/epochs", f"{LEDGER}/entries")
    keys = [item.key for folder in folders for item in checkpoint.list(folder)]
    keys += [key for key in (METADATA, POINTER) if checkpoint.info(key) is not None]
    for begin in range(0, len(keys), 100):  # a bounded part of them in memory
        some = keys[begin : begin + 100]
        for key, data in zip(some, get_all(checkpoint, some), strict=True):
            problem = "" if data is None else _problem(key, data)
            if problem:
                yield key, problem
    for batch in read_spark_log(checkpoint).logged:
        if _offset(checkpoint, batch) is None:
            yield f"{OFFSETS}/{batch}", "is no offset as Spark writes it"


def _problem(key: str, data: bytes) -> str:
    try:
        if key.endswith(".gz"):
            for line in gzip.decompress(data).splitlines():
                json.loads(line)
        elif not isinstance(json.loads(data), dict):
            return "holds no JSON object"
    except (OSError, EOFError, zlib.error):
        return "is cut off or damaged"
    except ValueError as error:
        return f"is not JSON ({error})"
    return "" if key != POINTER or _is_pointer(data) else "names no batch"


def _is_pointer(data: bytes) -> bool:
    return isinstance(json.loads(data).get("through"), int)


def _offset(checkpoint: Storage, batch: int) -> Any:
    try:
        return offset_of_batch(checkpoint, batch)
    except SinkError:
        return None


def _epoch(offset: Any) -> int:
    epoch = offset.get("epoch") if isinstance(offset, dict) else None
    return epoch if isinstance(epoch, int) else -1


def _numbers(entries: Iterable[tuple[int, Any]], damaged: dict[str, str]) -> tuple[tuple[int, ...], Any]:
    """All numbers and the last document, as far as they can be read."""
    numbers, last = [], None
    try:
        for number, document in entries:
            numbers.append(number)
            last = document
    except (SinkError, *_MALFORMED) as error:
        if not damaged:  # else the object is named already
            damaged[f"a record after number {numbers[-1] if numbers else 'none'}"] = f"cannot be understood ({error!r})"
    return tuple(numbers), last


def _entries(ledger: Ledger, damaged: dict[str, str]) -> tuple[tuple[int, ...], Entry | None]:
    numbers, last = _numbers(((entry.batch_id, entry) for entry in ledger.entries(_first(ledger.newest()))), damaged)
    return numbers, last


def _publication(ledger: Ledger) -> tuple[int, tuple[Entry, ...]]:
    """Up to where the ledger says that files are visible, and what lies above it."""
    try:
        return ledger.published_through(), tuple(ledger.unpublished())
    except (SinkError, *_MALFORMED):
        return -1, ()


def _live(checkpoint: Storage) -> tuple[int, ...]:
    """Epochs with records that are not folded, also where these cannot be read."""
    names = (item.key.rsplit("/", 1)[-1].split("-", 1)[0] for item in checkpoint.list(f"{READ_LOG}/live"))
    return tuple(sorted({int(name) for name in names if name.isdigit()}))


def _reads(read_log: ReadLog, epochs: Iterable[int]) -> dict[int, SealedEpoch]:
    found = {}
    for epoch in sorted(epochs):
        try:
            found[epoch] = SealedEpoch(epoch, read_log.plan(epoch), read_log.units(epoch))
        except (SinkError, *_MALFORMED):
            continue  # named among the damaged ones
    return found


def _stream_note(read_log: ReadLog) -> str:
    """The ARN of the stream that was read here, empty where that was not noted."""
    try:
        return str((read_log.noted("stream") or {}).get("arn", ""))
    except (SinkError, *_MALFORMED):
        return ""
