"""Partitions that a compaction has moved, or is about to move, to another folder in the catalog.

While a partition is listed here, whoever publishes a file into its own folder also copies it to the other one, before the
batch counts as published; so a reader that the catalog sends there sees every published row. It is asked after the files
are visible, and a compaction lists the folder after it has written its note: one of the two sees the other.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Final

from streaming_app.errors import SinkError
from streaming_app.storage import Storage
from streaming_app.storage.many import get_all

_FOLDER: Final = "switched"


@dataclass(frozen=True)
class Switch:
    """A partition's `folder` below the lake's root, the `target` that readers are sent to, since when (seconds).

    `switched`: the catalog was told; before, files are being copied.
    """

    token: str
    folder: str
    target: str
    at: float
    switched: bool = False


class Switches:
    """The notes in `checkpoints/compaction/switched`, one a partition. Safe for any number of processes."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def open(self) -> list[Switch]:
        """Every partition that is moved now; one listing, as a rule an empty one."""
        keys = [info.key for info in self._storage.list(_FOLDER)]
        found = zip(keys, get_all(self._storage, keys), strict=True)
        return [self._parsed(key, data) for key, data in found if data is not None]

    def begin(self, switch: Switch) -> bool:
        """Note a partition; False when somebody has it already."""
        return self._storage.put_if_absent(_key(switch.folder), _dump(switch))

    def replace(self, switch: Switch) -> None:
        """Note how far a partition's move is."""
        self._storage.put(_key(switch.folder), _dump(switch))

    def end(self, folder: str) -> None:
        """Readers are sent to the partition's own folder again."""
        self._storage.delete([_key(folder)])

    def mirror(self, lake: Storage, keys: Iterable[str]) -> None:
        """Copy files that were just published to where readers are sent; call it before they count as published."""
        targets = {switch.folder: switch.target for switch in self.open()}
        if targets:
            for key in keys:
                folder, _, name = key.rpartition("/")
                if folder in targets:
                    lake.copy(key, f"{targets[folder]}/{name}")

    def _parsed(self, key: str, data: bytes) -> Switch:
        try:
            return Switch(**json.loads(data))
        except (TypeError, ValueError) as error:
            raise SinkError(
                f"{self._storage.uri}/{key} cannot be understood ({error}); restore it from a backup"
            ) from error


def _key(folder: str) -> str:
    return f"{_FOLDER}/{folder.replace('/', '~')}.json"


def _dump(switch: Switch) -> bytes:
    return json.dumps(asdict(switch)).encode()
