"""The Kinesis source by itself: without Spark (CPU a record), and in Spark to a sink that throws everything away.

    python -m tests.bench.source_only --data build/bench-data/rows-5000000            # full speed
    python -m tests.bench.source_only --data ... --shards 100 --feed 400 --seconds 40        # many quiet shards

Prints one JSON object. `answer_us_per_record`: from the body of a GetRecords answer of 10,000 records to the Arrow batch, one
core, the median of 30 answers; `cpu_us_per_record`: the same with making the calls and receiving the answers; each for the
generic and the decoded layout. Then rows a second of Spark's steady micro-batches, and how long micro-batches took.
"""

from __future__ import annotations

import argparse
import base64
import json
import statistics
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path
from typing import Any, Final

import yaml
from pyspark.sql import SparkSession

from streaming_app.config.models import Config
from streaming_app.runtime.session import build_session
from streaming_app.schema import Dataset
from streaming_app.sources.kinesis import DecodedKinesisDataSource, KinesisDataSource
from streaming_app.sources.kinesis.aggregates import Deaggregation
from streaming_app.sources.kinesis.epochs import Epochs
from streaming_app.sources.kinesis.layouts import layout_of
from streaming_app.sources.kinesis.messages import RECORDS
from streaming_app.sources.kinesis.source import read_partition
from tests.bench.run import emulator, kinesis_settings
from tests.kinesis_reading import STREAM, context

DATASET: Final = Path("conf/datasets/orders.yaml")
MOST_RECORDS: Final = 10_000  # of one answer


def cpu_per_record(endpoint: str, dataset: str) -> float:
    """Microseconds of this process's CPU for one record, over the first epoch of half the shards, all modules loaded."""
    with tempfile.TemporaryDirectory() as folder:
        where = context(endpoint, Path(folder), dataset=dataset, parallelism=2)
        epochs = Epochs(where)
        begin = epochs.initial()
        part = epochs.partitions(begin, epochs.latest())[0]
        started = time.process_time()
        rows = sum(batch.num_rows for batch in read_partition(where, part))
        epochs.stop()
        return (time.process_time() - started) / rows * 1e6


def answer_per_record(data: Path, dataset: str) -> float:
    """Microseconds of CPU for one record, from the answer's body to the batch; the median of 30 answers."""
    body = _answer(data)
    layout = layout_of(dataset)
    took = []
    for _ in range(32):
        started = time.process_time()
        records = RECORDS.decode(body).records
        count = sum(layout.batch(STREAM, "shard", rows).num_rows for rows in Deaggregation(None).rows(records))
        took.append((time.process_time() - started) / count * 1e6)
    return statistics.median(took[2:])


def _answer(data: Path) -> bytes:
    """The body of a GetRecords answer as Kinesis writes it, with the first events of the data."""
    with next(iter(sorted((data / "ndjson").iterdir()))).open("rb") as lines:
        events = [line.rstrip() for line in islice(lines, MOST_RECORDS)]
    records = [
        {
            "ApproximateArrivalTimestamp": 1772000000.123 + place / 1000,
            "Data": base64.b64encode(event).decode(),
            "PartitionKey": f"STORE-{place % 500}",
            "SequenceNumber": f"{4966 * 10**52 + place}",
        }
        for place, event in enumerate(events)
    ]
    return json.dumps({"Records": records, "NextShardIterator": "x" * 200, "MillisBehindLatest": 1000}).encode()


def stream(spark: SparkSession, endpoint: str, folder: Path, dataset: str, seconds: float) -> Any:
    """Progress of every micro-batch with rows; ends after `seconds`, or when nothing is left."""
    made = spark.readStream.format(DecodedKinesisDataSource.name() if dataset else KinesisDataSource.name())
    options = {
        "stream_name": STREAM,
        "endpoint_url": endpoint,
        "region": "us-east-1",
        "read_log_path": str(folder),
        "parallelism": "2",
        **({"dataset": dataset} if dataset else {}),
        **({} if seconds else {"fetch_interval": "0", "bytes_per_second": "0"}),
    }
    writer = made.options(**options).load().writeStream.format("noop").option("checkpointLocation", str(folder))
    query = writer.trigger(processingTime="1 second" if seconds else "0 seconds").start()
    if seconds:
        time.sleep(seconds)
    else:
        query.processAllAvailable()
    batches = [progress for progress in query.recentProgress if progress.numInputRows]
    query.stop()
    return batches


def figures(batches: list[Any]) -> dict[str, Any]:
    """Without the first two, which load and compile."""
    steady = batches[2:]
    took = [batch.durationMs["triggerExecution"] / 1000 for batch in steady]
    rows = sum(batch.numInputRows for batch in steady)
    return {
        "batches": len(steady),
        "rows": rows,
        "rows_per_second": round(rows / sum(took)),
        "batch_seconds_median": round(statistics.median(took), 3),
        "batch_seconds_max": round(max(took), 3),
    }


def main() -> int:
    """Measure, print, 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--feed", type=int, default=0, help="records a second; 0: all is there at once")
    parser.add_argument("--seconds", type=float, default=0.0)
    arguments = parser.parse_args()
    dataset = Dataset.model_validate(yaml.safe_load(DATASET.read_text())).to_option()
    more = ("--feed", str(arguments.feed)) if arguments.feed else ()
    result: dict[str, Any] = {}
    with emulator(arguments.data, arguments.shards, *more) as endpoint, tempfile.TemporaryDirectory() as folder:
        kinesis_settings(endpoint)  # any credentials will do
        if not arguments.feed:
            cpu_per_record(endpoint, dataset)  # loads what a worker has loaded: pyarrow asks for pandas
            result["answer_us_per_record"] = {
                "generic": round(answer_per_record(arguments.data, ""), 3),
                "decoded": round(answer_per_record(arguments.data, dataset), 3),
            }
            result["cpu_us_per_record"] = {
                "generic": round(cpu_per_record(endpoint, ""), 3),
                "decoded": round(cpu_per_record(endpoint, dataset), 3),
            }
        spark = _session(folder)
        for name, layout in (("generic", ""), ("decoded", dataset)):
            place = Path(folder, name)
            result[name] = figures(stream(spark, endpoint, place, layout, arguments.seconds))
        spark.stop()
    print(json.dumps(result, indent=1))  # noqa: T201 - the figures
    return 0


def _session(folder: str) -> SparkSession:
    config = {
        "dataset": "-",
        "suite": "-",
        "lake": {"root": folder},
        "sources": {"csv": {"enabled": True}},
        "spark": {"master": "local[2,4]", "conf": {"spark.local.dir": folder}},
    }
    spark = build_session(Config.model_validate(config))
    spark.dataSource.register(KinesisDataSource)
    spark.dataSource.register(DecodedKinesisDataSource)
    return spark


if __name__ == "__main__":
    sys.exit(main())
