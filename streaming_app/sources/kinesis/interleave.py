"""Several shards in one task: each is read by a thread of its own, because each has limits of its own to wait for."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator, Sequence
from typing import Final, TypeVar

T = TypeVar("T")
_POLL: Final = 0.1  # seconds after which a blocked thread looks whether it is still wanted


class _End:
    """One of the iterators is exhausted."""


def interleave(parts: Sequence[Iterator[T]], ahead: int = 2) -> Generator[T, None, None]:
    """Items of all parts as they come, each part in its own order, at most `ahead` of them waiting.

    An error in a part is raised here. When the consumer stops early, the parts are left where they are, unfinished.
    """
    ready: queue.Queue[T | _End | BaseException] = queue.Queue(ahead)
    stop = threading.Event()
    for part in parts:
        threading.Thread(target=_run, args=(part, ready, stop), daemon=True).start()
    try:
        yield from _taken(ready, len(parts))
    finally:
        stop.set()


def _taken(ready: queue.Queue[T | _End | BaseException], running: int) -> Iterator[T]:
    while running:
        item = ready.get()
        if isinstance(item, _End):
            running -= 1
        elif isinstance(item, BaseException):
            raise item
        else:
            yield item


def _run(part: Iterator[T], ready: queue.Queue[T | _End | BaseException], stop: threading.Event) -> None:
    last: _End | BaseException = _End()
    try:
        for item in part:
            if not _offer(item, ready, stop):
                return
    except BaseException as error:  # noqa: BLE001 - it is raised in the consumer's thread
        last = error
    _offer(last, ready, stop)


def _offer(item: T | _End | BaseException, ready: queue.Queue[T | _End | BaseException], stop: threading.Event) -> bool:
    while not stop.is_set():
        try:
            ready.put(item, timeout=_POLL)
        except queue.Full:
            continue
        return True
    return False
