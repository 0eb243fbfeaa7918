"""What the books say of a row: the epoch that read it, the batch that committed it, what became of its file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Final

from batch_app.compaction.book import Compaction, CompactionBook
from streaming_app.config import Config
from streaming_app.errors import SinkError
from streaming_app.journal.ledger import Entry, Ledger
from streaming_app.journal.read_log import ReadLog, UnitRead
from streaming_app.places import INPUT_SOURCES, checkpoint_of, compactions_of
from streaming_app.storage import Storage, open_storage

_SHARD: Final = re.compile(r"(?P<unit>[^:#]+):(?P<sequence>[0-9]+)(?::(?P<sub>[0-9]+))?")
_FILE: Final = re.compile(r"(?P<name>.+)#(?P<row>[0-9]+)", re.DOTALL)


@dataclass(frozen=True)
class Read:
    """The range of a shard, or the file, with which a row was read. `rows` are those of the whole range."""

    source: str
    epoch: int
    unit: str
    rows: int
    detail: Mapping[str, Any] = field(default_factory=dict)

    @property
    def range(self) -> str:
        """Its range in words; empty for a file."""
        return f"{self.detail['first_seq']} to {self.detail['last_seq']}" if "first_seq" in self.detail else ""


@dataclass(frozen=True)
class Committed:
    """The batch of the ledger that a row belongs to."""

    source: str
    entry: Entry
    published: bool


def is_position(text: str) -> bool:
    """Whether a text looks like a source position."""
    return bool(_FILE.fullmatch(text) or (":" in text and _SHARD.fullmatch(text)))


class Books:
    """Read logs and ledgers of every source that has run, and the book of compactions. Changes nothing."""

    def __init__(self, config: Config, lake: Storage) -> None:
        options = config.lake.s3.storage_options()
        self._checkpoints = {name: open_storage(checkpoint_of(config, name), options) for name in INPUT_SOURCES}
        self._compactions = CompactionBook(open_storage(compactions_of(config), options), lake)
        self._outputs: dict[str, Compaction] | None = None
        self._batches: dict[str, dict[int, list[Committed]]] = {}

    def reads(self, positions: Iterable[str]) -> dict[str, list[Read]]:
        """By position every epoch that delivered its row: one, or none yet. One pass over the read logs for all of them.

        Raises SinkError for a damaged read log.
        """
        wanted = _Wanted(positions)
        for source, checkpoint in self._checkpoints.items():
            try:
                for epoch, units in _epochs(ReadLog(checkpoint)):
                    for read in units.values():
                        wanted.look(source, epoch, read)
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise SinkError(
                    f"the read log of {checkpoint.uri} cannot be understood ({error!r}); `python -m streaming_app doctor`"
                    " says more"
                ) from error
        return wanted.found

    def batches(self, reads: Iterable[Read]) -> list[Committed]:
        """The batches that wrote these reads' epochs: one each, or none while it is under way."""
        return [found for read in reads for found in self._ledger(read.source).get(read.epoch, ())]

    def _ledger(self, source: str) -> dict[int, list[Committed]]:
        """A source's batches by epoch, read once."""
        if source not in self._batches:
            ledger, by_epoch = Ledger(self._checkpoints[source]), dict[int, list[Committed]]()
            published = ledger.published_through()
            for entry in ledger.entries():
                by_epoch.setdefault(entry.epoch, []).append(Committed(source, entry, entry.batch_id <= published))
            self._batches[source] = by_epoch
        return self._batches[source]

    def made_by(self, key: str) -> Compaction | None:
        """The compaction that wrote a file, None where the sink or a replay did."""
        if self._outputs is None:
            self._outputs = {key: entry for entry in self._compactions.entries() for key in entry.output_keys}
        return self._outputs.get(key)


def _epochs(log: ReadLog) -> Iterator[tuple[int, dict[str, UnitRead]]]:
    """All of them; those that are not sealed come last, and are listed first, as they may be sealed meanwhile."""
    live = log.live_epochs()
    seen = set()
    for epoch, units in chain(log.sealed(), ((epoch, log.units(epoch)) for epoch in live)):
        if epoch not in seen:
            seen.add(epoch)
            yield epoch, units


class _Wanted:
    """Positions by the shard or the file that they name."""

    def __init__(self, positions: Iterable[str]) -> None:
        self.found: dict[str, list[Read]] = {position: [] for position in positions}
        self._records: dict[str, list[tuple[int, str]]] = {}
        self._rows: dict[str, list[tuple[int, str]]] = {}
        for position in self.found:
            if record := _SHARD.fullmatch(position):
                self._records.setdefault(record["unit"], []).append((int(record["sequence"]), position))
            if row := _FILE.fullmatch(position):
                self._rows.setdefault(row["name"], []).append((int(row["row"]), position))

    def look(self, source: str, epoch: int, read: UnitRead) -> None:
        """Take note of the positions that this read delivered."""
        if not read.rows:
            return
        if "first_seq" in read.detail:
            named = self._records.get(read.unit, [])
            first, last = (int(read.detail["first_seq"]), int(read.detail["last_seq"])) if named else (0, 0)
        else:
            named, first, last = self._rows.get(read.detail.get("name", ""), []), 0, read.rows
        for number, position in named:
            if first <= number <= last:
                self.found[position].append(Read(source, epoch, read.unit, read.rows, read.detail))
