"""Starts a script as Glue, EMR and clusters do: by spark-submit, with the Python of somebody else's choice."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyspark

from streaming_app.runtime.java import ensure_java

SPARK_HOME = Path(pyspark.__file__).parent
_OURS = ("PYTHON", "PYSPARK", "SPARK", "VIRTUAL_ENV", "AWS", "QSR", "LAKE")


def clean_environment(**more: str) -> dict[str, str]:
    """Nothing of this process that could help a job along, but a Java, and Spark without pip's pyspark around it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
    ensure_java(environment)
    return environment | {"SPARK_HOME": str(SPARK_HOME), "SPARK_LOCAL_IP": "127.0.0.1"} | more


def submit(
    python: str, arguments: Sequence[str], environment: Mapping[str, str], folder: Path
) -> subprocess.CompletedProcess[str]:
    """Run spark-submit to its end in `folder`, with this Python on driver and executors."""
    chosen = {"PYSPARK_PYTHON": python, "PYSPARK_DRIVER_PYTHON": python, **environment}
    return subprocess.run(
        [SPARK_HOME / "bin" / "spark-submit", *arguments],
        cwd=folder,
        env=chosen,
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
