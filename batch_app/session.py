"""Spark for commands that need it: the session of spark-submit or Glue where there is one, otherwise this machine's cores."""

from __future__ import annotations

import os

from pyspark.sql import SparkSession

from streaming_app.config import Config
from streaming_app.runtime.session import SUBMITTED, build_session


def session_for(config: Config) -> SparkSession:
    """A session with the service's own settings, and less to say. Raises ConfigError and IngestError as `build_session`."""
    spark = config.spark
    if not spark.master and SUBMITTED not in os.environ and SparkSession.getActiveSession() is None:
        spark = spark.model_copy(update={"master": "local[*,4]"})
    quiet = config.logging.model_copy(update={"spark_level": "ERROR"})
    return build_session(config.model_copy(update={"spark": spark, "logging": quiet}))
