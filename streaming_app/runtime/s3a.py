"""Spark's own way to S3, Hadoop's S3A, which the checkpoints of a lake on S3 go through.

Everything else reaches S3 by boto3, on the driver and in Spark's Python workers. S3A comes with Glue 6.0, EMR and most
distributions; a Spark from PyPI lacks it (docs/s3.md). Settings are per bucket (Hadoop's documentation of S3A), so that they
change nothing for whatever else the session reads.

Spark writes its checkpoint by writing a temporary file and renaming it, which S3 does not have. spark-hadoop-cloud brings a
manager that begins an upload and completes or aborts it, and it is used where it is there.
"""

from __future__ import annotations

import logging
from typing import Any, Final

from streaming_app.config import Config
from streaming_app.errors import ConfigError
from streaming_app.storage import is_s3

_LOG: Final = logging.getLogger(__name__)
_FILE_SYSTEM: Final = "org.apache.hadoop.fs.s3a.S3AFileSystem"
_MANAGER: Final = "org.apache.spark.internal.io.cloud.AbortableStreamBasedCheckpointFileManager"
_MANAGER_SETTING: Final = "spark.sql.streaming.checkpointFileManagerClass"
# The chain that boto3 has, too: environment, profile, web identity, container, instance.
_CREDENTIALS: Final = "software.amazon.awssdk.auth.credentials.DefaultCredentialsProvider"


def checkpoint_uri(uri: str) -> str:
    """A checkpoint's place as Spark is told it: S3A by its own name, a folder as it is."""
    return "s3a://" + uri.partition("://")[2] if is_s3(uri) else uri


def s3a_settings(config: Config) -> dict[str, str]:
    """How S3A reaches the checkpoints' bucket; nothing where they are in a folder."""
    place, s3 = config.lake.checkpoint_root(), config.lake.s3
    if not is_s3(place):
        return {}
    bucket = f"spark.hadoop.fs.s3a.bucket.{place.partition('://')[2].partition('/')[0]}."
    made = {
        "endpoint": s3.endpoint_url,
        "endpoint.region": s3.region,
        "path.style.access": "true" if s3.path_style else "",
        "requester.pays.enabled": "true" if s3.requester_pays else "",
        "encryption.algorithm": "SSE-KMS" if s3.sse_kms_key_id else "",
        "encryption.key": s3.sse_kms_key_id,
        "aws.credentials.provider": _CREDENTIALS if config.spark.master.startswith("local") else "",
    }
    return {bucket + name: value for name, value in made.items() if value}


def ensure_s3a(session: Any, config: Config) -> None:
    """Check that the session can reach checkpoints on S3, and how. Raises ConfigError where S3A is missing."""
    if not is_s3(config.lake.checkpoint_root()):
        return
    if not _has(session, _FILE_SYSTEM):
        raise ConfigError(
            f"checkpoints are at {config.lake.checkpoint_root()}, and this Spark has no S3A: run `make s3a-jars` and set"
            " spark.conf.spark.driver.extraClassPath: build/s3a/*, or set lake.checkpoints to a folder of this machine"
            " (docs/s3.md)"
        )
    if session.conf.get(_MANAGER_SETTING, ""):
        return
    if _has(session, _MANAGER):
        session.conf.set(_MANAGER_SETTING, _MANAGER)
    else:
        _LOG.warning(
            "checkpoints on S3 are written by copying, as this Spark lacks spark-hadoop-cloud: slower, and not more than that"
        )


def _has(session: Any, name: str) -> bool:
    try:
        session.sparkContext._jvm.java.lang.Class.forName(name)  # noqa: SLF001 - pyspark's own way to ask its Java
    except Exception:  # noqa: BLE001 - whatever Java finds wrong with a class: it cannot be used
        return False
    return True
