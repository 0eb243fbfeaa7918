"""What a compaction does to an Iceberg table: one commit that puts the new files in the old ones' place."""

from __future__ import annotations

from dataclasses import dataclass

from batch_app.compaction.book import Compaction
from streaming_app.sink.iceberg import IcebergTables
from streaming_app.sink.iceberg_change import NewFile


@dataclass(frozen=True)
class IcebergSwap:
    """See book.Table. The entry's number stands in the snapshot's summary, and the column that it fills."""

    tables: IcebergTables

    def replace(self, entry: Compaction, *, back: bool = False) -> bool:
        """As the protocol says; an entry's files are all of one table's partition."""
        table, source, day = entry.folder.split("/")
        old, new = (
            [NewFile(key, day, source.partition("=")[2]) for key in keys]
            for keys in (entry.input_keys, entry.output_keys)
        )
        summary = {"qsr.source": "compact", "qsr.compaction": str(entry.number)}
        if entry.fills:
            summary |= {"qsr.source": "rescue", "qsr.column": entry.fills}
        if back:
            old, new = new, old
        return self.tables.replace(table, old, new, summary, same=not entry.fills)
