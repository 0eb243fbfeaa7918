"""docs/kinesis.md is true: its options are all and the real ones, its examples fit, and each test that it names exists."""

from __future__ import annotations

import ast
import re
from dataclasses import fields
from pathlib import Path

import pytest

from streaming_app.config.models import KinesisConfig
from streaming_app.sources.kinesis import KinesisOptions
from streaming_app.sources.kinesis.layouts import GENERIC_DDL
from streaming_app.sources.kinesis.options import _ALIASES, _GLUE_ALIASES, _GLUE_ONLY, parse_options

REPOSITORY = Path(__file__).resolve().parents[2]
DOCUMENT = (REPOSITORY / "docs" / "kinesis.md").read_text(encoding="utf-8")
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
OPTIONS = {field.name for field in fields(KinesisOptions)} - {"storage"}
LEAST = {"stream_name": "orders", "read_log_path": "/checkpoints/kinesis"}


def between(begin: str, end: str) -> str:
    return DOCUMENT.partition(begin)[2].partition(end)[0]


def rows(text: str) -> list[list[str]]:
    """The cells of a table's body."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


OPTION_ROWS = rows(between("<!-- options:", "<!-- end of options -->"))
GLUE_ROWS = rows(between("<!-- glue names:", "<!-- end of glue names -->"))
MATRIX_ROWS = rows(between("<!-- matrix:", "<!-- end of matrix -->"))


def names(text: str) -> set[str]:
    return set(re.findall(r"`([a-z_]+)`", text))


def existing_tests() -> set[str]:
    text = "\n".join(path.read_text(encoding="utf-8") for path in (REPOSITORY / "tests").rglob("test_*.py"))
    return set(re.findall(r"^\s*def (test_\w+)\(", text, re.MULTILINE))


def test_every_option_stands_in_the_table_once():
    listed = [name for row in OPTION_ROWS for name in names(row[0])]
    assert sorted(listed) == sorted(OPTIONS)


def test_the_table_has_the_real_defaults():
    written = {row[0].strip("`"): row[1].strip("`") for row in OPTION_ROWS}
    assert {name for name, default in written.items() if default == "required"} == LEAST.keys()
    given = {name: default for name, default in written.items() if default not in {"", "required"}}
    assert parse_options({**LEAST, **given}, decoded=False) == parse_options(LEAST, decoded=False)
    left_out = OPTIONS - given.keys() - LEAST.keys()
    assert {name: getattr(parse_options(LEAST, decoded=False), name) for name in left_out} == dict.fromkeys(
        left_out, ""
    )


def test_the_emr_connectors_names_are_all_there():
    ours = {row[3].strip("`").lower(): row[0].strip("`") for row in OPTION_ROWS if row[3]}
    assert ours == {alias: option for alias, (option, _) in _ALIASES.items() if option}
    assert all(alias in DOCUMENT.lower() for alias in _ALIASES)


def test_glues_names_are_all_there():
    theirs = {name.strip("` ").lower(): row[1].strip("`") for row in GLUE_ROWS for name in row[0].split(",")}
    assert theirs == {alias: option or "nothing to set" for alias, (option, _) in _GLUE_ALIASES.items()}
    refused = between("<!-- end of glue names -->", "\n\n").lower()
    assert [name for name in _GLUE_ONLY if f"`{name}`" not in refused] == []


def test_what_the_service_sets_itself_is_what_its_configuration_lacks():
    assert names(between("<!-- set by the service -->", "<!-- end -->")) == (
        OPTIONS - set(KinesisConfig.model_fields) - {"probe_interval"}
    )


def example(text: str) -> tuple[dict[str, str], int]:
    """The options that the first Python example gives, and its number of lines of code."""
    code = text.partition("```python\n")[2].partition("```")[0]
    given: dict[str, str] = {}
    for node in ast.walk(ast.parse(code)):
        pairs: list[tuple[ast.expr | None, ast.expr]] = []
        if isinstance(node, ast.Dict):
            pairs = list(zip(node.keys, node.values, strict=True))
        elif isinstance(node, ast.Call) and len(node.args) > 1:
            pairs = [(node.args[0], node.args[1])]
        elif isinstance(node, ast.keyword) and node.arg:
            pairs = [(ast.Constant(node.arg), node.value)]
        for name, value in pairs:
            if isinstance(name, ast.Constant) and isinstance(value, ast.Constant) and name.value in OPTIONS:
                given[str(name.value)] = str(value.value)
    return given, sum(bool(line.strip()) for line in code.splitlines())


def test_ten_lines_read_a_stream_and_the_readme_says_the_same():
    ours, lines = example(DOCUMENT)
    theirs, _ = example(README.partition("## The Kinesis source on its own")[2])
    assert lines <= 10
    assert ours == theirs
    assert parse_options(ours, decoded=False).starting_position == "TRIM_HORIZON"


def test_the_columns_are_those_of_the_source():
    columns = [part.split()[0] for part in GENERIC_DDL.split(", ")]
    introduction = DOCUMENT.partition("Columns: ")[2].partition(". ")[0]
    assert re.findall(r"`(\w+)`", introduction) == columns
    assert ", ".join(columns) in README


def test_every_test_that_is_named_exists():
    named = set(re.findall(r"`(test_\w+)`", DOCUMENT))
    assert named
    assert named - existing_tests() == set()
    paths = set(re.findall(r"`(tests/[\w/]+\.py)`", DOCUMENT))
    assert [path for path in paths if not (REPOSITORY / path).is_file()] == []


@pytest.mark.parametrize("row", MATRIX_ROWS, ids=lambda row: row[0])
def test_each_of_our_cells_names_a_test_or_says_that_we_lack_it(row):
    assert len(row) == 6
    assert "`test_" in row[1] or row[1].startswith("not yet")
    assert all(row[2:])


def test_every_footnote_is_defined_once_and_used():
    text = re.sub(r"^\[\^[\w-]+\]:", "", DOCUMENT, flags=re.MULTILINE)
    defined = re.findall(r"^\[\^([\w-]+)\]: ", DOCUMENT, re.MULTILINE)
    assert sorted(defined) == sorted(set(re.findall(r"\[\^([\w-]+)\]", text)))


def test_links_inside_the_document_have_their_heading():
    headings = re.findall(r"^#+ (.+)$", DOCUMENT, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
    assert set(re.findall(r"\]\(#([\w-]+)\)", DOCUMENT)) <= anchors
    files = re.findall(r"\]\(([\w/.-]+\.md)\)", DOCUMENT)
    assert [file for file in files if not (REPOSITORY / "docs" / file).is_file()] == []
