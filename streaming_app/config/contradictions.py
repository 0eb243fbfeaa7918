"""Settings that are each right by themselves and cannot be meant together.

Each check is one function from the whole configuration to its findings, named in `CHECKS`.
"""

from __future__ import annotations

import ipaddress
import posixpath
import re
from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from pydantic_core import PydanticCustomError

from streaming_app.config.connectors import not_honoured
from streaming_app.schema import CLEAN, DEAD_LETTER
from streaming_app.storage import is_s3

if TYPE_CHECKING:
    from streaming_app.config.models import Config

CONTRADICTIONS: Final = "contradictions"  # pydantic's type of the error
TOKEN_LENGTH: Final = 16  # characters of metrics.token at least


class Contradiction(NamedTuple):
    """The keys that disagree, the one to change first, and what to do."""

    keys: tuple[str, ...]
    message: str


Findings = Iterator[Contradiction]


def refuse_contradictions(config: Config) -> None:
    """Raise pydantic's error with every finding in its context; nothing where all agrees."""
    found = tuple(finding for check in CHECKS for finding in check(config))
    if found:
        text = "; ".join(f"{finding.keys[0]}: {finding.message}" for finding in found)
        raise PydanticCustomError(CONTRADICTIONS, "{text}", {"text": text, "found": found})


def _no_source(config: Config) -> Findings:
    if not (config.sources.kinesis.enabled or config.sources.csv.enabled):
        yield Contradiction(
            ("sources", "sources.kinesis.enabled", "sources.csv.enabled"),
            "no source is enabled; enable kinesis, csv or both",
        )


def _stream_without_name(config: Config) -> Findings:
    kinesis = config.sources.kinesis
    if kinesis.enabled and not kinesis.stream:
        yield Contradiction(
            ("sources.kinesis.stream", "sources.kinesis.enabled"),
            "name the stream, or switch the source off with enabled: false",
        )


def _consumer_without_name(config: Config) -> Findings:
    kinesis = config.sources.kinesis
    if kinesis.enabled and kinesis.consumer_type == "efo" and not kinesis.consumer_name:
        yield Contradiction(
            ("sources.kinesis.consumer_name", "sources.kinesis.consumer_type"),
            "name the consumer that enhanced fan-out registers; each service needs one of its own",
        )


def _connector(config: Config) -> Findings:
    kinesis = config.sources.kinesis
    for name, why in not_honoured(kinesis).items() if kinesis.enabled else ():
        yield Contradiction((f"sources.kinesis.{name}", "sources.kinesis.connector"), why)


def _role_settings_without_role(config: Config) -> Findings:
    kinesis = config.sources.kinesis
    for name in ("role_external_id", "role_session_name", "sts_endpoint_url"):
        if getattr(kinesis, name) and not kinesis.role_arn:
            yield Contradiction(
                (f"sources.kinesis.{name}", "sources.kinesis.role_arn"),
                "has a meaning for an assumed role only; name it in role_arn, or leave this out",
            )


def _two_addresses(config: Config) -> Findings:
    kinesis = config.sources.kinesis
    for name in ("use_fips_endpoint", "use_dualstack"):
        if getattr(kinesis, name) and kinesis.endpoint_url:
            yield Contradiction(
                (f"sources.kinesis.{name}", "sources.kinesis.endpoint_url"),
                "chooses one of AWS's own addresses, and endpoint_url names another; leave one of them out",
            )
    of_arn = kinesis.stream.split(":")[3] if kinesis.stream.startswith("arn:") else ""
    if of_arn and kinesis.region and kinesis.region != of_arn:
        yield Contradiction(
            ("sources.kinesis.region", "sources.kinesis.stream"),
            f"is {kinesis.region}, and the stream's ARN is in {of_arn}; leave the region out",
        )


def _tasks_never_retried(config: Config) -> Findings:
    match = re.fullmatch(r"local(?:\[([^,\]]*)(?:,\s*(\d+))?\])?", config.spark.master)
    if match and int(match[2] or 1) < 2:  # noqa: PLR2004 - a second attempt
        yield Contradiction(
            ("spark.master",),
            f"{config.spark.master} never retries a task, which the sources rely on; write local[{match[1] or 2},4]",
        )


def _place(uri: str) -> str:
    """A comparable form of a folder or prefix, with a slash at its end."""
    if is_s3(uri):
        bucket, _, prefix = uri.partition("://")[2].partition("/")
        return f"s3://{bucket}{posixpath.normpath('/' + prefix)}".rstrip("/") + "/"
    return str(Path(uri.removeprefix("file://")).resolve()).rstrip("/") + "/"


def _places(config: Config) -> dict[str, str]:
    """Every folder that the service reads or writes as a whole, by the key it comes from."""
    root = config.lake.root.rstrip("/")
    places = {
        "lake.checkpoints": config.lake.checkpoint_root(),
        f"lake.root ({CLEAN}/)": f"{root}/{CLEAN}",
        f"lake.root ({DEAD_LETTER}/)": f"{root}/{DEAD_LETTER}",
    }
    csv = config.sources.csv
    if csv.enabled:
        places["sources.csv.path"] = config.csv_path()
    if csv.enabled and csv.after_commit == "archive":
        places["sources.csv.archive_path"] = config.archive_path()
    return places


def _folders_overlap(config: Config) -> Findings:
    """One folder inside another would be read, moved or cleaned up as a part of it."""
    places = {key: _place(uri) for key, uri in _places(config).items()}
    reported: set[str] = set()
    for (other, outer), (key, inner) in combinations(places.items(), 2):
        if (inner.startswith(outer) or outer.startswith(inner)) and key not in reported:
            reported.add(key)
            relation = (
                "is the same folder as" if inner == outer else "is below" if inner.startswith(outer) else "contains"
            )
            yield Contradiction(
                (key.partition(" ")[0], other.partition(" ")[0]),
                f"{inner} {relation} {other}, {outer}; keep them apart",
            )


def _checkpoints_elsewhere(config: Config) -> Findings:
    lake, checkpoints = is_s3(config.lake.root), is_s3(config.lake.checkpoint_root())
    keys = ("lake.checkpoints", "lake.root")
    if checkpoints and not lake:
        yield Contradiction(
            keys, "checkpoints on S3 need a lake on S3: a local lake would not be there on another machine"
        )
    if lake and not checkpoints and not config.spark.master.startswith("local["):
        yield Contradiction(
            (*keys, "spark.master"),
            "local checkpoints of a lake on S3 work with a local[...] master only: other machines cannot see the folder",
        )


def _archive(config: Config) -> Findings:
    csv = config.sources.csv
    key = "sources.csv.archive_path"
    if not csv.enabled:
        return
    if csv.archive_path and csv.after_commit != "archive":
        yield Contradiction(
            (key, "sources.csv.after_commit"),
            f"has no use with after_commit: {csv.after_commit}; write archive, or leave it out",
        )
    if csv.after_commit == "archive" and is_s3(config.csv_path()) != is_s3(config.archive_path()):
        yield Contradiction(
            (key, "sources.csv.path", "lake.root"),
            "files cannot be moved between S3 and a local folder; archive to the same kind",
        )


def _discovery(config: Config) -> Findings:
    csv = config.sources.csv
    if csv.discovery == "list":
        for name in ("queue_url", "reconcile_every"):
            if getattr(csv, name) != type(csv).model_fields[name].default:
                yield Contradiction(
                    (f"sources.csv.{name}", "sources.csv.discovery"),
                    "has a use with discovery: sqs only; write that, or leave it out",
                )
    elif csv.enabled:
        if not csv.queue_url:
            yield Contradiction(
                ("sources.csv.queue_url", "sources.csv.discovery"),
                "name the SQS queue that S3 sends the uploads' events to",
            )
        if not is_s3(config.csv_path()):
            yield Contradiction(
                ("sources.csv.discovery", "sources.csv.path", "lake.root"),
                f"sqs needs uploads on S3, and {config.csv_path()} is a folder: S3 alone sends events. Write list, or s3://",
            )


def _s3_options_unused(config: Config) -> Findings:
    places = (config.lake.root, config.lake.checkpoint_root(), config.csv_path(), config.archive_path(), config.suite)
    if any(is_s3(place) for place in places):
        return
    defaults = type(config.lake.s3)()
    for name in type(config.lake.s3).model_fields:
        if getattr(config.lake.s3, name) != getattr(defaults, name):
            yield Contradiction(
                (f"lake.s3.{name}", "lake.root"), "nothing is on S3; leave it out, or write s3:// places"
            )


def _sizes(config: Config) -> Findings:
    sink, csv, service = config.sink, config.sources.csv, config.service
    if sink.row_group_bytes > sink.buffer_bytes:
        yield Contradiction(
            ("sink.buffer_bytes", "sink.row_group_bytes"),
            "is less than row_group_bytes: no row group could ever be filled",
        )
    if csv.enabled and csv.max_record_bytes > csv.max_bytes_per_batch:
        yield Contradiction(
            ("sources.csv.max_bytes_per_batch", "sources.csv.max_record_bytes"),
            "is less than max_record_bytes, one single record",
        )
    if service.restart_backoff > service.restart_backoff_max:
        yield Contradiction(
            ("service.restart_backoff_max", "service.restart_backoff"), "is less than restart_backoff, the first wait"
        )


def _sns_without_topic(config: Config) -> Findings:
    if config.alerts.sns_endpoint_url and not config.alerts.sns_topic_arn:
        yield Contradiction(
            ("alerts.sns_endpoint_url", "alerts.sns_topic_arn"), "has no use without sns_topic_arn; leave it out"
        )


def _catalog(config: Config) -> Findings:
    catalog = config.catalog
    if catalog.type == "none":
        return
    if not catalog.database:
        yield Contradiction(("catalog.database", "catalog.type"), "name the Glue database of this lake's tables")
    if not is_s3(config.lake.root):
        yield Contradiction(
            ("catalog.type", "lake.root"),
            "readers of a Glue catalog cannot see a local folder; write s3:// or type: none",
        )


def _iceberg(config: Config) -> Findings:
    iceberg = config.iceberg
    if config.sink.format != "iceberg":
        return
    if not iceberg.namespace:
        yield Contradiction(("iceberg.namespace", "sink.format"), "name the namespace of this lake's Iceberg tables")
    if iceberg.type == "rest" and not iceberg.uri:
        yield Contradiction(("iceberg.uri", "iceberg.type"), "name the REST catalog's address")
    if config.catalog.type == "glue" and iceberg.type == "glue" and config.catalog.database == iceberg.namespace:
        yield Contradiction(
            ("iceberg.namespace", "catalog.database"),
            "a Glue database cannot hold clean and dead_letter twice; name another, or set catalog.type: none",
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens on `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _page_for_everybody(config: Config) -> Findings:
    """The live page shows rejected rows."""
    metrics = config.metrics
    if metrics.token and len(metrics.token) < TOKEN_LENGTH:
        yield Contradiction(
            ("metrics.token",), f"is short enough to be guessed; take {TOKEN_LENGTH} characters or more, all at random"
        )
    if metrics.enabled and metrics.page and not metrics.token and not is_loopback(metrics.host):
        yield Contradiction(
            ("metrics.token", "metrics.host", "metrics.page"),
            f"is empty, and other machines reach {metrics.host}: the live page shows rejected rows. Give a token from the"
            " environment, or serve the figures alone with metrics.page: false",
        )


def _emf(config: Config) -> Findings:
    cloudwatch = config.metrics.cloudwatch
    if cloudwatch.log_group and cloudwatch.format != "emf":
        yield Contradiction(
            ("metrics.cloudwatch.log_group", "metrics.cloudwatch.format"),
            f"takes lines, and format: {cloudwatch.format} makes none; write emf, or leave it out",
        )
    if cloudwatch.format == "emf" and cloudwatch.endpoint_url and not cloudwatch.log_group:
        yield Contradiction(
            ("metrics.cloudwatch.endpoint_url", "metrics.cloudwatch.log_group"),
            "is never asked: without a log group the lines go to standard output; name one, or leave this out",
        )


def _pushgateway(config: Config) -> Findings:
    gateway = config.metrics.pushgateway
    if bool(gateway.user) != bool(gateway.password):
        given, missing = ("user", "password") if gateway.user else ("password", "user")
        yield Contradiction(
            (f"metrics.pushgateway.{given}", f"metrics.pushgateway.{missing}"),
            f"has no use without {missing}; give both, or neither",
        )
    for name in ("user", "password", "instance"):
        if getattr(gateway, name) and not gateway.url:
            yield Contradiction(
                (f"metrics.pushgateway.{name}", "metrics.pushgateway.url"), "has no use without url; leave it out"
            )


def _otlp(config: Config) -> Findings:
    if config.metrics.otlp.headers and not config.metrics.otlp.endpoint:
        yield Contradiction(
            ("metrics.otlp.headers", "metrics.otlp.endpoint"), "have no use without endpoint; leave them out"
        )


def _window_too_short(config: Config) -> Findings:
    quality = config.quality
    if 0 < quality.window_rows < quality.min_rows:
        yield Contradiction(
            ("quality.window_rows", "quality.min_rows"),
            f"is less than min_rows {quality.min_rows}: the window could never be judged",
        )


# Settings of Spark that this product's promises rest on: the value they must not have, and why.
_SPARK: Final[dict[str, tuple[Callable[[str], bool], str]]] = {
    "spark.master": (bool, "set spark.master of this file instead"),
    "spark.app.name": (bool, "set spark.app_name of this file instead"),
    "spark.sql.parser.escapedStringLiterals": (
        lambda text: text.lower() == "true",
        "the rules' texts are written for false",
    ),
    "spark.sql.session.timeZone": (
        lambda text: text.upper() not in {"UTC", "ETC/UTC", "Z"},
        "times are UTC; the dataset's time_zone decides the partition's date",
    ),
    "spark.task.maxFailures": (
        lambda text: text.strip() in {"0", "1"},
        "the sources rely on a second attempt of a task",
    ),
    "spark.sql.caseSensitive": (lambda text: text.lower() == "true", "Athena's column names have no case"),
}


def _spark_settings(config: Config) -> Findings:
    for name, (refused, why) in _SPARK.items():
        value = config.spark.conf.get(name, "")
        if value and refused(value):
            yield Contradiction((f"spark.conf.{name}",), f"cannot be {value}: {why}")


CHECKS: Final[tuple[Callable[[Config], Findings], ...]] = (
    _no_source,
    _stream_without_name,
    _consumer_without_name,
    _connector,
    _role_settings_without_role,
    _two_addresses,
    _tasks_never_retried,
    _folders_overlap,
    _checkpoints_elsewhere,
    _archive,
    _discovery,
    _s3_options_unused,
    _sizes,
    _window_too_short,
    _sns_without_topic,
    _catalog,
    _iceberg,
    _spark_settings,
    _page_for_everybody,
    _emf,
    _pushgateway,
    _otlp,
)
