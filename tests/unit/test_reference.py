"""docs/expectations.md is what the code says, and says all of it."""

from __future__ import annotations

from pathlib import Path

from streaming_app.quality import reference
from streaming_app.quality.gate import EXPECTATIONS, UNUSABLE
from streaming_app.quality.rules import ROW_LEVEL

PAGE = Path(__file__).resolve().parents[2] / "docs/expectations.md"


def test_page_is_what_the_code_makes() -> None:
    made = reference.page()
    assert PAGE.read_text() == made, "run: python -m streaming_app.quality.reference > docs/expectations.md"


def test_page_has_every_expectation_there_is() -> None:
    assert {type_ for type_, _ in reference.EXAMPLES} == set(ROW_LEVEL)
    text = PAGE.read_text()
    assert all(f"`{name}`" in text for name in [*EXPECTATIONS, *UNUSABLE])
