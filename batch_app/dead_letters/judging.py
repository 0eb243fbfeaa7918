"""Dead letters through the pipeline again: decoded by their first decoder, repaired, cast and judged on Spark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

import pyarrow as pa
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession

from batch_app.dead_letters.decoding import RowDecoders, raw_bytes
from batch_app.dead_letters.repair import RAW, RAW_BYTES
from streaming_app.errors import ConfigError, IngestError
from streaming_app.pipeline import RowRule, process
from streaming_app.schema import Dataset, Decoded, InputSource, Judged

_PLACE: Final = "__place"


class Judge(Protocol):
    """Judges rows by today's rules."""

    def judge(self, rows: pa.Table, source: InputSource) -> pa.Table:
        """Dead letters of one source to rows of the judged layout, one for each, in any order."""
        ...


class SparkJudge:
    """The pipeline of the stream on rows at hand. Memory: a few times the rows, in the driver."""

    def __init__(
        self,
        spark: SparkSession,
        dataset: Dataset,
        rules: Sequence[RowRule],
        decoders: RowDecoders,
        repair: Mapping[str, str],
    ) -> None:
        self._spark, self._dataset, self._rules, self._decoders = spark, dataset, rules, decoders
        self._raw = repair.get(RAW)
        self._columns = {column: expression for column, expression in repair.items() if column != RAW}

    def judge(self, rows: pa.Table, source: InputSource) -> pa.Table:
        """See `Judge`. Raises ConfigError for a repair that Spark cannot run."""
        raws = self._raws(rows)
        decoded = self._decoders.decode_raws(raws, rows, source)
        try:
            frame = self._repaired(self._spark.createDataFrame(decoded))
            return process(frame, self._dataset, self._rules).toArrow()
        except PySparkException as error:
            raise self._explained(error) from error

    def _raws(self, rows: pa.Table) -> list[bytes]:
        """The rows' bytes, after the repair of the raw text if there is one."""
        texts, encodings = (rows.column(name).to_pylist() for name in (Judged.RAW.value, Judged.RAW_ENCODING.value))
        raws = [raw_bytes(text, encoding) for text, encoding in zip(texts, encodings, strict=True)]
        if self._raw is None:
            return raws
        frame = self._spark.createDataFrame(
            pa.table(
                {
                    _PLACE: pa.array(range(len(raws)), pa.int64()),
                    RAW: pa.array([_text(raw) for raw in raws], pa.string()),
                    RAW_BYTES: pa.array(raws, pa.binary()),
                    Decoded.POSITION.value: rows.column(Decoded.POSITION.value).cast(pa.string()),
                }
            )
        )
        try:
            repaired = frame.selectExpr(_PLACE, f"CAST(({self._raw}) AS BINARY) AS {RAW}").toArrow()
        except PySparkException as error:
            raise ConfigError(f"the repair of raw cannot be run: {_first_line(error)}") from error
        found = dict(zip(repaired.column(_PLACE).to_pylist(), repaired.column(RAW).to_pylist(), strict=True))
        return [raw if found[place] is None else bytes(found[place]) for place, raw in enumerate(raws)]

    def _repaired(self, decoded: DataFrame) -> DataFrame:
        if not self._columns:
            return decoded
        text = decoded.selectExpr(
            *(f"`{name}`" for name in decoded.columns if name != RAW),
            f"{RAW} AS {RAW_BYTES}",
            f"CASE WHEN is_valid_utf8(CAST({RAW} AS STRING)) THEN CAST({RAW} AS STRING) END AS {RAW}",
        )
        for column, expression in self._columns.items():
            try:
                text.selectExpr(f"CAST(({expression}) AS STRING)")
            except PySparkException as error:
                raise ConfigError(f"the repair of {column} cannot be run: {_first_line(error)}") from error
        changed = [
            f"CAST(({self._columns[name]}) AS STRING) AS `{name}`" if name in self._columns else f"`{name}`"
            for name in self._dataset.column_names
        ]
        added = [f"{RAW_BYTES} AS {RAW}" if name == Decoded.RAW else str(name) for name in Decoded]
        return text.selectExpr(*changed, *added)

    def _explained(self, error: PySparkException) -> IngestError:
        if self._columns:
            return ConfigError(
                f"a repair failed on a row: {_first_line(error)}; try_cast and try_divide give null instead"
            )
        return IngestError(f"Spark could not judge the rows: {_first_line(error)}")


def _text(raw: bytes) -> str | None:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return None


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
