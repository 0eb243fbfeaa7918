"""How old rows are when a query could first see them: arrival in the stream to the appearance of their file."""

from __future__ import annotations

import json
import threading
import time
import urllib.request
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

POLL_SECONDS: Final = 0.02
_INDEX_DIGITS: Final = 16  # the emulator's sequence numbers end with the record's index in its shard


@dataclass(frozen=True)
class Ages:
    """Seconds between arrival and visibility, over all rows that count."""

    rows: int
    mean: float
    p50: float
    p95: float
    p99: float
    max: float

    def to_json(self) -> dict[str, float]:
        """As a JSON object."""
        return asdict(self)


class LakeWatcher:
    """Notes when each Parquet file appears under its final name; looks 50 times a second."""

    def __init__(self, lake: Path) -> None:
        self.seen: dict[Path, float] = {}
        self._tables = [lake / "clean", lake / "dead_letter"]
        self._changed: dict[Path, int] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look a last time and end."""
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(POLL_SECONDS):
            self.look()
        self.look()

    def look(self) -> None:
        """Note what is new; folders that did not change are not read again."""
        for table in self._tables:
            self._visit(table)

    def _visit(self, folder: Path) -> None:
        """Before a folder is read its time of change is taken: what comes later changes it once more."""
        try:
            changed = folder.stat().st_mtime_ns
        except OSError:
            return
        if self._changed.get(folder) != changed:
            self._changed[folder] = changed
            self._read(folder)
        for child in [path for path in self._changed if path.parent == folder]:
            self._visit(child)

    def _read(self, folder: Path) -> None:
        now = time.time()
        for path in folder.iterdir():
            if path.name.startswith((".", "_")):
                continue
            if path.suffix == ".parquet":
                self.seen.setdefault(path, now)
            else:
                self._changed.setdefault(path, -1)


def ages(seen: dict[Path, float], arrivals: list[Any], *, since: float) -> Ages:
    """Ages of the rows in the files; `arrivals[shard]` are milliseconds by index, `since` is the first arrival that counts."""
    parts = [_ages_of_file(path, visible, arrivals, since) for path, visible in seen.items()]
    every = np.concatenate(parts) if parts else np.array([])
    if not len(every):
        raise SystemExit("freshness: no row became visible after the warm-up; look into the service's log")
    p50, p95, p99 = (round(float(value), 3) for value in np.percentile(every, [50, 95, 99]))
    return Ages(len(every), round(float(every.mean()), 3), p50, p95, p99, round(float(every.max()), 3))


def _ages_of_file(path: Path, visible: float, arrivals: list[Any], since: float) -> Any:
    positions = pq.read_table(path, columns=["source_position"], partitioning=None).column(0)
    parts = pc.split_pattern(positions, ":")
    shards = pc.cast(pc.utf8_replace_slice(pc.list_element(parts, 0), 0, len("shardId-"), ""), "int64").to_numpy()
    indexes = pc.cast(pc.utf8_slice_codeunits(pc.list_element(parts, 1), -_INDEX_DIGITS), "int64").to_numpy()
    arrived = np.empty(len(shards))
    for number, shard_arrivals in enumerate(arrivals):
        here = shards == number
        arrived[here] = shard_arrivals[indexes[here]] / 1000
    return (visible - arrived)[arrived >= since]


def fetch_arrivals(endpoint: str, shards: int) -> list[Any]:
    """When each record of each shard arrived, as the emulator knows it."""
    return [np.array(fetch(f"{endpoint}/arrivals/{number}")) for number in range(shards)]


def fetch(url: str) -> Any:
    """JSON from the emulator."""
    with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310 - our own emulator
        return json.load(answer)
