"""The bench's input: N orders as CSV and as NDJSON, the same orders in both, and what must come of them.

    python -m tests.bench.generate --rows 5000000 --files 20 --out build/bench-data

Writes csv/orders-000.csv ..., ndjson/orders-000.ndjson ... and, last, manifest.json with the exact counts: rows, clean rows,
their sum of amounts and rows per day, rejected rows by reason. One percent of the rows has each of five faults, no row has
two. The same rows, files and seed give the same bytes. About 200 bytes a record.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

FORMAT: Final = 1  # changes when the same arguments give other bytes
SEED: Final = 20260301
DAYS: Final = 7
FIRST_SECOND: Final = np.datetime64("2026-03-01T00:00:00", "s")
CITIES: Final = ("Jakarta", "Bandung", "Surabaya", "Medan", "Semarang", "Makassar", "Denpasar", "Yogyakarta")
ITEMS: Final = (
    "Americano", "Latte", "Cappuccino", "Espresso", "Mocha", "Matcha Latte", "Croissant", "Bagel", "Cold Brew", "Flat White",
)  # fmt: skip
PAYMENTS: Final = ("cash", "credit_card", "debit_card", "e_wallet", "qris")
BAD_CITIES: Final = ("Atlantis", "Gotham", "El Dorado", "unknown")
BAD_TIMESTAMPS: Final = ("not-a-date", "2026-13-45T99:99:99Z", "", "yesterday")
BAD_AMOUNTS: Final = ("abc", "12.3.4", "N/A", "--5")
REASONS: Final = ("null_order_id", "bad_amount", "nonpositive_amount", "bad_city", "bad_timestamp")
NULL_ORDER_ID, BAD_AMOUNT, NONPOSITIVE_AMOUNT, BAD_CITY, BAD_TIMESTAMP = range(len(REASONS))
FAULT_SHARE: Final = 0.01  # of each reason
MAX_CENTS: Final = 500_000
COLUMNS: Final = (
    "order_id", "customer_id", "store_id", "city", "item", "quantity", "amount", "payment_method", "order_ts",
)  # fmt: skip

Strings = Any  # a pyarrow StringArray


@dataclass
class Expected:
    """What must come of the rows: counts, the sum of the clean amounts in hundredths, clean rows per day."""

    rows: int = 0
    valid: int = 0
    invalid: int = 0
    valid_amount_cents: int = 0
    by_reason: Counter[str] = field(default_factory=Counter)
    valid_per_day: Counter[str] = field(default_factory=Counter)

    def add(self, other: Expected) -> None:
        """Count the other's rows too."""
        self.rows += other.rows
        self.valid += other.valid
        self.invalid += other.invalid
        self.valid_amount_cents += other.valid_amount_cents
        self.by_reason.update(other.by_reason)
        self.valid_per_day.update(other.valid_per_day)

    def to_json(self) -> dict[str, Any]:
        """As a JSON object, days and reasons in order."""
        ordered = {name: dict(sorted(getattr(self, name).items())) for name in ("by_reason", "valid_per_day")}
        return asdict(self) | ordered


@dataclass(frozen=True)
class Part:
    """The rows of one file as numbers; `fault` is an index into REASONS, or -1."""

    index: Any
    fault: Any
    customer: Any
    store: Any
    city: Any
    item: Any
    quantity: Any
    cents: Any
    payment: Any
    millis: Any  # since FIRST_SECOND


def draw(seed: int, number: int, first: int, count: int) -> Part:
    """File `number`, its rows `first` to `first + count`; depends on nothing else."""
    rng = np.random.Generator(np.random.PCG64([seed, number]))
    chance = rng.random(count)
    fault = np.where(chance < FAULT_SHARE * len(REASONS), (chance / FAULT_SHARE).astype(np.int8), -1)
    cents = rng.integers(100, MAX_CENTS, count)
    return Part(
        index=np.arange(first, first + count),
        fault=fault,
        customer=rng.integers(1, 200_000, count),
        store=rng.integers(1, 500, count),
        city=rng.integers(0, len(CITIES), count),
        item=rng.integers(0, len(ITEMS), count),
        quantity=rng.integers(1, 9, count),
        cents=np.where(fault == NONPOSITIVE_AMOUNT, -(cents % 1000), cents),
        payment=rng.integers(0, len(PAYMENTS), count),
        millis=rng.integers(0, DAYS * 86_400_000, count),
    )


def expect(part: Part) -> Expected:
    """What must come of a part."""
    good = part.fault < 0
    days, per_day = np.unique(part.millis[good] // 86_400_000, return_counts=True)
    dates = [str((FIRST_SECOND + day * 86_400).astype("datetime64[D]")) for day in days]
    faults, counts = np.unique(part.fault[~good], return_counts=True)
    return Expected(
        rows=len(part.index),
        valid=int(good.sum()),
        invalid=int((~good).sum()),
        valid_amount_cents=int(part.cents[good].sum()),
        by_reason=Counter({REASONS[fault]: int(count) for fault, count in zip(faults, counts, strict=True)}),
        valid_per_day=Counter({date: int(count) for date, count in zip(dates, per_day, strict=True)}),
    )


@cache
def _numbered(pattern: str, count: int) -> Strings:
    return pa.array([pattern % number for number in range(count)])


@cache
def _amounts() -> Strings:
    return pa.array([repr(cents / 100) for cents in range(MAX_CENTS)])


@cache
def _seconds() -> Strings:
    return pa.array(np.datetime_as_string(FIRST_SECOND + np.arange(DAYS * 86_400)).tolist())


def _join(*parts: Any) -> Strings:
    return pc.binary_join_element_wise(*parts, "")


def _pick(fault: Any, code: int, bad: Strings, good: Strings) -> Strings:
    return pc.if_else(pa.array(fault == code), bad, good)


def _texts(part: Part) -> dict[str, Strings]:
    """Every column as text, faults included; a null order_id is empty here."""
    four = part.index % 4
    amount = _amounts().take(np.abs(part.cents))
    amount = _join(pc.if_else(pa.array(part.cents < 0), "-", ""), amount)
    order_id = _join(
        "ORD-",
        _numbered("%05d", 100_000).take(part.index // 100_000),
        _numbered("%05d", 100_000).take(part.index % 100_000),
    )
    order_ts = _join(_seconds().take(part.millis // 1000), _numbered(".%03dZ", 1000).take(part.millis % 1000))
    return {
        "order_id": _pick(part.fault, NULL_ORDER_ID, pa.scalar(""), order_id),
        "customer_id": _numbered("CUST-%06d", 200_000).take(part.customer),
        "store_id": _numbered("STORE-%03d", 500).take(part.store),
        "city": _pick(part.fault, BAD_CITY, pa.array(BAD_CITIES).take(four), pa.array(CITIES).take(part.city)),
        "item": pa.array(ITEMS).take(part.item),
        "quantity": _numbered("%d", 10).take(part.quantity),
        "amount": _pick(part.fault, BAD_AMOUNT, pa.array(BAD_AMOUNTS).take(four), amount),
        "payment_method": pa.array(PAYMENTS).take(part.payment),
        "order_ts": _pick(part.fault, BAD_TIMESTAMP, pa.array(BAD_TIMESTAMPS).take(four), order_ts),
    }  # fmt: skip


def _csv_lines(texts: dict[str, Strings]) -> Strings:
    commas = [piece for name in COLUMNS for piece in (texts[name], ",")]
    return _join(*commas[:-1], "\n")


def _json_lines(texts: dict[str, Strings], part: Part) -> Strings:
    """Text amounts are quoted, numbers are not; a null order_id is a JSON null."""
    quoted = {name: _join('"', texts[name], '"') for name in ("order_id", "amount")}
    values = texts | {
        "order_id": _pick(part.fault, NULL_ORDER_ID, pa.scalar("null"), quoted["order_id"]),
        "amount": _pick(part.fault, BAD_AMOUNT, quoted["amount"], texts["amount"]),
    }
    pieces: list[Any] = []
    for name in COLUMNS:
        mark = "" if name in {"order_id", "quantity", "amount"} else '"'
        pieces += [f'{"," if pieces else "{"}"{name}":{mark}', values[name], mark]
    return _join(*pieces, "}\n")


def _write_lines(path: Path, header: str, lines: Strings) -> None:
    """A string array's data buffer is its lines one after another: the file as it is."""
    with path.open("wb") as file:
        file.write(header.encode())
        file.write(lines.buffers()[2])


def generate(out: Path, rows: int, files: int, seed: int = SEED) -> dict[str, Any]:
    """Write the files and the manifest, and return that. `rows` is a multiple of `files`.

    The manifest's `first_files[k]` is what must come of the first k + 1 files.
    """
    if rows % files:
        raise SystemExit(f"{rows} rows do not divide into {files} files; give a multiple")
    (out / "manifest.json").unlink(missing_ok=True)
    for name in ("csv", "ndjson"):
        (out / name).mkdir(parents=True, exist_ok=True)
        _remove_files(out / name)
    total = Expected()
    after_each = []
    for number in range(files):
        total.add(_write_part(out, number, draw(seed, number, number * (rows // files), rows // files)))
        after_each.append(total.to_json())
    manifest = {"format": FORMAT, "seed": seed, "files": files, **total.to_json(), "first_files": after_each}
    (out / "manifest.json").write_text(json.dumps(manifest, indent=1))
    return manifest


def _remove_files(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def _write_part(out: Path, number: int, part: Part) -> Expected:
    texts = _texts(part)
    _write_lines(out / "csv" / f"orders-{number:03d}.csv", ",".join(COLUMNS) + "\n", _csv_lines(texts))
    _write_lines(out / "ndjson" / f"orders-{number:03d}.ndjson", "", _json_lines(texts, part))
    return expect(part)


def generated(out: Path, rows: int, files: int, seed: int = SEED) -> dict[str, Any]:
    """The manifest of an earlier run with the same arguments, or of one made now."""
    try:
        manifest: dict[str, Any] = json.loads((out / "manifest.json").read_text())
    except FileNotFoundError:
        return generate(out, rows, files, seed)
    same = (manifest["format"], manifest["seed"], manifest["rows"], manifest["files"]) == (FORMAT, seed, rows, files)
    return manifest if same else generate(out, rows, files, seed)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--files", type=int, default=20)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--out", type=Path, default=Path("build/bench-data"))
    arguments = parser.parse_args()
    began = time.monotonic()
    manifest = generate(arguments.out, arguments.rows, arguments.files, arguments.seed)
    shown = {name: value for name, value in manifest.items() if name != "first_files"}
    print(json.dumps(shown, indent=1))  # noqa: T201 - the command's answer
    print(f"{time.monotonic() - began:.1f} s")  # noqa: T201


if __name__ == "__main__":
    main()
