"""Parsing a suite: rules with stable ids, and every fault with its place in the file."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from streaming_app.config.documents import parse_document, read_document
from streaming_app.errors import ConfigError
from streaming_app.quality import Severity, Suite, compile_rule, looked_at_sql, rules_problems
from streaming_app.quality.gate import EXPECTATIONS, UNUSABLE
from streaming_app.quality.rules import ROW_LEVEL
from streaming_app.thresholds import RuleLimit

SHIPPED = Path(__file__).resolve().parents[2] / "conf/expectations/orders.yaml"
CITIES = ["Jakarta", "Bandung", "Surabaya", "Medan", "Semarang", "Makassar", "Denpasar", "Yogyakarta"]


def suite(*expectations: dict[str, Any], **keys: Any) -> dict[str, Any]:
    return {"name": "s", "expectations": list(expectations), **keys}


def not_null(column: str = "city", **keys: Any) -> dict[str, Any]:
    return {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": column}, **keys}


def between(**kwargs: Any) -> dict[str, Any]:
    return {"type": "expect_column_values_to_be_between", "kwargs": {"column": "amount", "min_value": 0, **kwargs}}


CONDITION = "expectations[0].kwargs.row_condition"
NULLITY = {"type": "nullity", "column": {"name": "city"}, "is_null": False}


def compared(operator: str, parameter: Any) -> dict[str, Any]:
    return {"type": "comparison", "column": {"name": "city"}, "operator": operator, "parameter": parameter}


def test_condition_is_part_of_the_predicate_and_its_columns_of_the_rule(orders) -> None:
    (rule,) = Suite.parse(suite(between(row_condition=compared("==", "Medan"), mostly=0.5)), "f", orders).rules
    assert rule.columns == ("amount", "city")
    assert rule.id == "amount.between"
    assert compile_rule(rule, orders) == (
        "coalesce(`city` = 'Medan', FALSE) AND coalesce(NOT ((`amount` >= 0BD)), FALSE)"
    )
    assert rule.limit == RuleLimit("amount.between", 0.5, ("amount", "city"), conditional=True)
    assert looked_at_sql(rule, orders) == "coalesce(`city` = 'Medan', FALSE) AND NOT ((`amount` IS NULL))"


def keys(orders, document: Any) -> list[str]:
    return [problem.key for problem in rules_problems(document, "f", orders)]


def test_the_shipped_suite_judges_every_rule_on_the_stream(orders) -> None:
    parsed = Suite.parse(read_document(SHIPPED), str(SHIPPED), orders)
    assert [rule.id for rule in parsed.rules] == [
        "order_id.not_null",
        "order_id.length",
        "order_id.format",
        "store_id.not_null",
        "city.not_null",
        "city.in_set",
        "quantity.between",
        "amount.not_null",
        "amount.positive",
        "payment_method.in_set",
        "order_ts.not_null",
        "order_ts.sane",
    ]
    assert parsed.row_rules == parsed.rules
    assert {rule.severity for rule in parsed.rules} == {Severity.CRITICAL}
    assert next(rule for rule in parsed.rules if rule.id == "city.in_set").kwargs["value_set"] == CITIES


def test_an_id_is_derived_from_columns_and_type_and_is_unique(orders) -> None:
    pair = {"type": "expect_column_pair_values_to_be_equal", "kwargs": {"column_A": "city", "column_B": "item"}}
    parsed = Suite.parse(suite(not_null(), between(), between(max_value=5), pair), "f", orders)
    assert [rule.id for rule in parsed.rules] == [
        "city.not_null",
        "amount.between",
        "amount.between.2",
        "city.item.pair_equal",
    ]
    assert parsed.rules[3].columns == ("city", "item")


def test_a_written_id_wins_wherever_it_stands(orders) -> None:
    parsed = Suite.parse(suite(not_null(), not_null(meta={"id": "city.not_null"}), not_null(id="0f-1")), "f", orders)
    assert [rule.id for rule in parsed.rules] == ["city.not_null.2", "city.not_null", "0f-1"]


def test_rules_that_need_a_whole_batch_are_for_the_gate(orders) -> None:
    unique = {"type": "expect_compound_columns_to_be_unique", "kwargs": {"column_list": ["order_id", "item"]}}
    parsed = Suite.parse(suite(not_null(), unique), "f", orders)
    assert [rule.id for rule in parsed.row_rules] == ["city.not_null"]
    assert [rule.id for rule in parsed.gate_rules] == ["order_id.item.compound_unique"]
    with pytest.raises(ConfigError, match="gate only"):
        compile_rule(parsed.gate_rules[0], orders)


def test_severity_and_mostly_are_read(orders) -> None:
    (rule,) = Suite.parse(suite({**between(mostly=0.9), "severity": "warning"}), "f", orders).rules
    assert (rule.severity, rule.mostly) == (Severity.WARNING, 0.9)


def test_json_and_yaml_give_the_same_suite(orders) -> None:
    document = read_document(SHIPPED)
    again = parse_document(json.dumps(document).encode(), "suite.json")
    assert Suite.parse(again, "f", orders).fingerprint == Suite.parse(document, "f", orders).fingerprint


def test_an_unquoted_date_is_text_in_yaml_as_in_json() -> None:
    assert parse_document(b"day: 2020-01-01", "s.yaml") == {"day": "2020-01-01"}


def test_the_fingerprint_changes_with_verdicts_only(orders) -> None:
    document = suite(not_null(), between())
    first = Suite.parse(document, "f", orders).fingerprint
    assert len(first) == 16
    assert int(first, 16) >= 0
    same = deepcopy(document)
    same["expectations"][0] |= {"notes": "why", "description": "what", "meta": {"owner": "us"}}
    same["examples"] = [{"row": {"city": "x"}}]
    assert Suite.parse(same, "g", orders).fingerprint == first
    for change in ({"min_value": 1}, {"strict_min": True}, {"mostly": 0.5}, {"column": "quantity"}):
        other = suite(not_null(), between(**change))
        assert Suite.parse(other, "f", orders).fingerprint != first
    assert Suite.parse(suite(not_null(severity="info"), between()), "f", orders).fingerprint != first


def test_great_expectations_gets_the_suite_without_our_examples(orders) -> None:
    example = {"row": {"city": None}, "fails": ["city.not_null"]}
    parsed = Suite.parse(suite(not_null(), examples=[example]), "f", orders)
    assert "examples" not in parsed.document
    assert parsed.examples[0].fails == ("city.not_null",)


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (None, [""]),
        ([], [""]),
        ({}, ["name", "expectations"]),
        (suite(nam="x"), ["nam"]),
        (suite("x"), ["expectations[0]"]),
        (suite({}), ["expectations[0].type"]),
        (suite({"type": "expect_column_values_to_be_betwen", "kwargs": {}}), ["expectations[0].type"]),
        (suite({"type": "expect_column_values_to_be_dateutil_parseable", "kwargs": {}}), ["expectations[0].type"]),
        (suite({"type": "expect_column_values_to_be_null"}), ["expectations[0].kwargs"]),
        (suite(not_null("ctiy")), ["expectations[0].kwargs.column"]),
        (suite(not_null(), not_null(severity="fatal")), ["expectations[1].severity"]),
        (suite(not_null(id="x"), not_null(meta={"id": "x"})), ["expectations[1].meta.id"]),
        (suite(not_null(meta={"id": "a b"})), ["expectations[0].meta.id"]),
        (suite(not_null(meta=[1])), ["expectations[0].meta"]),
        (suite(not_null(kwarg={})), ["expectations[0].kwarg"]),
        (suite(between(min_value="0")), ["expectations[0].kwargs.min_value"]),
        (suite(between(min_value=True)), ["expectations[0].kwargs.min_value"]),
        (suite(between(min_value=None)), ["expectations[0].kwargs.min_value"]),
        (suite(between(min_value=5, max_value=4)), ["expectations[0].kwargs.min_value"]),
        (suite(between(strict_min="yes", max=3)), ["expectations[0].kwargs.strict_min", "expectations[0].kwargs.max"]),
        (suite(between(mostly=1.5)), ["expectations[0].kwargs.mostly"]),
        (suite(between(row_condition="x > 1")), ["expectations[0].kwargs.row_condition"]),
        (suite(between(row_condition={"type": "not"})), ["expectations[0].kwargs.row_condition"]),
        (suite(between(row_condition=NULLITY | {"column": {"name": "ctiy"}})), [f"{CONDITION}.column.name"]),
        (suite(between(row_condition=NULLITY | {"is_null": 1, "x": 2})), [f"{CONDITION}.x", f"{CONDITION}.is_null"]),
        (suite(between(row_condition=compared("=", "x"))), [f"{CONDITION}.operator"]),
        (suite(between(row_condition=compared("==", 5))), [f"{CONDITION}.parameter"]),
        (suite(between(row_condition=compared("==", None))), [f"{CONDITION}.parameter"]),
        (suite(between(row_condition=compared("IN", ["x", 5]))), [f"{CONDITION}.parameter[1]"]),
        (
            suite(between(row_condition={"type": "and", "conditions": [{"type": "or", "conditions": [NULLITY]}]})),
            [f"{CONDITION}.conditions[0]"],
        ),
        (suite(between(row_condition={"type": "or", "conditions": [NULLITY] * 101})), [CONDITION]),
        (suite(between(min_value={"$PARAMETER": "low"})), ["expectations[0].kwargs.min_value"] * 2),
        (suite(between(column="city")), ["expectations[0].kwargs.column", "expectations[0].kwargs.min_value"]),
        (suite(between(column="order_ts", min_value="yesterday")), ["expectations[0].kwargs.min_value"]),
        (suite(examples=[{"row": {"ctiy": 1}, "fails": ["x"]}]), ["examples[0].row.ctiy", "examples[0].fails"]),
        (suite(examples=[{}]), ["examples[0]"]),
    ],
)
def test_every_fault_is_reported_with_its_place(orders, document, expected) -> None:
    assert keys(orders, document) == expected


@pytest.mark.parametrize(
    ("type_", "kwargs", "expected"),
    [
        (
            "values_to_be_in_set",
            {"column": "city", "value_set": ["a", None, 1, False]},
            ["value_set[1]", "value_set[2]", "value_set[3]"],
        ),
        ("values_to_be_in_set", {"column": "city", "value_set": "Jakarta"}, ["value_set"]),
        ("values_to_be_in_set", {"column": "city"}, ["value_set"]),
        ("values_to_be_in_set", {"column": "quantity", "value_set": ["1"]}, ["value_set[0]"]),
        ("values_to_be_in_set", {"column": "city", "value_set": ["\ud800"]}, ["value_set[0]"]),
        ("values_to_match_regex", {"column": "city", "regex": "("}, ["regex"]),
        ("values_to_match_regex", {"column": "city", "regex": 5}, ["regex"]),
        ("values_to_match_regex", {"column": "amount", "regex": "1"}, ["column"]),
        ("values_to_match_regex_list", {"column": "city", "regex_list": []}, ["regex_list"]),
        (
            "values_to_match_regex_list",
            {"column": "city", "regex_list": ["a", "["], "match_on": "none"},
            ["regex_list[1]", "match_on"],
        ),
        ("value_lengths_to_be_between", {"column": "city", "min_value": -1}, ["min_value"]),
        ("value_lengths_to_be_between", {"column": "city"}, ["min_value"]),
        ("value_lengths_to_equal", {"column": "city", "value": 1.5}, ["value"]),
        ("values_to_match_like_pattern", {"column": "city"}, ["like_pattern"]),
        ("values_to_match_like_pattern", {"column": "amount", "like_pattern": "1%"}, ["column"]),
        ("values_to_match_like_pattern", {"column": "city", "like_pattern": r"50\%"}, ["like_pattern"]),
        ("values_to_match_like_pattern", {"column": "city", "like_pattern": "a!b", "escape": "!"}, ["like_pattern"]),
        ("values_to_match_like_pattern", {"column": "city", "like_pattern": "a!", "escape": "!"}, ["like_pattern"]),
        ("values_to_match_like_pattern", {"column": "city", "like_pattern": "a", "escape": "!!"}, ["escape"]),
        ("values_to_match_like_pattern", {"column": "city", "like_pattern": "a", "escape": "%"}, ["escape"]),
        ("values_to_match_like_pattern", {"column": "city", "like_pattern": "\ud800"}, ["like_pattern"]),
        ("values_to_match_like_pattern", {"column": "city", "like_pattern": "x" * 10_001}, ["like_pattern"]),
        ("values_to_not_match_like_pattern_list", {"column": "city", "like_pattern_list": []}, ["like_pattern_list"]),
        (
            "values_to_match_like_pattern_list",
            {"column": "city", "like_pattern_list": ["a", 5], "match_on": "none"},
            ["like_pattern_list[1]", "match_on"],
        ),
        ("values_to_match_strftime_format", {"column": "city", "strftime_format": "%D"}, ["strftime_format"]),
        ("values_to_match_strftime_format", {"column": "city", "strftime_format": 5}, ["strftime_format"]),
        ("values_to_match_strftime_format", {"column": "order_ts", "strftime_format": "%Y"}, ["column"]),
        ("values_to_be_json_parseable", {"column": "amount"}, ["column"]),
        ("values_to_be_of_type", {"column": "amount", "type_": "StringType"}, ["type_"]),
        ("values_to_be_of_type", {"column": "amount"}, ["type_"]),
        ("values_to_be_in_type_list", {"column": "amount", "type_list": ["int64", "float"]}, ["type_list"]),
        ("values_to_be_in_type_list", {"column": "amount", "type_list": []}, ["type_list"]),
        ("pair_values_to_be_equal", {"column_A": "city", "column_B": "amount"}, ["column_B"]),
        ("pair_values_to_be_equal", {"column_A": "city"}, ["column_B"]),
        (
            "pair_values_to_be_equal",
            {"column_A": "city", "column_B": "item", "ignore_row_if": "never"},
            ["ignore_row_if"],
        ),
        (
            "pair_values_to_be_in_set",
            {"column_A": "city", "column_B": "item", "value_pairs_set": [["a"]]},
            ["value_pairs_set[0]"],
        ),
        (
            "pair_values_to_be_in_set",
            {"column_A": "city", "column_B": "quantity", "value_pairs_set": [["a", "b"]]},
            ["value_pairs_set[0][1]"],
        ),
        (
            "pair_values_to_be_in_set",
            {"column_A": "city", "column_B": "item", "value_pairs_set": []},
            ["value_pairs_set"],
        ),
    ],
)
def test_a_wrong_kwarg_is_reported_with_its_place(orders, type_, kwargs, expected) -> None:
    document = suite({"type": f"expect_column_{type_}", "kwargs": kwargs})
    assert keys(orders, document) == [f"expectations[0].kwargs.{name}" for name in expected]


@pytest.mark.parametrize(
    ("kwargs", "expected"),
    [
        ({"column_list": ["amount", "city"], "sum_total": 1}, ["column_list[1]"]),
        ({"column_list": ["amount", "quantity"]}, ["sum_total"]),
        ({"column_list": ["amount"], "sum_total": 1}, ["column_list"]),
        ({"column_list": ["amount", "amount"], "sum_total": 1}, ["column_list"]),
        ({"column_list": ["amount", "total"], "sum_total": "x"}, ["column_list[1]", "sum_total"]),
    ],
)
def test_a_wrong_list_of_columns_is_reported_with_its_place(orders, kwargs, expected) -> None:
    document = suite({"type": "expect_multicolumn_sum_to_equal", "kwargs": kwargs})
    assert keys(orders, document) == [f"expectations[0].kwargs.{name}" for name in expected]


@pytest.mark.parametrize(
    "pattern",
    [
        r"(?P<a>x)",
        r"(?(1)a|b)",
        "(?#no)x",
        "(?a)x",
        "a{,3}",
        r"\U0001F600",
        r"\0",
        "[[a]",
        "[a&&b]",
        "[]a]",
        "(",
        "*",
        "\ud800",
        "x" * 10_001,
    ],
)
def test_a_pattern_that_java_or_python_would_refuse_or_read_otherwise_is_a_problem(orders, pattern: str) -> None:
    document = suite({"type": "expect_column_values_to_match_regex", "kwargs": {"column": "city", "regex": pattern}})
    assert set(keys(orders, document)) == {"expectations[0].kwargs.regex"}


@pytest.mark.parametrize(
    "pattern", [r"^\d{1,3}$", r"\[a\]", r"[\[\]]", "(?i)a", "a{0,3}", r"\{,3\}", r"\(\?P<a>", "[(?P<]", r"[^a-z&]", ""]
)
def test_an_ordinary_pattern_is_accepted(orders, pattern: str) -> None:
    document = suite({"type": "expect_column_values_to_match_regex", "kwargs": {"column": "city", "regex": pattern}})
    assert keys(orders, document) == []


def test_a_misspelt_name_gets_a_suggestion(orders) -> None:
    document = suite({"type": "expect_column_values_to_be_betwen", "kwargs": {}}, not_null("ctiy"), between(max_valu=3))
    messages = [problem.message for problem in rules_problems(document, "f", orders)]
    assert [message.rsplit("did you mean ", 1)[-1] for message in messages] == [
        "expect_column_values_to_be_between?",
        "city?",
        "max_value?",
    ]


def test_no_expectation_is_in_two_tables() -> None:
    assert not set(ROW_LEVEL) & set(EXPECTATIONS)
    assert not (set(ROW_LEVEL) | set(EXPECTATIONS)) & set(UNUSABLE)
