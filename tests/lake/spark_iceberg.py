"""A Spark with Iceberg's runtime, as Glue 6.0 has it, in a process of its own: what is on its class path cannot change later.

`python -m tests.lake.spark_iceberg` reads {"conf": {...}, "ask": [...]} and writes the answers, rows as lists. A question is an SQL
statement, or `stream TABLE`: how many rows a stream reads of a table from its beginning.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

from tests.lake.trino_server import REPOSITORY

JARS = REPOSITORY / "build/iceberg"


def ask(catalog: dict[str, str], *questions: str) -> list[Any]:
    """Answers with a catalog `ice`."""
    conf = {
        "spark.master": "local[2]",
        "spark.driver.extraClassPath": f"{JARS}/*",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.memory": "800m",
        "spark.ui.enabled": "false",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": "2",
        "spark.sql.extensions": "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions",
        "spark.sql.catalog.ice": "org.apache.iceberg.spark.SparkCatalog",
        "spark.sql.catalog.ice.cache-enabled": "false",
        **{f"spark.sql.catalog.ice.{key}": value for key, value in catalog.items()},
    }
    done = subprocess.run(
        [sys.executable, "-m", "tests.lake.spark_iceberg"],
        input=json.dumps({"conf": conf, "ask": questions}), cwd=REPOSITORY, capture_output=True, text=True, timeout=600,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr[-5000:]
    return json.loads(done.stdout.splitlines()[-1])


def _answered() -> None:
    from pyspark.sql import SparkSession

    from streaming_app.runtime.java import ensure_java

    given = json.load(sys.stdin)
    ensure_java(os.environ)
    os.environ["PYSPARK_PYTHON"] = sys.executable
    builder = SparkSession.builder
    for key, value in given["conf"].items():
        builder = builder.config(key, value)
    spark = builder.getOrCreate()
    answers = [_answer(spark, question) for question in given["ask"]]
    print("\n" + json.dumps(answers, default=str))  # noqa: T201 - the answer
    spark.stop()


def _answer(spark: Any, question: str) -> Any:
    if not question.startswith("stream "):
        return [list(row) for row in spark.sql(question).collect()]
    rows = spark.readStream.format("iceberg").load(question.removeprefix("stream "))
    query = rows.writeStream.format("memory").queryName("streamed").trigger(availableNow=True).start()
    query.awaitTermination()
    return spark.table("streamed").count()


if __name__ == "__main__":
    _answered()
