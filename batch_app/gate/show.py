"""The gate's report for people."""

from __future__ import annotations

import json
from typing import Any

from rich.text import Text

from batch_app.gate.report import GateReport, Result, Sample
from batch_app.output import cell, console, print_fitting, table, visible

_SAMPLES = 3


def show(report: GateReport) -> None:
    """A line for each expectation, those that failed first."""
    out = console()
    made = table("", "expectation", "severity", "checked", "unexpected", "%", "for example", numbers=(3, 4, 5))
    for result in sorted(report.results, key=lambda found: (found.success, not found.stops)):
        made.add_row(
            _mark(result),
            cell(result.id),
            cell(result.severity, "dim"),
            _number(result.checked),
            _number(result.unexpected),
            "" if result.unexpected_percent is None else f"{result.unexpected_percent:.4g}",
            cell(_example(result), "" if result.success else "red"),
        )
    print_fitting(out, made)
    unread = report.rows - report.readable
    files = f"{len(report.files)} file{'s' if len(report.files) > 1 else ''}"
    out.print(f"{report.rows:,} rows of {files}, {unread:,} unreadable; engine {report.engine}", style="dim")
    if report.docs:
        out.print(f"Data Docs: {visible(report.docs)}", style="dim")
    verdict, style = ("PASSED", "bold green") if report.success else ("FAILED", "bold red")
    out.print(Text.assemble((verdict, style), f" {visible(report.suite)} {report.suite_fingerprint}"))


def _mark(result: Result) -> Text:
    if result.success:
        return Text("ok", style="green")
    return Text("FAILED", style="bold red") if result.stops else Text("warn", style="yellow")


def _number(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def _example(result: Result) -> str:
    if result.error:
        return f"could not be evaluated: {result.error}"
    if result.checked is None:
        return f"found {_plain(result.observed)}"
    return "; ".join(_sample(sample) for sample in result.samples[:_SAMPLES])


def _sample(sample: Sample) -> str:
    values = ", ".join("(empty)" if value is None else value for value in sample.values.values())
    return f"{values} at {sample.position}"


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)
