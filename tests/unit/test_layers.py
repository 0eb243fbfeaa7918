"""Imports point one way (CONTRIBUTING.md, "Code")."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
LAYERS = [
    {"errors", "units"},
    {"schema", "thresholds", "events", "glue", "text_checks"},
    {"storage"},
    {"journal"},
    {"config"},
    {"runtime"},
    {"alerts"},
    {"decode"},
    {"sources.kinesis", "sources.csv_files", "quality", "sink", "producer"},
    {"casting", "places", "arguments", "catalog"},
    {"pipeline"},
    {"streams"},
    {"progress", "suite_watch", "examples", "doctor"},
    {"service", "metrics"},
    {"running"},
    {"demo"},
    {"commands"},
    {"cli"},
    {"__main__"},
]
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}


def modules() -> list[Path]:
    return sorted((REPOSITORY / "streaming_app").rglob("*.py"))


def unit_of(dotted: str) -> str | None:
    """The layer's name that a module belongs to: `streaming_app.sources.kinesis.client` -> `sources.kinesis`."""
    parts = dotted.split(".")[1:]
    return next((name for name in (".".join(parts[:2]), parts[0] if parts else "") if name in RANK), None)


def imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name for name in found if name.split(".")[0] in {"streaming_app", "batch_app"}}


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_module_imports_only_from_lower_layers(path):
    own = unit_of(".".join(path.relative_to(REPOSITORY).with_suffix("").parts))
    if own is None:  # the packages' own __init__ files name nothing
        assert not {unit_of(name) for name in imported(path)} - {None}
        return
    for name in imported(path):
        assert not name.startswith("batch_app"), f"{path} imports {name}"
        other = unit_of(name)
        assert other is None or other == own or RANK[other] < RANK[own], f"{path}: {own} imports {name}"


@pytest.mark.parametrize(
    "path", sorted((REPOSITORY / "batch_app").rglob("*.py")), ids=lambda path: str(path.relative_to(REPOSITORY))
)
def test_batch_application_leaves_service_and_command_line_alone(path):
    ours = {unit_of(name) for name in imported(path) if name.startswith("streaming_app")}
    assert not ours & {"service", "running", "cli", "demo"}
