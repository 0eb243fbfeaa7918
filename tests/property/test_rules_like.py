"""LIKE patterns: the rows that we reject are those that Great Expectations reports on a SQL database.

Its Spark and pandas engines have no LIKE. SQLite has, and reads it as the standard does once it is told that case counts.
NUL is left out: SQLite's LIKE ends a text there.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from streaming_app.quality import Suite, compile_rule, like
from streaming_app.schema import Column, Dataset

pytestmark = [pytest.mark.spark, pytest.mark.timeout(900)]  # some hundred Spark jobs, on machines that may be busy
DATASET = Dataset(
    name="t", columns=(Column(name="text", type="string"), Column(name="at", type="timestamp")), time_column="at"
)
# Few letters, so that patterns meet texts; and what is special to LIKE, to SQL, to Spark and to Java's expressions.
LETTERS = ["a", "A", "b", "é", "e\u0301", "日", "😀", " ", "\n", "\r", "\u0085", "\u2028", "ß", "İ"]
SPECIAL = [
    "%",
    "_",
    "\\",
    "'",
    '"',
    "`",
    "$",
    "${x}",
    "{",
    "}",
    "(",
    ")",
    "[",
    "]",
    "*",
    ".",
    "+",
    "?",
    "^",
    "|",
    "-- ",
]
SPECIAL += ["\\E", "\\Q", "!", "#", "\\n", "\\u0041"]
TEXTS = st.lists(st.sampled_from(LETTERS + SPECIAL), max_size=5).map("".join)
ESCAPES = st.sampled_from([None, "\\", "!", "#", "'", "a", "^", "$", "😀"])


@st.composite
def patterns(draw: st.DrawFn, escape: str | None) -> str:
    """A pattern that every database reads alike: see like.py."""
    parts = draw(st.lists(st.sampled_from(["%", "_", "%", *LETTERS, *SPECIAL]), max_size=5))
    plain = "".join(parts)
    if escape is None:
        return plain.replace("\\", "/")
    escaped = plain.replace(escape, escape + escape)
    return escaped + draw(st.sampled_from(["", f"{escape}%", f"{escape}_", f"{escape}{escape}", f"%{escape}_%"]))


@st.composite
def kwargs(draw: st.DrawFn, many: bool, match_on: bool) -> dict[str, Any]:
    escape = draw(ESCAPES)
    found = {"column": "text", **({"escape": escape} if escape else {})}
    if not many:
        return {**found, "like_pattern": draw(patterns(escape))}
    listed = draw(st.lists(patterns(escape), min_size=1, max_size=3))
    on = {"match_on": draw(st.sampled_from(["any", "all"]))} if match_on else {}
    return {**found, "like_pattern_list": listed, **on}


CASES = [
    ("expect_column_values_to_match_like_pattern", kwargs(many=False, match_on=False)),
    ("expect_column_values_to_not_match_like_pattern", kwargs(many=False, match_on=False)),
    ("expect_column_values_to_match_like_pattern_list", kwargs(many=True, match_on=True)),
    ("expect_column_values_to_not_match_like_pattern_list", kwargs(many=True, match_on=False)),
]
SUITES = st.tuples(*(drawn for _, drawn in CASES * 3)).map(
    lambda found: [{"type": type_, "kwargs": one} for (type_, _), one in zip(CASES * 3, found, strict=True)]
)


@pytest.fixture(scope="module")
def great_expectations(tmp_path_factory) -> Iterator[Any]:
    """What Great Expectations reports on SQLite: the numbers of the unexpected rows, expectation by expectation."""
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setenv("GX_ANALYTICS_ENABLED", "false")
    sqlalchemy = pytest.importorskip("sqlalchemy", reason="make test-like brings SQLAlchemy")
    import great_expectations as gx

    def case_counts(connection: Any, _: Any) -> None:
        connection.execute("PRAGMA case_sensitive_like = ON")

    sqlalchemy.event.listen(sqlalchemy.Engine, "connect", case_counts)
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    file = tmp_path_factory.mktemp("like") / "t.db"
    with sqlite3.connect(file) as made:
        made.execute("CREATE TABLE t (row_id INTEGER, text TEXT)")
    asset = context.data_sources.add_sqlite("sqlite", connection_string=f"sqlite:///{file}").add_table_asset("t", table_name="t")  # fmt: skip
    definition = asset.add_batch_definition_whole_table("whole")
    # On a database the list of rows is as long as the partial one, in COMPLETE as well.
    form = {"result_format": "COMPLETE", "unexpected_index_column_names": ["row_id"], "partial_unexpected_count": 1000}

    def unexpected(rows: list[tuple[int, str | None]], document: list[dict[str, Any]]) -> list[set[int]]:
        with sqlite3.connect(file) as connection:
            connection.execute("DELETE FROM t")
            connection.executemany("INSERT INTO t VALUES (?, ?)", rows)
        entries = [{**entry, "meta": {"number": at}} for at, entry in enumerate(document)]
        answer = definition.get_batch().validate(
            gx.ExpectationSuite(name="drawn", expectations=entries), result_format=form
        )
        found = {item.expectation_config.meta["number"]: item for item in answer.results}
        assert not any(item.exception_info.get("raised_exception") for item in found.values())
        return [
            {row["row_id"] for row in found[at].result.get("unexpected_index_list") or ()}
            for at in range(len(document))
        ]

    yield unexpected
    sqlalchemy.event.remove(sqlalchemy.Engine, "connect", case_counts)
    monkeypatch.undo()


@settings(
    max_examples=int(os.environ.get("QSR_EXAMPLES", "3")),
    derandomize="QSR_EXAMPLES" not in os.environ,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(texts=st.lists(st.one_of(st.none(), TEXTS), min_size=40, max_size=40), drawn=SUITES)
def test_our_verdict_on_every_row_is_the_one_of_great_expectations_on_sqlite(
    spark, great_expectations, texts, drawn
) -> None:
    document = [json.loads(text) for text in dict.fromkeys(json.dumps(entry, sort_keys=True) for entry in drawn)]
    escapes = [entry["kwargs"].get("escape") or "" for entry in document]
    kwargs_of = [entry["kwargs"] for entry in document]
    written = [one["like_pattern"] if "like_pattern" in one else one["like_pattern_list"][0] for one in kwargs_of]
    near = [
        pattern.replace(escape, "").replace("_", "a") if escape else pattern
        for pattern, escape in zip(written, escapes, strict=True)
    ]
    rows = list(enumerate([*texts, *near]))
    frame = spark.createDataFrame(rows, "row_id int, text string").coalesce(1)
    rules = Suite.parse({"name": "drawn", "expectations": document}, "drawn", DATASET).rules
    judged = frame.selectExpr("row_id", *(compile_rule(rule, DATASET) for rule in rules)).collect()
    ours = [{row[0] for row in judged if row[at]} for at in range(1, len(rules) + 1)]
    theirs = great_expectations(rows, document)
    differences = [
        f"{entry}: GX alone {[rows[row] for row in gx - mine]}, ours alone {[rows[row] for row in mine - gx]}"
        for entry, gx, mine in zip(document, theirs, ours, strict=True)
        if gx != mine
    ]
    assert not differences, "\n".join(differences)


def test_every_like_expectation_is_compared() -> None:
    assert {type_ for type_, _ in CASES} == {expectation.type for expectation in like.EXPECTATIONS}
