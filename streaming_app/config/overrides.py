"""`--set key.path=value`: one value of the configuration file, replaced for this run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from pydantic import BaseModel

from streaming_app.config.documents import Refused, parse_document
from streaming_app.config.keys import split_key
from streaming_app.errors import Problem

ORIGIN: Final = "--set"  # what problems name instead of a file


def apply_overrides(
    document: dict[str, Any], overrides: Sequence[str], model: type[BaseModel]
) -> tuple[set[str], list[Problem]]:
    """Put the overrides into `document`; returns the dotted keys that were set, and what could not be."""
    done: set[str] = set()
    problems: list[Problem] = []
    for override in overrides:
        key, equals, text = override.partition("=")
        path = split_key(model, key.strip())
        if not equals or not all(path):
            problems.append(Problem(ORIGIN, key.strip(), "write --set key.path=value"))
            continue
        try:
            _put(document, path, _parsed(text, key))
            done.add(".".join(path))
        except Refused as refused:
            problems += refused.problems
    return done, problems


def _parsed(text: str, key: str) -> Any:
    """The value as YAML reads it; nothing after `=` is the empty text."""
    try:
        value = parse_document(text.encode("utf-8", "surrogateescape"), ORIGIN)
    except Refused:
        raise Refused([Problem(ORIGIN, key, "the value is no YAML; put it in quotes")]) from None
    return "" if value is None and not text.strip() else value


def _put(document: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    *parents, last = path
    at = document
    for depth, name in enumerate(parents, 1):
        if at.get(name) is None:
            at[name] = {}
        at = at[name]
        if not isinstance(at, dict):
            section = ".".join(parents[:depth])
            raise Refused([Problem(ORIGIN, ".".join(path), f"{section} in the file is a value, not a section")])
    at[last] = value
