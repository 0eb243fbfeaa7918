"""How far a batch is while Spark works on it: files are recorded in the read log one by one, as soon as they were read."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from streaming_app.errors import IngestError


@contextmanager
def watched(count: Callable[[], int], tell: Callable[[int], None] | None, every: float) -> Iterator[None]:
    """Counts every so many seconds, in a thread, and tells; a count that fails is left out. Without anybody to tell, nothing.

    What is told never becomes less: in the end the batch is sealed, and its files are no longer counted among those under way.
    """
    if tell is None:
        yield
        return
    over = threading.Event()

    def watch() -> None:
        most = 0
        while not over.wait(every):
            with suppress(IngestError):
                most = max(most, count())
                tell(most)

    thread = threading.Thread(target=watch, name="backfill-progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
