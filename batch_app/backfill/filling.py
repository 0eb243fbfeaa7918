"""What a rescue does to rows: the field of each in `rescued_data`, cast, becomes the value of the column."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa

from batch_app.compaction.reading import Proof, conformed, stamps_of
from batch_app.session import session_for
from streaming_app.casting import cast_sql
from streaming_app.config import Loaded
from streaming_app.decode.json_events import value_text
from streaming_app.schema import Column, Decoded

RESCUED: Final = Decoded.RESCUED.value
TEXTS: Final = 64 << 20  # bytes of different texts that are cast at once; others are, a batch of rows at a time
_A_TEXT: Final = 200  # bytes beside its characters: two Python objects in a dictionary
_FIELDS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
Cast = Callable[[Column, set[str]], Mapping[str, Any]]


class Values:
    """Values of texts. Those that were collected beforehand are cast in one go, up to `most` bytes of them.

    Memory: `most`, and what is asked for at once.
    """

    def __init__(self, column: Column, cast: Cast, most: int = TEXTS) -> None:
        self._column, self._cast, self._most = column, cast, most
        self._waiting: set[str] = set()
        self._known: dict[str, Any] = {}
        self._bytes = 0

    @property
    def full(self) -> bool:
        """Whether no more are collected."""
        return self._bytes >= self._most

    def collect(self, texts: Iterable[str]) -> None:
        """Texts to be cast; what is text anyway need not be."""
        for text in texts if self._column.type != "string" else ():
            if self.full:
                return
            if text not in self._waiting:
                self._waiting.add(text)
                self._bytes += len(text) + _A_TEXT

    def of(self, texts: set[str]) -> Mapping[str, Any]:
        """Each text's value, None for one that is none of the column's type."""
        if self._waiting:
            self._known, self._waiting = dict(self._cast(self._column, self._waiting)), set()
        missing = {text for text in texts if text not in self._known}
        return self._known if not missing else {**self._cast(self._column, missing), **self._values_of(texts)}

    def _values_of(self, texts: set[str]) -> dict[str, Any]:
        return {text: self._known[text] for text in texts if text in self._known}


class Filler:
    """Fills the column, batch by batch, and notes what the rows come to."""

    def __init__(self, column: Column, schema: pa.Schema, values: Values) -> None:
        self._column, self._schema, self._values = column, schema, values
        self.rows = self.no_value = 0
        self.proof = Proof()
        self.stamps: set[int] = set()

    def filled(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The same rows, some of them with a value more and a rescued field less."""
        table = conformed(pa.Table.from_batches([batch]), self._schema)
        self.proof += Proof.of(table)
        self.stamps.update(np.unique(stamps_of(table)).tolist())
        name = self._column.name
        column, rescued = table.column(name).to_pylist(), table.column(RESCUED).to_pylist()
        found = list(fields_of(table.column(RESCUED), name))
        values = self._values.of({text for _, text, _ in found if text is not None})
        for place, text, rest in found:
            value = None if text is None else values.get(text)
            if column[place] is not None or (text is not None and value is None):
                self.no_value += 1
                continue
            column[place], rescued[place] = value, rest
            self.rows += 1
        for field_name, filled in ((name, column), (RESCUED, rescued)):
            at = self._schema.get_field_index(field_name)
            table = table.set_column(at, self._schema.field(at), pa.array(filled, self._schema.field(at).type))
        return table.combine_chunks().to_batches()[0] if table.num_rows else batch


def fields_of(rescued: Any, name: str) -> Iterator[tuple[int, str | None, str | None]]:
    """Rows with the field: their place, its text (None for null), and the rescued data without it."""
    wanted = json.dumps(name, ensure_ascii=False)
    for place, text in enumerate(rescued.to_pylist()):
        if text is None or wanted not in text:
            continue
        try:
            fields = _FIELDS.decode(text)
            if name not in fields:
                continue
            value = value_text(bytes(fields.pop(name)))
        except (ValueError, RecursionError):  # an object or a list, or not ours
            continue
        yield place, value, msgspec.json.encode(fields).decode() if fields else None


def cast_all(loaded: Loaded, column: Column, texts: set[str]) -> Mapping[str, Any]:
    """Texts to values, by the stream's own casts; Spark starts only for types that need it."""
    if column.type == "string" or not texts:
        return {text: text for text in texts}
    session = session_for(loaded.config)
    rows = session.createDataFrame(pa.table({"text": sorted(texts)}))
    found = rows.selectExpr("text", f"{cast_sql(column, 'text')} value").toArrow().to_pydict()
    return dict(zip(found["text"], found["value"], strict=True))
