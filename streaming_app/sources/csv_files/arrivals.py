"""Uploads as S3's event notifications tell of them, so that a prefix with very many objects need not be listed for each batch.

    message received -> its objects looked up -> those that are new wait for an epoch -> the epoch's plan is durable -> message deleted

Messages are hints and nothing more: what is read, and that it is read once, stands in the plans, as with listing. So one that comes
twice, late, out of order or about an object that is gone does no harm; and one that was held when the process died comes again.
What no message tells of is found by the listing at the start and by the one that is made every `reconcile_every`. While the
queue does not answer, uploads are found by listing as if there were none.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from streaming_app.errors import ConfigError, IngestError
from streaming_app.sources.csv_files.discovery import MOST_PENDING, is_wanted
from streaming_app.sources.csv_files.files import PlannedFile
from streaming_app.sources.csv_files.notices import Notice, notices_of
from streaming_app.sources.csv_files.seen import SeenFiles
from streaming_app.sources.csv_files.sqs import VISIBILITY, Message, Queue
from streaming_app.storage import ObjectInfo, Storage

_LOG: Final = logging.getLogger(__name__)
_WAIT: Final = 5  # seconds that one request waits for messages; what is done is deleted as often
_THREADS: Final = 8  # that look objects up
_LONGEST_PAUSE: Final = 60.0  # seconds between two tries
_REMEMBERED: Final = 10_000  # names of messages that were complained about


@dataclass(frozen=True)
class _Arrival:
    """A message, and those of its objects that are there."""

    message: Message
    found: tuple[ObjectInfo, ...]


@dataclass
class _Held:
    """A message that cannot be deleted yet: the files that no plan has."""

    receipt: str
    hidden_until: float
    open: set[str] = field(default_factory=set)


class Arrivals:
    """Receives in a thread of its own; `take` and `planned` are called by the one thread that plans epochs.

    Memory: `MOST_PENDING` messages at most; the rest waits in the queue.
    """

    def __init__(self, messages: Queue, source: Storage, place: str, suffixes: tuple[str, ...]) -> None:
        bucket, _, prefix = place.partition("://")[2].partition("/")
        self._bucket, self._prefix = bucket, f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._queue, self._source, self._suffixes = messages, source, suffixes
        self._inbox: queue.SimpleQueue[_Arrival] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._held: dict[str, _Held] = {}
        self._lock = threading.Lock()  # of `_held`
        self._of_key: dict[str, set[str]] = {}
        self._undecided: dict[str, ObjectInfo] = {}
        self._complained: set[str] = set()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._problem = ""

    @property
    def working(self) -> bool:
        """Whether the queue answered the last time; if not, files have to be found otherwise."""
        return not self._problem and (self._thread is None or self._thread.is_alive())

    def take(self, seen: SeenFiles, committed: int) -> list[PlannedFile]:
        """New files, or changed ones whose earlier version's epoch is `committed`. Raises ConfigError when the queue is none.

        Each stays this object's until `planned` is called with its key; so does the message that told of it.
        """
        if self._thread is None:
            self._begin()
        while not self._inbox.empty():
            self._learn(self._inbox.get())
        return list(self._decided(seen, committed))

    def planned(self, keys: Iterable[str]) -> None:
        """Files that a durable plan has: their messages have told all they had to tell."""
        for key in keys:
            self._settle(key)

    def stop(self) -> None:
        """End: delete what is done and give back the rest. The thread is not waited for; it gives back what it gets last."""
        self._stopping.set()
        with suppress(IngestError):
            self._delete_done()
        self._give_back()

    # The planner's side.

    def _begin(self) -> None:
        """The first request is made here, so that a queue that can never be read is an error of the start."""
        try:
            self._receive(0)
        except ConfigError:
            raise
        except IngestError as error:
            self._failed(error)
        self._thread = threading.Thread(target=self._run, name="csv-arrivals", daemon=True)
        self._thread.start()

    def _learn(self, arrival: _Arrival) -> None:
        for info in arrival.found:
            self._of_key.setdefault(info.key, set()).add(arrival.message.id)
            self._undecided[info.key] = info

    def _decided(self, seen: SeenFiles, committed: int) -> Iterator[PlannedFile]:
        """A changed file whose earlier version is still being finished stays undecided."""
        known = dict(self._undecided)
        for info, version in seen.news(list(known.values())):
            del known[info.key]
            if version is None or version.epoch <= committed:
                del self._undecided[info.key]
                yield PlannedFile.of(info, version)
        for key in known:
            del self._undecided[key]
            self._settle(key)

    def _settle(self, key: str) -> None:
        for name in self._of_key.pop(key, ()):
            with self._lock:
                held = self._held.get(name)
                if held is not None:
                    held.open.discard(key)
                    self._release(name, held)

    def _release(self, name: str, held: _Held) -> None:
        """Have a message deleted that has no file open; under the lock."""
        if not held.open:
            del self._held[name]
            self._done.put(held.receipt)

    # The thread's side.

    def _run(self) -> None:
        pause = 1.0
        while not self._stopping.is_set():
            try:
                self._delete_done()
                self._extend()
                if len(self._held) < MOST_PENDING:
                    self._receive(_WAIT)
                else:
                    self._stopping.wait(1.0)
                self._recovered()
                pause = 1.0
            except (IngestError, OSError) as error:
                self._failed(error)
                self._stopping.wait(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
        self._give_back()

    def _receive(self, wait: int) -> None:
        messages = self._queue.receive(wait)
        wanted = [(message, self._wanted(message)) for message in messages]
        understood = [(message, keys) for message, keys in wanted if keys is not None]
        with ThreadPoolExecutor(_THREADS, "csv-arrivals") as pool:
            looked_up = list(pool.map(self._found, [keys for _, keys in understood]))
        for (message, _), found in zip(understood, looked_up, strict=True):
            self._hold(_Arrival(message, found))

    def _hold(self, arrival: _Arrival) -> None:
        """Keep a message until its files are planned; one that comes again is the same one with a new receipt."""
        message = arrival.message
        with self._lock:
            held = self._held.setdefault(message.id, _Held("", 0.0))
            held.receipt, held.hidden_until = message.receipt, time.monotonic() + VISIBILITY
            held.open.update(info.key for info in arrival.found)
            self._release(message.id, held)
        self._inbox.put(arrival)

    def _wanted(self, message: Message) -> list[str] | None:
        """Keys below our prefix that are read at all; None for a message that is left to the queue's own dead letters."""
        notices = notices_of(message.body)
        if notices is None:
            self._complain(
                message.id,
                f"message {message.id} of the queue is no event of S3 and is left there: {message.body[:200]!r}; a redrive"
                " policy puts it aside",
            )
            return None
        return [key for notice in notices if (key := self._key(notice)) is not None]

    def _key(self, notice: Notice) -> str | None:
        if notice.bucket != self._bucket:
            self._complain(
                notice.bucket,
                f"the queue has events of bucket {notice.bucket}, where {self._bucket} is read; they are removed: the queue has"
                " to be this source's alone",
            )
            return None
        key = notice.key.removeprefix(self._prefix)
        below = notice.key.startswith(self._prefix) and key
        return key if below and is_wanted(key, self._suffixes) else None

    def _found(self, keys: Sequence[str]) -> tuple[ObjectInfo, ...]:
        return tuple(info for key in keys if (info := self._source.info(key)) is not None)

    def _delete_done(self) -> None:
        receipts = []
        while not self._done.empty():
            receipts.append(self._done.get())
        self._queue.delete(receipts)

    def _extend(self) -> None:
        """Files may wait long for their epoch: their messages would come again, and after some times be put aside."""
        now = time.monotonic()
        with self._lock:
            short = [held for held in self._held.values() if held.hidden_until - now < VISIBILITY / 2]
            for held in short:
                held.hidden_until = now + VISIBILITY
        self._queue.hide([held.receipt for held in short], VISIBILITY)

    def _give_back(self) -> None:
        """Whoever comes next need not wait until messages are seen again; where this fails, they are in some minutes."""
        with self._lock:
            receipts = [held.receipt for held in self._held.values()]
        with suppress(IngestError):
            self._queue.hide(receipts, 0)

    def _failed(self, error: Exception) -> None:
        if not self._problem:
            _LOG.warning("uploads are found by listing until the queue can be read again: %s", error)
        self._problem = str(error) or "unknown"

    def _recovered(self) -> None:
        if self._problem:
            _LOG.info("the queue can be read again; uploads are found by its messages")
        self._problem = ""

    def _complain(self, about: str, text: str) -> None:
        if about not in self._complained and len(self._complained) < _REMEMBERED:
            self._complained.add(about)
            _LOG.warning("%s", text)
