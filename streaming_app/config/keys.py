"""Finds a model's keys by name: for `--set`, and for suggestions where a key is misspelt."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from typing import Any, get_args, get_origin

from pydantic import BaseModel

from streaming_app.config.documents import join_key


def model_within(annotation: Any) -> type[BaseModel] | None:
    """The model that a field holds, directly or as the items of a list."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := model_within(part))), None)


def model_at(model: type[BaseModel], location: Sequence[str | int]) -> type[BaseModel] | None:
    """The model at a place of a document, None where there is none."""
    found: type[BaseModel] | None = model
    for name in location:
        if isinstance(name, str):
            field = found.model_fields.get(name) if found else None
            found = model_within(field.annotation) if field else None
    return found


def split_key(model: type[BaseModel], key: str) -> tuple[str, ...]:
    """The parts of a dotted key: `spark.conf.spark.sql.shuffle.partitions` is (spark, conf, spark.sql...)."""
    parts: list[str] = []
    names = key.split(".")
    at: type[BaseModel] | None = model
    while names:
        field = at.model_fields.get(names[0]) if at else None
        parts.append(names.pop(0))
        if field and get_origin(field.annotation) is dict and names:
            return (*parts, ".".join(names))
        at = model_within(field.annotation) if field else None
    return tuple(parts)


def dotted(location: Sequence[str | int]) -> str:
    """A place as it is shown: `sources.csv.suffixes[0]`."""
    key = ""
    for name in location:
        key = join_key(key, name)
    return key


def all_keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Every dotted key of a model and of the models in it."""
    for name, field in model.model_fields.items():
        key = join_key(prefix, name)
        yield key
        inner = model_within(field.annotation)
        if inner:
            yield from all_keys(inner, key)


def suggestion(model: type[BaseModel], location: Sequence[str | int]) -> str:
    """The dotted key that was probably meant by the unknown one at `location`; empty when nothing resembles it."""
    *parent, name = location
    here = model_at(model, parent)
    near = difflib.get_close_matches(str(name), here.model_fields if here else (), n=1)
    if near:
        return dotted((*parent, near[0]))
    leaves = {key.rsplit(".", 1)[-1]: key for key in reversed(list(all_keys(model)))}
    elsewhere = difflib.get_close_matches(str(name), leaves, n=1, cutoff=0.85)
    return leaves[elsewhere[0]] if elsewhere else ""
