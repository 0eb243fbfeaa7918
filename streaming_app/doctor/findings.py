"""What disagrees in a checkpoint: one function from the state to its findings each, named in `CHECKS`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Any, Final

from streaming_app.config.models import SourceName
from streaming_app.config.positions import stream_name
from streaming_app.doctor.state import POINTER, Place, State
from streaming_app.journal.ledger import LEDGER, Entry
from streaming_app.journal.read_log import READ_LOG
from streaming_app.journal.spark_log import COMMITS, OFFSETS
from streaming_app.schema import CLEAN
from streaming_app.storage import StagedFile

_RESTORE: Final = "restore the checkpoint from a backup, whole"
_START: Final = "the next start of the service does this by itself, --repair does it now"
_SHOWN: Final = 10


class Kind(StrEnum):
    """What is wrong; programs may rely on these names."""

    LEFTOVERS = "leftovers"
    STAGED_FILES = "staged_files"
    UNPUBLISHED = "unpublished"
    FILES_GONE = "files_gone"
    UNREADABLE = "unreadable"
    NO_METADATA = "no_metadata"
    OTHER_SOURCE = "other_source"
    OTHER_STREAM = "other_stream"
    COMMITS_MISSING = "commits_missing"
    OFFSETS_MISSING = "offsets_missing"
    ENTRY_MISSING = "entry_missing"
    LEDGER_AHEAD = "ledger_ahead"
    BATCH_GAP = "batch_gap"
    EPOCH_GAP = "epoch_gap"
    READS_MISSING = "reads_missing"


@dataclass(frozen=True)
class Finding:
    """One thing that disagrees, what to do about it, and whether --repair can mend it without loss."""

    kind: Kind
    message: str
    advice: str
    mendable: bool = False

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return {"kind": self.kind.value, "message": self.message, "advice": self.advice, "mendable": self.mendable}


Findings = Iterator[Finding]


def find(place: Place, state: State) -> tuple[Finding, ...]:
    """Everything that disagrees; nothing for a checkpoint that a restart goes on from without a second look."""
    return tuple(finding for check in CHECKS for finding in check(place, state))


def _unreadable(_: Place, state: State) -> Findings:
    for key, problem in state.damaged.items():
        if key == POINTER:
            advice = "--repair removes it: what is visible is found out anew"
            yield Finding(Kind.UNREADABLE, f"{key} {problem}", advice, mendable=True)
        elif key == removable_offset(state):
            advice = "no batch was written with it: --repair removes it, and Spark plans that batch again"
            yield Finding(Kind.UNREADABLE, f"{key} {problem}", advice, mendable=True)
        else:
            yield Finding(Kind.UNREADABLE, f"{key} {problem}", _RESTORE)


def removable_offset(state: State) -> str:
    """The key of Spark's last offset, if it cannot be read and its batch is written nowhere; else empty."""
    last = state.spark.last_logged
    key = f"{OFFSETS}/{last}"
    done = last <= state.spark.last_committed or last in state.batches
    return key if key in state.damaged and not done and last - 1 <= state.spark.last_committed else ""


def _other_source(place: Place, state: State) -> Findings:
    for batch, offset in state.offsets.items():
        if offset is not None and _is_ours(place.source, offset) == place.foreign:
            yield Finding(
                Kind.OTHER_SOURCE,
                f"{OFFSETS}/{batch} is no offset of the {place.source} source as it is configured: another one has used this folder",
                "give each source a checkpoint folder of its own (lake.checkpoints)",
            )
            return


def _is_ours(source: str, offset: Any) -> bool:
    if not isinstance(offset, dict) or not isinstance(offset.get("epoch"), int):
        return False
    return ("shards" in offset) == (source == SourceName.KINESIS)


def _other_stream(place: Place, state: State) -> Findings:
    known = {state.last_entry.source} if state.last_entry else set()
    if place.source == SourceName.KINESIS and state.stream_note:
        known.add(f"kinesis:{stream_name(state.stream_note)}")
    for label in sorted(known - {place.label}):
        yield Finding(
            Kind.OTHER_STREAM,
            f"this is the checkpoint of {label}, and the configuration reads {place.label}",
            "name that source again, or give the new one a checkpoint of its own (lake.checkpoints)",
        )


def _leftovers(_: Place, state: State) -> Findings:
    if state.spark.leftovers:
        yield Finding(
            Kind.LEFTOVERS,
            f"a Spark that was killed left {len(state.spark.leftovers)} half-written files: {_some(state.spark.leftovers)}",
            _START,
            mendable=True,
        )


def _metadata(_: Place, state: State) -> Findings:
    if state.spark.logged and not state.spark.has_metadata:
        yield Finding(
            Kind.NO_METADATA,
            "Spark's file `metadata` is not there; was the checkpoint copied whole?",
            "nothing is lost by it: Spark writes a new one, and the query goes on under a new id",
        )


def _commits(_: Place, state: State) -> Findings:
    """Spark runs only the last batch again, and takes those before it as done (measured on 4.1.1)."""
    spark = state.spark
    if state.is_damaged(LEDGER):
        return
    skipped = [batch for batch in spark.logged if spark.last_committed < batch < spark.last_logged]
    if not skipped:
        return
    lost = [batch for batch in skipped if batch not in state.batches]
    message = f"Spark's log has no commits of batch {_some(skipped)}, though later ones were planned"
    if lost:
        files = _some([f"{OFFSETS}/{batch} and {OFFSETS}/.{batch}.crc" for batch in spark.logged if batch > lost[0]])
        advice = (
            f"batch {_some(lost)} is not in the ledger either, and Spark takes it as done: before the next start, remove"
            f" {files}, so that Spark runs batch {lost[0]} again"
        )
        yield Finding(Kind.COMMITS_MISSING, message, advice)
    else:
        advice = "nothing is lost by it: the ledger has them, and Spark goes on with the last one"
        yield Finding(Kind.COMMITS_MISSING, message, advice)


def _offsets(_: Place, state: State) -> Findings:
    spark = state.spark
    if spark.last_committed > spark.last_logged:
        message = f"Spark has committed batch {spark.last_committed}, but its offsets end with {spark.last_logged}"
        yield Finding(Kind.OFFSETS_MISSING, message, _RESTORE)
    elif spark.last_logged > 0 and spark.last_logged - 1 not in spark.logged:
        message = f"{OFFSETS}/{spark.last_logged - 1} is not there; Spark needs the last two to start"
        yield Finding(Kind.OFFSETS_MISSING, message, _RESTORE)


def _entries(_: Place, state: State) -> Findings:
    if state.is_damaged(LEDGER):
        return
    missing = [batch for batch in state.spark.committed if batch not in state.batches]
    if state.batches:
        missing = [batch for batch in missing if batch > state.batches[0]]
    if missing:
        yield Finding(
            Kind.ENTRY_MISSING,
            f"Spark has committed batch {_some(missing)}, but the ledger has no entry: its rows are in no file",
            f"{_RESTORE}; else read its rows again into a new lake with `positions` of an older checkpoint",
        )


def _ledger_ahead(_: Place, state: State) -> Findings:
    newest = max(state.batches, default=-1)
    if newest <= state.spark.last_logged:
        return
    epoch = state.last_entry.epoch if state.last_entry else newest
    known = epoch <= state.newest_epoch
    yield Finding(
        Kind.LEDGER_AHEAD,
        f"the ledger ends with batch {newest}, Spark's log with {state.spark.last_logged}: Spark's part is an older copy",
        "a restart reads those batches again, exactly as the read log says, and writes none of them twice; it needs their"
        f" records to be there still. Better: {_RESTORE}"
        if known
        else _RESTORE,
    )


def _gaps(_: Place, state: State) -> Findings:
    for kind, what, numbers in (
        (Kind.BATCH_GAP, "ledger", state.batches),
        (Kind.EPOCH_GAP, "read log", state.known_epochs),
    ):
        for before, after in pairwise(numbers if not state.damaged else ()):
            if after != before + 1:
                unit = "batch" if kind is Kind.BATCH_GAP else "epoch"
                gone = f"{before + 1}" if after == before + 2 else f"{before + 1} to {after - 1}"
                yield Finding(kind, f"the {what} goes from {unit} {before} to {after}: {gone} is gone", _RESTORE)


def _reads(place: Place, state: State) -> Findings:
    """What a restart needs of the read log: the reads of a batch that is done, the plan of one that is not (CSV)."""
    last = state.spark.last_logged
    epoch = state.epoch_of(last)
    if (
        state.is_damaged(READ_LOG)
        or not epoch
        or state.offsets.get(last) is None
        or not _is_ours(place.source, state.offsets[last])
    ):
        return
    done = last <= state.spark.last_committed or last in state.batches
    known = state.reads.get(epoch)
    wanted = set(state.offsets[last].get("shards", ())) if done else set()
    missing = sorted(wanted - known.units.keys()) if known else sorted(wanted)
    planned = place.source == SourceName.KINESIS or (known is not None and known.plan is not None)
    if missing or not planned or (not done and state.newest_epoch < epoch - 1):
        what = (
            f"has no read of {_some(missing)} in epoch {epoch}" if missing else f"ends with epoch {state.newest_epoch}"
        )
        message = (
            f"Spark's batch {last} is newer than the read log, which {what}: the checkpoint was copied in two parts"
        )
        yield Finding(Kind.READS_MISSING, message, _RESTORE)


def _publication(_: Place, state: State) -> Findings:
    staged = {identity(file) for file in state.staged}
    for entry in state.unpublished:
        waiting = [file.staged for file in entry.files if identity(file.staged) in staged]
        yield _unpublished(entry, len(waiting))
    owned = {identity(file.staged) for entry in state.unpublished for file in entry.files}
    orphans = [file for file in state.staged if identity(file) not in owned]
    if orphans:
        yield Finding(
            Kind.STAGED_FILES,
            f"{len(orphans)} staged files or uploads ({sum(file.size for file in orphans)} bytes) belong to no batch of the"
            " ledger: a killed task left them",
            _START,
            mendable=True,
        )


def _unpublished(entry: Entry, waiting: int) -> Finding:
    rows = sum(file.rows for file in entry.files if file.table == CLEAN)
    return Finding(
        Kind.UNPUBLISHED,
        f"batch {entry.batch_id} is in the ledger ({rows} clean rows in {len(entry.files)} files), but not marked as visible;"
        f" {waiting} files are still staged",
        _START,
        mendable=True,
    )


def _files_gone(place: Place, state: State) -> Findings:
    """Files that are neither staged nor visible, of a batch that Spark never runs again."""
    staged = {identity(file) for file in state.staged}
    for entry in state.unpublished:
        gone = [
            file.staged.key
            for file in entry.files
            if identity(file.staged) not in staged and place.lake.info(file.staged.key) is None
        ]
        if gone and entry.batch_id in state.spark.committed:
            again = entry.batch_id == state.spark.last_logged
            yield Finding(
                Kind.FILES_GONE,
                f"batch {entry.batch_id}: {len(gone)} of its files are neither staged nor visible, and Spark has finished it:"
                f" {_some(gone)}",
                f"it is Spark's last batch: --repair removes {COMMITS}/{entry.batch_id}, so that it runs again"
                if again
                else "its rows must be read anew (docs/guarantees.md, staged files that expired)",
                mendable=again,
            )


def identity(file: StagedFile) -> tuple[tuple[str, str], ...]:
    """What tells a staged file from another, also where its parts are not listed."""
    return tuple(sorted((name, str(value)) for name, value in file.handle.items() if name != "parts"))


def _some(items: Any) -> str:
    shown = [str(item) for item in items]
    more = len(shown) - _SHOWN
    return ", ".join(shown[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


CHECKS: Final[tuple[Callable[[Place, State], Findings], ...]] = (
    _unreadable,
    _other_source,
    _other_stream,
    _leftovers,
    _metadata,
    _offsets,
    _commits,
    _entries,
    _ledger_ahead,
    _gaps,
    _reads,
    _files_gone,
    _publication,
)
