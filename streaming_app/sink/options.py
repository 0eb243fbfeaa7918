"""What the sink must know, in one frozen record that travels as options of a Spark data source."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from streaming_app.errors import ConfigError
from streaming_app.journal.switches import Switches
from streaming_app.schema import Dataset
from streaming_app.storage import Storage, StorageOptions, open_storage
from streaming_app.thresholds import Limits

_OPTION: Final = "sink"


@dataclass(frozen=True)
class SinkOptions:
    """Where rows go and how their files look. Sizes are Arrow bytes in memory, `target_file_bytes` is of the file.

    `source` names the input in dead letters (`kinesis:pos-orders`), `owner` its staged files (`kinesis`). `limits` are the
    circuit breaker's (`Limits.to_json`), `delimiter` is the one of CSV records in dead letters. `recorded`: the source has
    epochs and a read log, against which rows are counted; without them a batch counts as read what reached the sink.
    `iceberg`: the catalog whose tables take the files (`IcebergConfig.to_options`); empty leaves plain Parquet.
    `compactions` is the folder of the notes on moved partitions; empty where no catalog moves any.
    """

    lake: str
    checkpoint: str
    source: str
    owner: str
    input_source: str
    dataset: str
    suite_fingerprint: str
    compression: str = "zstd"
    row_group_bytes: int = 64 << 20
    target_file_bytes: int = 256 << 20
    max_open_files: int = 32
    buffer_bytes: int = 128 << 20
    storage: dict[str, str] = field(default_factory=dict)
    limits: dict[str, Any] = field(default_factory=dict)
    delimiter: str = ","
    recorded: bool = True
    iceberg: dict[str, str] = field(default_factory=dict)
    compactions: str = ""

    def to_options(self) -> dict[str, str]:
        """As options of a Spark data source."""
        return {_OPTION: json.dumps(asdict(self))}

    @classmethod
    def from_options(cls, options: Mapping[str, str]) -> SinkOptions:
        """The inverse of `to_options`; raises ConfigError when the sink is used without it."""
        text = options.get(_OPTION)
        if text is None:
            raise ConfigError("the lake sink takes its options from SinkOptions(...).to_options()")
        return cls(**json.loads(text))

    def open_lake(self) -> Storage:
        """The lake's root."""
        return open_storage(self.lake, StorageOptions.from_options(self.storage))

    def open_checkpoint(self) -> Storage:
        """The source's checkpoint folder, where the ledger and the read log live."""
        return open_storage(self.checkpoint, StorageOptions.from_options(self.storage))

    def open_switches(self) -> Switches | None:
        """The notes on partitions that a compaction has moved in the catalog; None where no catalog moves any."""
        options = StorageOptions.from_options(self.storage)
        return Switches(open_storage(self.compactions, options)) if self.compactions else None

    def load_limits(self) -> Limits:
        """The circuit breaker's limits; none where nothing was given."""
        return Limits.from_json(self.limits)

    def load_dataset(self) -> Dataset:
        """The dataset whose rows come in."""
        return Dataset.from_option(self.dataset)
