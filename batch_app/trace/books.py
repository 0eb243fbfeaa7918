"""What the books say of a row: the epoch that read it, the batch that committed it, what became of its file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
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

    def reads(self, position: str) -> Iterator[Read]:
        """Every epoch that delivered the row of a position: one, or none yet. Raises SinkError for a damaged read log."""
        for source, checkpoint in self._checkpoints.items():
            try:
                for epoch, units in _epochs(ReadLog(checkpoint)):
                    for read in units.values():
                        if _holds(read, position):
                            yield Read(source, epoch, read.unit, read.rows, read.detail)
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise SinkError(
                    f"the read log of {checkpoint.uri} cannot be understood ({error!r}); `python -m streaming_app doctor`"
                    " says more"
                ) from error

    def batches(self, read: Read) -> list[Committed]:
        """The batches that wrote an epoch: one, or none while it is under way."""
        ledger = Ledger(self._checkpoints[read.source])
        published = ledger.published_through()
        return [
            Committed(read.source, entry, entry.batch_id <= published)
            for entry in ledger.entries()
            if entry.epoch == read.epoch
        ]

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


def _holds(read: UnitRead, position: str) -> bool:
    detail = read.detail
    if "first_seq" in detail:
        found = _SHARD.fullmatch(position)
        return bool(
            found
            and read.rows
            and found["unit"] == read.unit
            and int(detail["first_seq"]) <= int(found["sequence"]) <= int(detail["last_seq"])
        )
    named = _FILE.fullmatch(position)
    return bool(named and named["name"] == detail.get("name") and int(named["row"]) <= read.rows)
