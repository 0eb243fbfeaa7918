"""Repairs: a Spark SQL expression for a column, or for the raw text before it is decoded.

    --set "amount=replace(amount, ',', '.')"
    --set "raw=decode(raw_bytes, 'ISO-8859-1')"

Expressions see the row as it was decoded: every column of the dataset as a string, `raw` (string, null where the bytes
are no UTF-8), `raw_bytes` (binary) and `source_position`. They change what is judged again, never the dead letter.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any, Final

from streaming_app.config.documents import Refused, read_document
from streaming_app.errors import ConfigError
from streaming_app.schema import Dataset, Judged

RAW: Final = Judged.RAW.value
RAW_BYTES: Final = "raw_bytes"


def parse_repair(assignments: Sequence[str], file: str | None, dataset: Dataset) -> dict[str, str]:
    """Column to expression. `--set` wins over the file. Raises ConfigError for unknown columns and empty expressions."""
    repair = _from_file(file) if file else {}
    for assignment in assignments:
        column, equals, expression = assignment.partition("=")
        if not equals:
            raise ConfigError(f"--set {assignment!r} names no expression; write COLUMN=EXPRESSION")
        repair[column.strip()] = expression
    for column, expression in repair.items():
        _require_column(column, dataset)
        if not expression.strip():
            raise ConfigError(f"the repair of {column} is empty; write a Spark SQL expression, '' is an empty text")
    return repair


def _from_file(file: str) -> dict[str, str]:
    try:
        document: Any = read_document(file)
    except Refused as refused:
        raise ConfigError(refused.problems) from None
    if not isinstance(document, Mapping) or not all(isinstance(value, str) for value in document.values()):
        raise ConfigError(f'{file} is no mapping of columns to expressions; write lines such as  amount: "abs(amount)"')
    return dict(document)


def _require_column(column: str, dataset: Dataset) -> None:
    known = (*dataset.column_names, RAW)
    if column in known:
        return
    if "." in column:
        raise ConfigError(
            f"--set {column}: a replay's --set repairs a column; to override the configuration use --override {column}=..."
        )
    near = difflib.get_close_matches(column, known, n=1)
    meant = f"did you mean {near[0]}?" if near else f"it has {', '.join(known)}"
    raise ConfigError(f"--set {column}: dataset {dataset.name} has no such column; {meant}")
