"""The gate's report: its verdict, its alert, and what it must not tell."""

from __future__ import annotations

from batch_app.gate.report import GateReport, Result, Sample, without_personal_data
from batch_app.gate.run import alert_of
from batch_app.gate.spark_engine import as_text, met


def result(name: str, *, success: bool, severity: str = "critical", **more) -> Result:
    return Result(name, "expect_x", ("customer_id", "city"), severity, success, **more)


def report(*results: Result) -> GateReport:
    return GateReport("gx", "orders", "f", ("a.csv",), 10, 9, results)


def test_only_critical_expectations_stop():
    assert report(result("a", success=True), result("b", success=False, severity="warning")).success
    assert not report(result("a", success=False)).success


def test_share_is_of_the_rows_that_were_looked_at():
    assert result("a", success=False, checked=8, unexpected=2).unexpected_percent == 25.0
    assert result("a", success=True, checked=0, unexpected=0).unexpected_percent == 0.0
    assert result("a", success=True).unexpected_percent is None
    assert met(0, 0, 1.0)
    assert met(10, 1, 0.9)
    assert not met(10, 2, 0.9)


def test_alert_says_what_failed_and_where():
    alert = alert_of(
        report(result("a", success=False, checked=8, unexpected=2), result("b", success=False, observed=3))
    )
    assert "a: 2 rows (25 %)" in alert.text
    assert "b: not met" in alert.text
    assert "a.csv" in alert.text


def test_values_of_masked_columns_are_in_no_report(orders):
    columns = [
        column.model_copy(update={"pii": "hash"}) if column.name == "customer_id" else column
        for column in orders.columns
    ]
    dataset = orders.model_copy(update={"columns": tuple(columns)})
    sample = Sample("a.csv#1", {"customer_id": "C77", "city": "Bogor"})
    found = without_personal_data(report(result("a", success=False, samples=(sample,), observed="C77")), dataset)
    assert "C77" not in str(found.to_json())
    assert found.results[0].samples[0].values == {"customer_id": "***", "city": "Bogor"}


def test_values_are_written_alike_by_both_engines():
    from datetime import UTC, date, datetime
    from decimal import Decimal

    assert [as_text(value) for value in (Decimal("12.50"), 12.5, 3, "1.0", True, None, date(2026, 3, 1))] == [
        "12.5", "12.5", "3", "1.0", "true", None, "2026-03-01",
    ]  # fmt: skip
    assert as_text(datetime(2026, 3, 1, tzinfo=UTC)) == "2026-03-01T00:00:00Z"
