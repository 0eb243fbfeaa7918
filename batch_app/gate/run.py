"""One run of the gate: settings -> files -> typed rows -> an engine -> report, Data Docs, alert."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from batch_app.gate import gx_engine, spark_engine
from batch_app.gate.data_docs import page, write_page
from batch_app.gate.inputs import Decoder, InputFile, find_files
from batch_app.gate.reading import read_typed
from batch_app.gate.report import GateReport, without_personal_data
from batch_app.gate.show import show
from batch_app.output import status
from batch_app.session import session_for
from streaming_app.alerts import Alert, Alerts, Level, open_channels
from streaming_app.arguments import load_all
from streaming_app.config import Config, Loaded
from streaming_app.config.checking import check
from streaming_app.config.documents import Refused, read_document
from streaming_app.config.masking import mask_text
from streaming_app.decode.csv_file import CsvFormat
from streaming_app.errors import ConfigError, Problem, QualityStop
from streaming_app.quality import Suite
from streaming_app.schema import Dataset
from streaming_app.storage import open_storage

Notify = Callable[[Alert], None]
_NAMED: Final = 5  # files and rules in an alert


@dataclass(frozen=True)
class Settings:
    """What a run is about. `loaded` is None where no configuration was given: no lake, no alerts."""

    dataset: Dataset
    suite: Suite
    suite_file: str
    config: Config
    loaded: Loaded | None


def run(options: argparse.Namespace) -> int:
    """`validate`. Raises as `judge`."""
    judge(options)
    return 0


def judge(options: argparse.Namespace) -> GateReport:
    """The verdict, printed. Raises QualityStop, after printing, when the gate fails; ConfigError for unusable input."""
    settings = _settings(options)
    if options.engine == "spark":
        spark_engine.require_row_level(settings.suite, settings.suite_file)
    files = find_files(options.paths, settings.config.lake.s3.storage_options())
    checked = without_personal_data(_checked(settings, files, options.engine), settings.dataset)
    report = _with_docs(checked, settings, options)
    if options.format == "json":
        print(json.dumps(report.to_json(), indent=2, default=str))  # noqa: T201 - the command's output
    else:
        show(report)
    if not report.success:
        _alert(settings, report)
        failed = ", ".join(result.id for result in report.results if result.stops)
        raise QualityStop(f"{report.suite} is not met: {failed}; do not load these files, or mend the suite")
    return report


def _settings(options: argparse.Namespace) -> Settings:
    if options.config:
        loaded, suite = load_all(options.config, options.overrides)
        dataset = _dataset(options.dataset) if options.dataset else loaded.dataset
        if options.suite or options.dataset:
            file = options.suite or loaded.suite_file
            return Settings(dataset, _suite(file, dataset), file, loaded.config, loaded)
        return Settings(dataset, suite, loaded.suite_file, loaded.config, loaded)
    if not options.suite:
        raise ConfigError("name the rules: --suite FILE, or --config FILE whose suite is taken")
    if options.overrides:
        raise ConfigError("--set overrides a setting of --config, which is missing")
    dataset = _dataset(options.dataset or _beside(options.suite))
    return Settings(dataset, _suite(options.suite, dataset), options.suite, _plain_config(), None)


def _beside(suite: str) -> str:
    """conf/expectations/orders.yaml -> conf/datasets/orders.yaml."""
    guess = Path(suite).parent.parent / "datasets" / f"{Path(suite).stem}.yaml"
    if not guess.is_file():
        raise ConfigError(f"there is no {guess}; name the dataset, which says columns and types: --dataset FILE")
    return str(guess)


def _read(file: str) -> Any:
    try:
        return read_document(file)
    except Refused as refused:
        raise ConfigError(refused.problems) from None


def _dataset(file: str) -> Dataset:
    content = _read(file)
    if not isinstance(content, dict):
        raise ConfigError([Problem(file, "", "should be a section with keys of its own")])
    checked = check(Dataset, content)
    if checked.value is None:
        raise ConfigError([Problem(file, key, message) for key, message in checked.faults])
    return checked.value


def _suite(file: str, dataset: Dataset) -> Suite:
    return Suite.parse(_read(file), file, dataset)


def _plain_config() -> Config:
    """Defaults for a run without a configuration: this machine's Spark, boto3's own way to S3."""
    return Config.model_validate(
        {"dataset": "-", "suite": "-", "lake": {"root": "."}, "sources": {"csv": {"enabled": True}}}
    )


def _checked(settings: Settings, files: list[InputFile], engine: str) -> GateReport:
    csv = settings.config.sources.csv
    form = CsvFormat(csv.delimiter, csv.max_record_bytes)
    with tempfile.TemporaryDirectory(prefix="qsr-gate-") as name, status() as say:
        folder = Path(name)
        library = threading.Thread(
            target=gx_engine.load, daemon=True
        )  # 3 s of imports, while files are read and Spark starts
        if engine == "gx":
            library.start()
        say("reading")
        decoder = Decoder(settings.dataset, form)
        decoder.write(files, folder / "decoded.parquet")
        say("starting Spark")
        spark = session_for(settings.config)
        say("casting")
        typed = read_typed(spark, folder / "decoded.parquet", settings.dataset, settings.suite, folder)
        say(f"checking {typed.readable:,} rows")
        if engine == "gx":
            library.join()
            results = gx_engine.check(typed, settings.suite, settings.dataset, folder)
        else:
            results = spark_engine.check(typed, settings.suite.row_rules, settings.dataset)
        return GateReport(
            engine,
            settings.suite.name,
            settings.suite.fingerprint,
            tuple(file.uri for file in files),
            typed.rows,
            typed.readable,
            (*typed.problems, *results),
            read=tuple(decoder.read),
        )


def _with_docs(report: GateReport, settings: Settings, options: argparse.Namespace) -> GateReport:
    loaded = settings.loaded
    if options.no_docs or (options.docs is None and loaded is None):
        return report
    lake = open_storage(loaded.config.lake.root, loaded.config.lake.s3.storage_options()) if loaded else None
    try:
        html = page(report, settings.suite, settings.dataset)
    except Exception as error:  # noqa: BLE001 - another library's page is not worth the verdict
        print(f"note: Data Docs could not be made: {error!r}"[:500], file=sys.stderr)  # noqa: T201 - beside the output
        return report
    return replace(report, docs=write_page(html, settings.suite.name, lake, options.docs))


def _alert(settings: Settings, report: GateReport) -> None:
    """Tell whom the configuration names; waits for the delivery, since this process ends."""
    loaded = settings.loaded
    if loaded is None:
        return
    config = loaded.config.alerts
    alerts = Alerts(open_channels(config), redact=lambda text: mask_text(text, loaded.secrets))
    alerts.send(alert_of(report))
    alerts.close()


def alert_of(report: GateReport) -> Alert:
    """What people are told of a gate that failed."""
    failed = [result for result in report.results if result.stops]
    lines = [f"{result.id}: {_extent(result.unexpected, result.unexpected_percent)}" for result in failed[:_NAMED]]
    lines += [f"and {len(failed) - _NAMED} more"] if len(failed) > _NAMED else []
    files = ", ".join(report.files[:_NAMED]) + (" ..." if len(report.files) > _NAMED else "")
    docs = [f"Data Docs: {report.docs}"] if report.docs else []
    text = "\n".join([f"{report.rows:,} rows of {files}", *lines, *docs])
    return Alert("gate", f"Quality gate failed: {report.suite}", text, Level.ERROR)


def _extent(unexpected: int | None, percent: float | None) -> str:
    return "not met" if unexpected is None else f"{unexpected:,} rows ({percent:.4g} %)"
