"""Reads the kwargs of one expectation; every fault becomes a `Problem` with its place in the suite's file."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from streaming_app.errors import Problem
from streaming_app.quality import sql
from streaming_app.schema import Column, Dataset

# Kwargs that any expectation may carry and that do not change which rows fail.
ACCEPTED: Final = frozenset({"mostly", "result_format", "catch_exceptions", "include_config", "batch_id"})

# Stands for a column that could not be found, so that the other kwargs are still looked at.
_NOWHERE: Final = Column(name="nowhere", type="string")


@dataclass
class Arguments:
    """The kwargs of one expectation. What cannot be read is noted in `problems`, and a stand-in returned."""

    kwargs: Mapping[str, Any]
    dataset: Dataset
    file: str = "suite"
    place: str = "kwargs"
    problems: list[Problem] = field(default_factory=list)
    _read: set[str] = field(default_factory=set)

    def problem(self, name: str, message: str) -> None:
        """Note what is wrong with a kwarg, or with `name[3]` inside it."""
        self.problems.append(Problem(self.file, f"{self.place}.{name}" if name else self.place, message))

    def get(self, name: str) -> Any:
        """The value as written, None when absent."""
        self._read.add(name)
        return self.kwargs.get(name)

    def required(self, name: str) -> Any:
        """The value, or None and a problem."""
        value = self.get(name)
        if value is None:
            self.problem(name, "is missing")
        return value

    def column(self, name: str = "column") -> Column:
        """The dataset's column that the kwarg names."""
        value = self.required(name)
        return _NOWHERE if value is None else self.known_column(name, value)

    def columns(self, name: str = "column_list") -> list[Column]:
        """The dataset's columns that the kwarg lists: at least two, each once."""
        listed = [self.known_column(f"{name}[{at}]", value) for at, value in enumerate(self.a_list(name))]
        if isinstance(self.kwargs.get(name), list):
            names = [column.name for column in listed]
            if len(names) < 2:  # noqa: PLR2004 - a record of one column has nothing to compare
                self.problem(name, "needs two columns at least")
            elif len(set(names)) < len(names) and _NOWHERE not in listed:
                self.problem(name, "names a column twice")
        return listed

    def known_column(self, name: str, value: Any) -> Column:
        """The dataset's column called `value`, which stands in kwarg `name`; a stand-in and a problem when there is none."""
        for column in self.dataset.columns:
            if column.name == value:
                return column
        near = difflib.get_close_matches(str(value), self.dataset.column_names, n=1)
        meant = f"did you mean {near[0]}?" if near else f"it has {', '.join(self.dataset.column_names)}"
        self.problem(name, f"dataset {self.dataset.name} has no column {value!r}; {meant}")
        return _NOWHERE

    def of_type(self, column: Column, name: str, types: Collection[str], what: str) -> None:
        """Note a column whose type the expectation cannot look at."""
        if column is not _NOWHERE and sql.family(column) not in types:
            self.problem(name, f"{column.name} is {column.type}; {what}")

    def a_list(self, name: str) -> list[Any]:
        """A list, possibly empty."""
        value = self.required(name)
        if value is not None and not isinstance(value, list):
            self.problem(name, "should be a list")
        return value if isinstance(value, list) else []

    def flag(self, name: str) -> bool:
        """True or false; false when absent."""
        value = self.get(name)
        if value is not None and not isinstance(value, bool):
            self.problem(name, "should be true or false")
        return value is True

    def choice(self, name: str, options: tuple[str, ...]) -> str:
        """One of the options; the first when absent."""
        value = self.get(name)
        if value is None:
            return options[0]
        if value not in options:
            self.problem(name, f"should be one of {', '.join(options)}")
        return value if value in options else options[0]

    def whole_number(self, name: str) -> int | None:
        """A whole number of 0 or more, None when absent."""
        value = self.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value) or value < 0:
            self.problem(name, f"should be a whole number of 0 or more (found {value!r})")
            return 0
        return int(value)

    def literal(self, name: str, column: Column, value: Any) -> sql.Literal | None:
        """The value as a literal of the column's type; None and a problem when it is none."""
        if column is _NOWHERE:
            return None
        return self._tried(name, lambda: sql.literal(column, value))

    def literals(self, name: str, column: Column) -> list[str]:
        """A list of values as literals of the column's type."""
        found = [self.member(f"{name}[{at}]", column, value) for at, value in enumerate(self.a_list(name))]
        return [item.sql for item in found if item]

    def member(self, name: str, column: Column, value: Any) -> sql.Literal | None:
        """One value of a set as a literal of the column's type."""
        if value is None:  # Spark: x IN ('a', NULL) is null and not false, so that every row would pass
            self.problem(name, "null is equal to nothing; leave it out (null passes anyway)")
            return None
        return self.literal(name, column, value)

    def _tried(self, name: str, make: Callable[[], sql.Literal]) -> sql.Literal | None:
        try:
            return make()
        except ValueError as error:
            self.problem(name, str(error))
            return None

    def finish(self) -> None:
        """Note the kwargs that nobody asked for, and what every expectation may carry."""
        mostly = self.kwargs.get("mostly", 1)
        if isinstance(mostly, bool) or not isinstance(mostly, int | float) or not 0 <= mostly <= 1:
            self.problem("mostly", "should be a number from 0 to 1")
        for name in self.kwargs:
            if name not in self._read | ACCEPTED:
                self.problem(name, self._unknown(name))

    def _unknown(self, name: str) -> str:
        near = difflib.get_close_matches(name, self._read | ACCEPTED, n=1)
        return f"unknown kwarg; did you mean {near[0]}?" if near else "unknown kwarg"
