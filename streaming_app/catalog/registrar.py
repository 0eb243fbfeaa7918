"""New partitions become known to the catalog as soon as their first batch is published.

Spark commits a batch in a process that is gone afterwards, so this sits in the driver: it is told of every finished batch, and
remembers which partitions the catalog has. What was registered is noted in the ledger's folder (`registered.json`), so that
batches whose registration was cut off, or failed until the service was stopped, are made up for by the next start.

Guarantee: a published batch's partitions are registered at last, whatever fails in between; the stream never waits and never
fails because of it. Resume rule: all entries after the noted one are looked at again, which is harmless.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from streaming_app.alerts import Alert
from streaming_app.catalog.glue import GlueCatalog
from streaming_app.catalog.tables import Partition
from streaming_app.errors import IngestError
from streaming_app.journal.ledger import Entry, Ledger
from streaming_app.runtime import logs

_LOG: Final = logging.getLogger(__name__)
_RETRY: Final = 30.0  # seconds until what failed is tried again, when no batch ends before
_NOTE_EVERY: Final = 100  # batches without a new partition, after which the place is noted nevertheless


class Registrar:
    """Registers what finished batches of some sources brought. `start` gives it a thread; without, call `catch_up`."""

    def __init__(
        self,
        catalog: GlueCatalog,
        ledgers: Mapping[str, Ledger],
        alert: Callable[[Alert], None] = lambda _: None,
        retry: float = _RETRY,
    ) -> None:
        self._catalog, self._alert, self._retry = catalog, alert, retry
        self._sources = {name: _Place(ledger) for name, ledger in ledgers.items()}
        self._known: set[Partition] = set()
        self._queue: queue.Queue[tuple[str, Entry] | None] = queue.Queue()
        self._thread = threading.Thread(target=self._work, name="catalog", daemon=True)

    def start(self) -> None:
        """Work in the background from now on, beginning with what earlier runs have left."""
        self._thread.start()

    def on_batch(self, source: str, entry: Entry) -> None:
        """A batch is published; never blocks, never raises."""
        self._queue.put((source, entry))

    def close(self, timeout: float = 30.0) -> None:
        """Register what is known by now, for so many seconds at most; the next start makes up for the rest."""
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join(timeout)

    def catch_up(self) -> int:
        """Register what the ledgers have and the catalog may lack; returns how many were new. Raises ConfigError, SinkError."""
        return sum(self._register(place, place.behind()) for place in self._sources.values())

    def _register(self, place: _Place, entries: Iterable[Entry]) -> int:
        new: set[Partition] = set()
        last = place.through
        for entry in entries:
            new |= partitions_of(entry) - self._known
            last = max(last, entry.batch_id)
        made = self._catalog.register(new)
        self._known |= new
        place.done(last, note=bool(new))
        if made:
            names = [f"{one.table}/{'/'.join(one.values)}" for one in made]
            _LOG.info("registered", extra=logs.fields(None, partitions=len(made), first=names[0]))
        return len(made)

    def _work(self) -> None:
        behind = set(self._sources)  # whose ledger is to be read, as after a failure
        item: tuple[str, Entry] | None = None
        while True:
            behind = {name for name in behind if not self._tried(name, None)}
            try:
                item = self._queue.get(timeout=self._retry if behind else None)
            except queue.Empty:
                continue
            if item is None:
                for name in behind:
                    self._tried(name, None)
                self._note_all()
                return
            if item[0] not in behind and not self._tried(*item):
                behind.add(item[0])

    def _tried(self, name: str, entry: Entry | None) -> bool:
        """Register one batch of a source, or all that is new in its ledger; False, and an alert, when that failed."""
        place = self._sources[name]
        try:
            entries = [entry] if entry and entry.batch_id <= place.through + 1 else place.behind()
            self._register(place, entries)
        except Exception as error:  # noqa: BLE001 - nothing that the catalog does may harm the stream
            text = str(error) if isinstance(error, IngestError) else repr(error)
            self._alert(
                Alert(
                    "catalog", "new partitions could not be registered, readers do not see them yet", text, source=name
                )
            )
            return False
        return True

    def _note_all(self) -> None:
        for place in self._sources.values():
            try:
                place.note()
            except IngestError as error:
                _LOG.warning("could not note what is registered, the next start looks again: %s", error)


class _Place:
    """How far a source's batches are registered."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._noted: int | None = None
        self._through = -1

    @property
    def through(self) -> int:
        """The last batch that is registered."""
        self._load()
        return self._through

    def behind(self) -> list[Entry]:
        """Published batches after that, ascending."""
        self._load()
        published = self._ledger.published_through()
        return [entry for entry in self._ledger.entries(self._through + 1) if entry.batch_id <= published]

    def done(self, batch_id: int, *, note: bool) -> None:
        """Registered up to here."""
        self._through = max(self._through, batch_id)
        if note or self._through - (self._noted or 0) >= _NOTE_EVERY:
            self.note()

    def note(self) -> None:
        """Keep the place for the next start."""
        if self._through != self._noted and self._noted is not None:
            self._ledger.mark_registered(self._through)
            self._noted = self._through

    def _load(self) -> None:
        if self._noted is None:
            self._noted = self._through = self._ledger.registered_through()


def partitions_of(entry: Entry) -> set[Partition]:
    """The partitions that a batch has files in."""
    found = (Partition.of_key(file.staged.key) for file in entry.files)
    return {partition for partition in found if partition}
