"""The rival: CSV to clean and rejected Parquet as people write it in Structured Streaming.

    python -m tests.bench.usual_job --input build/bench-data/csv --out build/bench/usual [--persist]

Spark's CSV reader with a schema, try_cast, the same rules and the same reasons as the shipped suite, foreachBatch with two
writes, AvailableNow. It keeps no raw text, has no exactly-once Parquet and no ledger. Prints one JSON line a micro-batch.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Final

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from tests.bench.generate import CITIES, COLUMNS, PAYMENTS

SCHEMA: Final = ", ".join(f"{name} STRING" for name in COLUMNS)
TYPES: Final = {"quantity": "int", "amount": "decimal(10,2)", "order_ts": "timestamp"}


def reasons() -> Column:
    """Ids of the rules a row breaks, empty for a clean row. A value that cannot be cast is null by now."""
    rules = {
        "order_id.not_null": F.col("order_id").isNull(),
        "store_id.not_null": F.col("store_id").isNull(),
        "city.in_set": ~F.coalesce(F.col("city").isin(*CITIES), F.lit(False)),
        "quantity.between": ~F.coalesce(F.col("quantity").between(1, 100), F.lit(False)),
        "amount.cast": F.col("amount").isNull(),
        "amount.positive": F.col("amount") <= 0,
        "payment_method.in_set": ~F.coalesce(F.col("payment_method").isin(*PAYMENTS), F.lit(False)),
        "order_ts.cast": F.col("order_ts").isNull(),
        "order_ts.sane": ~F.col("order_ts").between(
            F.lit("2020-01-01").cast("timestamp"), F.lit("2035-01-01").cast("timestamp")
        ),
    }
    return F.array_compact(F.array(*[F.when(broken, F.lit(name)) for name, broken in rules.items()]))


def judged(raw: DataFrame) -> DataFrame:
    """Typed rows with their reasons and partition."""
    typed = [F.col(name).try_cast(TYPES[name]).alias(name) if name in TYPES else F.col(name) for name in COLUMNS]
    return raw.select(*typed).withColumns(
        {
            "reasons": reasons(),
            "input_source": F.lit("batch"),
            "order_date": F.to_date("order_ts"),
            "ingested_at": F.current_timestamp(),
        }
    )


def write(batch: DataFrame, batch_id: int, out: Path, *, persist: bool) -> None:
    """Two writes from one DataFrame: each reads and checks the rows again, unless they are persisted."""
    rows = judged(batch)
    if persist:
        rows.persist()
    clean, rejected = F.size("reasons") == 0, F.size("reasons") > 0
    partitions = ("input_source", "order_date")
    rows.filter(clean).drop("reasons").write.mode("append").partitionBy(*partitions).parquet(str(out / "clean"))
    rows.filter(rejected).drop("order_date").withColumn("dead_date", F.current_date()).write.mode("append").partitionBy(
        "input_source", "dead_date"
    ).parquet(str(out / "dead_letter"))
    if persist:
        rows.unpersist()
    sys.stdout.write(json.dumps({"batch": batch_id, "at": time.time()}) + "\n")
    sys.stdout.flush()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--persist", action="store_true", help="persist the batch between the two writes")
    parser.add_argument("--files-per-batch", type=int, default=4)
    arguments = parser.parse_args()
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    spark = _session()
    raw = (
        spark.readStream.schema(SCHEMA)
        .option("header", "true")
        .option("maxFilesPerTrigger", arguments.files_per_batch)
        .csv(str(arguments.input))
    )
    query = (
        raw.writeStream.foreachBatch(
            lambda batch, number: write(batch, number, arguments.out, persist=arguments.persist)
        )
        .option("checkpointLocation", str(arguments.out / "checkpoint"))
        .trigger(availableNow=True)
        .start()
    )
    query.awaitTermination()
    spark.stop()


def _session() -> SparkSession:
    settings = {
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": "4",
        "spark.ui.enabled": "false",
        "spark.log.level": "WARN",
        "spark.driver.memory": "3g",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
    }
    builder = SparkSession.builder.master("local[2]").appName("usual-job")
    for key, value in settings.items():
        builder = builder.config(key, value)
    return builder.getOrCreate()


if __name__ == "__main__":
    main()
