"""The functions that rules call in Spark's workers: Python's own parsers, and nothing that stops a batch."""

from __future__ import annotations

import pytest

from streaming_app.text_checks import format_fault, has_strftime_format, is_json


@pytest.mark.parametrize("text", ["9" * 5000, "[" * 200_000, '"\x00"', "", "\ufeff1"])
def test_text_that_no_parser_takes_is_no_json_and_no_error(text):
    assert is_json(text) is False


@pytest.mark.parametrize("text", ["NaN", '{"a": 1, "a": 2}', " [1e999]\n", '"\\ud800"'])
def test_json_is_what_python_takes(text):
    assert is_json(text) is True


def test_null_has_no_verdict():
    assert is_json(None) is None
    assert has_strftime_format(None, "%Y") is None


@pytest.mark.parametrize(
    ("text", "form", "verdict"),
    [("2026-3-1", "%Y-%m-%d", True), ("2026-02-30", "%Y-%m-%d", False), ("9999-12-31 -2359", "%Y-%m-%d %z", True), ("", "%Y", False)],
)  # fmt: skip
def test_time_is_what_strptime_takes(text, form, verdict):
    assert has_strftime_format(text, form) is verdict


@pytest.mark.parametrize("form", ["%D", "%", "\ud800"])
def test_format_that_cannot_be_read_again_is_a_fault(form):
    assert format_fault(form)
    assert not format_fault("%Y-%m-%d")
