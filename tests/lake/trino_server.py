"""A Trino of its own, as Athena's engine is one: Glue's catalog and S3 at moto's address, files of the lake as they are.

`python -m tests.lake.trino_server ARCHIVE FOLDER` unpacks what is needed of trino-server-*.tar.gz: its plugins are hard links into
each other, so tar alone cannot leave any out. TRINO_HOME and TRINO_JAVA name the result and a Java 24 or newer.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tarfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
HOME = Path(os.environ.get("TRINO_HOME", REPOSITORY / "build/trino/server"))
READY_WITHIN = 300.0  # seconds; 10 where nothing else runs
PATIENCE = 60.0  # seconds
CATALOG = """connector.name=hive
hive.metastore=glue
hive.metastore.glue.region=us-east-1
hive.metastore.glue.endpoint-url={aws}
hive.metastore.glue.aws-access-key=testing
hive.metastore.glue.aws-secret-key=testing
fs.native-s3.enabled=true
s3.endpoint={aws}
s3.region=us-east-1
s3.path-style-access=true
s3.aws-access-key=testing
s3.aws-secret-key=testing
hive.partition-projection-enabled=true
hive.ignore-absent-partitions=true
hive.timestamp-precision=MICROSECONDS
hive.metastore-cache-ttl=0s
"""
ICEBERG = """connector.name=iceberg
iceberg.catalog.type=glue
hive.metastore.glue.region=us-east-1
hive.metastore.glue.endpoint-url={aws}
hive.metastore.glue.aws-access-key=testing
hive.metastore.glue.aws-secret-key=testing
fs.native-s3.enabled=true
s3.endpoint={aws}
s3.region=us-east-1
s3.path-style-access=true
s3.aws-access-key=testing
s3.aws-secret-key=testing
iceberg.metadata-cache.enabled=false
"""
JVM = ("-Xmx1200M", "-XX:+UseSerialGC", "-XX:+ExitOnOutOfMemoryError", "-Djdk.attach.allowAttachSelf=true")


class QueryFailed(Exception):
    pass


class Trino:
    """A running server; answers are in the types of JSON, decimals and times as text."""

    def __init__(self, url: str) -> None:
        self._url = url

    def ask(self, sql: str) -> list[list[Any]]:
        """The rows; a server that has just lost sight of itself, on a machine too busy for its heartbeat, is asked again."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                return self._ask(sql)
            except QueryFailed as failure:
                if "No nodes available" not in str(failure) or time.monotonic() > deadline:
                    raise
                time.sleep(1)

    def _ask(self, sql: str) -> list[list[Any]]:
        answer = self._send("/v1/statement", sql.encode())
        rows: list[list[Any]] = []
        while True:
            if "error" in answer:
                raise QueryFailed(answer["error"]["message"])
            rows += answer.get("data", [])
            if "nextUri" not in answer:
                return rows
            answer = self._send(answer["nextUri"])

    def ready(self) -> bool:
        try:
            return not self._send("/v1/info")["starting"] and self.ask("SELECT 1") == [[1]]
        except (OSError, QueryFailed):
            return False

    def _send(self, path: str, body: bytes | None = None) -> dict[str, Any]:
        headers = {
            "X-Trino-User": "tests",
            "X-Trino-Catalog": "glue",
            "X-Trino-Time-Zone": "UTC",
            "X-Trino-Client-Capabilities": "PARAMETRIC_DATETIME",  # or times come cut to milliseconds
        }
        address = path if path.startswith("http") else self._url + path
        request = urllib.request.Request(address, body, headers)  # noqa: S310 - our own server
        with urllib.request.urlopen(request, timeout=120) as answer:  # noqa: S310
            return json.load(answer)


@contextmanager
def trino_server(folder: Path, aws_url: str) -> Iterator[Trino]:
    """A server that is ready, with the catalogs `glue` and `ice` (Iceberg tables in Glue); gone at the end."""
    port = _free_port()
    _configure(folder, port, aws_url)
    java = os.environ.get("TRINO_JAVA") or (HOME.parent / "java").read_text().strip()
    with (folder / "trino.log").open("wb") as log:
        child = subprocess.Popen(
            [Path(java, "bin/java"), *JVM, *_settings(folder), "-cp", f"{HOME}/lib/*", "io.trino.server.TrinoServer"],
            stdout=log, stderr=log, start_new_session=True, cwd=folder,
        )  # fmt: skip
        try:
            trino = Trino(f"http://127.0.0.1:{port}")
            deadline = time.monotonic() + READY_WITHIN
            while not trino.ready():
                gone = child.poll() is not None or time.monotonic() > deadline
                assert not gone, (folder / "trino.log").read_text()[-3000:]
                time.sleep(0.5)
            yield trino
        finally:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()


def _configure(folder: Path, port: int, aws_url: str) -> None:
    (folder / "etc/catalog").mkdir(parents=True)
    config = {
        "coordinator": "true",
        "node-scheduler.include-coordinator": "true",
        "http-server.http.port": str(port),
        "discovery.uri": f"http://127.0.0.1:{port}",
        "node.internal-address": "127.0.0.1",
        "catalog.management": "static",
    }
    (folder / "etc/config.properties").write_text(_lines(config))
    (folder / "etc/log.properties").write_text("io.trino=WARN\n")
    (folder / "etc/catalog/glue.properties").write_text(CATALOG.format(aws=aws_url))
    (folder / "etc/catalog/ice.properties").write_text(ICEBERG.format(aws=aws_url))


def _settings(folder: Path) -> list[str]:
    made = {
        "config": f"{folder}/etc/config.properties",
        "node.environment": "tests",
        "node.id": "tests",
        "node.data-dir": f"{folder}/var",
        "log.levels-file": f"{folder}/etc/log.properties",
        "plugin.dir": f"{HOME}/plugin",
        "catalog.config-dir": f"{folder}/etc/catalog",
    }
    return [f"-D{key}={value}" for key, value in made.items()]


def _lines(values: Mapping[str, str]) -> str:
    return "".join(f"{key}={value}\n" for key, value in values.items())


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def unpack(archive: Path, folder: Path) -> None:
    """lib/ and the plugins hive and iceberg, out of the archive, whole or not at all."""
    if folder.exists():
        return
    wanted = _wanted(archive)
    part = folder.with_name(f"{folder.name}.{os.getpid()}")
    with tarfile.open(archive) as content:
        for member in content:
            targets = wanted.get(member.name, ()) if member.isreg() else ()
            data = (
                content.extractfile(member).read() if targets else b""
            )  # once: to go back is to unzip from the beginning
            for target in targets:
                (part / target).parent.mkdir(parents=True, exist_ok=True)
                (part / target).write_bytes(data)
    part.rename(folder)


def _wanted(archive: Path) -> dict[str, list[str]]:
    """By the member that holds the bytes: the files to make of it."""
    found: dict[str, list[str]] = {}
    with tarfile.open(archive) as content:
        for member in content:
            name = member.name.partition("/")[2]
            if (member.isreg() or member.islnk()) and name.startswith(("lib/", "plugin/hive/", "plugin/iceberg/")):
                found.setdefault(member.linkname if member.islnk() else member.name, []).append(name)
    return found


if __name__ == "__main__":
    unpack(Path(sys.argv[1]), Path(sys.argv[2]))
