"""What a reason means, in words that a support person understands: the rule, what it asks for, and the value that failed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from streaming_app.quality.rules import Rule
from streaming_app.quality.suite import Suite
from streaming_app.schema import Dataset

_DECODE: Final = {
    "not_utf8": "the bytes are no UTF-8 text; the sender uses another encoding",
    "invalid_json": "the event is no JSON",
    "not_an_object": "the event is JSON, but no object with fields",
    "unclosed_quote": "a quote was opened and not closed before the line ended",
    "malformed_quote": "a quote stands where none may stand; inside a quoted field it must be written twice",
    "record_too_long": "the record is longer than sources.csv.max_record_bytes; this is a piece of it",
    "too_few_fields": "the row has fewer fields than the file's header",
    "too_many_fields": "the row has more fields than the file's header; a comma in a text needs quotes",
    "broken_gzip": "the gzip file is damaged or cut off; what comes after this place could not be read",
    "not_text": "the file is no text",
    "changed_file": "the file was replaced after it had been read; the new content was not read",
    "missing_file": "the file was removed before it could be read",
    "still_changing": "the file was being written for so long that it was given up",
    "not_one_record": "the text is not exactly one row",
    "duplicate": "an order with the same keys was there before; replaying it would publish it twice",
}
_PLACED: Final = {
    "not_a_value": "{} holds an object or a list where a single value belongs",
    "missing_column": "the file has no column {}",
    "duplicate_column": "the file names the column {} twice",
}


@dataclass(frozen=True)
class Explained:
    """A reason in words. `columns`: the columns it is about; `note`: what the suite's author wrote about the rule."""

    reason: str
    words: str
    columns: tuple[str, ...] = ()
    note: str = ""


def explain(reason: str, suite: Suite, dataset: Dataset) -> Explained:
    """What a reason says. A rule that is not in today's suite is said to be so."""
    rule = next((rule for rule in suite.rules if rule.id == reason), None)
    if rule is not None:
        return Explained(reason, _rule(rule), rule.columns, str(_meta(suite, rule).get("notes") or rule.description))
    if reason in _DECODE:
        return Explained(reason, _DECODE[reason])
    kind, _, names = reason.partition(":")
    if kind in _PLACED:
        return Explained(reason, _PLACED[kind].format(names), tuple(names.split(",")))
    column, _, what = reason.rpartition(".")
    types = {known.name: known.type for known in dataset.columns}
    if what == "cast" and column in types:
        return Explained(reason, f"{column} is no {types[column]}", (column,))
    if what == "missing" and column in types:
        return Explained(reason, f"{column} is empty, and without it the row has no partition", (column,))
    return Explained(reason, "a rule that is not in the suite in force; its name is all that is known")


def _meta(suite: Suite, rule: Rule) -> Mapping[str, Any]:
    for entry in suite.document.get("expectations", ()):
        meta = entry.get("meta") or {}
        if meta.get("id", entry.get("id")) == rule.id:
            return dict(meta)
    return {}


def _rule(rule: Rule) -> str:
    """What a rule asks for."""
    kwargs = rule.kwargs
    subject = " and ".join(rule.columns)
    make = _WORDS.get(rule.expectation_type)
    if make is not None:
        return f"{subject} {make(kwargs)}"
    asked = rule.expectation_type.removeprefix("expect_").replace("_", " ")
    return f"{asked} ({', '.join(f'{key}: {value}' for key, value in kwargs.items())})"


def _range(kwargs: Mapping[str, Any]) -> str:
    low, high = kwargs.get("min_value"), kwargs.get("max_value")
    least = "more than" if kwargs.get("strict_min") else "at least"
    most = "less than" if kwargs.get("strict_max") else "at most"
    parts = [f"{word} {value}" for word, value in ((least, low), (most, high)) if value is not None]
    return " and ".join(parts)


def _members(kwargs: Mapping[str, Any]) -> str:
    values = [str(value) for value in kwargs.get("value_set") or ()]
    shown = ", ".join(values[:12])
    return f"{shown}, ... ({len(values)} in all)" if len(values) > 12 else shown  # noqa: PLR2004 - a line's worth


_WORDS: Final[dict[str, Callable[[Mapping[str, Any]], str]]] = {
    "expect_column_values_to_not_be_null": lambda _: "must not be empty",
    "expect_column_values_to_be_null": lambda _: "must be empty",
    "expect_column_values_to_be_in_set": lambda kwargs: f"must be one of {_members(kwargs)}",
    "expect_column_values_to_not_be_in_set": lambda kwargs: f"must be none of {_members(kwargs)}",
    "expect_column_values_to_be_between": lambda kwargs: f"must be {_range(kwargs)}",
    "expect_column_value_lengths_to_be_between": lambda kwargs: f"must be {_range(kwargs)} characters long",
    "expect_column_value_lengths_to_equal": lambda kwargs: f"must be {kwargs.get('value')} characters long",
    "expect_column_values_to_match_regex": lambda kwargs: f"must match {kwargs.get('regex')}",
    "expect_column_values_to_not_match_regex": lambda kwargs: f"must not contain what matches {kwargs.get('regex')}",
    "expect_column_values_to_match_like_pattern": lambda kwargs: f"must be like {kwargs.get('like_pattern')}",
    "expect_column_values_to_not_match_like_pattern": lambda kwargs: f"must not be like {kwargs.get('like_pattern')}",
    "expect_column_values_to_be_json_parseable": lambda _: "must be JSON",
    "expect_column_values_to_match_strftime_format": lambda kwargs: (
        f"must be written as {kwargs.get('strftime_format')}"
    ),
    "expect_column_pair_values_to_be_equal": lambda _: "must be equal",
    "expect_column_pair_values_a_to_be_greater_than_b": lambda kwargs: (
        "must be in descending order" + (" or equal" if kwargs.get("or_equal") else "")
    ),
    "expect_multicolumn_values_to_be_equal": lambda _: "must all be equal",
    "expect_multicolumn_sum_to_equal": lambda kwargs: f"must add up to {kwargs.get('sum_total')}",
    "expect_select_column_values_to_be_unique_within_record": lambda _: "must all be different",
}
