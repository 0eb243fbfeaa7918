"""Many objects at once: on S3 a single request takes tens of milliseconds, and most of that is waiting."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from streaming_app.storage.base import Storage

_THREADS: Final = 16


def get_all(storage: Storage, keys: Sequence[str]) -> Iterator[bytes | None]:
    """The bytes of every key in the order given, None where there is no object. All of them may be in memory at once."""
    if len(keys) < 2:  # noqa: PLR2004 - one needs no threads
        yield from (storage.get(key) for key in keys)
        return
    with ThreadPoolExecutor(min(_THREADS, len(keys)), "storage-get") as pool:
        yield from pool.map(storage.get, keys)
