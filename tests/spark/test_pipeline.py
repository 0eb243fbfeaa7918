"""Decoded rows to judged rows: every row comes out once, typed and clean or with all its reasons."""

from __future__ import annotations

from base64 import b64encode
from datetime import UTC, date, datetime
from decimal import Decimal

import pyarrow as pa
import pytest

from streaming_app.casting import cast_sql
from streaming_app.decode.json_events import JsonDecoder
from streaming_app.pipeline import RowRule, process, process_keyed
from streaming_app.quality import Severity, Suite
from streaming_app.schema import Column, Decoded, Deduplicate
from streaming_app.streams import row_rules

pytestmark = pytest.mark.spark
ARRIVED = datetime(2026, 3, 1, tzinfo=UTC)
RULES = (
    RowRule("order_id.not_null", "order_id IS NULL", ("order_id",)),
    RowRule("amount.positive", "coalesce(amount <= 0, false)", ("amount",)),
    RowRule("amount.not_null", "amount IS NULL", ("amount",)),
    RowRule("city.in_set", "coalesce(NOT city IN ('Jakarta', 'Medan'), false)", ("city",)),
)
GOOD = b'{"order_id":"o1","city":"Medan","quantity":2,"amount":12.5,"order_ts":"2026-03-01T23:30:00Z"}'


def judged(spark, dataset, events: list[bytes], rules=RULES):
    arrays = JsonDecoder(dataset).decode(events)
    arrays += [
        pa.array([f"s:{n}" for n in range(len(events))]),
        pa.array([ARRIVED] * len(events), pa.timestamp("us", tz="UTC")),
    ]
    names = [*dataset.column_names, *Decoded]
    decoded = spark.createDataFrame(pa.Table.from_arrays(arrays, names=[str(name) for name in names]))
    rows = process(decoded, dataset, rules).collect()
    return sorted((row.asDict() for row in rows), key=lambda row: int(row["source_position"][2:]))


def test_good_row_is_typed_and_keeps_no_raw_text(spark, orders):
    (row,) = judged(spark, orders, [GOOD])
    assert (row["stage"], row["reasons"], row["raw"]) == (None, None, None)
    assert row["amount"] == Decimal("12.50")
    assert row["quantity"] == 2
    assert row["order_date"] == date(2026, 3, 1)


def test_row_says_which_rules_with_a_condition_and_a_limit_looked_at_it(spark, orders):
    document = {
        "type": "expect_column_values_to_be_between",
        "kwargs": {
            "column": "amount",
            "min_value": 0,
            "mostly": 0.9,
            "row_condition": {"type": "nullity", "column": {"name": "item"}, "is_null": True},
        },
    }
    suite = Suite.parse({"name": "s", "expectations": [document]}, "f", orders)
    with_item = GOOD.replace(b'"city"', b'"item":"tea","city"')
    uncast, negative = GOOD.replace(b"12.5", b'"x"'), GOOD.replace(b"12.5", b"-1")
    empty = GOOD.replace(b"12.5", b"null")
    events = [GOOD, negative, with_item, uncast, b"no event", empty]
    found = judged(spark, orders, events, row_rules(suite, orders))
    assert [row["quality_looked_at"] for row in found] == [["amount.between"], ["amount.between"], [], [], [], []]
    assert found[1]["reasons"] == ["amount.between"]
    assert "quality_looked_at" not in judged(spark, orders, events)[0]


def test_partition_date_is_the_day_in_the_dataset_time_zone(spark, orders):
    (row,) = judged(spark, orders.model_copy(update={"time_zone": "Asia/Jakarta"}), [GOOD])
    assert row["order_date"] == date(2026, 3, 2)


def test_value_that_does_not_cast_is_named_and_the_row_keeps_its_exact_text(spark, orders):
    event = GOOD.replace(b"12.5", b'"12.345"')
    (row,) = judged(spark, orders, [event])
    assert (row["stage"], row["reasons"]) == ("cast", ["amount.cast"])
    assert (row["raw"], row["raw_encoding"]) == (event.decode(), "utf-8")


def test_row_fails_with_all_its_reasons(spark, orders):
    event = GOOD.replace(b'"o1"', b"null").replace(b"12.5", b"-1").replace(b"Medan", b"Atlantis")
    (row,) = judged(spark, orders, [event])
    assert (row["stage"], sorted(row["reasons"])) == ("rule", ["amount.positive", "city.in_set", "order_id.not_null"])


def test_cast_failure_hides_rules_about_that_value_but_no_others(spark, orders):
    event = GOOD.replace(b"12.5", b'"abc"').replace(b"Medan", b"Atlantis")
    (row,) = judged(spark, orders, [event])
    assert (row["stage"], row["reasons"]) == ("cast", ["amount.cast", "city.in_set"])


NOTED = (
    *RULES,
    RowRule("item.not_null", "item IS NULL", ("item",), Severity.WARNING),
    RowRule("quantity.small", "coalesce(quantity > 10, false)", ("quantity",), Severity.WARNING),
    RowRule("quantity.not_null", "quantity IS NULL", ("quantity",), Severity.INFO),
)


def test_warning_marks_a_row_and_keeps_it(spark, orders):
    many = GOOD.replace(b'"quantity":2', b'"quantity":99')
    one, other = judged(spark, orders, [many, GOOD.replace(b"{", b'{"item":"Latte",', 1)], NOTED)
    assert (one["stage"], one["quality_warnings"]) == (None, ["item.not_null", "quantity.small"])
    assert (other["stage"], other["quality_warnings"], other["quality_infos"]) == (None, None, None)


def test_info_only_tells_and_a_dead_letter_is_told_of_too(spark, orders):
    event = GOOD.replace(b'"quantity":2,', b"").replace(b"Medan", b"Atlantis")
    (row,) = judged(spark, orders, [event], NOTED)
    assert (row["stage"], row["reasons"]) == ("rule", ["city.in_set"])
    assert (row["quality_warnings"], row["quality_infos"]) == (["item.not_null"], ["quantity.not_null"])


def test_no_warning_is_about_a_value_that_did_not_cast_or_a_row_that_could_not_be_read(spark, orders):
    event = GOOD.replace(b'"quantity":2', b'"quantity":"two"')
    cast, unreadable = judged(spark, orders, [event, b"nonsense"], NOTED)
    assert (cast["reasons"], cast["quality_warnings"], cast["quality_infos"]) == (
        ["quantity.cast"],
        ["item.not_null"],
        None,
    )
    assert (unreadable["stage"], unreadable["quality_warnings"], unreadable["quality_infos"]) == ("decode", None, None)


def keyed(spark, dataset, events: list[bytes], tasks: int = 3):
    """Rows by order number, each with the task that it comes to."""
    arrays = JsonDecoder(dataset).decode(events)
    arrays += [
        pa.array([f"s:{n}" for n in range(len(events))]),
        pa.array([ARRIVED] * len(events), pa.timestamp("us", tz="UTC")),
    ]
    names = [*dataset.column_names, *Decoded]
    decoded = spark.createDataFrame(pa.Table.from_arrays(arrays, names=[str(name) for name in names]))
    rows = process_keyed(decoded, dataset, RULES, tasks).selectExpr("*", "spark_partition_id() AS task").collect()
    return sorted((row.asDict() for row in rows), key=lambda row: int(row["source_position"][2:]))


def test_equal_keys_come_to_one_task_with_their_raw_text(spark, orders):
    events = [GOOD.replace(b'"o1"', b'"o%d"' % (number % 20)) for number in range(60)]
    rows = keyed(spark, orders, events)
    by_key = {}
    for row in rows:
        by_key.setdefault(row["order_id"], set()).add((row["__key_hash"], row["__key_check"], row["task"]))
    assert {len(found) for found in by_key.values()} == {1}
    assert len({found for each in by_key.values() for found in each}) == 20
    assert {row["task"] for row in rows} == {0, 1, 2}
    assert [row["raw"] for row in rows] == [event.decode() for event in events]


def test_dead_rows_and_rows_without_a_key_have_no_hash_and_are_spread(spark, orders):
    nameless = GOOD.replace(b'"o1"', b"null")
    rows = keyed(spark, orders, [nameless, *[GOOD.replace(b"Medan", b"Atlantis")] * 40])
    assert {(row["__key_hash"], row["__key_check"]) for row in rows} == {(None, None)}
    assert {row["task"] for row in rows} == {0, 1, 2}


def test_a_key_of_several_columns_is_not_their_texts_side_by_side(spark, orders):
    dataset = orders.model_copy(update={"deduplicate": Deduplicate(keys=("order_id", "item"), within=1.0)})
    event = GOOD.replace(b"{", b'{"item":"%s",', 1)
    one, other, same = keyed(
        spark, dataset, [event.replace(b"%s", b"1x"), event.replace(b'"o1"', b'"o11"').replace(b"%s", b"x"), event.replace(b"%s", b"1x")]
    )  # fmt: skip
    assert one["__key_hash"] != other["__key_hash"]
    assert (one["__key_hash"], one["__key_check"]) == (same["__key_hash"], same["__key_check"])


def test_judging_stays_one_compiled_stage(spark, orders):
    texts = ", ".join(f"CAST(id AS STRING) AS {name}" for name in orders.column_names)
    decoded = spark.range(3).selectExpr(
        *texts.split(", "),
        "CAST(NULL AS STRING) AS rescued_data",
        "CAST(NULL AS STRING) AS decode_error",
        "CAST('x' AS BINARY) AS raw",
        "'s:1' AS source_position",
        "current_timestamp() AS arrived_at",
    )
    plan = process(decoded, orders, NOTED)._jdf.queryExecution().executedPlan()
    assert plan.getClass().getSimpleName() == "WholeStageCodegenExec"
    assert "HigherOrderFunction" not in plan.toString()
    plain = process(decoded, orders, RULES)
    assert not {"quality_warnings", "quality_infos"} & set(plain.columns)


def test_unreadable_bytes_are_kept_as_base64(spark, orders):
    (row,) = judged(spark, orders, [b"\xff\xfe{"])
    assert (row["stage"], row["reasons"], row["raw"], row["raw_encoding"]) == ("decode", ["not_utf8"], "//57", "base64")


def test_long_unreadable_bytes_are_one_line_of_base64(spark, orders):
    data = bytes([255]) * 200
    (row,) = judged(spark, orders, [data])
    assert row["raw"] == b64encode(data).decode()


def test_clean_row_must_have_a_partition_date_even_when_no_rule_asks_for_one(spark, orders):
    (row,) = judged(spark, orders, [GOOD.replace(b'"2026-03-01T23:30:00Z"', b"null")])
    assert (row["stage"], row["reasons"]) == ("rule", ["order_ts.missing"])


def test_as_many_rows_come_out_as_went_in(spark, orders):
    events = [GOOD, b"", b"[]", b"nonsense", GOOD.replace(b"Medan", b"X")] * 50
    rows = judged(spark, orders, events)
    assert len(rows) == len(events)
    assert sum(row["stage"] is None for row in rows) == 50


TEXTS = {
    "decimal(10,2)": {
        "12": Decimal("12.00"),
        "12.5": Decimal("12.50"),
        "12.50": Decimal("12.50"),
        "12.500": Decimal("12.50"),
        "-0.01": Decimal("-0.01"),
        " 7 ": Decimal("7.00"),
        "99999999.99": Decimal("99999999.99"),
        "0012.1": Decimal("12.10"),
        "12.345": None,
        "100000000": None,
        "1e2": None,
        "abc": None,
        "": None,
        "12.3.4": None,
        "NaN": None,
        "1,5": None,
        "1.50000000000000000000000000000000000000000001": None,
    },
    "int": {"7": 7, "-3": -3, "2147483648": None, "1.5": None, "x": None, "": None},
    "boolean": {"true": True, "False": False, "1": None, "yes": None},
    "date": {"2026-03-01": date(2026, 3, 1), "2026-3-1": None, "2026": None, "2026-02-30": None, "today": None},
    "timestamp": {
        "2026-03-01T10:00:00Z": datetime(2026, 3, 1, 10),
        "2026-03-01T10:00:00": datetime(2026, 3, 1, 10),
        "2026-03-01 10:00": datetime(2026, 3, 1, 10),
        "2026-03-01T10:00:00.123456Z": datetime(2026, 3, 1, 10, 0, 0, 123456),
        "2026-03-01T10:00:00+07:00": datetime(2026, 3, 1, 3),
        "2026-03-01T10:00:00+0700": datetime(2026, 3, 1, 3),
        "2026-03-01T10:00:00-03": datetime(2026, 3, 1, 13),
        "1772359200": datetime(2026, 3, 1, 10),
        "1772359200.5": datetime(2026, 3, 1, 10, 0, 0, 500000),
        "1772359200123": datetime(2026, 3, 1, 10, 0, 0, 123000),
        "not-a-date": None,
        "2026-13-45T99:99:99Z": None,
        "": None,
        "yesterday": None,
        "2026": None,
        "2026-03-01": None,
        "10:00:00": None,
        "12": None,
        "now": None,
        "2026-03-01T10:00:00 Europe/Berlin": None,
    },
}


@pytest.mark.parametrize("sql_type", TEXTS)
def test_text_is_exactly_a_value_of_its_type_or_null(spark, sql_type):
    cases = TEXTS[sql_type]
    texts = spark.createDataFrame([(text,) for text in cases], "text string")
    rows = texts.selectExpr("text", f"{cast_sql(Column(name='c', type=sql_type), 'text')} AS value").collect()
    assert {row.text: _naive(row.value) for row in rows} == cases


def _naive(value):
    """collect() gives timestamps in the machine's own zone."""
    return value.astimezone(UTC).replace(tzinfo=None) if isinstance(value, datetime) else value
