"""Validates a document against a model and says every fault in plain words, with its dotted key."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from streaming_app.config.contradictions import CONTRADICTIONS, Contradiction
from streaming_app.config.keys import dotted, suggestion
from streaming_app.config.masking import is_secret_name

ModelT = TypeVar("ModelT", bound=BaseModel)
Location = tuple[str | int, ...]

_SHOWN: Final = 60  # characters of a wrong value that a message repeats


@dataclass
class Checked(Generic[ModelT]):
    """The model, or None with the faults: dotted key and message."""

    value: ModelT | None = None
    faults: list[tuple[str, str]] = field(default_factory=list)


def check(
    model: type[ModelT],
    document: Mapping[str, Any],
    known_bad: Sequence[str] = (),
    stand_ins: Mapping[str, Any] | None = None,
) -> Checked[ModelT]:
    """Validate; then once more without the faulty values, so that contradictions among the others are found too.

    `known_bad` are keys that were reported already. `stand_ins` are values for required keys that are missing: with
    them the second look has a whole document.
    """
    try:
        return Checked(model.model_validate(document))
    except ValidationError as error:
        found = error.errors(include_url=False)
    result: Checked[ModelT] = Checked()
    bad = set(known_bad)
    remaining = copy.deepcopy(dict(document))
    for item in found:
        if item["type"] == CONTRADICTIONS:
            continue
        key = dotted(item["loc"])
        if not _touches(key, known_bad) and not _follows(item["loc"], found):
            result.faults.append((key, _message(model, item)))
        bad |= {key, suggestion(model, item["loc"])} if item["type"] == "extra_forbidden" else {key}
        _prune(remaining, item["loc"], (stand_ins or {}).get(key))
    result.faults += _contradictions(model, remaining, bad - {""})
    return result


def _contradictions(model: type[BaseModel], document: Mapping[str, Any], bad: set[str]) -> list[tuple[str, str]]:
    """Contradictions between values that are right by themselves."""
    try:
        model.model_validate(document)
    except ValidationError as error:
        return [
            (contradiction.keys[0], contradiction.message)
            for item in error.errors(include_url=False)
            if item["type"] == CONTRADICTIONS
            for contradiction in _found(item["ctx"])
            if not any(_touches(key, bad) for key in contradiction.keys)
        ]
    return []


def _follows(location: Location, found: Sequence[Any]) -> bool:
    """Whether a fault further down is the cause: a list whose only item is faulty counts as empty to pydantic."""
    return any(len(item["loc"]) > len(location) and item["loc"][: len(location)] == location for item in found)


def _found(context: Mapping[str, Any]) -> tuple[Contradiction, ...]:
    found: tuple[Contradiction, ...] = context["found"]
    return found


def _touches(key: str, others: Sequence[str] | set[str]) -> bool:
    """Whether one of the others is this key, above it or below it."""
    return any(key == other or _below(key, other) or _below(other, key) for other in others)


def _below(key: str, parent: str) -> bool:
    return key.startswith((f"{parent}.", f"{parent}["))


def _prune(document: Any, location: Location, stand_in: Any) -> None:
    """Take the faulty value out; a list loses its place in its mapping whole."""
    at = document
    for name in location[:-1]:
        if not isinstance(at, dict) or not isinstance(at.get(name), dict):
            break
        at = at[name]
    else:
        if location and isinstance(at, dict):
            at.pop(location[-1], None)
            if stand_in is not None:
                at[location[-1]] = stand_in
        return
    if isinstance(at, dict):
        at.pop(name, None)


def _message(model: type[BaseModel], item: Mapping[str, Any]) -> str:
    location: Location = item["loc"]
    if item["type"] == "missing":
        return "is missing and has no default"
    if item["type"] == "extra_forbidden":
        meant = suggestion(model, location)
        return f"unknown key; did you mean {meant}?" if meant else "unknown key"
    if item["type"] == "value_error":
        return "is not usable" if _secret(location) else str(item["ctx"]["error"])
    if item["type"] in {"model_type", "dict_type"}:
        return "should be a section with keys of its own"
    message = str(item["msg"]).replace("Input should", "should").replace("Extra inputs", "extra keys")
    return message + _value_shown(location, item)


def _value_shown(location: Location, item: Mapping[str, Any]) -> str:
    value = item["input"]
    if _secret(location) or not isinstance(value, str | int | float):
        return ""
    shown = repr(value)[:_SHOWN]
    if item["type"] == "string_type":
        return f" (found {shown}: put it in quotes)"
    return f" (found {shown})"


def _secret(location: Location) -> bool:
    return any(is_secret_name(str(name)) for name in location)
