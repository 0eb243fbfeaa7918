"""The Spark session, with the settings that the product relies on."""

from __future__ import annotations

import os
import sys
from importlib.resources import files
from typing import Final

from pyspark.sql import SparkSession

from streaming_app.config import Config
from streaming_app.errors import IngestError
from streaming_app.runtime import logs
from streaming_app.runtime.java import ensure_java
from streaming_app.runtime.s3a import s3a_settings
from streaming_app.runtime.spark_home import ensure_spark_home
from streaming_app.text_checks import FUNCTIONS

SUBMITTED: Final = "PYSPARK_GATEWAY_PORT"  # set by spark-submit, and so by Glue and EMR, for the Python it starts
# What the product relies on; `spark.conf` in the configuration may add to these but `_FIXED` stays.
_FIXED: Final = {
    "spark.sql.session.timeZone": "UTC",  # casts of times without offset, and every partition date
    "spark.scheduler.mode": "FAIR",  # the sources' queries share the cores, neither waits for the other
}
_DEFAULTS: Final = {
    "spark.sql.execution.arrow.pyspark.enabled": "true",
    "spark.sql.execution.arrow.maxRecordsPerBatch": "20000",
    # No look at a batch's bytes after each row, which costs a fifth of the JVM's time; rows bound it, and the sources'
    # limits of bytes per micro-batch do.
    "spark.sql.execution.arrow.maxBytesPerBatch": "2147483647",
    # A loaded machine may need longer than the default of 15 s to start a worker.
    "spark.python.authenticate.socketTimeout": "120s",
    "spark.sql.streaming.noDataProgressEventInterval": "10000",
    "spark.sql.shuffle.partitions": "4",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.log.level": "WARN",
}
_LOCAL: Final = {  # nothing listens beyond this machine
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.memory": "1g",
    # Elsewhere the executors' Python may get this package by --py-files, which a daemon starts without.
    "spark.python.daemon.module": "streaming_app.runtime.daemon",
    "spark.sql.warehouse.dir": "build/spark-warehouse",
    "spark.local.dir": "build/spark-local",
}


_JAVA_OPTIONS: Final = "spark.driver.extraJavaOptions"
# The parallel collector: 65 s of the JVM's CPU for 7.2 million rows, about 87 s with G1 (one run each, the second scaled
# from 6 and 16 micro-batches). Without Arrow's own bounds check of every access, which Spark's code does not lean on.
_MEASURED: Final = "-XX:+UseParallelGC -Darrow.enable_unsafe_memory_access=true"


def build_session(config: Config) -> SparkSession:
    """Start Spark, or take the session that spark-submit or Glue has started.

    Raises ConfigError without a Java, IngestError when Spark does not start.
    """
    if SUBMITTED not in os.environ:  # otherwise Java runs already
        ensure_java(os.environ)
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)  # workers must run the driver's Python
    os.environ.setdefault("PYSPARK_DRIVER_PYTHON", sys.executable)
    if _is_local(config):
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
        ensure_spark_home(os.environ)
    builder = SparkSession.builder.appName(config.spark.app_name)
    if config.spark.master:
        builder = builder.master(config.spark.master)
    for key, value in settings(config).items():
        builder = builder.config(key, value)
    try:
        return _with_functions(builder.getOrCreate())
    except Exception as error:  # whatever Java and Spark find wrong with their settings
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise IngestError(
            f"Spark did not start: {first}. Check spark.master and spark.conf, and the lines above."
        ) from error


def _with_functions(session: SparkSession) -> SparkSession:
    """The session, which knows the functions that compiled rules may call."""
    for name, function in FUNCTIONS.items():
        if not session.catalog.functionExists(name):
            session.udf.register(name, function, "boolean")
    return session


def settings(config: Config) -> dict[str, str]:
    """Every Spark setting that the service asks for."""
    local = _LOCAL if _is_local(config) else {}
    given = {**_DEFAULTS, "spark.log.level": config.logging.spark_level, **local}
    given |= {**s3a_settings(config), **config.spark.conf, **_FIXED}
    if _is_local(config):
        given[_JAVA_OPTIONS] = f"{_java_options(config)} {config.spark.conf.get(_JAVA_OPTIONS, '')}".strip()
    return given


def _is_local(config: Config) -> bool:
    return config.spark.master.startswith("local")


def _java_options(config: Config) -> str:
    """The driver's Java: measured settings, and Spark's own log lines in the form of ours; elsewhere the cluster decides."""
    name = "log4j2-json.properties" if logs.as_json(config.logging) else "log4j2.properties"
    place = files("streaming_app.runtime").joinpath(name)
    return f"{_MEASURED} -Dlog4j2.configurationFile=file:{place}"
