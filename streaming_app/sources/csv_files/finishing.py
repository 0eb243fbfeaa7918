"""After an epoch was committed: archive or delete its files, then seal it in the read log; all of it beside the stream.

Every step may be cut off and done again: an epoch stays unsealed until all its files are dealt with, and the next start
takes up what is unsealed. A file that changed since it was read is left alone, and so is one that was not read whole.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from streaming_app.errors import IngestError
from streaming_app.journal.read_log import ReadLog, UnitRead
from streaming_app.storage import ObjectInfo, Storage

_LOG: Final = logging.getLogger(__name__)
_THREADS: Final = 8
_LONGEST_WAIT: Final = 60.0  # seconds between two tries
_STOP_WAIT: Final = 30.0  # seconds that a stop waits for what is committed already
Disposal = Callable[[ObjectInfo], object]


@dataclass(frozen=True)
class Finished:
    """A sealed epoch and what it had read."""

    epoch: int
    units: tuple[UnitRead, ...]


class Finisher:
    """One thread that finishes epochs in order. `dispose` moves or deletes one file; None leaves them all."""

    def __init__(self, source: Storage, read_log: ReadLog, dispose: Disposal | None) -> None:
        self._source = source
        self._read_log = read_log
        self._dispose = dispose
        self._todo: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[Finished] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self.problem = ""

    def submit(self, epochs: Iterable[int]) -> None:
        """Epochs that were committed, ascending; each once."""
        for epoch in epochs:
            self._todo.put(epoch)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="csv-finisher", daemon=True)
            self._thread.start()

    def finished(self) -> list[Finished]:
        """What was finished since the last call, in order."""
        found = []
        while not self._done.empty():
            found.append(self._done.get())
        return found

    def stop(self) -> None:
        """Finish what is committed, but do not wait long: the next start does the rest."""
        self._todo.put(None)
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(_STOP_WAIT)

    def _run(self) -> None:
        while (epoch := self._todo.get()) is not None:
            wait = 1.0
            while not self._tried(epoch):
                if self._stopping.wait(wait):
                    return
                wait = min(2 * wait, _LONGEST_WAIT)

    def _tried(self, epoch: int) -> bool:
        try:
            units = tuple(self._read_log.units(epoch).values())
            self._dispose_all(units)
            self._read_log.seal(epoch)
        except (IngestError, OSError) as error:
            self.problem = str(error)
            _LOG.warning("epoch %d: its files cannot be finished yet and will be tried again: %s", epoch, error)
            return False
        self.problem = ""
        self._done.put(Finished(epoch, units))
        return True

    def _dispose_all(self, units: tuple[UnitRead, ...]) -> None:
        if self._dispose is None:
            return
        with ThreadPoolExecutor(_THREADS, "csv-dispose") as pool:
            list(pool.map(self._dispose_one, units))

    def _dispose_one(self, unit: UnitRead) -> None:
        if not unit.detail["whole"] or self._dispose is None:
            return
        info = self._source.info(unit.unit)
        if info is not None and info.etag == unit.detail["etag"]:
            self._dispose(info)
