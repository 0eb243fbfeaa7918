"""The report as a page of Great Expectations' Data Docs, from either engine, that needs nothing but itself."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from batch_app.gate.gx_engine import load
from batch_app.gate.report import GateReport, Result
from batch_app.gate.standalone import standalone
from streaming_app.errors import SinkError
from streaming_app.quality import Suite
from streaming_app.schema import Dataset
from streaming_app.storage import Storage, open_storage

_OF_TYPE: Final = "expect_column_values_to_be_of_type"
_NAMED: Final = 5  # files that stand for all
QUALITY: Final = "quality"  # the lake's folder of Data Docs


def page(report: GateReport, suite: Suite, dataset: Dataset) -> str:
    """HTML of the validation."""
    version = load().__version__
    from great_expectations.core import ExpectationSuiteValidationResult  # noqa: PLC0415 - seconds, see load()
    from great_expectations.core.expectation_validation_result import ExpectationValidationResult  # noqa: PLC0415
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration  # noqa: PLC0415
    from great_expectations.render.renderer.page_renderer import ValidationResultsPageRenderer  # noqa: PLC0415
    from great_expectations.render.view.view import DefaultJinjaPageView  # noqa: PLC0415

    entries = dict(zip((rule.id for rule in suite.rules), suite.document["expectations"], strict=True))
    results = [
        ExpectationValidationResult(
            success=result.success,
            expectation_config=ExpectationConfiguration(
                type=result.expectation,
                kwargs=_kwargs(result, entries.get(result.id, {}), dataset),
                meta={"id": result.id},
            ),
            result=_found(result),
            meta={},
            exception_info={"raised_exception": False, "exception_message": None, "exception_traceback": None},
        )
        for result in report.results
    ]
    met = sum(result.success for result in report.results)
    whole = ExpectationSuiteValidationResult(
        success=report.success,
        results=results,
        suite_name=suite.name,
        statistics={
            "evaluated_expectations": len(results),
            "successful_expectations": met,
            "unsuccessful_expectations": len(results) - met,
            "success_percent": 100 * met / len(results) if results else 100.0,
        },
        meta={
            "great_expectations_version": version,
            "run_id": {"run_name": report.suite_fingerprint, "run_time": datetime.now(UTC).isoformat()},
            "batch_spec": {"data_asset_name": ", ".join(report.files[:_NAMED]), "files": list(report.files)},
            "active_batch_definition": {},
        },
    )
    view: Any = DefaultJinjaPageView()
    rendered = str(view.render(ValidationResultsPageRenderer().render(whole)))
    return standalone(rendered, report, datetime.now(UTC))


def _kwargs(result: Result, entry: Mapping[str, Any], dataset: Dataset) -> dict[str, Any]:
    known = entry.get("kwargs") or {}
    if known:
        return dict(known)
    types = {column.name: column.type for column in dataset.columns}
    of_type = {"type_": types.get(result.columns[0])} if result.expectation == _OF_TYPE else {}
    return {"column": result.columns[0], **of_type}


def _found(result: Result) -> dict[str, Any]:
    if result.checked is None:
        return {"observed_value": result.observed}
    values = [next(iter(sample.values.values()), None) for sample in result.samples]
    return {
        "element_count": result.checked,
        "unexpected_count": result.unexpected,
        "unexpected_percent": result.unexpected_percent,
        "unexpected_percent_nonmissing": result.unexpected_percent,
        "unexpected_percent_total": result.unexpected_percent,
        "missing_count": 0,
        "missing_percent": 0.0,
        "partial_unexpected_list": values,
        "partial_unexpected_counts": [
            {"value": value, "count": values.count(value)} for value in dict.fromkeys(values)
        ],
    }


def write_page(html: str, suite: str, lake: Storage | None, folder: str | None) -> str:
    """Put the page into `folder`, or else below the lake's `quality/`; returns where it is."""
    name = f"{suite}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:8]}.html"
    if folder is None and lake is not None:
        lake.put(f"{QUALITY}/{name}", html.encode())
        return f"{lake.uri}/{QUALITY}/{name}"
    storage = open_storage(folder or ".")
    try:
        storage.put(name, html.encode())
    except OSError as error:
        raise SinkError(f"{folder}: {error.strerror or error}") from error
    return str(Path(storage.uri, name))
