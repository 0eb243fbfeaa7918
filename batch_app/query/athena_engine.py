"""Athena: start a query, wait for it, read its rows; and what it scanned and cost.

Amazon Athena's documentation: GetQueryResults gives 1,000 rows a page, all values as text; the first row of a SELECT is
its header. On-demand queries are billed by bytes scanned, rounded up to a megabyte, 10 MB at least (price list: 5 USD a
terabyte in most regions).
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final

import boto3
import pyarrow as pa
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
)

from batch_app.query.answer import Answer
from streaming_app.config.models import AthenaConfig
from streaming_app.errors import ConfigError, IngestError, SinkError

_FIRST_WAIT: Final = 0.1  # seconds
_LONGEST_WAIT: Final = 2.0
_MEGABYTE: Final = 1 << 20
_LEAST_MEGABYTES: Final = 10
_MEGABYTES_A_TERABYTE: Final = 1 << 20
_RUNNING: Final = frozenset({"QUEUED", "RUNNING"})
_REFUSED: Final = frozenset({"InvalidRequestException", "ResourceNotFoundException", "MetadataException"})
_SETTINGS: Final = (NoCredentialsError, PartialCredentialsError, NoRegionError)
_DECIMAL: Final = re.compile(r"decimal(?:\((\d+),\s*(\d+)\))?")
_TYPES: Final = {
    "tinyint": (pa.int64(), int),
    "smallint": (pa.int64(), int),
    "integer": (pa.int64(), int),
    "int": (pa.int64(), int),
    "bigint": (pa.int64(), int),
    "double": (pa.float64(), float),
    "float": (pa.float64(), float),
    "real": (pa.float64(), float),
    "boolean": (pa.bool_(), lambda text: text == "true"),
    "date": (pa.date32(), date.fromisoformat),
    "timestamp": (pa.timestamp("us"), datetime.fromisoformat),
}


class Athena:
    """Asks Athena as the configuration says."""

    def __init__(self, config: AthenaConfig, wait: float = _FIRST_WAIT, client: Any = None) -> None:
        if not config.database:
            raise ConfigError(
                "athena.database: name the Glue database with clean and dead_letter, to use --engine athena"
            )
        self._config, self._wait = config, wait
        self._client = client or _connect(config)

    def ask(self, sql: str) -> Answer:
        """The answer to one statement. Raises ConfigError for SQL that Athena refuses, SinkError when it fails."""
        try:
            number = self._start(sql)
            execution = self._finished(number)
            pages = self._pages(number)
            first = next(pages)
        except (BotoCoreError, ClientError) as error:
            raise _explained(error) from error
        columns = first["ResultSet"]["ResultSetMetadata"]["ColumnInfo"]
        names = [column.get("Label") or column["Name"] for column in columns]
        kinds = [_kind(column) for column in columns]
        schema = pa.schema(list(zip(names, (kind for kind, _ in kinds), strict=True)))
        return Answer(schema, _batches(schema, kinds, first, pages), [cost(execution, self._config.usd_per_terabyte)])

    def _start(self, sql: str) -> str:
        more: dict[str, Any] = {}
        if self._config.output:
            more["ResultConfiguration"] = {"OutputLocation": self._config.output}
        answer = self._client.start_query_execution(
            QueryString=sql,
            QueryExecutionContext={"Database": self._config.database},
            WorkGroup=self._config.workgroup,
            **more,
        )
        return str(answer["QueryExecutionId"])

    def _finished(self, number: str) -> Mapping[str, Any]:
        """Waits; a Ctrl-C stops the query, which would go on costing money."""
        wait = self._wait
        try:
            while True:
                execution: dict[str, Any] = self._client.get_query_execution(QueryExecutionId=number)["QueryExecution"]
                status = execution["Status"]
                if status["State"] not in _RUNNING:
                    break
                time.sleep(wait)
                wait = min(2 * wait, _LONGEST_WAIT)
        except BaseException:
            with suppress(BotoCoreError, ClientError):
                self._client.stop_query_execution(QueryExecutionId=number)
            raise
        if status["State"] != "SUCCEEDED":
            raise _failed(status)
        return execution

    def _pages(self, number: str) -> Iterator[Mapping[str, Any]]:
        yield from self._client.get_paginator("get_query_results").paginate(QueryExecutionId=number)


def _connect(config: AthenaConfig) -> Any:
    retries: Any = {"mode": "standard", "total_max_attempts": 6}
    try:
        return boto3.session.Session().client(
            "athena",
            region_name=config.region or None,
            endpoint_url=config.endpoint_url or None,
            config=Config(retries=retries),
        )
    except (BotoCoreError, ValueError) as error:
        raise ConfigError(f"Athena cannot be reached: {error}") from error


def _explained(error: BotoCoreError | ClientError) -> IngestError:
    """Whether somebody has to mend something, or it passes."""
    name = str(error.response.get("Error", {}).get("Code", "")) if isinstance(error, ClientError) else ""
    if name in _REFUSED:
        return ConfigError(f"Athena has refused the query: {error}")
    if name == "AccessDeniedException":
        return SinkError(
            f"Athena denies access; the role needs athena:StartQueryExecution, GetQueryExecution, GetQueryResults and"
            f" StopQueryExecution on the workgroup: {error}"
        )
    if isinstance(error, _SETTINGS):
        return ConfigError(f"Athena cannot be reached: {error}; set AWS_PROFILE or AWS's variables, and athena.region")
    return SinkError(f"Athena: {error}; run the query again")


def _failed(status: Mapping[str, Any]) -> IngestError:
    why = status.get("StateChangeReason") or "no reason was given"
    ours = status.get("AthenaError", {}).get("ErrorCategory") == 2  # noqa: PLR2004 - Athena's API: 2 is the user's
    made = ConfigError if ours or "line " in why else SinkError
    return made(f"Athena could not run the query ({status['State'].lower()}): {why}")


def cost(execution: Mapping[str, Any], usd_per_terabyte: float) -> str:
    """What a query scanned, in words, and what that costs on demand."""
    statistics = execution.get("Statistics", {})
    scanned = int(statistics.get("DataScannedInBytes", 0))
    seconds = int(statistics.get("TotalExecutionTimeInMillis", 0)) / 1000
    usd = billed_megabytes(scanned) / _MEGABYTES_A_TERABYTE * usd_per_terabyte
    return f"Athena scanned {scanned:,} bytes in {seconds:.1f} s; about {usd:.6f} USD"


def billed_megabytes(scanned: int) -> int:
    """Megabytes that Athena bills for bytes scanned; a query that scans nothing is free."""
    return max(_LEAST_MEGABYTES, -(-scanned // _MEGABYTE)) if scanned else 0


def _kind(column: Mapping[str, Any]) -> tuple[pa.DataType, Any]:
    name = column["Type"].lower()
    if _DECIMAL.fullmatch(name):
        match = _DECIMAL.fullmatch(name)
        precision = int((match and match[1]) or column.get("Precision") or 38)
        scale = int((match and match[2]) or column.get("Scale") or 0)
        return pa.decimal128(precision, scale), Decimal
    return _TYPES.get(name, (pa.string(), str))


def _batches(
    schema: pa.Schema, kinds: Sequence[tuple[pa.DataType, Any]], first: Mapping[str, Any], pages: Any
) -> Iterator[pa.RecordBatch]:
    rows = first["ResultSet"]["Rows"]
    if rows and [item.get("VarCharValue") for item in rows[0]["Data"]] == schema.names:
        rows = rows[1:]
    yield _batch(schema, kinds, rows)
    try:
        for page in pages:
            yield _batch(schema, kinds, page["ResultSet"]["Rows"])
    except (BotoCoreError, ClientError) as error:
        raise SinkError(f"Athena's answer broke off: {error}") from error


def _batch(
    schema: pa.Schema, kinds: Sequence[tuple[pa.DataType, Any]], rows: Sequence[Mapping[str, Any]]
) -> pa.RecordBatch:
    texts = [[item.get("VarCharValue") for item in row["Data"]] for row in rows]
    columns = [
        pa.array([None if row[place] is None else parse(row[place]) for row in texts], kind)
        for place, (kind, parse) in enumerate(kinds)
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)
