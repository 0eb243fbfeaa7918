"""What a command of the batch application has written becomes known to the catalog before the command ends."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping

from streaming_app.catalog import GlueCatalog, Partition, Registrar, open_catalog
from streaming_app.config import Loaded
from streaming_app.errors import IngestError
from streaming_app.journal.ledger import Ledger


def register_batches(loaded: Loaded, ledgers: Mapping[str, Ledger]) -> None:
    """Register the partitions of every published batch that was not registered yet. A failure is a note, not an error."""
    _register(loaded, lambda catalog: Registrar(catalog, ledgers).catch_up())


def register_files(loaded: Loaded, keys: Iterable[str]) -> None:
    """Register the partitions of published files, by their keys below the lake's root. A failure is a note, not an error."""
    found = (Partition.of_key(key) for key in keys)
    _register(loaded, lambda catalog: len(catalog.register(partition for partition in found if partition)))


def _register(loaded: Loaded, work: Callable[[GlueCatalog], int]) -> None:
    try:
        catalog = open_catalog(loaded.config, loaded.dataset)
        if catalog is not None:
            work(catalog)
    except IngestError as error:
        print(  # noqa: T201 - beside the output
            f"note: the rows are in the lake, but the catalog does not know all their partitions: {error};"
            " `python -m batch_app catalog sync` makes up for it",
            file=sys.stderr,
        )
