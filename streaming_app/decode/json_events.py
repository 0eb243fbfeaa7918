"""JSON events to the decoded layout: every event becomes one row, readable or not.

An event is one JSON object (RFC 8259, UTF-8). A column's value is taken as the exact text it was written with, so that
no number loses a digit here; casting comes later. What cannot be read keeps its bytes and gets a `decode_error`:

    not_utf8            the bytes are no UTF-8
    invalid_json        no JSON, or nested deeper than the parser goes
    not_an_object       JSON, but a list, a string, a number, ...
    not_a_value:COLUMN  a column of the dataset holds an object or a list

Of a field that stands twice in one object the last counts, as in nearly every JSON parser.

Events that are written alike are taken apart all at once (`json_shapes`). Of the others those that hold nothing but the
dataset's fields take the typed path, three times as slow, and what is left is looked at one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa

from streaming_app.decode.json_pages import Page
from streaming_app.decode.json_shapes import Found, Shapes
from streaming_app.schema import Dataset

BOM: Final = b"\xef\xbb\xbf"
_FIELD: Final = "f{}"  # a dataset column may have a name that no Python attribute can have


_NULL: Final = msgspec.Raw(b"null")


class _NotAValueError(Exception):
    """A column's value is an object or a list."""


@dataclass
class _Run:
    """Events decoded one after another, and what there is to say about a few of them, by their place."""

    events: list[Any] = field(default_factory=list)
    rescued: dict[int, str] = field(default_factory=dict)
    errors: dict[int, str] = field(default_factory=dict)

    def fail(self, error: str, nothing: Any) -> None:
        """The next event cannot be read: a row of nulls with its reason."""
        self.errors[len(self.events)] = error
        self.events.append(nothing)


def _text(value: str) -> str | None:
    """The text of one JSON value: a string without its quotes, anything else as written, null as None."""
    if value[0] == '"':
        return value[1:-1] if "\\" not in value else msgspec.json.decode(value, type=str)
    if value == "null":
        return None
    if value[0] in "{[":
        raise _NotAValueError
    return value


def value_text(value: bytes) -> str | None:
    """The text of one JSON value as a column gets it. Raises ValueError for an object or a list, which no column takes."""
    try:
        return _text(value.decode())
    except _NotAValueError:
        raise ValueError("an object or a list is no value") from None


class JsonDecoder:
    """Decodes events of one dataset; one thread at a time.

    Guarantee: as many rows as events, in their order, each as if it had come alone; never raises on any bytes.
    """

    def __init__(self, dataset: Dataset) -> None:
        self._names = dataset.column_names
        self._is_text = [column.type == "string" for column in dataset.columns]
        fields = [
            (_FIELD.format(place), str | None if is_text else msgspec.Raw, msgspec.field(default=empty, name=name))
            for place, (name, is_text) in enumerate(zip(self._names, self._is_text, strict=True))
            for empty in (None if is_text else _NULL,)
        ]
        self._event = msgspec.defstruct("Event", fields, gc=False, forbid_unknown_fields=True)
        self._typed: Callable[[bytes], Any] = msgspec.json.Decoder(self._event).decode
        self._fields: Callable[[bytes], dict[str, msgspec.Raw]] = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
        self._getters = [attrgetter(_FIELD.format(place)) for place in range(len(self._names))]
        self._shapes = Shapes(self._names)

    def decode(self, events: Sequence[bytes]) -> list[pa.Array]:
        """One array for each dataset column (string), then rescued_data, decode_error (string) and raw (binary)."""
        alike = self._shapes.find(events)
        if alike is None:
            return [*self._parsed(events), pa.array(events, pa.binary())]
        page, found = alike
        return [*self._merged(events, page, found), page.raw()]

    def _merged(self, events: Sequence[bytes], page: Page, found: Found) -> list[pa.Array]:
        """The columns of those that were found alike, and of the others from the parser, in the order of the events."""
        nothing = pa.nulls(len(found.rows), pa.string())
        columns = [found.columns.get(name, nothing) for name in self._names] + 2 * [nothing]
        others = page.others(found.rows)
        if not len(others):
            return columns
        parsed = self._parsed([events[place] for place in others])
        order = pa.array(np.argsort(np.concatenate([found.rows, others]), kind="stable"))
        return [pa.concat_arrays(pair).take(order) for pair in zip(columns, parsed, strict=True)]

    def _parsed(self, events: Sequence[bytes]) -> list[pa.Array]:
        """All but the raw events, by the parser."""
        run = self._run(events)
        columns = self._columns(run)
        if columns is None:  # an odd value among the plain ones: look at every event of this run singly
            run = _Run()
            for event in events:
                self._one(event, run)
            columns = [
                self._exact(get, run, is_text) for get, is_text in zip(self._getters, self._is_text, strict=True)
            ]
        return [*columns, _sparse(run.rescued, len(events)), _sparse(run.errors, len(events))]

    def _run(self, events: Sequence[bytes]) -> _Run:
        run, decode = _Run(), self._typed
        add = run.events.append
        for event in events:
            try:
                add(decode(event))
            except (ValueError, RecursionError):  # msgspec's errors and UnicodeDecodeError are ValueErrors
                self._one(event, run)
        return run

    def _columns(self, run: _Run) -> list[pa.Array] | None:
        columns = []
        for get, is_text in zip(self._getters, self._is_text, strict=True):
            values: Sequence[Any] | None = [get(event) for event in run.events]
            if values and not is_text:
                values = _plain_texts(values)
                if values is None:
                    return None
            columns.append(pa.array(values, pa.string()))
        return columns

    @staticmethod
    def _exact(get: Callable[[Any], Any], run: _Run, is_text: bool) -> pa.Array:
        values = [get(event) for event in run.events]
        return pa.array(values if is_text else [_text(bytes(raw).decode()) for raw in values], pa.string())

    def _one(self, event: bytes, run: _Run) -> None:
        """Add one event to the run, by the exact rules of this module's docstring."""
        try:
            event.decode()
            fields = self._fields(event.removeprefix(BOM))
        except UnicodeDecodeError:
            run.fail("not_utf8", self._event())
        except msgspec.ValidationError:
            run.fail("not_an_object", self._event())
        except (msgspec.DecodeError, RecursionError):
            run.fail("invalid_json", self._event())
        else:
            self._object(fields, run)

    def _object(self, fields: dict[str, msgspec.Raw], run: _Run) -> None:
        known: dict[str, Any] = {}
        for place, (name, is_text) in enumerate(zip(self._names, self._is_text, strict=True)):
            raw = fields.pop(name, _NULL)
            try:
                text = _text(bytes(raw).decode())
            except _NotAValueError:
                run.fail(f"not_a_value:{name}", self._event())
                return
            except ValueError:
                run.fail("invalid_json", self._event())
                return
            known[_FIELD.format(place)] = text if is_text else raw
        if fields:
            run.rescued[len(run.events)] = msgspec.json.encode(fields).decode()
        run.events.append(self._event(**known))


def _sparse(values: dict[int, str], count: int) -> pa.Array:
    """A string array that is null but for a few places."""
    if not values:
        return pa.nulls(count, pa.string())
    return pa.array([values.get(place) for place in range(count)], pa.string())


def _plain_texts(raws: Sequence[Any]) -> Sequence[str | None] | None:
    """Texts of raw JSON values, by few calls over all of them together; None when they need a closer look."""
    joined = b"\n".join(raws)
    if b"{" in joined or b"[" in joined or b"\\" in joined or not joined.isascii():
        return None
    text = joined.decode()
    if text.count('"') == 2 * len(raws):
        strings = text[1:-1].split('"\n"')
        if len(strings) == len(raws):
            return strings
    return [value if '"' < value[0] <= "9" else _text(value) for value in text.split("\n")]
