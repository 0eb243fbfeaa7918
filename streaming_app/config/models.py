"""The configuration as frozen, typed models. What a key means stands in its description, which the docs are made from.

Durations are written `500ms`, `30s`, `10m`, `2h`, `7d` or plain seconds; sizes `64MiB`, `1GiB` or plain bytes.
A key without a value (`region:` and nothing after it) is as good as absent. Times and sizes from environment
variables arrive as text and mean the same.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from streaming_app.config.contradictions import refuse_contradictions
from streaming_app.config.positions import StartPositions, refuse_future
from streaming_app.schema import InputSource
from streaming_app.storage import StorageOptions, is_s3
from streaming_app.units import parse_duration, parse_size

Seconds = Annotated[float, BeforeValidator(parse_duration), Field(ge=0, allow_inf_nan=False)]
Bytes = Annotated[int, BeforeValidator(parse_size), Field(gt=0)]
Count = Annotated[int, Field(gt=0)]


def parse_past(value: str) -> str:
    """A moment that lies in the past, in UTC and ISO 8601. Raises ValueError for any other text."""
    try:
        parsed = datetime.fromisoformat(str(value).strip())
    except ValueError:
        raise ValueError(f"{value!r} is no ISO 8601 time; write for example 2026-03-01T00:00:00Z") from None
    moment = (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).astimezone(UTC)
    if moment > datetime.now(UTC):
        raise ValueError(f"{value} lies in the future: what arrives until then is not there yet")
    return moment.isoformat().replace("+00:00", "Z")


def parse_start(value: Any) -> str:
    """A start in its canonical form: LATEST, TRIM_HORIZON, `AT_TIMESTAMP 2026-03-01T00:00:00Z`, or positions as JSON text.

    Positions per shard (config/positions.py) may be given as JSON text or as a mapping. Raises ValueError, also for a
    moment in the future.
    """
    if isinstance(value, Mapping):
        return StartPositions.from_json(value).to_text()
    if str(value).lstrip().startswith("{"):
        return StartPositions.from_text(str(value)).to_text()
    kind, _, moment = str(value).strip().partition(" ")
    kind = {"EARLIEST": "TRIM_HORIZON"}.get(kind.upper(), kind.upper())
    if kind in {"LATEST", "TRIM_HORIZON"} and not moment:
        return kind
    if kind == "AT_TIMESTAMP" and moment:
        try:
            parsed = datetime.fromisoformat(moment.strip())
        except ValueError:
            raise ValueError(f"{moment!r} is no ISO 8601 time; write for example 2026-03-01T00:00:00Z") from None
        aware = parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
        refuse_future(aware)
        return f"AT_TIMESTAMP {aware.astimezone(UTC).isoformat().replace('+00:00', 'Z')}"
    raise ValueError(
        f"{value!r} is no starting position; use LATEST, TRIM_HORIZON or AT_TIMESTAMP 2026-03-01T00:00:00Z, or positions"
        " per shard as JSON"
    )


_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")  # S3's bucket naming rules
_QUEUE: Final = re.compile(r"https?://[^\s/@]+/\d{12}/[A-Za-z0-9_-]{1,80}")  # of a standard queue
_ENDPOINT: Final = re.compile(r"https?://[^\s/]+\S*")
_TOPIC: Final = re.compile(r"arn:[a-z0-9-]+:sns:[a-z0-9-]+:\d{12}:[A-Za-z0-9_-]{1,256}")  # standard topics
_DATABASE: Final = re.compile(r"[a-z0-9_]{0,255}")  # Glue's and Athena's names
_STREAM_ARN: Final = re.compile(r"arn:aws[a-z-]*:kinesis:[a-z0-9-]+:\d{12}:stream/[A-Za-z0-9_.-]{1,128}")
_ROLE: Final = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]{1,512}")
_LOG_GROUP: Final = re.compile(r"[A-Za-z0-9_/.#-]{1,512}")  # CreateLogGroup's logGroupName
_SESSION: Final = re.compile(r"[\w+=,.@-]{2,64}")  # AssumeRole's RoleSessionName
_STREAM: Final = re.compile(r"[A-Za-z0-9_.-]{0,128}")  # CreateStream's StreamName


def parse_place(value: str) -> str:
    """A folder or `s3://bucket/prefix` (s3a:// too), as given. Raises ValueError for anything else; empty is kept."""
    if value != value.strip() or "\0" in value:
        raise ValueError("a folder or S3 prefix has no blanks around it")
    scheme, found, rest = value.partition("://")
    if found and scheme not in {"s3", "s3a", "file"}:
        raise ValueError(f"{scheme}:// is not supported; use a folder or s3://bucket/prefix")
    if is_s3(value) and not _BUCKET.fullmatch(rest.partition("/")[0]):
        raise ValueError("names no S3 bucket; write s3://bucket/prefix (is a variable in it empty?)")
    if scheme == "file" and found and not rest.startswith("/"):
        raise ValueError("write file:// with a whole path, for example file:///data/lake")
    return value


def parse_endpoint(value: str) -> str:
    """An http or https address; empty is kept. Raises ValueError without repeating it: it may hold a password."""
    if value and not _ENDPOINT.fullmatch(value):
        raise ValueError("is no address; write for example https://kinesis.eu-west-1.amazonaws.com")
    return value


def _queue_url(value: str) -> str:
    if value and not _QUEUE.fullmatch(value):
        raise ValueError(
            f"{value!r} is no URL of a standard queue; write for example https://sqs.eu-west-1.amazonaws.com/123456789012/uploads"
        )
    return value


def _webhook(value: str) -> str:
    """Raises ValueError without repeating it: whoever knows the address can write there."""
    if value and not _ENDPOINT.fullmatch(value):
        raise ValueError("is no http or https address")
    return value


def _topic(value: str) -> str:
    if value and not _TOPIC.fullmatch(value):
        raise ValueError(
            f"{value!r} is no ARN of a standard topic; write for example arn:aws:sns:eu-west-1:123456789012:alerts"
        )
    return value


def _log_group(value: str) -> str:
    if value and not _LOG_GROUP.fullmatch(value):
        raise ValueError("a log group's name is letters, digits, _ - / . and #, 512 at most")
    return value


def _role_arn(value: str) -> str:
    if value and not _ROLE.fullmatch(value):
        raise ValueError("is no role's ARN; write arn:aws:iam::123456789012:role/NAME")
    return value


def _session_name(value: str) -> str:
    if value and not _SESSION.fullmatch(value):
        raise ValueError("a session's name is 2 to 64 letters, digits, and _ + = , . @ -")
    return value


def _stream_name(value: str) -> str:
    if not _STREAM.fullmatch(value) and not _STREAM_ARN.fullmatch(value):
        raise ValueError(
            "a stream's name is letters, digits, _ . and -, 128 at most; its ARN is arn:aws:kinesis:REGION:ACCOUNT:stream/NAME"
        )
    return value


def _database(value: str) -> str:
    if not _DATABASE.fullmatch(value):
        raise ValueError("is no database's name: small letters, digits and _, 255 at most")
    return value


def _consumer(value: str) -> str:
    if not _STREAM.fullmatch(value):
        raise ValueError("a consumer's name is letters, digits, _ . and -, 128 at most")
    return value


def _delimiter(value: str) -> str:
    if value in '"\r\n\0':
        raise ValueError("a delimiter cannot be a quote or the end of a line")
    return value


def _suffixes(value: tuple[str, ...]) -> tuple[str, ...]:
    if not value or not all(suffix.strip() for suffix in value):
        raise ValueError("name at least one suffix, none empty: an empty one would match files still being uploaded")
    return value


def _setting(value: Any) -> Any:
    """Spark's settings are text; YAML reads `true` and `8` as something else."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) else value


Place = Annotated[str, AfterValidator(parse_place)]
Endpoint = Annotated[str, AfterValidator(parse_endpoint)]


class Model(BaseModel):
    """Frozen, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _absent(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        return {name: value for name, value in data.items() if value is not None or name not in cls.model_fields}


class S3Config(Model):
    """How to reach S3. Credentials always come from boto3's default chain (environment, profile, role)."""

    endpoint_url: Endpoint = Field(
        "", description="Another endpoint than AWS's own, for example a VPC endpoint or moto."
    )
    region: str = Field("", description="Region; empty takes boto3's default.")
    path_style: bool = Field(
        False, description="Bucket in the path and not in the host name, as most emulators want it."
    )
    sse_kms_key_id: str = Field(
        "", description="Encrypt what is written with this KMS key; empty takes the bucket's default."
    )
    requester_pays: bool = Field(False, description="Pay for reading from somebody else's requester-pays bucket.")

    def storage_options(self) -> StorageOptions:
        """The same as the storage layer takes it."""
        return StorageOptions(**self.model_dump())


class LakeConfig(Model):
    """Where the lake is."""

    root: Annotated[Place, Field(min_length=1)] = Field(description="A folder, or s3://bucket/prefix.")
    checkpoints: Place = Field("", description="Where checkpoints go; empty is `checkpoints/` below the root.")
    s3: S3Config = S3Config()

    def checkpoint_root(self) -> str:
        """Where the checkpoints of all sources are."""
        return self.checkpoints or f"{self.root.rstrip('/')}/checkpoints"


class KinesisConfig(Model):
    """The Kinesis source. Limits are per micro-batch; Kinesis's own per shard are kept by a limiter (facts: 5 reads/s, 2 MiB/s)."""

    enabled: bool = True
    connector: Literal["python", "glue", "aws-kinesis"] = Field(
        "python",
        description="Who reads: our own source, AWS Glue's or EMR's. Only the first reads each record exactly once.",
    )
    stream: Annotated[str, AfterValidator(_stream_name)] = Field(
        "", description="Name of the stream, or its ARN, which another account's stream is read by."
    )
    region: str = Field("", description="Region; empty takes the ARN's, or boto3's default.")
    endpoint_url: Endpoint = Field("", description="Another endpoint than AWS's own, for example a VPC endpoint.")
    role_arn: Annotated[str, AfterValidator(_role_arn)] = Field(
        "",
        description="Read as this role, assumed through STS and renewed before it expires; empty: boto3's default chain.",
    )
    role_external_id: str = Field("", description="The external id that the role's trust policy asks for.")
    role_session_name: Annotated[str, AfterValidator(_session_name)] = Field(
        "", description="How the session is called in the other account's CloudTrail; empty: qsr-ingest."
    )
    sts_endpoint_url: Endpoint = Field("", description="Another STS endpoint than AWS's own.")
    use_fips_endpoint: bool = Field(False, description="Use AWS's FIPS endpoint of the region.")
    use_dualstack: bool = Field(False, description="Use AWS's dual-stack (IPv6) endpoint of the region.")
    start: Annotated[str, BeforeValidator(parse_start)] = Field(
        "TRIM_HORIZON",
        description="Where a new checkpoint begins: LATEST, TRIM_HORIZON (or EARLIEST), AT_TIMESTAMP 2026-03-01T00:00:00Z, or"
        " positions per shard as `positions` prints them.",
    )
    start_positions: str = Field(
        "",
        description="File with positions per shard, relative to this file, as `positions` prints it; used in place of `start`.",
    )
    max_records_per_batch: Count = Field(
        1_000_000, description="Records of one micro-batch at most, an equal share for each shard."
    )
    max_bytes_per_batch: Bytes = Field(
        1 << 30,
        description="Bytes of one micro-batch at most, an equal share for each shard (an answer may go over it).",
    )
    max_records_per_shard: Count = Field(100_000, description="Records a shard gives to one micro-batch at most.")
    max_bytes_per_shard: Bytes = Field(64 << 20, description="Bytes a shard gives to one micro-batch at most.")
    max_fetch_time: Seconds = Field(10.0, description="How long one micro-batch reads a shard at most.")
    records_per_fetch: Annotated[int, Field(gt=0, le=10_000)] = Field(
        10_000, description="Limit of one GetRecords call."
    )
    fetch_interval: Seconds = Field(
        0.2, description="Least time between two calls on one shard (5 a second are allowed)."
    )
    bytes_per_second: Annotated[int, BeforeValidator(parse_size), Field(ge=0)] = Field(
        2 << 20, description="Most that is read of one shard in a second; 0 does not limit."
    )
    max_tasks: Count = Field(
        16, description="Spark tasks that read one micro-batch at most; shards are spread over them."
    )
    throttle_timeout: Seconds = Field(300.0, description="How long one shard may be throttled before the read fails.")
    fail_on_data_loss: bool = Field(
        True,
        description="Stop when Kinesis expired records before they were read; false goes on with the oldest and warns.",
    )
    consumer_type: Literal["polling", "efo"] = Field(
        "polling",
        description="polling: GetRecords, whose limits all readers of the stream share. efo: enhanced fan-out, 2 MiB/s a shard "
        "for this service alone, which AWS charges for.",
    )
    consumer_name: Annotated[str, AfterValidator(_consumer)] = Field(
        "", description="efo: the registered consumer, made if there is none of this name. One for each service."
    )
    deregister_consumer: bool = Field(
        False,
        description="efo: remove the consumer at a graceful stop and after a bounded run; its charges end with it.",
    )
    deaggregate: bool = Field(
        True,
        description="Take records apart that the Kinesis Producer Library aggregated; false delivers each as one record.",
    )


class CsvConfig(Model):
    """The CSV source: files below one folder or S3 prefix."""

    enabled: bool = True
    path: Place = Field("", description="Where uploads arrive; empty is `raw/` below the lake's root.")
    delimiter: Annotated[str, Field(min_length=1, max_length=1), AfterValidator(_delimiter)] = ","
    suffixes: Annotated[tuple[str, ...], AfterValidator(_suffixes)] = Field(
        (".csv", ".csv.gz"), description="Names that end so are read; all others are ignored."
    )
    discovery: Literal["list", "sqs"] = Field(
        "list",
        description="How uploads are found: list lists the prefix between two micro-batches; sqs takes S3's event notifications, for "
        "prefixes that hold very many objects (docs/s3.md).",
    )
    queue_url: Annotated[str, AfterValidator(_queue_url)] = Field(
        "",
        description="The SQS queue with S3's events of these uploads, and of nothing else; this source must be its only reader.",
    )
    reconcile_every: Annotated[Seconds, Field(gt=0)] = Field(
        3600.0,
        description="With sqs everything is listed so often all the same, and at each start: events can be missing.",
    )
    settle: Seconds = Field(
        2.0, description="A local file is read once its size stayed the same for so long. S3 objects are whole."
    )
    max_files_per_batch: Count = 100
    max_bytes_per_batch: Bytes = 1 << 30
    max_record_bytes: Bytes = Field(
        1 << 20, description="A longer record is a dead letter (an unclosed quote, usually)."
    )
    after_commit: Literal["leave", "archive", "delete"] = "leave"
    on_change: Literal["report", "reread"] = Field(
        "report",
        description="A path that was read before and now holds something else: one dead letter says so, or all its rows are "
        "read as new ones.",
    )
    archive_path: Place = Field(
        "", description="Where `archive` moves files; empty is `archive/` below the lake's root."
    )
    max_tasks: Count = Field(16, description="Spark tasks that read one micro-batch at most.")


class SourcesConfig(Model):
    """The inputs; each runs as its own streaming query."""

    kinesis: KinesisConfig = KinesisConfig(enabled=False)
    csv: CsvConfig = CsvConfig(enabled=False)


class SinkConfig(Model):
    """Parquet files of the lake."""

    format: Literal["parquet", "iceberg"] = Field(
        "parquet", description="iceberg: the same files, and a commit of the table for each batch (docs/iceberg.md)."
    )
    compression: Literal["zstd", "snappy", "gzip", "none"] = "zstd"
    row_group_bytes: Bytes = Field(64 << 20, description="Arrow bytes that are gathered before a row group is written.")
    target_file_bytes: Bytes = Field(
        256 << 20, description="A file is ended when it has grown so large, and another begun."
    )
    max_open_files: Count = Field(
        32, description="Partition values one task writes at the same time; the largest is ended for one more."
    )
    buffer_bytes: Bytes = Field(
        128 << 20, description="Arrow bytes one task holds back for all its open files together."
    )


class QualityConfig(Model):
    """The circuit breaker: when a micro-batch is too bad to be published, or bad enough to tell somebody.

    A rule's own limit is its `mostly` in the suite. A batch is judged by itself and, with `window_rows`, together with
    those before it.
    """

    on_breach: Literal["alert", "stop"] = Field(
        "alert",
        description="stop publishes nothing of the batch and ends the service with exit code 3. Rules below critical only alert.",
    )
    max_dead_ratio: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None = Field(
        None, description="Share of rows that may become dead letters; empty sets no limit."
    )
    min_rows: Count = Field(100, description="With fewer rows (for a rule: rows that it looks at) nothing is judged.")
    window_rows: Annotated[int, Field(ge=0)] = Field(
        0, description="Rows of the sliding window over batches, to a twentieth; 0 judges each batch by itself only."
    )
    reload_every: Seconds = Field(
        10.0, description="The suite's file is looked at so often, and taken over when it has changed; 0 never looks."
    )


class AlertsConfig(Model):
    """Whom to tell of breaches, failures, restarts and refused suites. All of it is in the log as well."""

    sns_topic_arn: Annotated[str, AfterValidator(_topic)] = Field("", description="Publish to this Amazon SNS topic.")
    sns_endpoint_url: Endpoint = Field("", description="Another endpoint than AWS's own.")
    webhook_url: Annotated[str, AfterValidator(_webhook)] = Field(
        "", description='POST Slack\'s {"text": ...} to this address. A secret: take it from the environment.'
    )
    repeat_after: Seconds = Field(900.0, description="The same alert of the same source is sent again after so long.")


class AthenaConfig(Model):
    """Amazon Athena, for `query --engine athena`. Credentials come from boto3's default chain."""

    database: str = Field("", description="The Glue database with the tables clean and dead_letter.")
    workgroup: Annotated[str, Field(min_length=1)] = Field("primary", description="Workgroup that runs the queries.")
    output: Place = Field("", description="s3://bucket/prefix for results; empty takes the workgroup's.")
    region: str = Field("", description="Region; empty takes boto3's default.")
    endpoint_url: Endpoint = Field("", description="Another endpoint than AWS's own.")
    usd_per_terabyte: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        5.0, description="Price of a terabyte scanned, for the cost that is printed."
    )


class CatalogConfig(Model):
    """The AWS Glue Data Catalog that Athena, Trino and Spark find the lake's tables in. Credentials: boto3's default chain."""

    type: Literal["none", "glue"] = Field(
        "none", description="glue: new partitions are registered as their first rows are committed."
    )
    database: Annotated[str, AfterValidator(_database)] = Field(
        "", description="The Glue database with clean and dead_letter; `catalog sync` makes it."
    )
    partitions: Literal["registered", "projection"] = Field(
        "registered",
        description="registered: they stand in Glue, and one can be moved in one call. projection: readers compute them.",
    )
    since: date = Field(date(2020, 1, 1), description="projection: the first day that readers look for.")
    region: str = Field("", description="Region; empty takes boto3's default.")
    endpoint_url: Endpoint = Field("", description="Another endpoint than AWS's own.")

    @property
    def moves_partitions(self) -> bool:
        """Whether a partition's location can be switched in one call."""
        return self.type == "glue" and self.partitions == "registered"


class IcebergConfig(Model):
    """The catalog of `sink.format: iceberg`. Credentials: boto3's default chain; of REST pyiceberg's own variables."""

    type: Literal["glue", "rest", "hadoop"] = Field(
        "glue",
        description="AWS Glue; a catalog that speaks Iceberg's REST interface; or hadoop: folders alone, no server.",
    )
    namespace: Annotated[str, AfterValidator(_database)] = Field(
        "",
        description="Namespace (Glue: database) with the tables clean and dead_letter; both are made when they are absent.",
    )
    uri: Endpoint = Field("", description="rest: where the catalog is.")
    warehouse: str = Field(
        "",
        description="rest: its name, where the catalog has several. hadoop: the folder; empty is iceberg/ in the lake.",
    )
    region: str = Field("", description="glue: region; empty takes boto3's default.")
    endpoint_url: Endpoint = Field("", description="glue: another endpoint than AWS's own.")

    def to_options(self) -> dict[str, str]:
        """As the sink's options have it."""
        return {name: str(value) for name, value in self.model_dump().items() if value}


class CloudWatchConfig(Model):
    """Figures to Amazon CloudWatch, where nothing scrapes; docs/metrics.md says what it costs and which permissions it needs."""

    enabled: bool = Field(False, description="Send metrics to CloudWatch.")
    format: Literal["put_metric_data", "emf"] = Field(
        "put_metric_data",
        description="By calls of PutMetricData, or as log lines in CloudWatch's embedded metric format.",
    )
    log_group: Annotated[str, AfterValidator(_log_group)] = Field(
        "",
        description="Where emf lines are put. Empty prints them on standard output, where the platform takes that to CloudWatch"
        " Logs line by line.",
    )
    namespace: Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[A-Za-z0-9._/#-][A-Za-z0-9._/# -]*$")] = (
        Field(
            "qsr-ingest", description="CloudWatch's namespace; one for each service that runs, else their figures mix."
        )
    )
    every: Annotated[float, BeforeValidator(parse_duration), Field(ge=1, allow_inf_nan=False)] = Field(
        60.0, description="How often; CloudWatch keeps one minute's resolution."
    )
    region: str = Field("", description="Region; empty takes boto3's default.")
    endpoint_url: Endpoint = Field("", description="Another endpoint than AWS's own.")


class PushgatewayConfig(Model):
    """All figures to a Prometheus Pushgateway, for runs that end before anybody could scrape them."""

    url: Endpoint = Field("", description="Its address; empty pushes nothing.")
    job: Annotated[str, Field(min_length=1)] = Field("qsr-ingest", description="The label `job` of what is pushed.")
    instance: str = Field("", description="The label `instance`; empty takes the machine's name.")
    every: Annotated[float, BeforeValidator(parse_duration), Field(ge=1, allow_inf_nan=False)] = Field(
        15.0, description="How often, besides once at the end."
    )
    user: str = Field("", description="Basic authentication, where the gateway asks for it.")
    password: str = Field("", description="From the environment.")


class OtlpConfig(Model):
    """All figures by OpenTelemetry's protocol (OTLP over HTTP). Needs `pip install qsr-ingest[otlp]`."""

    endpoint: Endpoint = Field(
        "", description="The whole address, for example http://127.0.0.1:4318/v1/metrics; empty sends nothing."
    )
    headers: dict[str, str] = Field(
        {}, description="Sent with each request, for example Authorization; values from the environment."
    )
    service_name: Annotated[str, Field(min_length=1)] = Field("qsr-ingest", description="OpenTelemetry's service.name.")
    every: Annotated[float, BeforeValidator(parse_duration), Field(ge=1, allow_inf_nan=False)] = Field(
        30.0, description="How often, besides once at the end."
    )


class MetricsConfig(Model):
    """Figures for Prometheus, whether the service is alive and ready, and a live page, over HTTP (docs/metrics.md)."""

    enabled: bool = Field(True, description="Serve /metrics, /healthz and /readyz, and the live page.")
    host: Annotated[str, Field(min_length=1)] = Field(
        "127.0.0.1",
        description="Address to listen on. 0.0.0.0 lets every machine that reaches this one ask: with the page that needs a"
        " token.",
    )
    page: bool = Field(True, description="Serve the live page at /, which shows rejected rows (docs/live-page.md).")
    token: str = Field(
        "",
        description="Whoever asks for anything but /healthz and /readyz must know it: as a bearer token, or as the password"
        " that the browser asks for. 16 characters or more, from the environment. Empty asks for none.",
    )
    port: Annotated[int, Field(ge=0, le=65_535)] = Field(0, description="0 takes a free port, which the log names.")
    stalled_after: Seconds = Field(
        600.0,
        description="Not ready once a source was silent for so long; more than the longest micro-batch takes.",
    )
    sample_every: Annotated[float, BeforeValidator(parse_duration), Field(ge=1, allow_inf_nan=False)] = Field(
        30.0, description="Memory, disks and half-way files are looked at so often; on S3 that takes requests."
    )
    cloudwatch: CloudWatchConfig = CloudWatchConfig()
    pushgateway: PushgatewayConfig = PushgatewayConfig()
    otlp: OtlpConfig = OtlpConfig()

    @property
    def wanted(self) -> bool:
        """Whether anybody comes for figures, or is sent them."""
        return bool(self.enabled or self.cloudwatch.enabled or self.pushgateway.url or self.otlp.endpoint)


class ServiceConfig(Model):
    """The long-running application."""

    trigger: Seconds = Field(1.0, description="A micro-batch begins so often, when there is something to read.")
    max_restarts: Annotated[int, Field(ge=0)] = Field(
        5, description="How often a failed source is started again, in a row."
    )
    restart_backoff: Seconds = Field(1.0, description="Wait before the first restart; doubles each time.")
    restart_backoff_max: Seconds = 60.0
    healthy_after: Seconds = Field(
        300.0, description="A source that ran so long without failing has its restarts forgiven."
    )
    stop_timeout: Seconds = Field(300.0, description="How long a graceful stop waits for the micro-batch under way.")


class SparkConfig(Model):
    """What spark-submit or a cluster does not decide."""

    master: str = Field(
        "", description="For example local[2,4]; empty leaves it to spark-submit. Plain local[N] never retries a task."
    )
    app_name: str = "qsr-ingest"
    conf: dict[str, Annotated[str, BeforeValidator(_setting)]] = Field(
        default_factory=dict, description="Any Spark setting, as it is."
    )


class LoggingConfig(Model):
    """Logs go to standard error."""

    format: Literal["auto", "json", "plain"] = Field("auto", description="auto: plain on a terminal, JSON otherwise.")
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    spark_level: Literal["INFO", "WARN", "ERROR", "OFF"] = "WARN"


class Config(Model):
    """One environment: everything a command needs to know."""

    dataset: str = Field(description="File of the dataset, relative to this file.")
    suite: str = Field(description="File of the Great Expectations suite, relative to this file, or s3://bucket/key.")
    lake: LakeConfig
    sources: SourcesConfig
    sink: SinkConfig = SinkConfig()
    quality: QualityConfig = QualityConfig()
    alerts: AlertsConfig = AlertsConfig()
    athena: AthenaConfig = AthenaConfig()
    catalog: CatalogConfig = CatalogConfig()
    iceberg: IcebergConfig = IcebergConfig()
    metrics: MetricsConfig = MetricsConfig()
    service: ServiceConfig = ServiceConfig()
    spark: SparkConfig = SparkConfig()
    logging: LoggingConfig = LoggingConfig()

    @model_validator(mode="after")
    def _agrees(self) -> Config:
        refuse_contradictions(self)
        return self

    def csv_path(self) -> str:
        """Where CSV uploads arrive."""
        return self.sources.csv.path or f"{self.lake.root.rstrip('/')}/raw"

    def archive_path(self) -> str:
        """Where committed CSV files are moved."""
        return self.sources.csv.archive_path or f"{self.lake.root.rstrip('/')}/archive"

    def on_s3(self) -> bool:
        """Whether any part of the lake is on S3, so that Spark needs S3A."""
        return is_s3(self.lake.root) or is_s3(self.lake.checkpoint_root())


class SourceName:
    """Names of the sources: of their checkpoint folder, query, scheduler pool and log lines."""

    KINESIS: Final = "kinesis"
    CSV: Final = "csv"
    INPUT_SOURCE: Final = {KINESIS: InputSource.STREAM, CSV: InputSource.BATCH}
