"""The source's options: parsed once into a frozen record, every problem reported together.

Our names are in snake case. The names of EMR's `aws-kinesis` connector and of Glue's source work where they mean the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Final

from streaming_app.config.models import KinesisConfig, parse_past, parse_start
from streaming_app.errors import ConfigError, Problem
from streaming_app.schema import Dataset
from streaming_app.sources.kinesis.access import SESSION_NAME, Endpoint, Role
from streaming_app.storage import StorageOptions
from streaming_app.units import parse_duration, parse_size

_PLACE: Final = "Kinesis source option"
_STORAGE: Final = "storage."
_MOST_RECORDS: Final = 10_000  # of one GetRecords call
POLLING: Final = "polling"
EFO: Final = "efo"


@dataclass(frozen=True)
class KinesisOptions:
    """All options; times in seconds, sizes in bytes, 0 switches a limit of rate off. `KinesisConfig` says what they mean.

    `starting_position`: LATEST, TRIM_HORIZON, `AT_TIMESTAMP <time>`, or positions per shard as JSON text
    (config/positions.py). `read_log_path`: folder or S3 prefix of the read log, next to the checkpoint and as long-lived. `drain_path`: while
    this local file exists no new epoch begins. `available_now`: read up to the tips found at the start, then no more.
    `until`: as `available_now`, and only up to the records that arrived before this moment (ISO 8601, in the past).
    `probe_interval`: how often an idle shard is asked for news. `parallelism`: tasks that Spark can run at once, 0 when
    unknown. `dataset`: `Dataset.to_option()`, for the decoded layout.
    """

    stream_name: str
    read_log_path: str
    storage: StorageOptions
    region: str = ""
    endpoint_url: str = ""
    starting_position: str = "TRIM_HORIZON"
    drain_path: str = ""
    available_now: bool = False
    until: str = ""
    fail_on_data_loss: bool = True
    max_records_per_batch: int = 1_000_000
    max_bytes_per_batch: int = 1 << 30
    max_records_per_shard: int = 100_000
    max_bytes_per_shard: int = 64 << 20
    max_fetch_time: float = 10.0
    records_per_fetch: int = _MOST_RECORDS
    fetch_interval: float = 0.2
    bytes_per_second: int = 2 << 20
    probe_interval: float = 0.5
    max_tasks: int = 16
    parallelism: int = 0
    throttle_timeout: float = 300.0
    dataset: str = ""
    deaggregate: bool = True
    consumer_type: str = "polling"
    consumer_name: str = ""
    deregister_consumer: bool = False
    role_arn: str = ""
    role_external_id: str = ""
    role_session_name: str = SESSION_NAME
    sts_endpoint_url: str = ""
    use_fips_endpoint: bool = False
    use_dualstack: bool = False

    def shared_by(self, shards: int) -> KinesisOptions:
        """The same where each of so many shards has its share of the micro-batch's limits."""
        return replace(
            self,
            max_records_per_shard=min(self.max_records_per_shard, max(1, self.max_records_per_batch // shards)),
            max_bytes_per_shard=min(self.max_bytes_per_shard, max(1, self.max_bytes_per_batch // shards)),
        )

    @property
    def ends_by_itself(self) -> bool:
        """Whether this run is bounded."""
        return self.available_now or bool(self.until)

    @property
    def endpoint(self) -> Endpoint:
        """The stream, where it is, and as whom it is read."""
        role = Role(self.role_arn, self.role_external_id, self.role_session_name, self.sts_endpoint_url)
        return Endpoint(
            self.stream_name,
            self.region,
            self.endpoint_url,
            role if self.role_arn else None,
            self.use_fips_endpoint,
            self.use_dualstack,
        )


def _text(value: str) -> str:
    if not value.strip():
        raise ValueError("is empty")
    return value


def _flag(value: str) -> bool:
    if value.lower() not in {"true", "false"}:
        raise ValueError(f"{value!r} is neither true nor false")
    return value.lower() == "true"


def _whole(least: int, most: int | None = None) -> Callable[[str], int]:
    def parse(value: str) -> int:
        number = int(value)
        if number < least or (most is not None and number > most):
            raise ValueError(f"{value} is out of range: {least} to {'any' if most is None else most}")
        return number

    return parse


def _size(least: int) -> Callable[[str], int]:
    return lambda value: _whole(least)(str(parse_size(value)))


def _seconds(value: str) -> float:
    return float(parse_duration(value)) if not _is_number(value) else float(value)


def _is_number(value: str) -> bool:
    return value.replace(".", "", 1).isdigit()


def _milliseconds(value: str) -> float:
    return float(value) / 1000


def _dataset(value: str) -> str:
    return Dataset.from_option(value).to_option()


def _consumer_type(value: str) -> str:
    kinds = {"polling": POLLING, "getrecords": POLLING, "efo": EFO, "subscribetoshard": EFO}
    if value.lower() not in kinds:
        raise ValueError(f"{value!r} is neither {POLLING} (GetRecords) nor {EFO} (SubscribeToShard)")
    return kinds[value.lower()]


def _glue_start(value: str) -> str:
    """Glue writes a moment without AT_TIMESTAMP."""
    return parse_start(f"AT_TIMESTAMP {value}" if value[:1].isdigit() else value)


def _ignored(value: str) -> None:
    del value


_PARSERS: Final[dict[str, Callable[[str], Any]]] = {
    "stream_name": _text,
    "read_log_path": _text,
    "region": _text,
    "endpoint_url": _text,
    "starting_position": parse_start,
    "drain_path": _text,
    "available_now": _flag,
    "until": parse_past,
    "fail_on_data_loss": _flag,
    "max_records_per_batch": _whole(1),
    "max_bytes_per_batch": _size(1),
    "max_records_per_shard": _whole(1),
    "max_bytes_per_shard": _size(1),
    "max_fetch_time": _seconds,
    "records_per_fetch": _whole(1, _MOST_RECORDS),
    "fetch_interval": _seconds,
    "bytes_per_second": _size(0),
    "probe_interval": _seconds,
    "max_tasks": _whole(1),
    "parallelism": _whole(0),
    "throttle_timeout": _seconds,
    "dataset": _dataset,
    "deaggregate": _flag,
    "consumer_type": _consumer_type,
    "consumer_name": _text,
    "deregister_consumer": _flag,
    "role_arn": _text,
    "role_external_id": _text,
    "role_session_name": _text,
    "sts_endpoint_url": _text,
    "use_fips_endpoint": _flag,
    "use_dualstack": _flag,
}
# EMR's names (lower case) -> ours and how the value is written there; None: accepted, there is nothing to set here.
_ALIASES: Final[dict[str, tuple[str | None, Callable[[str], Any]]]] = {
    "kinesis.streamname": ("stream_name", _text),
    "kinesis.region": ("region", _text),
    "kinesis.endpointurl": ("endpoint_url", _text),
    "kinesis.startingposition": ("starting_position", parse_start),
    "kinesis.failondataloss": ("fail_on_data_loss", _flag),
    "kinesis.maxfetchrecordspershard": ("max_records_per_shard", _whole(1)),
    "kinesis.maxfetchtimepershardsec": ("max_fetch_time", _seconds),
    "kinesis.getrecords.numberofrecordsperfetch": ("records_per_fetch", _whole(1, _MOST_RECORDS)),
    "kinesis.getrecords.fetchintervalms": ("fetch_interval", _milliseconds),
    "kinesis.consumertype": ("consumer_type", _consumer_type),
    "kinesis.consumername": ("consumer_name", _text),
    "kinesis.stsrolearn": ("role_arn", _text),
    "kinesis.stssessionname": ("role_session_name", _text),
    "kinesis.stsendpointurl": ("sts_endpoint_url", _text),
    "kinesis.describeshardinterval": (None, _ignored),  # children come with a shard's last answer, nothing is polled
}
# Glue's names (its API, KinesisStreamingSourceOptions; lower case), as above.
_GLUE_ALIASES: Final[dict[str, tuple[str | None, Callable[[str], Any]]]] = {
    "streamname": ("stream_name", _text),
    "streamarn": ("stream_name", _text),
    "endpointurl": ("endpoint_url", _text),
    "startingposition": ("starting_position", _glue_start),
    "failondataloss": ("fail_on_data_loss", _flag),
    "maxfetchrecordspershard": ("max_records_per_shard", _whole(1)),
    "maxfetchtimeinms": ("max_fetch_time", _milliseconds),
    "maxrecordperread": ("records_per_fetch", _whole(1, _MOST_RECORDS)),
    "idletimebetweenreadsinms": ("fetch_interval", _milliseconds),
    "awsstsrolearn": ("role_arn", _text),
    "awsstssessionname": ("role_session_name", _text),
    "describeshardinterval": (None, _ignored),
    "avoidemptybatches": (None, _ignored),  # there are none
}
# Those that mean something else, and what there is instead.
_GLUE_ONLY: Final = {
    "addidletimebetweenreads": "calls are spaced always; set fetch_interval, which 0 switches off",
    "addrecordtimestamp": "the column approximate_arrival_timestamp is always there",
    "emitconsumerlagmetrics": "the lag is in the query's progress; docs/kinesis.md, Lag",
    "fanoutconsumerarn": "set consumer_type=efo and consumer_name: a consumer of that name is used, or registered",
    "numretries": "calls are tried again for throttle_timeout",
    "retryintervalms": "calls are tried again for throttle_timeout",
    "maxretryintervalms": "calls are tried again for throttle_timeout",
    "classification": "records are not parsed: the column data has the exact text; kinesis-py-decoded takes a dataset",
}
_REQUIRED: Final = {
    "stream_name": "name the stream",
    "read_log_path": "name a folder or S3 prefix next to the query's checkpoint; what each batch read is kept there, so "
    "it must live exactly as long as the checkpoint",
}


def parse_options(options: Mapping[str, str], *, decoded: bool) -> KinesisOptions:
    """The options of one stream reader. Raises ConfigError with everything that is wrong or unknown."""
    problems: list[Problem] = []
    values: dict[str, Any] = {}
    for name, text in options.items():
        key = name.lower()
        if not key.startswith(_STORAGE):
            _take(key, name, text, values, problems)
    required = _REQUIRED | ({"dataset": "give Dataset.to_option()"} if decoded else {})
    problems += [Problem(_PLACE, name, why) for name, why in required.items() if name not in values]
    if values.get("consumer_type") == EFO and "consumer_name" not in values:
        problems.append(Problem(_PLACE, "consumer_name", "name the consumer; each query needs one of its own"))
    if "role_arn" not in values:
        needless = [name for name in ("role_external_id", "sts_endpoint_url") if name in values]
        problems += [Problem(_PLACE, name, "belongs to role_arn, which is not given") for name in needless]
    if "dataset" in values and not decoded:
        problems.append(Problem(_PLACE, "dataset", "is for the format kinesis-py-decoded"))
    if problems:
        raise ConfigError(problems)
    storage = {name.lower(): text for name, text in options.items()}
    return KinesisOptions(storage=StorageOptions.from_options(storage), **values)


def _take(key: str, name: str, text: str, values: dict[str, Any], problems: list[Problem]) -> None:
    target, parse = (_ALIASES | _GLUE_ALIASES).get(key, (key, _PARSERS.get(key)))
    if key in _GLUE_ONLY:
        problems.append(Problem(_PLACE, name, f"is Glue's and means nothing here: {_GLUE_ONLY[key]}"))
    elif parse is None:
        problems.append(Problem(_PLACE, name, f"is unknown; known are {', '.join(sorted(_PARSERS))}"))
    elif target in values:
        problems.append(Problem(_PLACE, name, f"is given twice, as {target} and by another name"))
    else:
        try:
            value = parse(text)
        except (ValueError, TypeError) as error:
            problems.append(Problem(_PLACE, name, str(error)))
            value = None  # known to be given, so that it is not also called missing
        if target is not None:
            values[target] = value


def kinesis_options(
    config: KinesisConfig,
    read_log_uri: str,
    storage: StorageOptions,
    *,
    dataset: Dataset | None = None,
    start_positions: str = "",
    drain_path: str = "",
    available_now: bool = False,
    until: str = "",
    parallelism: int = 0,
) -> dict[str, str]:
    """Options for `spark.readStream.format(...).options(**options)`, as our configuration says.

    `read_log_uri` is the folder that holds `read_log/`, so usually the source's checkpoint folder. With a `dataset`
    they are for `kinesis-py-decoded`, else for `kinesis-py`. `start_positions` (JSON text) takes the place of the
    configuration's `start`.
    """
    ours: dict[str, Any] = {
        "stream_name": config.stream,
        "region": config.region,
        "endpoint_url": config.endpoint_url,
        "starting_position": start_positions or config.start,
        "read_log_path": read_log_uri,
        "drain_path": drain_path,
        "available_now": str(available_now).lower(),
        "until": until,
        "parallelism": parallelism,
        "dataset": dataset.to_option() if dataset else "",
    }
    known = {field.name for field in fields(KinesisOptions)}
    limits = {name: value for name, value in config.model_dump().items() if name in known and name not in ours}
    given = {name: str(value) for name, value in {**limits, **ours}.items() if value != ""}
    return given | storage.to_options()
