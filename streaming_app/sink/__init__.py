"""The exactly-once sink: Parquet files written by tasks, committed through the ledger by the driver."""

from __future__ import annotations

from streaming_app.sink.commit import Committer, RecoveryReport
from streaming_app.sink.datasource import LakeSink
from streaming_app.sink.options import SinkOptions

__all__ = ["Committer", "LakeSink", "RecoveryReport", "SinkOptions"]
