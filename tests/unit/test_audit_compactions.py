"""Where the audit finds the rows of files that compactions replaced, again and again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from batch_app.audit.compactions import Compactions
from batch_app.compaction.book import Compaction, Replaced
from batch_app.compaction.reading import Proof
from streaming_app.journal.ledger import LedgerFile
from streaming_app.storage import StagedFile
from tests.memory_storage import MemoryStorage

FOLDER = "clean/input_source=stream/order_date=2026-03-01"


class BookOf:
    """A book of so many entries."""

    def __init__(self, entries: Sequence[Compaction]) -> None:
        self._entries = entries

    def finished_through(self) -> int:
        return len(self._entries) - 1

    def entries(self, first: int = 0) -> Iterator[Compaction]:
        return iter(self._entries[first:])


def entry(number: int, inputs: Sequence[str], outputs: Sequence[str]) -> Compaction:
    made = [LedgerFile("clean", "day", 1, StagedFile(f"{FOLDER}/{name}", 1)) for name in outputs]
    files = [Replaced(name, 1, 1, number) for name in inputs]
    return replace(Compaction.of(f"t{number}", FOLDER, files, made, Proof()), number=number)


def chained(count: int) -> Compactions:
    """Each entry replaces both files of the one before it."""
    entries = [
        entry(number, [f"a{number}", f"b{number}"], [f"a{number + 1}", f"b{number + 1}"]) for number in range(count)
    ]
    found = Compactions(BookOf(entries), MemoryStorage())
    found.read()
    return found


def test_rows_are_found_after_three_thousand_compactions_of_the_same_files():
    found = chained(3000)
    gone = found.find(f"{FOLDER}/a0")
    assert gone is not None
    assert [file.staged.key for file in found.live(gone.entry)] == [f"{FOLDER}/a3000", f"{FOLDER}/b3000"]


def test_files_that_were_not_replaced_stay_where_their_entry_put_them():
    found = Compactions(BookOf([entry(0, ["x"], ["a", "b"]), entry(1, ["b"], ["c"])]), MemoryStorage())
    found.read()
    assert sorted(file.staged.key for file in found.live(0)) == [f"{FOLDER}/a", f"{FOLDER}/c"]
