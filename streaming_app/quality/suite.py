"""A Great Expectations 1.x suite, parsed once into rules; every fault is reported with its place in the file.

name: orders
expectations:
  - type: expect_column_values_to_be_between
    kwargs: {column: amount, min_value: 0, strict_min: true}
    severity: critical                # or warning, or info
    meta: {id: amount.positive}       # the rule's stable name; derived from column and type when absent
examples:                             # ours, optional: rows and exactly what they must fail; see streaming_app/examples.py
  - {row: {order_id: A1, amount: "-1.00"}, fails: [amount.positive]}
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from streaming_app.errors import ConfigError, Problem
from streaming_app.quality import gate
from streaming_app.quality.arguments import Arguments
from streaming_app.quality.conditions import columns_of, looked_at
from streaming_app.quality.rules import ROW_LEVEL, Rule, Severity, judge_sql, own_columns
from streaming_app.schema import Dataset

_SUITE_KEYS: Final = frozenset({"name", "expectations", "examples", "meta", "notes", "id", "suite_parameters"})
_EXPECTATION_KEYS: Final = frozenset(
    {"type", "kwargs", "meta", "severity", "id", "notes", "description", "rendered_content", "expectation_context"}
)
_ID: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,127}")
_FINGERPRINT_LENGTH: Final = 16  # hex digits: 64 bits tell the suites of one deployment apart


@dataclass(frozen=True)
class Example:
    """A row, as the sources would deliver it, and the ids of the rules it fails: none for a good row.

    `amount.cast` is a value that does not cast, `order_ts.missing` a row without the time that its partition needs.
    """

    row: Mapping[str, Any]
    fails: tuple[str, ...]


@dataclass(frozen=True)
class Suite:
    """All rules of a file, in its order.

    `document` is the file's content as Great Expectations takes it, `source` as it stands there.
    """

    name: str
    rules: tuple[Rule, ...]
    examples: tuple[Example, ...]
    document: Mapping[str, Any]
    source: Mapping[str, Any]

    @classmethod
    def parse(cls, document: Any, file: str, dataset: Dataset) -> Suite:
        """The suite that `document` (plain values from YAML or JSON) describes. Raises ConfigError with all problems."""
        parser = _Parser(file, dataset)
        suite = parser.parse(document)
        if suite is None or parser.problems:
            raise ConfigError(parser.problems)
        return suite

    @property
    def row_rules(self) -> tuple[Rule, ...]:
        """Rules that judge each row as it arrives."""
        return tuple(rule for rule in self.rules if rule.row_level)

    @property
    def gate_rules(self) -> tuple[Rule, ...]:
        """Rules that need a whole batch and run at the gate only."""
        return tuple(rule for rule in self.rules if not rule.row_level)

    @property
    def fingerprint(self) -> str:
        """16 hex digits that change when the verdict on some row could: not with comments, notes or examples."""
        canonical = [
            {
                "id": rule.id,
                "type": rule.expectation_type,
                "kwargs": dict(rule.kwargs),
                "severity": rule.severity.value,
            }
            for rule in self.rules
        ]
        text = json.dumps(canonical, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()[:_FINGERPRINT_LENGTH]


def rules_problems(document: Any, file: str, dataset: Dataset) -> list[Problem]:
    """Everything that is wrong in a suite, without raising: what `config.load` takes as `suite_check`."""
    try:
        Suite.parse(document, file, dataset)
    except ConfigError as error:
        return error.problems
    return []


class _Parser:
    """The state of one parse: what was found wrong, and the ids that are taken."""

    def __init__(self, file: str, dataset: Dataset) -> None:
        self._file = file
        self._dataset = dataset
        self._taken: dict[str, str] = {}
        self.problems: list[Problem] = []

    def _note(self, place: str, message: str) -> None:
        self.problems.append(Problem(self._file, place, message))

    def parse(self, document: Any) -> Suite | None:
        if not isinstance(document, dict):
            self._note("", "should be a suite with name and expectations")
            return None
        self._unknown(document, _SUITE_KEYS, "")
        name = document.get("name")
        if not isinstance(name, str) or not name:
            self._note("name", "is missing; name the suite")
        if document.get("suite_parameters"):
            self._note("suite_parameters", "are not supported; write the values where they belong")
        rules = self._named(list(self._entries(document.get("expectations"))))
        examples = tuple(self._examples(document.get("examples"), rules))
        plain = {key: value for key, value in document.items() if key != "examples"}
        return Suite(str(name), tuple(rules), examples, plain, document)

    def _unknown(self, entry: Mapping[str, Any], known: frozenset[str], place: str) -> None:
        for key in entry:
            if key not in known:
                near = difflib.get_close_matches(key, known, n=1)
                meant = f"; did you mean {near[0]}?" if near else ""
                self._note(f"{place}.{key}" if place else key, f"unknown key{meant}")

    def _entries(self, expectations: Any) -> Iterator[tuple[str, dict[str, Any], str]]:
        """Place, entry and short name of every expectation that could be read."""
        if not isinstance(expectations, list):
            self._note("expectations", "should be a list of expectations")
            return
        for at, entry in enumerate(expectations):
            place = f"expectations[{at}]"
            if not isinstance(entry, dict):
                self._note(place, "should have type and kwargs")
                continue
            self._unknown(entry, _EXPECTATION_KEYS, place)
            short = self._checked(entry, place)
            if short:
                yield place, entry, short

    def _checked(self, entry: Mapping[str, Any], place: str) -> str:
        """Look at type and kwargs; the short name of the expectation, empty for an unknown one."""
        type_ = entry.get("type")
        if not isinstance(type_, str):
            self._note(f"{place}.type", "is missing; name an expectation")
            return ""
        known = ROW_LEVEL.get(type_) or gate.EXPECTATIONS.get(type_)
        if known is None:
            self._note(f"{place}.type", _no_such_type(type_))
            return ""
        kwargs = entry.get("kwargs")
        if not isinstance(kwargs, dict):
            self._note(f"{place}.kwargs", "should be a section with keys of its own")
            return ""
        arguments = Arguments(kwargs, self._dataset, self._file, f"{place}.kwargs")
        self._parameters(kwargs, f"{place}.kwargs")
        if isinstance(known, gate.GateOnly):
            known.check(arguments)
            looked_at(arguments)
            arguments.finish()
        else:
            judge_sql(known, arguments)
        self.problems += arguments.problems
        return known.short

    def _parameters(self, kwargs: Mapping[str, Any], place: str) -> None:
        for name, value in kwargs.items():
            if isinstance(value, dict) and "$PARAMETER" in value:
                self._note(f"{place}.{name}", "suite parameters are not supported; write the value")

    def _named(self, entries: list[tuple[str, dict[str, Any], str]]) -> list[Rule]:
        """Rules with their ids. Written ids come first: a derived one gives way to them, wherever it stands."""
        written = {place: self._written_id(place, entry) for place, entry, _ in entries}
        return [
            self._rule(place, entry, written[place] or self._derived_id(entry, short))
            for place, entry, short in entries
        ]

    def _written_id(self, place: str, entry: Mapping[str, Any]) -> str:
        meta = entry.get("meta") or {}
        if not isinstance(meta, dict):
            self._note(f"{place}.meta", "should be a section with keys of its own")
            meta = {}
        key, value = ("meta.id", meta["id"]) if meta.get("id") is not None else ("id", entry.get("id"))
        if value is None:
            return ""
        if not isinstance(value, str) or not _ID.fullmatch(value):
            self._note(f"{place}.{key}", "an id is letters, digits and _ . : -, 128 at most")
            return ""
        if value in self._taken:
            self._note(f"{place}.{key}", f"{value} is the id of {self._taken[value]} already")
        self._taken.setdefault(value, place)
        return value

    def _derived_id(self, entry: Mapping[str, Any], short: str) -> str:
        """`amount.between`; a second one of the same name is `amount.between.2`."""
        base = ".".join([*own_columns(entry["kwargs"]), short])[:120]
        number, name = 1, base
        while name in self._taken:
            number += 1
            name = f"{base}.{number}"
        self._taken[name] = base
        return name

    def _rule(self, place: str, entry: Mapping[str, Any], rule_id: str) -> Rule:
        kwargs = entry["kwargs"]
        mostly = kwargs.get("mostly", 1.0)
        return Rule(
            id=rule_id,
            expectation_type=entry["type"],
            columns=tuple(dict.fromkeys([*own_columns(kwargs), *columns_of(kwargs.get("row_condition"))])),
            severity=self._severity(place, entry.get("severity")),
            mostly=float(mostly) if isinstance(mostly, int | float) else 1.0,
            kwargs=kwargs,
            description=str(entry.get("description") or ""),
        )

    def _severity(self, place: str, value: Any) -> Severity:
        try:
            return Severity.CRITICAL if value is None else Severity(value)
        except ValueError:
            self._note(f"{place}.severity", f"should be one of {', '.join(Severity)}")
            return Severity.CRITICAL

    def _examples(self, examples: Any, rules: list[Rule]) -> Iterator[Example]:
        if examples is None:
            return
        if not isinstance(examples, list):
            self._note("examples", "should be a list of rows")
            return
        ids = {rule.id: rule.row_level for rule in rules}
        ids |= dict.fromkeys((f"{column.name}.cast" for column in self._dataset.columns), True)
        ids[f"{self._dataset.time_column}.missing"] = True
        for at, entry in enumerate(examples):
            yield from self._example(f"examples[{at}]", entry, ids)

    def _example(self, place: str, entry: Any, ids: Mapping[str, bool]) -> Iterator[Example]:
        """`ids`: what a row can fail, and whether that is known of a single row."""
        row, fails = (entry.get("row"), entry.get("fails", [])) if isinstance(entry, dict) else (None, [])
        if not isinstance(row, dict) or not isinstance(fails, list):
            self._note(place, "should have row, and fails: a list of rule ids")
            return
        self._unknown(entry, frozenset({"row", "fails", "notes"}), place)
        self._unknown(row, frozenset(self._dataset.column_names), f"{place}.row")
        for rule_id in fails:
            if rule_id not in ids:
                self._note(f"{place}.fails", f"there is no rule {rule_id}")
            elif not ids[rule_id]:
                self._note(f"{place}.fails", f"{rule_id} looks at a whole batch; no single row can fail it")
        yield Example(row, tuple(str(rule_id) for rule_id in fails))


def _no_such_type(type_: str) -> str:
    if type_ in gate.UNUSABLE:
        return f"{type_} {gate.UNUSABLE[type_]}"
    near = difflib.get_close_matches(type_, [*ROW_LEVEL, *gate.EXPECTATIONS], n=1)
    return f"unknown expectation {type_}; did you mean {near[0]}?" if near else f"unknown expectation {type_}"
