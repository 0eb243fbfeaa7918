"""Personal data out of the texts that the live page shows: of every column with `pii`, also of those that the lake keeps.

The sink knows a row's values and looks for them; here there is only the text. So fields are found by their names: in JSON at
any depth, in a CSV row by the header of its file. Fields of other names are shown, but for a value that stands there again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec

from streaming_app.decode.csv_header import split_fields
from streaming_app.decode.csv_records import field_pattern
from streaming_app.schema import Dataset
from streaming_app.sink.personal import MASKED, SHORT, WITHHELD, replaced_in_json, withheld

_BASE64: Final = "base64"
_DEEPEST: Final = 8  # levels of JSON that are looked into: each one parses all below it anew
_BLANK: Final = "\ufeff \t\r\n"
_OBJECT: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_LIST: Final = msgspec.json.Decoder(list[msgspec.Raw])
_QUOTED: Final = re.compile(rb'"(?:[^"]++|"")*+"')


class _TooDeepError(Exception):
    """More levels than are looked into."""


class Masking:
    """Knows the personal columns of a dataset, and how its CSV files are written."""

    def __init__(self, dataset: Dataset, delimiter: str) -> None:
        self._names = frozenset(column.name for column in dataset.columns if column.pii)
        self._known = frozenset(dataset.column_names)
        self._delimiter = delimiter.encode()
        self._fields = field_pattern(self._delimiter)

    def text(self, raw: str, encoding: str = "utf-8", header: str | None = None) -> str:
        """A dead letter's text with `***` for personal values, withheld whole where they cannot be told from the rest.

        `header` is that of the row's CSV file, None where there is none. JSON is written anew, so that of a field that stands
        there twice nothing is left but the last; its values stay as they were written.
        """
        if not self._names or not raw or WITHHELD.fullmatch(raw):
            return raw
        if encoding == _BASE64:
            return withheld(raw)
        made = self._json(raw) if header is None else self._csv(raw, header)
        return withheld(raw) if made is None else made

    def _json(self, raw: str) -> str | None:
        """None where not everything stands in objects: what stands in a bare list has no name to know it by."""
        text, values = msgspec.Raw(raw.strip(_BLANK).encode()), list[str]()
        try:
            if not all(_begins(each, b"{") for each in (_LIST.decode(text) if _begins(text, b"[") else [text])):
                return None
            made = msgspec.json.encode(self._value(text, _DEEPEST, values)).decode()
        except (msgspec.DecodeError, RecursionError, _TooDeepError):
            return None
        return _without(made, values, replaced_in_json)

    def _value(self, value: msgspec.Raw, deepest: int, values: list[str]) -> Any:
        """JSON as it was written, but for personal fields; what stood in these goes into `values`."""
        if not _begins(value, b"{["):
            return value
        if not deepest:
            raise _TooDeepError
        if _begins(value, b"["):
            return [self._value(each, deepest - 1, values) for each in _LIST.decode(value)]
        return {name: self._field(name, each, deepest - 1, values) for name, each in _OBJECT.decode(value).items()}

    def _field(self, name: str, value: msgspec.Raw, deepest: int, values: list[str]) -> Any:
        if bytes(value) == b"null" or name.strip().lower() not in self._names:
            return self._value(value, deepest, values)
        values.append(msgspec.json.decode(value, type=str) if _begins(value, b'"') else bytes(value).decode())
        return MASKED

    def _csv(self, raw: str, header: str) -> str | None:
        names = [field.decode().strip().lower() for field in split_fields(header.encode(), self._delimiter)]
        fields = [match[1] for match in self._fields.finditer(raw.encode())]
        if self._known.isdisjoint(names) or not self._is_sound(fields, raw):
            return None
        found = {place: _plain(fields[place]) for place in self._hidden(names, len(fields)) if fields[place]}
        shown = [MASKED.encode() if place in found else field for place, field in enumerate(fields)]
        return _without(self._delimiter.join(shown).decode(), found.values(), str.replace) if found else raw

    def _is_sound(self, fields: list[bytes], raw: str) -> bool:
        """Whether the fields are all of the row, and every quote that opens one closes it."""
        quoted = (field for field in fields if field[:1] == b'"')
        return self._delimiter.join(fields) == raw.encode() and all(map(_QUOTED.fullmatch, quoted))

    def _hidden(self, names: list[str], width: int) -> list[int]:
        """The places of personal fields; of a row with too few or too many fields every place to which one may have moved."""
        few, many = max(0, len(names) - width), max(0, width - len(names))
        places = [place for place, name in enumerate(names) if name in self._names]
        return [place for place in range(width) if any(at - few <= place <= at + many for at in places)]


def _begins(value: msgspec.Raw, marks: bytes) -> bool:
    return bytes(value)[:1] in marks and bool(bytes(value))


def _plain(field: bytes) -> str:
    return (field[1:-1].replace(b'""', b'"') if field[:1] == b'"' else field).decode()


def _without(text: str, values: Iterable[str], instead: Callable[[str, str, str], str]) -> str:
    for value in sorted(values, key=len, reverse=True):
        text = instead(text, value, MASKED) if len(value) >= SHORT else text
    return text
