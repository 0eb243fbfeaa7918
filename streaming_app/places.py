"""Where the parts of one source are, and which sources there are. Free of Spark: the audit needs it, too."""

from __future__ import annotations

from typing import Final

from streaming_app.config import Config, Loaded
from streaming_app.config.connectors import PYTHON
from streaming_app.config.models import SourceName
from streaming_app.config.positions import stream_name
from streaming_app.journal.lake_schema import hold_schema
from streaming_app.schema import InputSource
from streaming_app.storage import open_storage

# Backfills by what they load: each has a checkpoint as a source has, with read log and ledger.
BACKFILLS: Final = {"backfill_stream": InputSource.STREAM, "backfill_batch": InputSource.BATCH}
INPUT_SOURCES: Final = {**SourceName.INPUT_SOURCE, **BACKFILLS}
_DEAD_LETTERS: Final = "dead_letters"
_COMPACTIONS: Final = "compaction"
CHECKPOINTS: Final = (*INPUT_SOURCES, _DEAD_LETTERS, _COMPACTIONS)  # the folders in `lake.checkpoints`


def enabled_sources(config: Config) -> list[str]:
    """Names of the sources that are switched on."""
    switches = {SourceName.KINESIS: config.sources.kinesis.enabled, SourceName.CSV: config.sources.csv.enabled}
    return [name for name, enabled in switches.items() if enabled]


def checkpoint_of(config: Config, source: str) -> str:
    """The source's checkpoint folder; read log and ledger live inside it."""
    return f"{config.lake.checkpoint_root().rstrip('/')}/{source}"


def dead_letters_of(config: Config) -> str:
    """The folder with the book of replays and discards."""
    return f"{config.lake.checkpoint_root().rstrip('/')}/{_DEAD_LETTERS}"


def compactions_of(config: Config) -> str:
    """The folder with the book of compactions."""
    return f"{config.lake.checkpoint_root().rstrip('/')}/{_COMPACTIONS}"


def is_foreign(config: Config, source: str) -> bool:
    """Whether another connector than ours reads the source: it leaves no read log and no epochs."""
    return source == SourceName.KINESIS and config.sources.kinesis.connector != PYTHON


def source_label(config: Config, source: str) -> str:
    """What the source is called in ledger and dead letters: `kinesis:<stream>` or `csv`."""
    return f"{source}:{stream_name(config.sources.kinesis.stream)}" if source == SourceName.KINESIS else source


def hold_lake_schema(loaded: Loaded) -> list[str]:
    """Refuse a dataset that the lake cannot follow, before anything is written; returns columns that are new in it.

    Raises ConfigError that says what to do instead, and SinkError.
    """
    config = loaded.config
    checkpoints = open_storage(config.lake.checkpoint_root(), config.lake.s3.storage_options())
    return hold_schema(checkpoints, loaded.dataset, loaded.dataset_file)
