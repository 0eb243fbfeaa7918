"""The source's options: parsed once into a frozen record, every problem reported together."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from streaming_app.config.models import CsvConfig
from streaming_app.errors import ConfigError, Problem
from streaming_app.schema import Dataset
from streaming_app.storage import StorageOptions, is_s3
from streaming_app.units import parse_duration, parse_size

_PLACE: Final = "CSV source option"
_STORAGE: Final = "storage."
_ASCII: Final = 128


@dataclass(frozen=True)
class CsvOptions:
    """All options; times in seconds, sizes in bytes. `CsvConfig` says what most of them mean.

    `read_log_path`: the folder that holds `read_log/`, so usually the query's checkpoint, and as long-lived.
    `drain_path`: while this local file exists no new epoch begins. `available_now`: read what there is at the start,
    then no more. `parallelism`: tasks that Spark can run at once, 0 when unknown. `reconcile_every`: with `discovery` sqs, how
    often everything is listed all the same.
    """

    path: str
    read_log_path: str
    dataset: Dataset
    storage: StorageOptions
    delimiter: str = ","
    suffixes: tuple[str, ...] = (".csv", ".csv.gz")
    discovery: str = "list"
    queue_url: str = ""
    reconcile_every: float = 3600.0
    settle: float = 2.0
    max_files_per_batch: int = 100
    max_bytes_per_batch: int = 1 << 30
    max_record_bytes: int = 1 << 20
    after_commit: str = "leave"
    on_change: str = "report"
    archive_path: str = ""
    max_tasks: int = 16
    parallelism: int = 0
    drain_path: str = ""
    available_now: bool = False

    @property
    def settle_seconds(self) -> float:
        """How long a file must stay as it is; 0 on S3, where an object appears whole."""
        return 0.0 if is_s3(self.path) else self.settle


def _text(value: str) -> str:
    if not value.strip():
        raise ValueError("is empty")
    return value


def _flag(value: str) -> bool:
    if value.lower() not in {"true", "false"}:
        raise ValueError(f"{value!r} is neither true nor false")
    return value.lower() == "true"


def _whole(least: int) -> Callable[[str], int]:
    def parse(value: str) -> int:
        if not value.strip().isdigit() or int(value) < least:
            raise ValueError(f"{value!r} is no whole number from {least} on")
        return int(value)

    return parse


def _size(value: str) -> int:
    return _whole(1)(str(parse_size(value)))


def _seconds(value: str) -> float:
    number = float(value) if value.replace(".", "", 1).isdigit() else parse_duration(value)
    return float(number)


def _delimiter(value: str) -> str:
    if len(value) != 1 or ord(value) >= _ASCII or value in '"\r\n\0':
        raise ValueError(f"{value!r} is no delimiter; use one ASCII character, no quote and no line end")
    return value


def _suffixes(value: str) -> tuple[str, ...]:
    found = json.loads(value) if value.startswith("[") else [part.strip() for part in value.split(",")]
    if not found or not all(isinstance(suffix, str) and suffix for suffix in found):
        raise ValueError(f"{value!r}: name at least one suffix, for example .csv,.csv.gz")
    return tuple(suffix.lower() for suffix in found)


def _one_of(*choices: str) -> Callable[[str], str]:
    def parse(value: str) -> str:
        if value.lower() not in choices:
            raise ValueError(f"{value!r} is none of {', '.join(choices)}")
        return value.lower()

    return parse


_PARSERS: Final[dict[str, Callable[[str], Any]]] = {
    "path": _text,
    "read_log_path": _text,
    "dataset": Dataset.from_option,
    "delimiter": _delimiter,
    "suffixes": _suffixes,
    "discovery": _one_of("list", "sqs"),
    "queue_url": _text,
    "reconcile_every": _seconds,
    "settle": _seconds,
    "max_files_per_batch": _whole(1),
    "max_bytes_per_batch": _size,
    "max_record_bytes": _size,
    "after_commit": _one_of("leave", "archive", "delete"),
    "on_change": _one_of("report", "reread"),
    "archive_path": _text,
    "max_tasks": _whole(1),
    "parallelism": _whole(0),
    "drain_path": _text,
    "available_now": _flag,
}
_REQUIRED: Final = {
    "path": "name the folder or S3 prefix where files arrive",
    "read_log_path": "name a folder or S3 prefix next to the query's checkpoint; what each batch read is kept there, so "
    "it must live exactly as long as the checkpoint",
    "dataset": "give Dataset.to_option()",
}


def parse_options(options: Mapping[str, str]) -> CsvOptions:
    """The options of one stream reader. Raises ConfigError with everything that is wrong or unknown."""
    problems: list[Problem] = []
    values: dict[str, Any] = {}
    given = {name.lower(): text for name, text in options.items()}
    for name, text in given.items():
        if not name.startswith(_STORAGE):
            _take(name, text, values, problems)
    problems += [Problem(_PLACE, name, why) for name, why in _REQUIRED.items() if name not in given]
    problems += _archive_problems(values) + _queue_problems(values)
    if problems:
        raise ConfigError(problems)
    return CsvOptions(storage=StorageOptions.from_options(given), **values)


def _take(name: str, text: str, values: dict[str, Any], problems: list[Problem]) -> None:
    parse = _PARSERS.get(name)
    if parse is None:
        problems.append(Problem(_PLACE, name, f"is unknown; known are {', '.join(sorted(_PARSERS))}"))
        return
    try:
        values[name] = parse(text)
    except (ValueError, TypeError) as error:
        problems.append(Problem(_PLACE, name, str(error)))


def _archive_problems(values: Mapping[str, Any]) -> list[Problem]:
    if values.get("after_commit") != "archive" or "path" not in values:
        return []
    path, archive = values["path"].rstrip("/") + "/", values.get("archive_path", "").rstrip("/") + "/"
    if archive == "/":
        return [Problem(_PLACE, "archive_path", "name the folder or S3 prefix that `archive` moves files to")]
    if is_s3(path) != is_s3(archive):
        return [Problem(_PLACE, "archive_path", f"{archive} must be on the same kind of storage as {path}")]
    if archive.startswith(path):
        return [Problem(_PLACE, "archive_path", f"{archive} is inside {path}, so it would be read again; move it out")]
    return []


def _queue_problems(values: Mapping[str, Any]) -> list[Problem]:
    if values.get("discovery") != "sqs":
        return []
    problems = []
    if not values.get("queue_url"):
        problems.append(Problem(_PLACE, "queue_url", "name the SQS queue that S3 sends its events to"))
    if not is_s3(values.get("path", "s3://")):
        problems.append(Problem(_PLACE, "discovery", "sqs is for uploads on S3; a local folder is listed"))
    return problems


def csv_options(  # noqa: PLR0917 - all that a configuration knows; callers name them
    config: CsvConfig,
    dataset: Dataset,
    path: str,
    archive_path: str,
    read_log_uri: str,
    storage: StorageOptions,
    *,
    drain_path: str = "",
    available_now: bool = False,
    parallelism: int = 0,
) -> dict[str, str]:
    """Options for `spark.readStream.format("csv-files").options(**options)`, as our configuration says.

    `path` and `archive_path` are the places in force (`Config.csv_path()`, `Config.archive_path()`), `read_log_uri` is
    the folder that holds `read_log/`: the source's checkpoint.
    """
    texts = {
        "path": path,
        "read_log_path": read_log_uri,
        "dataset": dataset.to_option(),
        "delimiter": config.delimiter,
        "suffixes": json.dumps(config.suffixes),
        "discovery": config.discovery,
        "queue_url": config.queue_url,
        "reconcile_every": str(config.reconcile_every),
        "settle": str(config.settle),
        "max_files_per_batch": str(config.max_files_per_batch),
        "max_bytes_per_batch": str(config.max_bytes_per_batch),
        "max_record_bytes": str(config.max_record_bytes),
        "after_commit": config.after_commit,
        "on_change": config.on_change,
        "archive_path": archive_path if config.after_commit == "archive" else "",
        "max_tasks": str(config.max_tasks),
        "parallelism": str(parallelism),
        "drain_path": drain_path,
        "available_now": str(available_now).lower(),
        **storage.to_options(),
    }
    return {name: text for name, text in texts.items() if text}
