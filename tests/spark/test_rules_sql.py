"""The SQL that rules compile to, run by Spark: hostile text stays text, and no verdict is ever null."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from streaming_app.config.documents import read_document
from streaming_app.quality import Suite, compile_rule, sql
from streaming_app.schema import Column, Dataset

pytestmark = pytest.mark.spark

SHIPPED = Path(__file__).resolve().parents[2] / "conf/expectations/orders.yaml"
HOSTILE = [
    "'",
    '"',
    "`",
    "\\",
    "\\\\",
    "\\'",
    "\\n",
    "\\u0041",
    "\\101",
    "\\%\\_",
    "\n\r\t\x00\x1a\x08",
    "${spark.app.name}",
    "$${x}",
    "$",
    "#{x}",
    "'); DROP TABLE t; --",
    "' OR '1'='1",
    "/* */ -- #",
    "ß é e\u0301 日本 😀 \u2028\u2029\x85\xa0\u200b\ufeff\x7f",
    ":name ? {x} %s",
    "x" * 5000,
    "",
]
GOOD: dict[str, Any] = {
    "order_id": "ORD-1",
    "customer_id": None,
    "store_id": "S1",
    "city": "Jakarta",
    "item": None,
    "quantity": 1,
    "amount": Decimal("0.01"),
    "payment_method": "qris",
    "order_ts": dt.datetime(2020, 1, 1, tzinfo=dt.UTC),
}
DDL = (
    "order_id string, customer_id string, store_id string, city string, item string, quantity int, "
    "amount decimal(10,2), payment_method string, order_ts timestamp"
)


def test_any_text_comes_back_from_its_literal_as_it_was(spark) -> None:
    # spark.sql() replaces ${...} in the whole statement, inside quotes too, unless it is written otherwise.
    row = spark.sql("SELECT " + ", ".join(f"{sql.text(value)} AS v{at}" for at, value in enumerate(HOSTILE))).first()
    assert list(row) == HOSTILE
    frame = spark.range(1).selectExpr(*(sql.text(value) for value in HOSTILE))
    assert list(frame.first()) == HOSTILE


def test_any_name_is_an_identifier(spark) -> None:
    names = ["a`b", "select", "a b", "a.b", "``", "$x", "ä"]
    frame = spark.createDataFrame([tuple(range(len(names)))], names)
    assert list(frame.selectExpr(*(sql.identifier(name) for name in names)).first()) == list(range(len(names)))


@pytest.mark.parametrize("verb", ["be_in_set", "not_be_in_set"])
def test_a_hostile_member_is_found_among_hostile_members(spark, orders, verb: str) -> None:
    document = {"type": f"expect_column_values_to_{verb}", "kwargs": {"column": "item", "value_set": HOSTILE}}
    (rule,) = Suite.parse({"name": "s", "expectations": [document]}, "f", orders).rules
    frame = spark.createDataFrame([(value,) for value in [*HOSTILE, "innocent"]], "item string")
    verdicts = [row[0] for row in frame.coalesce(1).selectExpr(compile_rule(rule, orders)).collect()]
    member = verb == "not_be_in_set"
    assert verdicts == [member] * len(HOSTILE) + [not member]


@pytest.mark.parametrize(
    ("type_", "value", "equal", "other"),
    [
        ("int", 2**31 - 1, 2**31 - 1, 0),
        ("int", -(2**31), -(2**31), 0),
        ("int", 2**40, None, 2**31 - 1),
        ("bigint", 2**63 - 1, 2**63 - 1, 2**63 - 2),
        ("bigint", -(2**63), -(2**63), -(2**63) + 1),
        ("bigint", 2**53 + 1, 2**53 + 1, 2**53),
        ("decimal(10,2)", 0.1, Decimal("0.10"), Decimal("0.11")),
        ("decimal(38,2)", 12345678901234567890, Decimal("12345678901234567890.00"), Decimal("12345678901234567890.01")),
        ("decimal(10,2)", -5, Decimal("-5.00"), Decimal("5.00")),
        ("double", 0.1, 0.1, 0.30000000000000004),
        ("double", 1e300, 1e300, 1e299),
        ("double", 5, 5.0, 5.5),
        ("date", "2020-02-29", dt.date(2020, 2, 29), dt.date(2020, 3, 1)),
        ("date", "0001-01-01", dt.date(1, 1, 1), dt.date(1, 1, 2)),
        (
            "timestamp",
            "2020-01-01T07:00:00.000001+07:00",
            dt.datetime(2020, 1, 1, 0, 0, 0, 1, dt.UTC),
            dt.datetime(2020, 1, 1, tzinfo=dt.UTC),
        ),
        ("timestamp", "2020-01-01", dt.datetime(2020, 1, 1, tzinfo=dt.UTC), dt.datetime(2020, 1, 1, 7, tzinfo=dt.UTC)),
        ("boolean", True, True, False),
    ],
)
def test_a_literal_equals_the_column_s_own_value_and_no_other(spark, type_, value, equal, other) -> None:
    column = Column(name="c", type=type_)
    frame = spark.createDataFrame([(equal,), (other,)], f"c {type_}").coalesce(1)
    verdicts = [row[0] for row in frame.selectExpr(f"c = {sql.literal(column, value).sql}").collect()]
    assert verdicts == [True if equal is not None else None, False]


def reject(spark, orders: Dataset, row: dict[str, Any]) -> set[str]:
    suite = Suite.parse(read_document(SHIPPED), str(SHIPPED), orders)
    frame = spark.createDataFrame([tuple(row.values())], DDL)
    verdicts = list(frame.selectExpr(*(compile_rule(rule, orders) for rule in suite.row_rules)).first())
    assert None not in verdicts
    return {rule.id for rule, failed in zip(suite.row_rules, verdicts, strict=True) if failed}


@pytest.mark.parametrize(
    ("change", "reasons"),
    [
        ({}, set()),
        ({"quantity": 100, "order_ts": dt.datetime(2035, 1, 1, tzinfo=dt.UTC)}, set()),
        (
            dict.fromkeys(GOOD),
            {"order_id.not_null", "store_id.not_null", "city.not_null", "amount.not_null", "order_ts.not_null"},
        ),
        ({"order_id": ""}, {"order_id.length"}),
        ({"order_id": "x" * 65}, {"order_id.length"}),
        ({"order_id": "a b"}, {"order_id.format"}),
        ({"order_id": "ORD-1\n"}, {"order_id.format"}),
        ({"city": "jakarta"}, {"city.in_set"}),
        ({"city": "Jakarta "}, {"city.in_set"}),
        ({"quantity": 0}, {"quantity.between"}),
        ({"quantity": 101}, {"quantity.between"}),
        ({"amount": Decimal("0.00")}, {"amount.positive"}),
        ({"amount": Decimal("-1.00"), "payment_method": "iou"}, {"amount.positive", "payment_method.in_set"}),
        ({"order_ts": dt.datetime(2019, 12, 31, 23, 59, 59, 999999, dt.UTC)}, {"order_ts.sane"}),
        ({"order_ts": dt.datetime(2035, 1, 1, 0, 0, 0, 1, dt.UTC)}, {"order_ts.sane"}),
    ],
)
def test_the_shipped_rules_reject_a_row_with_all_its_reasons(spark, orders, change, reasons) -> None:
    assert reject(spark, orders, {**GOOD, **change}) == reasons


def test_an_overflowing_sum_fails_its_rule_and_not_the_query(spark) -> None:
    columns = (
        Column(name="a", type="decimal(38,0)"),
        Column(name="b", type="decimal(38,0)"),
        Column(name="t", type="timestamp"),
    )
    dataset = Dataset(name="d", columns=columns, time_column="t")
    document = {"type": "expect_multicolumn_sum_to_equal", "kwargs": {"column_list": ["a", "b"], "sum_total": 3}}
    (rule,) = Suite.parse({"name": "s", "expectations": [document]}, "f", dataset).rules
    large = Decimal("9" * 38)
    frame = spark.createDataFrame(
        [(large, large), (Decimal(1), Decimal(2))], "a decimal(38,0), b decimal(38,0)"
    ).coalesce(1)
    assert [row[0] for row in frame.selectExpr(compile_rule(rule, dataset)).collect()] == [True, False]
