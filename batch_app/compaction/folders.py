"""A Glue catalog by folders of the lake, which is how compaction thinks of partitions."""

from __future__ import annotations

from dataclasses import dataclass

from streaming_app.catalog import GlueCatalog, Partition, open_catalog
from streaming_app.config import Loaded
from streaming_app.errors import SinkError


@dataclass(frozen=True)
class GlueFolders:
    """See switching.Catalog. A partition that is not registered yet is registered at its own folder."""

    glue: GlueCatalog

    def folder(self, folder: str) -> str | None:
        """Where a partition's files are looked for, None where that is outside the lake."""
        partition = _partition(folder)
        location = self.glue.location(partition)
        if location is None:
            self.glue.register([partition])
            location = self.glue.location(partition) or ""
        root = self._root(partition)
        return location.removeprefix(root) if location.startswith(root) else None

    def switch(self, folder: str, target: str) -> None:
        """Send readers of a partition to another folder, by one UpdatePartition call."""
        partition = _partition(folder)
        self.glue.switch(partition, f"{self._root(partition)}{target}/")

    def _root(self, partition: Partition) -> str:
        return self.glue.tables[partition.table].location.removesuffix(f"{partition.table}/")


def open_folders(loaded: Loaded) -> GlueFolders | None:
    """The configured catalog, None where no partition can be moved."""
    if not loaded.config.catalog.moves_partitions:
        return None
    glue = open_catalog(loaded.config, loaded.dataset)
    return GlueFolders(glue) if glue else None


def _partition(folder: str) -> Partition:
    partition = Partition.of_key(f"{folder}/file")
    if partition is None:
        raise SinkError(f"{folder} is no partition of the lake")
    return partition
