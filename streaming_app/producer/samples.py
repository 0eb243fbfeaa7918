"""Sample CSV uploads: `orders.csv`, all good, and `bad_orders.csv`, with each kind of fault among good rows."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import cycle, islice
from pathlib import Path
from random import Random
from typing import Any, Final

from streaming_app.errors import ConfigError
from streaming_app.producer.events import (
    BAD_AMOUNTS,
    BAD_TIMESTAMPS,
    PLAIN,
    UNKNOWN_CITIES,
    UNKNOWN_PAYMENTS,
    Verdict,
)
from streaming_app.producer.orders import Order, Pace, orders
from streaming_app.schema import Stage

GOOD_FILE: Final = "orders.csv"
BAD_FILE: Final = "bad_orders.csv"
SAMPLE_START: Final = datetime(2026, 3, 2, tzinfo=UTC)  # a Monday: the same seed gives the same files on any day
SAMPLE_PACE: Final = Pace(7 * 86400 / 300, daily_peaks=True)  # 300 orders are about a week
GOOD_ROWS: Final = 300
BAD_FILE_ROWS: Final = 120
FAULT_EVERY: Final = 3  # in bad_orders.csv every third row is of a kind other than plain

Fields = dict[str, Any]


@dataclass(frozen=True)
class CsvKind:
    """How an order's row is changed, and the stage that should reject it (None: it is clean)."""

    encode: Callable[[Order, Random], bytes]
    rejected_at: Stage | None = None

    @property
    def verdict(self) -> Verdict:
        """What should become of rows of this kind."""
        return Verdict.DEAD if self.rejected_at else Verdict.CLEAN


@dataclass(frozen=True)
class SampleRow:
    """One record of a sample file: its exact bytes without the line end, its kind, and what should become of it."""

    raw: bytes
    kind: str
    verdict: Verdict
    order: Order


@dataclass(frozen=True)
class SampleReport:
    """The two files and how many rows of each kind each holds."""

    good_file: Path
    bad_file: Path
    good_rows: int
    bad_file_clean: int
    bad_file_dead: int
    bad_file_by_kind: dict[str, int]


def _fields(order: Order) -> Fields:
    return order.fields() | {"amount": order.amount}


def _line(values: Iterable[Any]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue().removesuffix("\n")


def _row(fields: Fields) -> bytes:
    return _line(fields.values()).encode()


def _with(field: str, *values: Any) -> Callable[[Order, Random], bytes]:
    return lambda order, rng: _row(_fields(order) | {field: rng.choice(values)})


def _item_with(remark: str) -> Callable[[Order, Random], bytes]:
    return lambda order, _: _row(_fields(order) | {"item": order.item + remark})


def _plain(order: Order, _: Random) -> bytes:
    return _row(_fields(order))


def _negative_amount(order: Order, _: Random) -> bytes:
    return _row(_fields(order) | {"amount": f"-{order.amount}"})


def _too_many_decimals(order: Order, rng: Random) -> bytes:
    return _row(_fields(order) | {"amount": f"{order.amount}{rng.randint(1, 9)}"})


def _too_few_fields(order: Order, _: Random) -> bytes:
    return _line(list(_fields(order).values())[:-2]).encode()


def _too_many_fields(order: Order, _: Random) -> bytes:
    return _line([*_fields(order).values(), "to go"]).encode()


def _latin_1(order: Order, _: Random) -> bytes:
    return _line((_fields(order) | {"item": "Café au lait"}).values()).encode("latin-1")


CSV_KINDS: Final[dict[str, CsvKind]] = {
    PLAIN: CsvKind(_plain),
    "quoted_comma": CsvKind(_item_with(", to go")),
    "quoted_newline": CsvKind(_item_with("\nno sugar")),
    "quoted_quote": CsvKind(_item_with(' "as always"')),
    "missing_order_id": CsvKind(_with("order_id", ""), Stage.RULE),
    "amount_text": CsvKind(_with("amount", *BAD_AMOUNTS), Stage.CAST),
    "too_many_decimals": CsvKind(_too_many_decimals, Stage.CAST),
    "negative_amount": CsvKind(_negative_amount, Stage.RULE),
    "quantity_zero": CsvKind(_with("quantity", "0"), Stage.RULE),
    "unknown_city": CsvKind(_with("city", *UNKNOWN_CITIES), Stage.RULE),
    "unknown_payment_method": CsvKind(_with("payment_method", *UNKNOWN_PAYMENTS), Stage.RULE),
    "bad_timestamp": CsvKind(_with("order_ts", *BAD_TIMESTAMPS), Stage.CAST),
    "too_few_fields": CsvKind(_too_few_fields, Stage.DECODE),
    "too_many_fields": CsvKind(_too_many_fields, Stage.DECODE),
    "not_utf8": CsvKind(_latin_1, Stage.DECODE),
}


def sample_rows(seed: int, count: int, *, start: datetime = SAMPLE_START, faults: bool = False) -> Iterator[SampleRow]:
    """Rows in order of time; with `faults` every third is of another kind, all kinds in turn.

    The same arguments give the same bytes.
    """
    kinds = cycle(CSV_KINDS) if faults else cycle([PLAIN])
    for number, (order, rng) in enumerate(islice(orders(seed, start, SAMPLE_PACE), count)):
        kind = next(kinds) if number % FAULT_EVERY == 0 else PLAIN
        yield SampleRow(CSV_KINDS[kind].encode(order, rng), kind, CSV_KINDS[kind].verdict, order)


def write_samples(
    folder: Path,
    seed: int = 7,
    *,
    start: datetime = SAMPLE_START,
    good_rows: int = GOOD_ROWS,
    bad_file_rows: int = BAD_FILE_ROWS,
) -> SampleReport:
    """Write both files into `folder`, which is made when it is not there; each appears whole, under its name at once.

    The order ids of the two files differ. Raises ConfigError when the folder cannot be written.
    """
    bad = list(sample_rows(seed + 1, bad_file_rows, start=start, faults=True))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder / GOOD_FILE, sample_rows(seed, good_rows, start=start))
        _write(folder / BAD_FILE, bad)
    except OSError as error:
        raise ConfigError(f"cannot write sample files into {folder}: {error.strerror or error}") from error
    dead = sum(row.verdict is Verdict.DEAD for row in bad)
    by_kind = dict(sorted(Counter(row.kind for row in bad).items()))
    return SampleReport(folder / GOOD_FILE, folder / BAD_FILE, good_rows, len(bad) - dead, dead, by_kind)


def _write(path: Path, rows: Iterable[SampleRow]) -> None:
    """Under a temporary name first, which no source reads, so that nobody sees half a file."""
    header = ",".join(_header()).encode()
    hidden = path.with_name(f".{path.name}.tmp")
    hidden.write_bytes(b"".join(line + b"\n" for line in (header, *(row.raw for row in rows))))
    hidden.replace(path)


def _header() -> list[str]:
    order, _ = next(orders(0, SAMPLE_START, SAMPLE_PACE))
    return list(order.fields())
