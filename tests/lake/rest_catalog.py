"""Apache Iceberg's own REST catalog, the one that its clients are tested by, in a child process: tables in SQLite, in memory."""

from __future__ import annotations

import os
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyspark

from streaming_app.runtime.java import ensure_java
from tests.lake.trino_server import READY_WITHIN, REPOSITORY, _free_port

JARS = REPOSITORY / "build/iceberg-rest"
FROM_SPARK = ("jackson-", "slf4j-api-", "avro-1", "hadoop-client-", "RoaringBitmap-")  # what Spark brings anyway


@contextmanager
def rest_catalog(folder: Path) -> Iterator[str]:
    """The address of a catalog that is ready; gone at the end, with what it knew."""
    port = _free_port()
    environment = {**os.environ, "CATALOG_REST_PORT": str(port), "CATALOG_WAREHOUSE": (folder / "warehouse").as_uri()}
    ensure_java(environment)
    spark = Path(pyspark.__file__).parent / "jars"
    jars = [f"{JARS}/*", *(str(jar) for jar in sorted(spark.glob("*.jar")) if jar.name.startswith(FROM_SPARK))]
    java = Path(environment["JAVA_HOME"], "bin/java") if environment.get("JAVA_HOME") else "java"
    with (folder / "rest.log").open("wb") as log:
        child = subprocess.Popen(
            [java, "-Xmx300M", "-cp", os.pathsep.join(jars), "org.apache.iceberg.rest.RESTCatalogServer"],
            env=environment, stdout=log, stderr=log,
        )  # fmt: skip
        try:
            url = f"http://127.0.0.1:{port}"
            deadline = time.monotonic() + READY_WITHIN
            while not _ready(url):
                gone = child.poll() is not None or time.monotonic() > deadline
                assert not gone, (folder / "rest.log").read_text()[-3000:]
                time.sleep(0.3)
            yield url
        finally:
            child.kill()
            child.wait()


def _ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/v1/config", timeout=10) as answer:  # noqa: S310 - our own server
            return answer.status == 200
    except OSError:
        return False
