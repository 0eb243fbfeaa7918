"""Which reader reads the Kinesis stream: our own, or another behind the same configuration, and what that one cannot do."""

from __future__ import annotations

from typing import Any, Final

PYTHON: Final = "python"
GLUE: Final = "glue"
AWS_KINESIS: Final = "aws-kinesis"
LEAST_EMR_FETCH_TIME: Final = 10.0  # seconds; aws-kinesis refuses less (KinesisOptions.scala)

_BY_NONE: Final = (
    "start_positions",
    "max_records_per_batch",
    "max_bytes_per_batch",
    "max_bytes_per_shard",
    "bytes_per_second",
    "max_tasks",
    "throttle_timeout",
    "deregister_consumer",
    "role_external_id",
)
# Settings that a connector has nothing for.
UNKNOWN_TO: Final[dict[str, tuple[str, ...]]] = {
    PYTHON: (),
    GLUE: (*_BY_NONE, "consumer_type", "consumer_name", "sts_endpoint_url"),
    AWS_KINESIS: _BY_NONE,
}


def not_honoured(kinesis: Any) -> dict[str, str]:
    """Settings of a `KinesisConfig` that its connector cannot honour, and why; those left at their default do not count."""
    connector, defaults = kinesis.connector, type(kinesis)()
    refused = {
        name: f"connector {connector} has nothing for it; leave it out, or write connector: {PYTHON}"
        for name in UNKNOWN_TO[connector]
        if getattr(kinesis, name) != getattr(defaults, name)
    }
    if connector != PYTHON and kinesis.start.startswith("{"):
        refused["start"] = f"positions per shard are read by connector: {PYTHON} only"
    if connector == AWS_KINESIS and kinesis.max_fetch_time < LEAST_EMR_FETCH_TIME:
        refused["max_fetch_time"] = f"connector {connector} takes {LEAST_EMR_FETCH_TIME:.0f}s or more"
    return refused
