"""Expectations that look at a whole batch: Great Expectations itself runs them at the gate, the stream cannot.

The table holds Great Expectations 1.24's own kwargs (a test compares it with the installed version), so that a
suite's mistakes are found without importing that library, which takes seconds.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from streaming_app.quality.arguments import Arguments

_RANGE: Final = ("min_value", "max_value", "strict_min", "strict_max")
_IGNORE: Final = ("ignore_row_if",)


class GateOnly(NamedTuple):
    """An expectation of the gate: its short name, and the kwargs it must and may have."""

    short: str
    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()

    def check(self, arguments: Arguments) -> None:
        """Note missing kwargs and unknown columns; the values are Great Expectations' own business."""
        for name in self.required:
            if name == "column":
                arguments.column()
            elif name == "column_list":
                arguments.columns()
            else:
                arguments.required(name)
        for name in self.optional:
            arguments.get(name)


EXPECTATIONS: Final[dict[str, GateOnly]] = {
    "expect_column_distinct_values_to_be_in_set": GateOnly("distinct_in_set", ("column", "value_set")),
    "expect_column_distinct_values_to_contain_set": GateOnly("distinct_contain_set", ("column", "value_set")),
    "expect_column_distinct_values_to_equal_set": GateOnly("distinct_equal_set", ("column", "value_set")),
    "expect_column_kl_divergence_to_be_less_than": GateOnly(
        "kl_divergence",
        ("column",),
        (
            "partition_object",
            "threshold",
            "internal_weight_holdout",
            "tail_weight_holdout",
            "bucketize_data",
            "min_value",
            "max_value",
        ),
    ),
    "expect_column_max_to_be_between": GateOnly("max", ("column",), _RANGE),
    "expect_column_mean_to_be_between": GateOnly("mean", ("column",), _RANGE),
    "expect_column_median_to_be_between": GateOnly("median", ("column",), _RANGE),
    "expect_column_min_to_be_between": GateOnly("min", ("column",), _RANGE),
    "expect_column_most_common_value_to_be_in_set": GateOnly("most_common", ("column", "value_set"), ("ties_okay",)),
    "expect_column_proportion_of_non_null_values_to_be_between": GateOnly("proportion_non_null", ("column",), _RANGE),
    "expect_column_proportion_of_unique_values_to_be_between": GateOnly("proportion_unique", ("column",), _RANGE),
    "expect_column_quantile_values_to_be_between": GateOnly(
        "quantiles", ("column", "quantile_ranges"), ("allow_relative_error",)
    ),
    "expect_column_stdev_to_be_between": GateOnly("stdev", ("column",), _RANGE),
    "expect_column_sum_to_be_between": GateOnly("sum", ("column",), _RANGE),
    "expect_column_to_exist": GateOnly("exists", ("column",), ("column_index",)),
    "expect_column_type_to_be": GateOnly("type", ("column", "type_")),
    "expect_column_unique_value_count_to_be_between": GateOnly("unique_count", ("column",), _RANGE),
    "expect_column_value_z_scores_to_be_less_than": GateOnly("z_score", ("column", "threshold", "double_sided")),
    "expect_column_values_to_be_decreasing": GateOnly("decreasing", ("column",), ("strictly",)),
    "expect_column_values_to_be_increasing": GateOnly("increasing", ("column",), ("strictly",)),
    "expect_column_values_to_be_unique": GateOnly("unique", ("column",)),
    "expect_column_values_to_match_json_schema": GateOnly("json_schema", ("column", "json_schema")),
    "expect_column_values_to_not_be_outliers": GateOnly("not_outliers", ("column",), ("method", "multiplier")),
    "expect_compound_columns_to_be_unique": GateOnly("compound_unique", ("column_list",), _IGNORE),
    "expect_table_column_count_to_be_between": GateOnly("table.column_count", (), ("min_value", "max_value")),
    "expect_table_column_count_to_equal": GateOnly("table.column_count_equals", ("value",)),
    "expect_table_columns_to_match_ordered_list": GateOnly("table.columns_ordered", (), ("column_list",)),
    "expect_table_columns_to_match_set": GateOnly("table.columns", (), ("column_set", "exact_match")),
    "expect_table_row_count_to_be_between": GateOnly("table.row_count", (), _RANGE),
    "expect_table_row_count_to_equal": GateOnly("table.row_count_equals", ("value",)),
}

# Known to Great Expectations, but nothing that a gate on Spark could run.
UNUSABLE: Final[dict[str, str]] = {
    "expect_column_values_to_be_dateutil_parseable": (
        "runs on pandas only, and what it takes depends on the day it runs; use expect_column_values_to_match_strftime_format"
    ),
    "expect_query_results_to_match_comparison": "compares two SQL databases, and there is none here",
    "expect_table_row_count_to_equal_other_table": "needs a second table, and there is one only",
    "unexpected_rows_expectation": "is a query of one's own; write it as an expectation of a column",
}
