"""What the service costs a month, by component, for a rate of events; beside it the design with Firehose and an hourly Glue job.

`make cost ARGS="--rate 50"`. Prices stand in prices.yaml with their date and pages, what is assumed of the load in `Load`. No free
tiers, no tax, no data transfer (everything stays in one region). The large figures are exact to the price; S3's requests and
the times of batch jobs are estimates, and small.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import yaml

_GB: Final = 1e9
_GIB: Final = 2**30
_HOUR: Final = 3600
_DPU: Final = {"G.025X": 0.25, "G.1X": 1.0, "G.2X": 2.0, "G.4X": 4.0, "G.8X": 8.0}
_SHARD_RECORDS, _SHARD_BYTES = 1000, 1_000_000  # a second (Kinesis's quotas)
# S3 requests of one micro-batch of Kinesis with two or three files, from its offset to its commit: counted on moto (make test-deploy).
_WRITES_PER_BATCH, _READS_PER_BATCH = 45, 18
_SERIES, _CALLS_A_MINUTE, _ALARM_METRICS = 93, 1, 35  # docs/metrics.md; the metrics of modules/alerts/alarms.tf
_KEPT_FREE, _KEPT_MOST = 24, 168  # hours of a stream's retention: what costs nothing, and what is priced here
_PARQUET: Final = 0.25  # of the event's JSON, as zstd Parquet
_GZIP: Final = 0.2  # of the event's JSON, as Firehose writes it


@dataclass(frozen=True)
class Load:
    """What is asked of the service. `rate`: events a second on average; `peak`: how many times that in the busiest minutes."""

    rate: float = 10.0
    event_bytes: int = 250
    peak: float = 4.0
    trigger: float = 30.0
    stream_mode: str = "provisioned"
    worker_type: str = "G.1X"
    workers: int = 2
    batch_minutes_a_day: float = 10.0  # of compaction, audit and vacuum together, on two G.1X
    hourly_minutes: float = 4.0  # of the hourly job that we are compared with, its start included
    months_kept: float = 12.0
    athena_gb_a_day: float = 5.0
    private_endpoints: int = 0  # interface endpoints times zones
    kms: bool = False
    fan_out: bool = False
    retention_hours: int = 24
    airflow: bool = False

    @property
    def shards(self) -> int:
        """Shards that take the peak."""
        busiest = self.rate * self.peak
        return max(1, math.ceil(busiest / _SHARD_RECORDS), math.ceil(busiest * self.event_bytes / _SHARD_BYTES))


Bill = Mapping[str, float]


def ours(load: Load, prices: Mapping[str, Any], *, streaming: bool = True) -> Bill:
    """USD a month by component; without streaming it is portfolio mode."""
    hours = prices["month_hours"]
    bill = {"Glue jobs (compact, audit, vacuum)": _batch_jobs(load, prices)} | _lake(load, prices)
    if load.airflow:
        bill["Airflow host"] = _airflow(prices)
    if not streaming:
        return bill
    streams = {
        "Kinesis": _kinesis(load, prices, fan_out=load.fan_out),
        "Firehose (raw_stream)": _firehose(load, prices),
        "Glue streaming job": load.workers * _DPU[load.worker_type] * hours * prices["glue"]["dpu_hour"],
        "S3 requests": _requests(load, prices),
        "CloudWatch": _cloudwatch(prices),
    }
    return streams | bill


def usual(load: Load, prices: Mapping[str, Any]) -> Bill:
    """Kinesis, Firehose, a Glue job every hour, a crawler after it."""
    runs, glue = prices["month_hours"], prices["glue"]
    return {
        "Kinesis": _kinesis(load, prices),
        "Firehose (raw_stream)": _firehose(load, prices),
        "Glue job, hourly": runs * 2 * load.hourly_minutes / 60 * glue["dpu_hour"],
        "Glue crawler, hourly": runs * glue["crawler_dpu"] * glue["crawler_minutes"] / 60 * glue["dpu_hour"],
    } | _lake(load, prices)


def _events(load: Load, prices: Mapping[str, Any]) -> float:
    return load.rate * prices["month_hours"] * _HOUR


def _kinesis(load: Load, prices: Mapping[str, Any], *, fan_out: bool = False) -> float:
    """One stream with two readers, the service and Firehose; the service by enhanced fan-out, or as the other one."""
    kinesis, events, hours = prices["kinesis"], _events(load, prices), prices["month_hours"]
    read = events * load.event_bytes / _GIB
    if load.stream_mode == "provisioned":
        units = events * math.ceil(load.event_bytes / kinesis["put_unit_bytes"])
        shard_hour = kinesis["shard_hour"] + (
            kinesis["extended_shard_hour"] if load.retention_hours > _KEPT_FREE else 0
        )
        shard_hour += kinesis["fan_out_shard_hour"] if fan_out else 0
        delivered = read * kinesis["fan_out_gb"] if fan_out else 0
        return float(load.shards * hours * shard_hour + units / 1e6 * kinesis["million_put_units"] + delivered)
    taken = events * math.ceil(load.event_bytes / 1024) * 1024 / _GIB
    kept = taken * max(load.retention_hours - _KEPT_FREE, 0) / hours  # beyond the first day, at any moment
    given = read * (kinesis["on_demand_gb_out"] + kinesis["on_demand_fan_out_gb" if fan_out else "on_demand_gb_out"])
    stream = hours * kinesis["on_demand_stream_hour"]
    return float(stream + taken * kinesis["on_demand_gb_in"] + given + kept * kinesis["on_demand_extended_gb_month"])


def _airflow(prices: Mapping[str, Any]) -> float:
    """One machine with its disk and a public address, as modules/airflow makes it."""
    host, hours = prices["airflow_host"], prices["month_hours"]
    return float(hours * (host["t3_medium_hour"] + host["public_ipv4_hour"]) + host["disk_gb"] * host["gp3_gb_month"])


def _firehose(load: Load, prices: Mapping[str, Any]) -> float:
    firehose = prices["firehose"]
    billed = math.ceil(load.event_bytes / firehose["record_bytes"]) * firehose["record_bytes"]
    return float(_events(load, prices) * billed / _GIB * firehose["gb"])


def _batch_jobs(load: Load, prices: Mapping[str, Any]) -> float:
    days = prices["month_hours"] / 24
    return float(days * 2 * load.batch_minutes_a_day / 60 * prices["glue"]["dpu_hour"])


def _requests(load: Load, prices: Mapping[str, Any]) -> float:
    """A micro-batch begins every trigger when there is something to read, which at less than an event a trigger is not always."""
    s3, seconds = prices["s3"], prices["month_hours"] * _HOUR
    batches = min(seconds / load.trigger, _events(load, prices))
    return float(batches * (_WRITES_PER_BATCH * s3["thousand_writes"] + _READS_PER_BATCH * s3["thousand_reads"]) / 1000)


def _cloudwatch(prices: Mapping[str, Any]) -> float:
    watch, minutes = prices["cloudwatch"], prices["month_hours"] * 60
    calls = minutes * _CALLS_A_MINUTE / 1000 * watch["thousand_calls"]
    return float(_SERIES * watch["metric"] + calls + _ALARM_METRICS * watch["alarm_metric"] + watch["logs_gb"])


def _lake(load: Load, prices: Mapping[str, Any]) -> dict[str, float]:
    month = _events(load, prices) * load.event_bytes / _GB
    kept = month * (_PARQUET + _GZIP) * load.months_kept
    bill = {
        f"S3 storage after {load.months_kept:g} months": kept * prices["s3"]["gb_month"],
        "Athena": load.athena_gb_a_day * prices["month_hours"] / 24 / 1000 * prices["athena"]["terabyte"],
    }
    if load.private_endpoints:
        bill["VPC endpoints"] = load.private_endpoints * prices["month_hours"] * prices["vpc"]["endpoint_hour"]
    if load.kms:
        bill["KMS key"] = prices["kms"]["key_month"]
    return bill


def designs(load: Load, prices: Mapping[str, Any]) -> dict[str, Bill]:
    """What to compare, by name."""
    small = replace(load, worker_type="G.025X")
    return {
        f"streaming, {load.workers} x {load.worker_type}": ours(load, prices),
        f"streaming, {small.workers} x G.025X": ours(small, prices),
        "portfolio mode": ours(load, prices, streaming=False),
        "Firehose + hourly Glue": usual(load, prices),
    }


def table(bills: Mapping[str, Bill]) -> str:
    """Components by line, designs by column, totals at the end."""
    names = list(dict.fromkeys(name for bill in bills.values() for name in bill))
    heads = "".join(f"{head:>26}" for head in bills)
    lines = [f"{'USD a month':<34}{heads}"]
    for name in names:
        cells = "".join(f"{bill[name]:>26,.2f}" if name in bill else f"{'-':>26}" for bill in bills.values())
        lines.append(f"{name:<34}{cells}")
    lines.append(f"{'total':<34}" + "".join(f"{sum(bill.values()):>26,.2f}" for bill in bills.values()))
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    words = __doc__.splitlines()[0] if __doc__ else ""
    parser = argparse.ArgumentParser(prog="make cost", description=words)
    usual_load = Load()
    parser.add_argument("--rate", type=_positive, default=usual_load.rate, help="events a second on average (10)")
    parser.add_argument("--event-bytes", type=_whole, default=usual_load.event_bytes, help="of one event (250)")
    parser.add_argument(
        "--peak", type=_positive, default=usual_load.peak, help="the busiest minutes' rate by the average (4)"
    )
    parser.add_argument(
        "--trigger", type=_positive, default=usual_load.trigger, help="seconds between micro-batches (30)"
    )
    parser.add_argument("--stream-mode", choices=("provisioned", "on-demand"), default=usual_load.stream_mode)
    parser.add_argument("--worker-type", choices=tuple(_DPU), default=usual_load.worker_type)
    parser.add_argument("--workers", type=_whole, default=usual_load.workers)
    parser.add_argument(
        "--months-kept", type=_positive, default=usual_load.months_kept, help="of data in the lake (12)"
    )
    parser.add_argument("--athena-gb-a-day", type=_positive, default=usual_load.athena_gb_a_day, help="scanned (5)")
    parser.add_argument(
        "--private-endpoints", type=int, default=0, help="interface endpoints times zones (0; private: 12)"
    )
    parser.add_argument("--fan-out", action="store_true", help="the service reads by enhanced fan-out")
    parser.add_argument(
        "--retention-hours", type=_retention, default=usual_load.retention_hours, help="of the stream (24; 168 at most)"
    )
    parser.add_argument("--airflow", action="store_true", help="with the Airflow host")
    parser.add_argument("--kms", action="store_true", help="with a KMS key")
    parser.add_argument("--prices", type=Path, default=Path(__file__).parent / "prices.yaml", help="another table")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    return parser


def _positive(text: str) -> float:
    number = float(text)
    if not (number > 0 and math.isfinite(number)):
        raise argparse.ArgumentTypeError(f"{text} is not more than 0")
    return number


def _retention(text: str) -> int:
    hours = int(text)
    if not _KEPT_FREE <= hours <= _KEPT_MOST:
        raise argparse.ArgumentTypeError(
            f"{text} is not between {_KEPT_FREE} and {_KEPT_MOST}: longer is not priced here"
        )
    return hours


def _whole(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return number


def main(arguments: list[str] | None = None) -> int:
    """Print the estimate."""
    options = vars(_parser().parse_args(arguments))
    place, as_json = options.pop("prices"), options.pop("json")
    try:
        prices = yaml.safe_load(place.read_text())
        load = Load(**options)
        bills = designs(load, prices)
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        print(f"error: {place} is no table of prices as deploy/cost/prices.yaml is one: {error!r}", file=sys.stderr)  # noqa: T201
        return 2
    print(json.dumps(bills, indent=2) if as_json else _report(load, prices, bills))  # noqa: T201 - the command's output
    return 0


def _report(load: Load, prices: Mapping[str, Any], bills: Mapping[str, Bill]) -> str:
    head = (
        f"{load.rate:g} events a second of {load.event_bytes} bytes, {load.shards} shard(s) for a peak of {load.peak:g} times that;"
        f" {prices['region']}, list prices of {prices['as_of']}"
    )
    tail = (
        f"Rows can be queried about {load.trigger:g} s after they arrived with streaming, after an hour and more with the hourly job;"
        "\nthe streaming job's workers are most of its price, and pay off when somebody looks within the hour."
    )
    return f"{head}\n\n{table(bills)}\n\n{tail}"


if __name__ == "__main__":
    sys.exit(main())
