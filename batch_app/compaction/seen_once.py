"""What a reader of the lake's folders must leave out while a compaction is carried out, to see each row once: the book knows.

    where the book stood -> listing -> the book's entries since -> for each, its inputs, or its outputs once an input is gone

Between an entry and the end of its work a listing shows outputs and inputs together. Inputs go only after all outputs were read
back, so the first one that is missing says that the outputs are sound. A listing that was overtaken (its first pages are
from before the outputs, its last ones from after the deletion) shows neither whole; it has to be made again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, TypeVar

from batch_app.compaction.book import Compaction, CompactionBook
from streaming_app.errors import SinkError

T = TypeVar("T")
MOST_LISTINGS: Final = 5  # each is overtaken only by a compaction that was begun and carried out meanwhile


class OvertakenError(Exception):
    """The listing is of no one moment: of some compaction it shows neither all inputs nor all outputs."""

    def __init__(self, entry: Compaction) -> None:
        super().__init__(f"compaction {entry.number} of {entry.folder}")


def left_out(history: Iterable[tuple[Compaction, bool]], listed: set[str]) -> set[str]:
    """Keys that a reader leaves out; `history`: what the book may have done while he listed. Raises OvertakenError.

    Memory: the keys of the entries in question.
    """
    out: set[str] = set()
    elsewhere: set[str] = set()  # files that are gone or going, whose rows a later entry's outputs show
    for entry, stands in reversed(list(history)):
        inputs, outputs = set(entry.input_keys), set(entry.output_keys)
        if not stands or (inputs <= listed and outputs.isdisjoint(elsewhere)):
            out |= outputs
        elif outputs <= listed | elsewhere:
            out |= inputs
            elsewhere |= inputs
        else:
            raise OvertakenError(entry)
    return out


def listed_once(
    book: CompactionBook,
    listing: Callable[[], T],
    keys: Callable[[T], Iterable[str]],
    about: Callable[[str], bool] = lambda _: True,
) -> tuple[T, set[str]]:
    """What `listing` gives, made again until it is of one moment, and which of its keys a reader leaves out.

    `about`: whether a partition's folder was listed. Raises SinkError where no listing is of one moment.
    """
    for _ in range(MOST_LISTINGS):
        since = book.finished_through() + 1  # before the listing: what is done by now cannot overtake it
        found = listing()
        history = ((entry, stands) for entry, stands in book.history(since) if about(entry.folder))
        try:
            return found, left_out(history, set(keys(found)))
        except OvertakenError as overtaken:
            problem = overtaken
    raise unclear(book, problem)


def unclear(book: CompactionBook, problem: OvertakenError) -> SinkError:
    """The error for a lake of which no listing is of one moment."""
    return SinkError(
        f"{problem}: neither the files that it replaces nor those that it wrote are all there, though they were listed"
        f" {MOST_LISTINGS} times; run `compact`, which finishes it, and `audit` ({book.uri})"
    )
