"""What a compaction does to an Iceberg table: one commit that puts the new files in the old ones' place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from streaming_app.sink.iceberg import IcebergTables
from streaming_app.sink.iceberg_change import NewFile

_SUMMARY: Final = "qsr.compaction"


@dataclass(frozen=True)
class IcebergSwap:
    """See book.Table. The entry's number stands in the snapshot's summary."""

    tables: IcebergTables

    def replace(self, old: Sequence[str], new: Sequence[str], entry: int) -> bool:
        """As the protocol says; files of one table's partition."""
        table = old[0].split("/")[0]
        summary = {"qsr.source": "compact", _SUMMARY: str(entry)}
        return self.tables.replace(table, [_file(key) for key in old], [_file(key) for key in new], summary)


def _file(key: str) -> NewFile:
    _, source, day, _ = key.split("/")
    return NewFile(key, day, source.partition("=")[2])
