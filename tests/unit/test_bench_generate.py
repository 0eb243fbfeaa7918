"""The bench's input is what its manifest says, byte for byte the same each time."""

import csv
import hashlib
import json
from collections import Counter
from datetime import datetime
from decimal import Decimal

import pytest

from tests.bench import generate

ROWS, FILES = 6000, 3


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp("data")
    return out, generate.generate(out, ROWS, FILES)


def csv_rows(out):
    for path in sorted((out / "csv").iterdir()):
        with path.open(newline="", encoding="utf-8") as file:
            yield from csv.DictReader(file, strict=True)


def json_rows(out):
    for path in sorted((out / "ndjson").iterdir()):
        yield from map(json.loads, path.read_text().splitlines())


def decimal(text):
    whole, _, fraction = text.lstrip("-").partition(".")
    return Decimal(text) if whole.isdigit() and fraction.isdigit() and text.count("-") < 2 else None


def faults(row):
    """The reasons to reject a row, by the rules themselves and not by how the generator made it."""
    amount = decimal(str(row["amount"]))
    found = {
        "null_order_id": not row["order_id"],
        "bad_amount": amount is None,
        "nonpositive_amount": amount is not None and amount <= 0,
        "bad_city": row["city"] not in generate.CITIES,
        "bad_timestamp": not row["order_ts"].startswith("2026-03-0"),
    }
    return [reason for reason, is_so in found.items() if is_so]


@pytest.mark.parametrize("read", [csv_rows, json_rows])
def test_the_manifest_equals_what_is_in_the_files(made, read):
    out, manifest = made
    rows = list(read(out))
    reasons = [faults(row) for row in rows]
    good = [row for row, why in zip(rows, reasons, strict=True) if not why]
    assert max(map(len, reasons)) == 1
    assert (len(rows), len(good), len(rows) - len(good)) == (manifest["rows"], manifest["valid"], manifest["invalid"])
    assert Counter(why for row in reasons for why in row) == manifest["by_reason"]
    assert sum(Decimal(str(row["amount"])) for row in good) * 100 == manifest["valid_amount_cents"]
    assert Counter(row["order_ts"][:10] for row in good) == manifest["valid_per_day"]


def test_each_fault_has_its_share_and_every_good_value_is_good(made):
    out, manifest = made
    assert set(manifest["by_reason"]) == set(generate.REASONS)
    assert all(0.006 * ROWS < count < 0.014 * ROWS for count in manifest["by_reason"].values())
    for row in csv_rows(out):
        assert row["item"] in generate.ITEMS
        assert row["payment_method"] in generate.PAYMENTS
        assert 1 <= int(row["quantity"]) <= 8
        assert "bad_timestamp" in faults(row) or datetime.fromisoformat(row["order_ts"])


def test_csv_and_ndjson_hold_the_same_orders(made):
    out, _ = made
    for in_csv, in_json in zip(csv_rows(out), json_rows(out), strict=True):
        assert in_csv == {name: "" if value is None else str(value) for name, value in in_json.items()}


def test_order_ids_are_unique_across_files(made):
    ids = [row["order_id"] for row in csv_rows(made[0]) if row["order_id"]]
    assert len(set(ids)) == len(ids)


def test_the_manifest_counts_the_first_files_too(made):
    out, manifest = made
    rows = list(json_rows(out))[: 2 * ROWS // FILES]
    assert manifest["first_files"][1]["rows"] == len(rows)
    assert manifest["first_files"][1]["valid"] == sum(not faults(row) for row in rows)
    assert manifest["first_files"][-1] == {name: manifest[name] for name in manifest["first_files"][-1]}


def digests(out):
    return {str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest() for path in out.rglob("*.*")}


def test_the_same_arguments_give_the_same_bytes_and_another_seed_others(made, tmp_path):
    generate.generate(tmp_path / "again", ROWS, FILES)
    generate.generate(tmp_path / "other", ROWS, FILES, seed=1)
    assert digests(tmp_path / "again") == digests(made[0])
    assert not set(digests(tmp_path / "other").values()) & set(digests(made[0]).values())


def test_an_earlier_run_is_used_again_only_with_the_same_arguments(tmp_path):
    generate.generate(tmp_path, 100, 2)
    before = (tmp_path / "manifest.json").stat().st_mtime_ns
    generate.generated(tmp_path, 100, 2)
    assert (tmp_path / "manifest.json").stat().st_mtime_ns == before
    assert generate.generated(tmp_path, 200, 1)["rows"] == 200
    assert len(list((tmp_path / "csv").iterdir())) == 1


def test_rows_that_do_not_divide_into_the_files_are_refused(tmp_path):
    with pytest.raises(SystemExit, match="multiple"):
        generate.generate(tmp_path, 100, 3)
