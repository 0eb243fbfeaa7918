"""The rows that our predicates reject are the rows that Great Expectations itself reports, expectation by expectation.

Great Expectations takes seconds to start and a Spark job or two for each expectation, so one example is a table of
drawn rows and a whole suite with drawn kwargs, one expectation of every supported type or more.
"""

from __future__ import annotations

import datetime as dt
import json
import math
import os
import time
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from streaming_app.quality import Suite, compile_rule, like, rules_problems, types
from streaming_app.quality.gate import EXPECTATIONS, UNUSABLE
from streaming_app.quality.rules import ROW_LEVEL
from streaming_app.schema import Column, Dataset

pytestmark = [pytest.mark.spark, pytest.mark.timeout(900)]  # some hundred Spark jobs, on machines that may be busy

TYPES = {
    "moment": "timestamp",
    "moment2": "timestamp",
    "day": "date",
    "day2": "date",
    "text": "string",
    "text2": "string",
    "text3": "string",
    "whole": "int",
    "whole2": "int",
    "long": "bigint",
    "exact": "decimal(10,2)",
    "exact2": "decimal(12,4)",
    "real": "double",
    "real2": "double",
    "flag": "boolean",
}
DATASET = Dataset(name="t", columns=tuple(Column(name=n, type=t) for n, t in TYPES.items()), time_column="moment")
DDL = "row_id int, " + ", ".join(f"{name} {type_}" for name, type_ in TYPES.items())

PARSED = (  # JSON and times as Python's parsers read them, and as others do
    '{"a": 1}', '{"a": 1, "a": 2}', "[1, 2", "[1,]", "NaN", "-Infinity", "01", "1e999", " 1\n", "\ufeff1", '"\\ud800"', '"a\tb"',
    "{'a': 1}", "true", "True", "1 2", "1_0", "٣", "2026-03-01", "2026-3-1", "2026-02-30", "20260301", " 2026-03-01", "2026-03-01 ",
    "٢٠٢٦-03-01", "01/03/2026", "08:15", "24:00", "Sun", "sunday", "March 1", "2026-03-01T08:15:00Z", "2026-03-01T08:15:00+0700",
)  # fmt: skip
# Values that are likely to meet a bound, a member or a pattern, beside hostile and foreign ones.
TEXTS = st.one_of(
    st.sampled_from(
        [
            "",
            " ",
            "a",
            "A",
            "ab",
            "abc",
            "a\n",
            "a\r\n",
            "é",
            "e\u0301",
            "日本",
            "😀",
            "١٢٣",
            "123",
            "12.5",
            "null",
            "None",
            "'",
            '"',
            "\\",
            "\\n",
            "a'b",
            "${x}",
            "%",
            "_",
            "'); drop table t; --",
            "\x00",
            "\u2028",
            "a\u0085",
            "`",
            "ß",
            "SS",
        ]
    ),
    st.text(st.characters(codec="utf-8"), max_size=6),
    # JSON and times as Python's parsers read them, and as others do.
    st.sampled_from(PARSED),
)
FORMATS = st.sampled_from(
    ["%Y-%m-%d", "%d/%m/%Y", "%H:%M", "%Y%m%d", "%Y-%m-%dT%H:%M:%S%z", "%a", "%B %d", "%%", "'", "$%d", "\\%j"]
)
WHOLES = st.one_of(st.integers(-3, 3), st.sampled_from([2**31 - 1, -(2**31), 100, 101]))
LONGS = st.one_of(st.integers(-3, 3), st.sampled_from([2**53, 2**53 - 1, -(2**53)]))
CENTS = st.one_of(st.integers(-300, 300), st.sampled_from([9_999_999_999, -9_999_999_999])).map(
    lambda n: Decimal(n) / 100
)
MILLS = st.integers(-30_000, 30_000).map(lambda n: Decimal(n) / 10_000)
REALS = st.one_of(
    st.sampled_from([0.0, -0.0, 0.1, 0.2, 0.3, 1.0, math.nan, math.inf, -math.inf, 5e-324, 1e308]),
    st.floats(-3, 3, width=16),
)
DAYS = st.one_of(
    st.dates(dt.date(2019, 12, 30), dt.date(2020, 1, 3)), st.sampled_from([dt.date(1, 1, 1), dt.date(9999, 12, 31)])
)
MOMENTS = st.one_of(
    st.datetimes(dt.datetime(2019, 12, 31, 23, 59, 59), dt.datetime(2020, 1, 1, 0, 0, 1)),
    st.sampled_from([dt.datetime(2020, 1, 1), dt.datetime(1970, 1, 1), dt.datetime(2035, 1, 1, 0, 0, 0, 1)]),
)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "timestamp": MOMENTS.map(lambda moment: moment.replace(tzinfo=dt.UTC)),
    "date": DAYS,
    "string": TEXTS,
    "int": WHOLES,
    "bigint": LONGS,
    "decimal(10,2)": CENTS,
    "decimal(12,4)": MILLS,
    "double": REALS,
    "boolean": st.booleans(),
}
FINITE = REALS.filter(math.isfinite)
# The same values, as a suite's file writes them.
WRITTEN: dict[str, st.SearchStrategy[Any]] = {
    "timestamp": MOMENTS.map(dt.datetime.isoformat),
    "date": DAYS.map(dt.date.isoformat),
    "string": TEXTS,
    "int": st.one_of(WHOLES, st.sampled_from([0.5, -1.5])),
    "bigint": LONGS,
    "decimal(10,2)": st.one_of(CENTS.map(float), st.integers(-3, 3), st.just(0.005)),
    "decimal(12,4)": MILLS.map(float),
    "double": FINITE,
    "boolean": st.booleans(),
}
PATTERNS = st.one_of(
    st.sampled_from(
        [
            "",
            "a",
            "^a$",
            "^$",
            "[0-9]+",
            r"\d",
            r"\w+",
            r"^\S+$",
            "a|b",
            "(?i)A",
            "(?s)a.",
            ".",
            "^.$",
            "'",
            r"\\",
            r"\$\{x\}",
            "[^!-~]",
            r"\.",
            "é",
            "日.",
            "😀",
            "^.{2,3}$",
            r"(a)\1?",
            "a(?=b)",
            "(?!a)b",
            r"\x00",
            "\n",
            r"['\"]",
            "[']; --",
        ]
    ),
)
ORDERED = [name for name, type_ in TYPES.items() if type_ not in {"boolean", "string"}]
PAIRS = [
    ("text", "text2"),
    ("whole", "whole2"),
    ("exact", "exact2"),
    ("day", "day2"),
    ("moment", "moment2"),
    ("real", "real2"),
]
PAIRS += [("whole", "long"), ("whole", "exact"), ("exact", "real")]
PAIR_IGNORED = st.sampled_from([None, "both_values_are_missing", "either_value_is_missing", "neither"])
LIST_IGNORED = st.sampled_from([None, "all_values_are_missing", "any_value_is_missing", "never"])


@st.composite
def rows(draw: st.DrawFn) -> list[tuple[Any, ...]]:
    nullable = [st.one_of(st.none(), VALUES[type_], VALUES[type_]) for type_ in TYPES.values()]
    drawn = draw(st.lists(st.tuples(*nullable), min_size=25, max_size=25))
    nulls = (None,) * len(TYPES)
    return [(number, *row) for number, row in enumerate([nulls, *drawn])]


@st.composite
def between(draw: st.DrawFn, column: str) -> dict[str, Any]:
    # A date before the year 1000 breaks pyspark's lit(), which Great Expectations uses.
    bounds = sorted(draw(st.lists(WRITTEN[TYPES[column]].filter(lambda v: v != "0001-01-01"), min_size=2, max_size=2)))
    kept = draw(st.sampled_from([("min_value",), ("max_value",), ("min_value", "max_value")]))
    found = {name: value for name, value in zip(("min_value", "max_value"), bounds, strict=True) if name in kept}
    return {
        "column": column,
        **found,
        **draw(st.fixed_dictionaries({"strict_min": st.booleans(), "strict_max": st.booleans()})),
    }


@st.composite
def in_set(draw: st.DrawFn, column: str) -> dict[str, Any]:
    return {"column": column, "value_set": draw(st.lists(WRITTEN[TYPES[column]], min_size=1, max_size=12))}


@st.composite
def lengths(draw: st.DrawFn) -> dict[str, Any]:
    low, high = sorted(draw(st.lists(st.integers(0, 4), min_size=2, max_size=2)))
    bounds = draw(st.sampled_from([{"min_value": low}, {"max_value": high}, {"min_value": low, "max_value": high}]))
    return {"column": "text", **bounds, "strict_min": draw(st.booleans()), "strict_max": draw(st.booleans())}


@st.composite
def pair(draw: st.DrawFn, extra: dict[str, Any] | None = None) -> dict[str, Any]:
    a, b = draw(st.sampled_from(PAIRS))
    return {"column_A": a, "column_B": b, "ignore_row_if": draw(PAIR_IGNORED), **(extra or {})}


@st.composite
def pair_in_set(draw: st.DrawFn) -> dict[str, Any]:
    a, b = draw(st.sampled_from([("text", "whole"), ("text", "text2"), ("day", "exact"), ("flag", "moment")]))
    members = st.tuples(*(st.one_of(st.none(), WRITTEN[TYPES[name]]) for name in (a, b))).map(list)
    pairs = draw(st.lists(members, min_size=1, max_size=6))
    return {"column_A": a, "column_B": b, "value_pairs_set": pairs, "ignore_row_if": draw(PAIR_IGNORED)}


@st.composite
def record(draw: st.DrawFn, *choices: list[str]) -> dict[str, Any]:
    return {"column_list": draw(st.sampled_from(choices)), "ignore_row_if": draw(LIST_IGNORED)}


def sums() -> st.SearchStrategy[dict[str, Any]]:
    lists = [["exact", "exact2"], ["whole", "whole2", "long"], ["real", "exact"], ["whole", "exact"], ["real", "real2"]]
    return st.builds(
        lambda kwargs, total: {**kwargs, "sum_total": total}, record(*lists), st.sampled_from([0, 1, 0.3, -1.5, 2, 0.5])
    )


RECORDS = record(
    ["text", "text2", "text3"],
    ["whole", "long"],
    ["exact", "exact2", "whole"],
    ["moment", "moment2"],
    ["real", "real2"],
)


# Great Expectations writes a condition's texts as Python does, which Spark reads alike only where nothing is escaped.
COMPARED = {
    "text": st.sampled_from(["", "a", "ab", "é", "日本", "123"]),
    "whole": st.one_of(st.integers(-3, 3), st.just(0.5)),
    "exact": st.sampled_from([0, 1, -2, 0.5, 1.25]),
    "real": st.sampled_from([0, 1, 0.5, -1.5]),
    "day": st.sampled_from(["2019-12-31", "2020-01-01"]),
    "moment": st.sampled_from(["2020-01-01 00:00:00", "2035-01-01 00:00:00"]),
}


@st.composite
def simple_condition(draw: st.DrawFn) -> dict[str, Any]:
    name = draw(st.sampled_from(list(COMPARED)))
    column = {"name": name}
    kind = draw(st.sampled_from(["nullity", "compared", "compared", "member"]))
    if kind == "nullity":
        return {"type": "nullity", "column": column, "is_null": draw(st.booleans())}
    if kind == "compared":
        operator = draw(st.sampled_from(["==", "!=", "<", "<=", ">", ">="]))
        return {"type": "comparison", "column": column, "operator": operator, "parameter": draw(COMPARED[name])}
    members = draw(st.lists(COMPARED[name], min_size=1, max_size=3))
    operator = draw(st.sampled_from(["IN", "NOT_IN"]))
    return {"type": "comparison", "column": column, "operator": operator, "parameter": members}


def joined(kind: str, parts: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.builds(
        lambda conditions: {"type": kind, "conditions": conditions}, st.lists(parts, min_size=1, max_size=3)
    )


CONDITIONS = st.one_of(
    simple_condition(),
    joined("and", simple_condition()),
    joined("or", st.one_of(simple_condition(), joined("and", simple_condition()))),
)


def conditional(kwargs: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.builds(lambda one, condition: {**one, "row_condition": condition}, kwargs, CONDITIONS)


ANY_COLUMN = st.sampled_from(list(TYPES)).map(lambda name: {"column": name})
CASES: list[tuple[str, st.SearchStrategy[dict[str, Any]]]] = [
    ("expect_column_values_to_not_be_null", ANY_COLUMN),
    ("expect_column_values_to_be_null", ANY_COLUMN),
    *(("expect_column_values_to_be_between", between(name)) for name in ORDERED),
    *(("expect_column_values_to_be_in_set", in_set(name)) for name in TYPES),
    ("expect_column_values_to_not_be_in_set", st.sampled_from(list(TYPES)).flatmap(in_set)),
    ("expect_column_values_to_not_be_in_set", in_set("text")),
    ("expect_column_value_lengths_to_be_between", lengths()),
    (
        "expect_column_value_lengths_to_equal",
        st.fixed_dictionaries({"column": st.just("text"), "value": st.integers(0, 3)}),
    ),
    *(
        (f"expect_column_values_to_{verb}_regex", st.fixed_dictionaries({"column": st.just("text"), "regex": PATTERNS}))
        for verb in ("match", "match", "not_match")
    ),
    (
        "expect_column_values_to_match_regex_list",
        st.fixed_dictionaries(
            {
                "column": st.just("text"),
                "regex_list": st.lists(PATTERNS, min_size=1, max_size=3),
                "match_on": st.sampled_from(["any", "all"]),
            }
        ),
    ),
    (
        "expect_column_values_to_not_match_regex_list",
        st.fixed_dictionaries({"column": st.just("text"), "regex_list": st.lists(PATTERNS, min_size=1, max_size=3)}),
    ),
    ("expect_column_values_to_be_json_parseable", st.just({"column": "text"})),
    *(
        (
            "expect_column_values_to_match_strftime_format",
            st.fixed_dictionaries({"column": st.just(name), "strftime_format": FORMATS}),
        )
        for name in ("text", "text2")
    ),
    ("expect_column_pair_values_to_be_equal", pair()),
    ("expect_column_pair_values_a_to_be_greater_than_b", pair()),
    ("expect_column_pair_values_a_to_be_greater_than_b", pair({"or_equal": True})),
    ("expect_column_pair_values_to_be_in_set", pair_in_set()),
    ("expect_multicolumn_sum_to_equal", sums()),
    ("expect_multicolumn_values_to_be_equal", RECORDS),
    ("expect_select_column_values_to_be_unique_within_record", RECORDS),
    ("expect_column_values_to_not_be_null", conditional(ANY_COLUMN)),
    ("expect_column_values_to_be_in_set", conditional(in_set("whole"))),
    ("expect_column_pair_values_to_be_equal", conditional(pair())),
    ("expect_select_column_values_to_be_unique_within_record", conditional(RECORDS)),
]


def _expectation(type_: str, kwargs: dict[str, Any]) -> dict[str, Any]:
    return {"type": type_, "kwargs": {name: value for name, value in kwargs.items() if value is not None}}


def _suite(drawn: tuple[dict[str, Any], ...]) -> dict[str, Any]:
    """Each expectation once: Great Expectations leaves out those that are equal to an earlier one."""
    drawn_ones = [_expectation(type_, kwargs) for (type_, _), kwargs in zip(CASES, drawn, strict=True)]
    unique = {json.dumps(expectation, sort_keys=True): expectation for expectation in drawn_ones}
    return {"name": "drawn", "expectations": list(unique.values())}


SUITES = st.tuples(*(kwargs for _, kwargs in CASES)).map(_suite)


def index_list(engine: Any, expectation: dict[str, Any]) -> Any:
    """The metric with the ids of the unexpected rows: asked for alone, it costs a fifth of a whole validation."""
    from great_expectations.expectations.registry import get_expectation_impl

    asked = get_expectation_impl(expectation["type"])(**expectation["kwargs"]).get_validation_dependencies(
        execution_engine=engine, runtime_configuration={"result_format": RESULT_FORMAT}
    )
    return next(
        metric
        for metric in asked.metric_configurations.values()
        if metric.metric_name.endswith("unexpected_index_list")
    )


RESULT_FORMAT = {
    "result_format": "COMPLETE",
    "unexpected_index_column_names": ["row_id"],
    "return_unexpected_index_query": False,
}


@pytest.fixture(scope="module")
def great_expectations(spark):
    """What Great Expectations reports for a frame: the ids of the unexpected rows, expectation by expectation."""
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setenv("GX_ANALYTICS_ENABLED", "false")
    monkeypatch.setenv("TZ", "UTC")  # Great Expectations takes a time without an offset as this process's own
    time.tzset()
    import great_expectations as gx

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    asset = context.data_sources.add_spark("spark").add_dataframe_asset("drawn")
    definition = asset.add_batch_definition_whole_dataframe("whole")

    def unexpected(frame: Any, document: dict[str, Any]) -> list[set[int]]:
        validator = context.get_validator(batch_request=definition.build_batch_request({"dataframe": frame}))
        metrics = [index_list(validator.execution_engine, expectation) for expectation in document["expectations"]]
        found, aborted = validator.metrics_calculator.compute_metrics(
            metric_configurations=metrics, min_graph_edges_pbar_enable=1000
        )
        assert not aborted, aborted
        return [{row["row_id"] for row in found[metric.id] or []} for metric in metrics]

    yield unexpected
    monkeypatch.undo()
    time.tzset()


def ours(frame: Any, document: dict[str, Any]) -> list[set[int]]:
    rules = Suite.parse(document, "drawn", DATASET).rules
    columns = [f"{compile_rule(rule, DATASET)} AS r{at}" for at, rule in enumerate(rules)]
    judged = frame.selectExpr("row_id", *columns).collect()
    assert all(verdict is not None for row in judged for verdict in row)
    return [{row.row_id for row in judged if row[f"r{at}"]} for at in range(len(rules))]


@settings(
    max_examples=int(os.environ.get("QSR_EXAMPLES", "3")),
    derandomize="QSR_EXAMPLES" not in os.environ,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(table=rows(), document=SUITES)
def test_our_verdict_on_every_row_is_the_one_of_great_expectations(spark, great_expectations, table, document) -> None:
    # Not cached: Spark's statistics of cached columns leave NaN out, and a filter then loses rows.
    frame = spark.createDataFrame(table, DDL).coalesce(1)
    expected, found = great_expectations(frame, document), ours(frame, document)
    differences = [
        f"{expectation}: GX alone {[shown(table[row]) for row in theirs - mine]}, ours alone {[shown(table[row]) for row in mine - theirs]}"
        for expectation, theirs, mine in zip(document["expectations"], expected, found, strict=True)
        if theirs != mine
    ]
    assert not differences, "\n".join(differences)


def shown(row: tuple[Any, ...]) -> dict[str, Any]:
    return dict(zip(TYPES, row[1:], strict=True))


def test_every_supported_expectation_is_compared() -> None:
    elsewhere = {expectation.type for module in (like, types) for expectation in module.EXPECTATIONS}
    assert {type_ for type_, _ in CASES} | elsewhere == set(ROW_LEVEL)
    assert not {type_ for type_, _ in CASES} & elsewhere


@pytest.mark.parametrize("type_", sorted(set(TYPES.values())))
def test_type_that_great_expectations_finds_in_a_column_is_the_one_that_we_do(monkeypatch, type_) -> None:
    """Great Expectations on Spark compares the column's type alone, so its own comparison is asked, for every name there is."""
    monkeypatch.setenv("GX_ANALYTICS_ENABLED", "false")
    import great_expectations.expectations as core
    import pyspark.sql.types as spark_types

    (column,) = [name for name, known in TYPES.items() if known == type_][:1]
    actual = spark_types._parse_datatype_string(f"c {type_}").fields[0].dataType
    names = [name for name in dir(spark_types) if name.endswith("Type")]
    assert len(names) > 20
    one = core.ExpectColumnValuesToBeOfType(column=column, type_="StringType")
    several = core.ExpectColumnValuesToBeInTypeList(column=column, type_list=["StringType"])
    for name in names:
        for kwargs, theirs in (
            ({"type": core.ExpectColumnValuesToBeOfType.expectation_type, "kwargs": {"column": column, "type_": name}},
             one._validate_spark(actual_column_type=actual, expected_type=name)),
            ({"type": core.ExpectColumnValuesToBeInTypeList.expectation_type, "kwargs": {"column": column, "type_list": ["NullType", name]}},
             several._validate_spark(actual_column_type=actual, expected_types_list=["NullType", name])),
        ):  # fmt: skip
            problems = rules_problems({"name": "s", "expectations": [kwargs]}, "f", DATASET)
            assert theirs["success"] is not bool(problems), (name, problems)


# Fields that Great Expectations' models have beside an expectation's kwargs, or that every expectation may carry.
COMMON = {
    "id",
    "meta",
    "notes",
    "description",
    "severity",
    "rendered_content",
    "windows",
    "expectation_context",
    "library_metadata",
}
COMMON |= {"result_format", "catch_exceptions", "batch_id", "mostly", "row_condition", "condition_parser"}


def test_every_expectation_of_great_expectations_is_known_with_its_kwargs(monkeypatch) -> None:
    monkeypatch.setenv("GX_ANALYTICS_ENABLED", "false")
    import great_expectations.expectations as core
    from great_expectations.expectations.registry import (
        get_expectation_impl,
        list_registered_expectation_implementations,
    )

    assert core
    found = {name: get_expectation_impl(name) for name in list_registered_expectation_implementations()}
    theirs = {
        name: impl for name, impl in found.items() if impl.__module__.startswith("great_expectations.expectations.core")
    }
    assert set(theirs) == set(ROW_LEVEL) | set(EXPECTATIONS) | set(UNUSABLE)
    for name, ours in EXPECTATIONS.items():
        fields = {key: field.required for key, field in theirs[name].__fields__.items() if key not in COMMON}
        assert {key for key, required in fields.items() if required} == set(ours.required), name
        assert {key for key, required in fields.items() if not required} == set(ours.optional), name


# What docs/expectations.md says of Great Expectations' two engines: rows, then which of them pandas rejects and Spark does.
NAN = [(1.0,), (math.nan,), (5.0,)]
ENGINES_DIFFER = [
    ("real double", NAN, "column_values_to_be_between", {"column": "real", "max_value": 3}, [2], [1, 2]),
    ("real double", NAN, "column_values_to_not_be_null", {"column": "real"}, [1], []),
    ("real double", NAN, "column_values_to_be_in_set", {"column": "real", "value_set": [1, 5]}, [], [1]),
    ("exact decimal(10,2)", [(Decimal("0.10"),)], "column_values_to_be_in_set", {"column": "exact", "value_set": [0.1]}, [0], []),
    ("text string", [("٣",), ("3",)], "column_values_to_match_regex", {"column": "text", "regex": r"\d"}, [], [0]),
    ("text string", [("b",)], "column_values_to_match_regex_list", {"column": "text", "regex_list": ["(?i)A", "B"]}, [0], []),
    ("real double, real2 double", [(None, 2.0)], "multicolumn_sum_to_equal", {"column_list": ["real", "real2"], "sum_total": 2}, [0], []),
    (
        "real double, real2 double",
        [(None, 2.0), (2.0, None)],
        "column_pair_values_a_to_be_greater_than_b",
        {"column_A": "real", "column_B": "real2"},
        [0, 1],
        [],
    ),
]  # fmt: skip


@pytest.mark.parametrize("difference", ENGINES_DIFFER, ids=lambda difference: difference[2])
def test_where_pandas_and_spark_differ_the_stream_follows_spark(spark, great_expectations, difference) -> None:
    import great_expectations as gx
    import pandas as pd

    ddl, table, type_, kwargs, pandas_rejects, spark_rejects = difference
    expectation = {"type": f"expect_{type_}", "kwargs": kwargs}
    names = [part.split()[0] for part in ddl.split(", ")]
    rows_of = [(number, *row) for number, row in enumerate(table)]
    frame = spark.createDataFrame(rows_of, f"row_id int, {ddl}").coalesce(1)
    document = {"name": "s", "expectations": [expectation]}
    assert great_expectations(frame, document) == ours(frame, document) == [set(spark_rejects)]
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    asset = context.data_sources.add_pandas("pandas").add_dataframe_asset("t")
    batch = asset.add_batch_definition_whole_dataframe("whole").get_batch(
        {"dataframe": pd.DataFrame(rows_of, columns=["row_id", *names])}
    )
    suite = gx.ExpectationSuite(name="s", expectations=[expectation])
    (found,) = batch.validate(suite, result_format=RESULT_FORMAT).results
    assert [row["row_id"] for row in found.result["unexpected_index_list"] or ()] == pandas_rejects
