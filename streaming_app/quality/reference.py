"""The page of every expectation with its SQL, docs/expectations.md, made from the code that compiles them.

    python -m streaming_app.quality.reference > docs/expectations.md

A test holds the page to what this makes.
"""

from __future__ import annotations

import sys
from typing import Any, Final

import yaml

from streaming_app.errors import ConfigError
from streaming_app.quality.arguments import Arguments
from streaming_app.quality.gate import EXPECTATIONS, UNUSABLE
from streaming_app.quality.rules import ROW_LEVEL, judge_sql
from streaming_app.schema import Column, Dataset

DATASET: Final = Dataset(
    name="example",
    time_column="ordered_at",
    columns=tuple(
        Column(name=name, type=type_)
        for name, type_ in {
            "city": "string",
            "item": "string",
            "quantity": "int",
            "free": "int",
            "amount": "decimal(10,2)",
            "paid": "decimal(10,2)",
            "ordered_at": "timestamp",
            "paid_at": "timestamp",
        }.items()
    ),
)
_CONDITION: Final = {"type": "comparison", "column": {"name": "city"}, "operator": "==", "parameter": "Medan"}
# One expectation of each type, at least, with the kwargs that change its SQL.
EXAMPLES: Final[tuple[tuple[str, dict[str, Any]], ...]] = (
    ("expect_column_values_to_not_be_null", {"column": "city"}),
    ("expect_column_values_to_be_null", {"column": "city"}),
    ("expect_column_values_to_be_in_set", {"column": "city", "value_set": ["Jakarta", "Medan"]}),
    ("expect_column_values_to_not_be_in_set", {"column": "quantity", "value_set": [0, 13]}),
    ("expect_column_values_to_be_between", {"column": "amount", "min_value": 0, "strict_min": True, "max_value": 99.5}),
    ("expect_column_values_to_be_between", {"column": "ordered_at", "min_value": "2020-01-01T00:00:00"}),
    ("expect_column_value_lengths_to_be_between", {"column": "city", "min_value": 1, "max_value": 64}),
    ("expect_column_value_lengths_to_equal", {"column": "city", "value": 3}),
    ("expect_column_values_to_match_regex", {"column": "city", "regex": "^[A-Z]"}),
    ("expect_column_values_to_not_match_regex", {"column": "city", "regex": r"\d"}),
    ("expect_column_values_to_match_regex_list", {"column": "city", "regex_list": ["^A", "^B"], "match_on": "any"}),
    ("expect_column_values_to_match_regex_list", {"column": "city", "regex_list": ["^A", "a$"], "match_on": "all"}),
    ("expect_column_values_to_not_match_regex_list", {"column": "city", "regex_list": ["^A", "a$"]}),
    ("expect_column_values_to_match_like_pattern", {"column": "city", "like_pattern": "J_karta%"}),
    (
        "expect_column_values_to_match_like_pattern",
        {"column": "item", "like_pattern": "100!% %", "escape": "!"},
    ),
    ("expect_column_values_to_not_match_like_pattern", {"column": "city", "like_pattern": "test%"}),
    (
        "expect_column_values_to_match_like_pattern_list",
        {"column": "city", "like_pattern_list": ["J%", "M%"], "match_on": "any"},
    ),
    (
        "expect_column_values_to_not_match_like_pattern_list",
        {"column": "city", "like_pattern_list": ["test%", "%'%"]},
    ),
    ("expect_column_values_to_be_of_type", {"column": "amount", "type_": "DecimalType"}),
    ("expect_column_values_to_be_in_type_list", {"column": "quantity", "type_list": ["IntegerType", "LongType"]}),
    ("expect_column_values_to_be_json_parseable", {"column": "item"}),
    ("expect_column_values_to_match_strftime_format", {"column": "item", "strftime_format": "%Y-%m-%d"}),
    ("expect_column_pair_values_to_be_equal", {"column_A": "amount", "column_B": "paid"}),
    (
        "expect_column_pair_values_a_to_be_greater_than_b",
        {
            "column_A": "paid_at",
            "column_B": "ordered_at",
            "or_equal": True,
            "ignore_row_if": "either_value_is_missing",
        },
    ),
    (
        "expect_column_pair_values_to_be_in_set",
        {"column_A": "city", "column_B": "item", "value_pairs_set": [["Medan", "Latte"], ["Medan", None]]},
    ),
    ("expect_multicolumn_sum_to_equal", {"column_list": ["quantity", "free"], "sum_total": 10}),
    ("expect_multicolumn_values_to_be_equal", {"column_list": ["amount", "paid"]}),
    (
        "expect_select_column_values_to_be_unique_within_record",
        {"column_list": ["city", "item"], "ignore_row_if": "any_value_is_missing"},
    ),
    ("expect_column_values_to_not_be_null", {"column": "item", "row_condition": _CONDITION}),
)
_HEAD: Final = """# Expectations

Made from the code by `python -m streaming_app.quality.reference`; do not edit.

## On the stream
Each of these judges a row by itself. The SQL is Spark's, true for a row that **fails** and never null. It is shown for the
columns city and item (text), quantity and free (int), amount and paid (decimal(10,2)), ordered_at and paid_at (timestamp).
The verdict is Great Expectations' own on Spark, held by a property test: nulls pass all but the null checks, for example.
`mostly` changes no verdict; it is the batch's tolerance (quality.md, circuit breaker).
`row_condition` is taken in the form of the last example, with `and`, `or` and `nullity` as well.

- **LIKE patterns**: Great Expectations has them on SQL databases, and not on Spark and pandas. Case counts; `%`, `_` and `escape`
  are the standard's. A backslash without `escape`, and an escape before an ordinary character, are refused, since databases
  disagree on them. The verdict is Great Expectations' own on SQLite with `case_sensitive_like`. The gate uses this SQL, too.
- **Types**: Great Expectations on Spark looks at the column's type only, and the cast before the rules has made that: what
  does not cast is a dead letter. A rule that holds rejects nothing; one that cannot hold is reported by `check-config`.
- **JSON and strftime**: Great Expectations asks Python's own parsers, which no SQL function agrees with to the letter, so they
  are what runs on the stream: `qsr_is_json` is `json.loads`, `qsr_has_strftime_format` is `datetime.strptime`, in Spark's
  Python workers. Such a rule sends its column through a Python worker; suites without one pay nothing.

### Where Great Expectations' own engines differ
The stream and the gate follow its Spark engine. Its pandas engine judges some rows otherwise (shown by a test, but for the types):

| | on Spark, and here | on pandas |
| --- | --- | --- |
| NaN | a value, greater than every number, a member of no set | null: passes all but the null checks |
| decimals in a set | compared as numbers: 0.10 is 0.1 | `Decimal("0.10")` is not the float 0.1 |
| regular expressions | Java's: `\\d` and `\\w` are ASCII | Python's: `\\d` and `\\w` are Unicode |
| `regex_list`, any | joined into one: a flag such as `(?i)` holds for those that follow | each by itself |
| sum of columns, one of them null | the null counts as 0 | the row fails |
| a greater than b, one of them null | the row passes, unless `ignore_row_if` says otherwise | the row fails |
| types | the column's | each value's |
"""
_GATE: Final = """## At the gate only
These look at a whole batch, so the stream cannot run them; a suite may hold them and `check-config` says where each rule runs.
"""
_REFUSED: Final = """## Refused
Known to Great Expectations, and nothing that a stream or a gate on Spark could run.
"""


def page() -> str:
    """The whole page."""
    parts = [_HEAD, *(_example(type_, kwargs) for type_, kwargs in EXAMPLES), _GATE]
    parts.append("\n".join(f"- `{name}`: {_kwargs_of(name)}" for name in EXPECTATIONS) + "\n")
    parts += [_REFUSED, "\n".join(f"- `{name}` {why}" for name, why in UNUSABLE.items()) + "\n"]
    return "\n".join(parts)


def _example(type_: str, kwargs: dict[str, Any]) -> str:
    arguments = Arguments(kwargs, DATASET)
    sql = judge_sql(ROW_LEVEL[type_], arguments)
    if arguments.problems:
        raise ConfigError(arguments.problems)
    written = yaml.safe_dump(kwargs, default_flow_style=True, sort_keys=False, width=1000, allow_unicode=True).strip()
    return f"### {type_}\n```yaml\nkwargs: {written}\n```\n```sql\n{sql}\n```\n"


def _kwargs_of(name: str) -> str:
    known = EXPECTATIONS[name]
    return ", ".join([*known.required, *(f"[{optional}]" for optional in known.optional)]) or "no kwargs"


if __name__ == "__main__":
    sys.stdout.write(page())
