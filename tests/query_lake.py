"""A small lake made by pyarrow with the tables' own schemas: rows whose answers can be worked out by hand."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from streaming_app.schema import Dataset
from streaming_app.sink.layout import DEAD_LETTER_SCHEMA, clean_schema

ORDERS = (  # input_source, order_date, order_id, city, item, quantity, amount, order_ts
    ("stream", "2026-03-01", "o1", "Jakarta", "Tea", 1, "10.00", datetime(2026, 3, 1, 9, 30, tzinfo=UTC)),
    ("stream", "2026-03-01", "o2", "Bandung", "Café", 2, "20.50", datetime(2026, 3, 1, 9, 59, 59, 999999, tzinfo=UTC)),
    ("batch", "2026-03-02", "o3", "Jakarta", "Tea", 3, "4.50", datetime(2026, 3, 2, 23, tzinfo=UTC)),
    ("batch", "1969-12-31", "o4", None, "Tea", 1, "1.00", datetime(1969, 12, 31, 23, 59, 59, 1, tzinfo=UTC)),
)


def write_orders(root: Path, dataset: Dataset) -> None:
    """`ORDERS`, a file each; beside them a file that is still being written."""
    for source, day, order, city, item, quantity, amount, moment in ORDERS:
        row = {"order_id": order, "city": city, "item": item, "quantity": quantity, "order_ts": moment}
        row |= {"amount": Decimal(amount), "source_position": order, "ingested_at": moment}
        folder = root / "clean" / f"input_source={source}" / f"order_date={day}"
        _write(folder / f"part-{order}.parquet", [row], clean_schema(dataset))
        (folder / ".part-staged.parquet.tmp").write_bytes(b"half a file")


def write_dead_letters(root: Path) -> None:
    """Three rows, one of them with two reasons."""
    found = [("a", ["city.in_set"]), ("b", ["city.in_set", "amount.positive"]), ("c", ["invalid_json"])]
    rows = [{"dead_letter_id": name, "stage": "rule", "reasons": reasons} for name, reasons in found]
    rows[2]["stage"] = "decode"
    _write(root / "dead_letter/input_source=stream/dead_date=2026-03-01/part-1.parquet", rows, DEAD_LETTER_SCHEMA)


def _write(file: Path, rows: list[dict[str, Any]], schema: pa.Schema) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), file)
