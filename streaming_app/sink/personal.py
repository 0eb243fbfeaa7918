"""Personal data on its way into the lake: masked or hashed, in the columns and in a dead letter's raw text alike.

Rules see the true values; the lake does not. Nothing is promised about data in fields that the dataset does not know.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from streaming_app.decode.csv_records import field_pattern
from streaming_app.errors import ConfigError
from streaming_app.schema import PII_KEY, PII_KEY_LENGTH, Dataset, Judged, Pii, Stage

MASKED: Final = "***"
_HASH: Final = "hmac:"
_HASHED: Final = re.compile(r"hmac:[0-9a-f]{32}")  # what is hashed already, in a dead letter that is replayed
_DIGITS: Final = 32  # hex digits of HMAC-SHA256: 128 bits tell any number of customers apart
SHORT: Final = 4  # characters: a shorter value is looked for as a field only, not anywhere in the text
# As `withheld` makes it.
WITHHELD: Final = re.compile(r"\[withheld: may hold personal data; \d+ characters, see source_position\]")
_BOM: Final = "\ufeff"
_FIELDS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


class PersonalData:
    """Treats the columns that the dataset marks with `pii: mask` or `pii: hash`. Raises ConfigError without a key to hash."""

    def __init__(self, dataset: Dataset, delimiter: str, environ: Mapping[str, str]) -> None:
        self._treated = {
            column.name: column.treatment for column in dataset.columns if column.treatment is not Pii.KEEP
        }
        self._fields = field_pattern(delimiter.encode())
        self._key = environ.get(PII_KEY, "").encode()
        if Pii.HASH in self._treated.values() and len(self._key) < PII_KEY_LENGTH:
            raise ConfigError(
                f"{PII_KEY} has to be set where tasks run, to {PII_KEY_LENGTH} characters or more (on a cluster by"
                f" spark.executorEnv.{PII_KEY}): the dataset hashes personal data with it"
            )

    def columns(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """Rows with their personal columns treated; nulls stay."""
        for name, treatment in self._treated.items():
            place = rows.schema.get_field_index(name)
            rows = rows.set_column(place, rows.schema.field(place), self._column(rows.column(place), treatment))
        return rows

    def values(self, name: str, values: Any) -> Any:
        """One column's values as the lake has them; those that are hashed already stay."""
        return self._column(values, self._treated[name]) if name in self._treated else values

    def raws(self, rows: pa.RecordBatch) -> Any:
        """The raw texts of rejected rows, without their personal values."""
        raws = rows.column(Judged.RAW)
        if not self._treated:
            return raws
        stages = rows.column(Judged.STAGE).to_pylist()
        values = [rows.column(name).to_pylist() for name in self._treated]
        made = [
            withheld(raw) if stage == Stage.DECODE else self._raw(raw, dict(zip(self._treated, row, strict=True)))
            for raw, stage, *row in zip(raws.to_pylist(), stages, *values, strict=True)
        ]
        return pa.array(made, raws.type)

    def _column(self, values: Any, treatment: Pii) -> Any:
        if treatment is Pii.MASK:
            return pc.if_else(values.is_valid(), MASKED, pa.scalar(None, values.type))
        distinct = values.dictionary_encode()
        made = [self._treat(value, treatment) for value in distinct.dictionary.to_pylist()]
        return pa.DictionaryArray.from_arrays(distinct.indices, pa.array(made, pa.string())).cast(values.type)

    def _treat(self, value: str, treatment: Pii) -> str:
        if treatment is Pii.MASK or _HASHED.fullmatch(value):
            return MASKED if treatment is Pii.MASK else value
        return _HASH + hmac.digest(self._key, value.encode(), "sha256").hex()[:_DIGITS]

    def _raw(self, raw: str, values: Mapping[str, str | None]) -> str:
        """A readable row's text, field by field; withheld whole where a value is not found as a field of its own."""
        treated = {name: self._treat(value, self._treated[name]) for name, value in values.items() if value is not None}
        if not treated:
            return raw
        text = _in_json(raw, treated) if raw.lstrip(_BOM + " \t\r\n").startswith("{") else None
        instead = str.replace if text is None else replaced_in_json
        if text is None:
            text = self._in_csv(raw, {str(values[name]): shown for name, shown in treated.items()})
        if text is None:
            return withheld(raw)
        for name, shown in treated.items():
            value = str(values[name])
            text = instead(text, value, shown) if len(value) >= SHORT and value != shown else text
        return text

    def _in_csv(self, raw: str, shown: Mapping[str, str]) -> str | None:
        """Every field that is one of the values; None when one of them is no field."""
        found: set[str] = set()
        record, made, done = raw.encode(), b"", 0
        for match in self._fields.finditer(record):
            value = _plain(match[1])
            if value in shown:
                found.add(value)
                made, done = made + record[done : match.start(1)] + shown[value].encode(), match.end(1)
        return (made + record[done:]).decode() if found == shown.keys() else None


def _in_json(raw: str, shown: Mapping[str, str]) -> str | None:
    """The object with those fields replaced, all others as they were written; None when it is no object with them."""
    try:
        fields = _FIELDS.decode(raw.removeprefix(_BOM))
    except (msgspec.DecodeError, RecursionError):
        return None
    if not shown.keys() <= fields.keys():
        return None
    return msgspec.json.encode({name: shown.get(name, value) for name, value in fields.items()}).decode()


def replaced_in_json(text: str, value: str, shown: str) -> str:
    """JSON, still, with `shown` in place of a value wherever its characters stand, escaped as JSON has them.

    Escapes are gone over one by one, so that none is cut in two; where the value begins inside of one it goes as a whole.
    """
    escaped = msgspec.json.encode(value).decode()[1:-1]
    begun = "" if escaped.startswith("\\") else r"(?:\\(?:u[0-9a-fA-F]{0,3})?)?"
    pattern = rf"({begun}{re.escape(escaped)})|\\(?:u[0-9a-fA-F]{{4}}|.)"
    return re.sub(pattern, lambda found: shown if found[1] is not None else found[0], text)


def _plain(field: bytes) -> str:
    quoted = len(field) > 1 and field[:1] == b'"' == field[-1:]
    return (field[1:-1].replace(b'""', b'"') if quoted else field).decode()


def withheld(raw: str | None) -> str:
    """What stands in place of a text in which personal data cannot be found, and may be."""
    return f"[withheld: may hold personal data; {len(raw or '')} characters, see source_position]"
