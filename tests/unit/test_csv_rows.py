"""Every kind of CSV file, good and bad, becomes rows in the decoded layout."""

from __future__ import annotations

import gzip
import io
import json
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from streaming_app.decode.csv_file import CsvFile, CsvFormat
from streaming_app.decode.csv_records import RecordSplitter
from streaming_app.decode.csv_rows import RowOrigin, row_positions
from streaming_app.schema import Dataset

NAMES = ["order_id", "customer_id", "store_id", "city", "item", "quantity", "amount", "payment_method", "order_ts"]
HEADER = ",".join(NAMES).encode()
ROW = b"1,c,s,Medan,Latte,2,3.50,cash,2026-03-01T00:00:00Z"
MODIFIED = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
PNG = bytes.fromhex("89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489")


@pytest.fixture
def read(orders: Dataset):
    def read_file(stored: bytes, **form: Any) -> list[dict[str, Any]]:
        file = CsvFile(io.BytesIO(stored), orders, RowOrigin("in/o.csv", MODIFIED), CsvFormat(**form))
        return [row for batch in file.batches() for row in batch.to_pylist()]

    return read_file


def lines(*records: bytes, end: bytes = b"\n") -> bytes:
    return end.join(records) + end


def errors(rows: list[dict[str, Any]]) -> list[str | None]:
    return [row["decode_error"] for row in rows]


def test_a_row_has_values_text_position_and_time(read):
    (row,) = read(lines(HEADER, ROW))
    assert [row[name] for name in NAMES] == ROW.decode().split(",")
    assert row["raw"] == ROW
    assert row["source_position"] == "in/o.csv#1"
    assert row["arrived_at"] == MODIFIED
    assert row["rescued_data"] is row["decode_error"] is None


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("last", [True, False])
def test_any_line_end_and_none_after_the_last_row(read, end, last):
    content = lines(HEADER, ROW, b"", ROW, end=end)
    rows = read(content if last else content[: -len(end)])
    assert [row["raw"] for row in rows] == [ROW, ROW]
    assert [row["order_ts"] for row in rows] == ["2026-03-01T00:00:00Z"] * 2


@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf", b"\n\r\n", HEADER, HEADER + b"\r\n", gzip.compress(b"")])
def test_empty_and_header_only_files_have_no_rows(read, content):
    assert read(content) == []


def test_a_byte_order_mark_is_no_part_of_the_first_name(read):
    assert read(b"\xef\xbb\xbf" + lines(HEADER, ROW))[0]["order_id"] == "1"
    assert read(gzip.compress(b"\xef\xbb\xbf" + lines(HEADER, ROW)))[0]["order_id"] == "1"


def test_columns_are_found_by_name_in_any_order_and_case(read):
    header = b" ORDER_TS ,Amount,city,store_id,order_id"
    (row,) = read(lines(header, b"t,1,Medan,s,7"))
    assert (row["order_id"], row["store_id"], row["city"], row["amount"], row["order_ts"]) == (
        "7",
        "s",
        "Medan",
        "1",
        "t",
    )
    assert row["item"] is None
    assert row["decode_error"] is None


def test_unknown_columns_are_rescued_as_json(read):
    rows = read(lines(HEADER + b",Table No,", ROW + b',"4 ""A""",x', ROW + b",,", ROW + b",\xc3\xa9,"))
    assert [json.loads(row["rescued_data"]) if row["rescued_data"] else None for row in rows] == [
        {"table no": '4 "A"', "column_11": "x"},
        None,
        {"table no": "é"},
    ]
    assert errors(rows) == [None] * 3


def test_empty_fields_are_null_quoted_or_not(read):
    (row,) = read(lines(HEADER, b'1,,"",Medan,,,2,,t'))
    assert (row["customer_id"], row["store_id"], row["item"], row["order_id"]) == (None, None, None, "1")


def test_quoted_commas_quotes_and_newlines(read):
    record = b'1,"a,b","say ""hi""","two\r\nlines",5" pizza,2,3,cash,t'
    (row, after) = read(lines(HEADER, record, ROW))
    assert (row["customer_id"], row["store_id"], row["city"]) == ("a,b", 'say "hi"', "two\r\nlines")
    assert row["item"] == '5" pizza'
    assert row["raw"] == record
    assert after["source_position"] == "in/o.csv#2"


def test_rows_with_too_few_or_too_many_fields(read):
    rows = read(lines(HEADER, ROW, b"1,2", ROW + b",more", ROW))
    assert errors(rows) == [None, "too_few_fields", "too_many_fields", None]
    assert [row["raw"] for row in rows[1:3]] == [b"1,2", ROW + b",more"]
    assert rows[1]["order_id"] is None
    assert [row["order_id"] for row in rows] == ["1", None, None, "1"]


def test_latin1_bytes_reject_their_row_only(read):
    rows = read(lines(HEADER, ROW, ROW.replace(b"Latte", b"Caf\xe9"), ROW.replace(b"Latte", b"Caf\xc3\xa9")))
    assert errors(rows) == [None, "not_utf8", None]
    assert rows[1]["raw"] == ROW.replace(b"Latte", b"Caf\xe9")
    assert rows[2]["item"] == "Café"


@pytest.mark.parametrize(
    "content", [PNG, b"PK\x03\x04\x14\0", "größe,b\n".encode("utf-16"), b"\xff\xd8\xff" + bytes(5000)]
)
def test_a_file_that_is_no_text_is_one_dead_letter(read, content):
    (row,) = read(content)
    assert row["decode_error"] == "not_text"
    assert row["raw"] == content[:1024]
    assert row["source_position"] == "in/o.csv#0"


def test_a_missing_required_column_rejects_every_row_and_names_it(read):
    header = b",".join(name for name in HEADER.split(b",") if name not in {b"amount", b"city"})
    rows = read(lines(header, b"1,2,3,4,5,6,7", b"bad", b""))
    assert errors(rows) == ["missing_column:city,amount"] * 2
    assert [row["raw"] for row in rows] == [b"1,2,3,4,5,6,7", b"bad"]
    assert rows[0]["order_id"] is None


def test_a_file_without_a_header_loses_not_even_its_first_line(read):
    rows = read(lines(ROW, ROW))
    assert [row["raw"] for row in rows] == [ROW, ROW]
    assert [row["source_position"] for row in rows] == ["in/o.csv#0", "in/o.csv#1"]
    assert all(error.startswith("missing_column:order_id,") for error in errors(rows))


def test_a_name_given_twice_rejects_every_row(read):
    assert errors(read(lines(HEADER + b",City", ROW + b",Bandung"))) == ["duplicate_column:city"]


def test_an_unclosed_quote_costs_one_line(read):
    rows = read(lines(HEADER, b'1,"c,s,Medan,Latte,2,3,cash,t', ROW, ROW.replace(b"Latte", b'"Latte"'), ROW))
    assert errors(rows) == ["unclosed_quote", None, None, None]
    rows = read(lines(HEADER, ROW, b'1,"c,s', ROW))
    assert errors(rows) == [None, "unclosed_quote", None]


def test_text_after_a_closing_quote_costs_one_line(read):
    rows = read(lines(HEADER, b'1,"c"x,s,Medan,Latte,2,3,cash,t', ROW))
    assert errors(rows) == ["malformed_quote", None]


def test_an_unclosed_quote_far_from_the_end_does_not_swallow_the_file(read):
    rows = read(lines(HEADER, b'1,"c', *[ROW] * 200), max_record_bytes=1000, block_bytes=3000)
    assert errors(rows) == ["unclosed_quote", *[None] * 200]


def test_a_line_too_long_is_kept_in_pieces(read):
    rows = read(lines(HEADER, b"x" * 250, ROW), max_record_bytes=100, block_bytes=64)
    assert errors(rows) == ["record_too_long"] * 3 + [None]
    assert b"".join(row["raw"] for row in rows[:3]) == b"x" * 250


def test_trouble_everywhere_does_not_make_looking_for_a_way_out_the_work():
    class Counting(RecordSplitter):
        tries = 0

        def _fast(self, *arguments: Any) -> Any:
            self.tries += 1
            return super()._fast(*arguments)

    splitter = Counting(b",", 1 << 20)
    records, _ = splitter.split(b'"x"y\n' * 60_000, final=True)
    assert len(records) == len(records.faults) == 60_000
    assert splitter.tries < 10


def test_nul_inside_a_row_is_data(read):
    (row,) = read(lines(HEADER, ROW.replace(b"Latte", b"La\0te")))
    assert row["item"] == "La\0te"


def test_gzip_by_its_content_in_several_members(read):
    rows = read(gzip.compress(lines(HEADER, ROW)) + gzip.compress(lines(ROW)) + b"\0\0\0")
    assert errors(rows) == [None, None]


def test_a_damaged_gzip_file_keeps_what_came_before(read):
    packed = bytearray(gzip.compress(lines(HEADER, *[b"%d" % n + ROW for n in range(5000)])))
    whole = len(packed)
    packed[whole // 2] ^= 0xFF
    for damaged in (bytes(packed), bytes(packed[: whole // 2]), gzip.compress(lines(HEADER, ROW)) + b"rubbish"):
        rows = read(damaged)
        assert errors(rows)[-1] == "broken_gzip"
        assert sum(error == "broken_gzip" for error in errors(rows)) == 1
        assert rows[0]["raw"].endswith(ROW)
    (row,) = read(b"\x1f\x8b\x08\0")
    assert (row["decode_error"], row["source_position"]) == ("broken_gzip", "in/o.csv#0")


@pytest.mark.parametrize("delimiter", [";", "\t", "|", "\x01", "^", "]", "-", "\\", " ", "%", "."])
def test_any_ascii_delimiter(read, delimiter):
    mark = delimiter.encode()
    record = ROW.replace(b"-", b"/").replace(b"3.50", b"3").replace(b"Latte", b'"x%by"' % mark).replace(b",", mark)
    rows = read(lines(HEADER.replace(b",", mark), record, b'"a"b', record), delimiter=delimiter)
    assert [row["item"] for row in rows] == [f"x{delimiter}y", None, f"x{delimiter}y"]
    assert [row["amount"] for row in rows] == ["3", None, "3"]


def test_a_dataset_of_one_column(orders):
    column = orders.columns[-1]
    dataset = Dataset(name="times", columns=(column,), time_column=column.name)
    file = CsvFile(io.BytesIO(b'order_ts\nx\n\n""\n y\n'), dataset, RowOrigin("f", MODIFIED), CsvFormat())
    assert [row["order_ts"] for batch in file.batches() for row in batch.to_pylist()] == ["x", None, " y"]


@pytest.mark.parametrize("first", [0, 1, 9, 95, 998, 9_995, 99_999, 12_345_678])
def test_positions_count_over_every_number_of_digits(first):
    assert row_positions(b"k#", first, 12).to_pylist() == [f"k#{number}" for number in range(first, first + 12)]


class Endless(io.RawIOBase):
    """A file of rows without a file: `size` bytes."""

    def __init__(self, size: int) -> None:
        self._left, self._rows = size, lines(HEADER) + lines(ROW) * 20_000

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        part = self._rows[: min(len(buffer), self._left)]
        buffer[: len(part)] = part
        self._left -= len(part)
        return len(part)


def test_memory_does_not_grow_with_the_file(orders):
    def peak(size: int) -> int:
        file = CsvFile(
            io.BufferedReader(Endless(size)), orders, RowOrigin("f", MODIFIED), CsvFormat(block_bytes=1 << 18)
        )
        tracemalloc.start()
        for _ in drop(file.batches()):
            pass
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    assert peak(24 << 20) < 1.5 * peak(4 << 20)


def drop(batches: Iterator[Any]) -> Iterator[None]:
    for _ in batches:
        yield None
