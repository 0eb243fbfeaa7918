"""Whatever bytes a CSV file holds: records in = rows out, no byte lost, and never an exception."""

from __future__ import annotations

import csv
import gzip
import io
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from streaming_app.decode.csv_file import CsvFile, CsvFormat
from streaming_app.decode.csv_records import RecordSplitter, split_text
from streaming_app.decode.csv_rows import RowDecoder, RowOrigin
from streaming_app.decode.text_stream import StoredBytes, TextStream
from streaming_app.schema import Dataset

DATASET = Dataset.model_validate(
    {
        "name": "things",
        "time_column": "at",
        "columns": [
            {"name": "a", "type": "string", "required": True},
            {"name": "b", "type": "string"},
            {"name": "at", "type": "timestamp"},
        ],
    }
)
MODIFIED = datetime(2026, 3, 1, 12, tzinfo=UTC)
HEADER = b"a,b,at\n"

awkward = st.lists(
    st.sampled_from([b'"', b'""', b",", b"\n", b"\r\n", b"\r", b"a", b" ", b"\xc3\xa9", b"\xff", b"\0", b"xyz"])
)
texts = st.one_of(awkward.map(b"".join), st.binary(max_size=200))
sizes = st.integers(1, 40)


unhurried = settings(deadline=None)  # a busy machine is no reason to fail


class Pieces:
    """A text that comes in pieces of another size than asked for, as from a network."""

    broken = False

    def __init__(self, text: bytes) -> None:
        self._file = io.BytesIO(text)

    def read(self, size: int) -> bytes:
        return self._file.read(size)


def cut(text: bytes, block: int, longest: int) -> list[tuple[bytes, Any]]:
    found = []
    for records in split_text(Pieces(text), RecordSplitter(b",", longest), block, max_rows=3):
        assert len(records)
        found += [(records.text(index), records.faults.get(index)) for index in range(len(records))]
    return found


def without_line_ends(text: bytes) -> bytes:
    return text.translate(None, b"\r\n")


def rows(stored: bytes, **form: Any) -> list[dict[str, Any]]:
    file = CsvFile(io.BytesIO(stored), DATASET, RowOrigin("f.csv", MODIFIED), CsvFormat(**form))
    found = [row for batch in file.batches() for row in batch.to_pylist()]
    assert file.rows == len(found)
    assert file.bytes == len(stored)
    assert sum(file.errors.values()) == sum(row["decode_error"] is not None for row in found)
    return found


@unhurried
@given(texts, sizes, sizes)
@example(b'a,"b\nc,"d",e\n', 1, 40)
@example(b'"a\n\n\nb"\n', 2, 4)
@example(b"aaaaaaaaaa,b\nc", 3, 4)
def test_no_byte_is_lost_when_cutting(text: bytes, block: int, longest: int) -> None:
    found = cut(text, block, longest)
    assert without_line_ends(b"".join(record for record, _ in found)) == without_line_ends(text)
    assert all(len(record) <= longest for record, _ in found)
    assert all(record for record, _ in found)


@unhurried
@given(texts, sizes, sizes)
def test_records_do_not_depend_on_where_blocks_end(text: bytes, block: int, longest: int) -> None:
    assert cut(text, block, longest) == cut(text, 10_000, longest)


@unhurried
@given(texts)
@example(b'a"a\na"a\n')
@example(b'x\n"a"x\n"b"y\n')
@example(b'"a\n"",b"\nc"\n')
def test_cutting_by_counting_quotes_equals_cutting_one_by_one(text: bytes) -> None:
    class Slow(RecordSplitter):
        def _fast(self, block: Any, position: int, _: Any) -> tuple[int, bool]:
            return position, position < len(block.data)

    fast, _ = RecordSplitter(b",", 60).split(text, final=True)
    slow, _ = Slow(b",", 60).split(text, final=True)
    assert [fast.text(i) for i in range(len(fast))] == [slow.text(i) for i in range(len(slow))]
    assert fast.faults == slow.faults


@unhurried
@given(texts, sizes)
def test_every_record_becomes_one_row_with_its_exact_text(text: bytes, block: int) -> None:
    found = rows(HEADER + text, block_bytes=block)
    assert [row["raw"] for row in found] == [record for record, _ in cut(text, 10_000, 1 << 20)]
    assert [row["source_position"] for row in found] == [f"f.csv#{number}" for number in range(1, len(found) + 1)]


@unhurried
@given(st.one_of(texts, texts.map(gzip.compress), st.binary(max_size=50).map(lambda rest: b"\x1f\x8b\x08\0" + rest)))
def test_no_file_raises(stored: bytes) -> None:
    rows(stored, block_bytes=7, max_record_bytes=20)


@unhurried
@given(texts, st.integers(0, 100))
def test_a_gzip_file_cut_off_keeps_the_rows_before_and_one_dead_letter(text: bytes, kept: int) -> None:
    packed = gzip.compress(HEADER + text, compresslevel=0)
    whole = rows(packed)
    cut_off = rows(packed[: 2 + (len(packed) - 3) * kept // 100])
    assert [row["decode_error"] for row in cut_off[-1:]] == ["broken_gzip"]
    assert [row["raw"] for row in cut_off[:-1]] == [row["raw"] for row in whole[: len(cut_off) - 1]]


field = st.text(st.sampled_from('a",;é\n\r 0'), max_size=6)


# Python's writer quotes only the line ends it writes itself, so the others need QUOTE_ALL.
styles = st.sampled_from(
    [("\r\n", csv.QUOTE_MINIMAL), ("\r\n", csv.QUOTE_ALL), ("\n", csv.QUOTE_ALL), ("\r", csv.QUOTE_ALL)]
)


@unhurried
@given(st.lists(st.tuples(field, field, field), max_size=8), styles)
def test_what_a_csv_writer_wrote_is_read_back(table: list[tuple[str, str, str]], style: tuple[str, Any]) -> None:
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator=style[0], quoting=style[1]).writerows(table)
    found = rows(HEADER + out.getvalue().encode(), block_bytes=11)
    assert [(row["a"], row["b"], row["at"]) for row in found] == [tuple(v or None for v in row) for row in table]
    assert all(row["decode_error"] is None for row in found)


@unhurried
@given(texts)
def test_the_parser_and_the_exact_path_agree(text: bytes) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RowDecoder, "_parse_text", lambda *_: None)
        singly = rows(HEADER + text)
    assert rows(HEADER + text) == singly


@unhurried
@given(st.binary(max_size=300), st.integers(1, 50), st.sampled_from([1, 6, 9]))
def test_text_is_the_same_however_it_is_read(content: bytes, size: int, level: int) -> None:
    for stored in (
        content,
        gzip.compress(content, level),
        gzip.compress(content[:9], level) + gzip.compress(content[9:]),
    ):
        if stored is content and content[:2] == b"\x1f\x8b":
            continue
        stream = TextStream(StoredBytes(io.BytesIO(stored)))
        parts = list(iter(lambda: stream.read(size), b""))  # noqa: B023 - called at once
        assert b"".join(parts) == content.removeprefix(b"\xef\xbb\xbf")
        assert all(len(part) <= size + 3 for part in parts)
        assert not stream.broken
