"""Reads one YAML or JSON file into plain values, bounded and strict, with every fault as a `Problem`.

Accepted is what JSON can say: mappings with text keys, lists, text, numbers, booleans, null. A date is text, as in
JSON. Refused are anchors and aliases (a few lines of them expand to gigabytes), keys that stand twice (YAML would
silently take the last), custom tags, several documents in a file, and files over `MAX_BYTES`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

from streaming_app.errors import Problem

MAX_BYTES: Final = 1 << 20  # configuration is written by hand; a megabyte is a mistake
MAX_DEPTH: Final = 64


class Refused(Exception):
    """The text cannot be used; `problems` say why."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        super().__init__()


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader that knows no aliases."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise yaml.MarkedYAMLError(
                problem="anchors (&name) and aliases (*name) are not accepted; write the value out",
                problem_mark=event.start_mark,
            )
        return super().compose_node(parent, index)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def join_key(parent: str, key: str | int) -> str:
    """Dotted key of a child: `a.b` for a mapping's, `a[0]` for a list's."""
    if isinstance(key, int):
        return f"{parent}[{key}]"
    return f"{parent}.{key}" if parent else key


def read_document(path: str | Path, named: str = "") -> Any:
    """The file's content as plain values. Raises `Refused`; `named` is what problems call the file."""
    name = named or str(path)
    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise Refused([Problem(name, "", f"cannot be read: {reason}")]) from None
    return parse_document(data, name)


def parse_document(data: bytes, name: str) -> Any:
    """Plain values from YAML, or from JSON when `name` ends with .json. Raises `Refused`."""
    if len(data) > MAX_BYTES:
        raise Refused([Problem(name, "", f"is larger than {MAX_BYTES} bytes; this is no configuration file")])
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Refused([Problem(name, "", f"is not UTF-8 text (byte {error.start})")]) from None
    try:
        return _parse_json(text, name) if name.lower().endswith(".json") else _parse_yaml(text, name)
    except RecursionError:
        raise Refused([Problem(name, "", f"is nested deeper than {MAX_DEPTH} levels")]) from None


def _parse_yaml(text: str, name: str) -> Any:
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        problems = list(_node_problems(node, name, "", 0))
        if problems:
            raise Refused(problems)
        return loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        raise Refused([Problem(name, "", _yaml_message(error))]) from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise Refused([Problem(name, "", f"is no YAML: {_first_line(error)}")]) from None


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _yaml_message(error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    return f"{place}{error.problem or error.context}"


def _node_problems(node: yaml.Node, name: str, key: str, depth: int) -> Iterator[Problem]:
    if depth > MAX_DEPTH:
        yield Problem(name, key, f"is nested deeper than {MAX_DEPTH} levels")
    elif isinstance(node, yaml.SequenceNode):
        for index, child in enumerate(node.value):
            yield from _node_problems(child, name, join_key(key, index), depth + 1)
    elif isinstance(node, yaml.MappingNode):
        yield from _mapping_problems(node, name, key, depth)
    elif node.tag == "tag:yaml.org,2002:float" and not _finite(node.value):
        yield Problem(name, key, f"line {node.start_mark.line + 1}: not a number is no value here")


def _finite(text: str) -> bool:
    try:
        return math.isfinite(float(text.replace("_", "")))
    except ValueError:  # 1:30.5 counts in sixties
        return ".inf" not in text.lower() and ".nan" not in text.lower()


def _mapping_problems(node: yaml.MappingNode, name: str, key: str, depth: int) -> Iterator[Problem]:
    first: dict[str, int] = {}
    for child_key, child in node.value:
        line = child_key.start_mark.line + 1
        if child_key.tag != "tag:yaml.org,2002:str":
            yield Problem(name, key, f"line {line}: the key {_shown(child_key)} is no text; put it in quotes")
            continue
        child_name = join_key(key, child_key.value)
        if child_key.value in first:
            yield Problem(name, child_name, f"stands twice: line {first[child_key.value]} and line {line}")
        first.setdefault(child_key.value, line)
        yield from _node_problems(child, name, child_name, depth + 1)


def _shown(node: yaml.Node) -> str:
    return str(node.value) if isinstance(node, yaml.ScalarNode) else "written there"


def _parse_json(text: str, name: str) -> Any:
    problems: list[Problem] = []

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [key for key, _ in pairs]
        twice = sorted({key for key in names if names.count(key) > 1})
        problems.extend(Problem(name, key, "stands twice in one object") for key in twice)
        return dict(pairs)

    def refuse(constant: str) -> Any:
        raise ValueError(f"{constant} is no JSON value")

    try:
        document = json.loads(text, object_pairs_hook=unique, parse_constant=refuse)
    except ValueError as error:
        raise Refused([Problem(name, "", f"is no JSON: {_first_line(error)}")]) from None
    if problems:
        raise Refused(problems)
    return document
