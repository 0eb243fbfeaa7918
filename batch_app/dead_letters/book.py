"""The book of dead letters: one entry for each replay or discard, with the ids of the dead letters it took.

    ids -> staged files -> entry n, if absent (the commit point) -> files visible -> pointer

Entries are numbered without holes. Whoever wants to write entry n has read all entries below it and found none of his ids
in them; if another one was faster, his entry n is read and the ids are compared again. So of any number of callers, each
id is taken by one entry at most, and nobody holds a lock that a killed process would leave behind. Whatever dies after
the entry is finished by the next one who writes (`finish`): publishing is idempotent.

An entry whose staged files are gone for ever (a bucket's lifecycle rule) is not removed but released by a later entry;
its ids are open again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from streaming_app.errors import SinkError
from streaming_app.journal.ledger import LedgerFile
from streaming_app.journal.sequenced import SequencedLog
from streaming_app.journal.switches import Switches
from streaming_app.schema import CLEAN, INPUT_SOURCE, InputSource
from streaming_app.storage import Published, Storage
from streaming_app.storage.many import get_all

Ids = npt.NDArray[np.bytes_]  # 32 hexadecimal digits each
ID_LENGTH: Final = 32
_PREFIX: Final = "actions"
_POINTER: Final = "published.json"
_KEEP_OPEN: Final = 10  # latest entries stay single objects, for people to look at
_ABANDONED: Final = timedelta(days=1)  # a run renews its mark with every action, which takes minutes at most


def ids_of(texts: Iterable[str]) -> Ids:
    """Ids as one array."""
    return np.array([text.encode() for text in texts], f"S{ID_LENGTH}")


class AlreadyTakenError(Exception):
    """Another action has some of the ids; `mask` says which."""

    def __init__(self, mask: npt.NDArray[np.bool_]) -> None:
        self.mask = mask
        super().__init__(f"{int(mask.sum())} ids are taken")


@dataclass(frozen=True)
class Action:
    """One entry. A replay's `files` are the clean rows it made, all of one `input_source` and one `source`.

    `kind`: replay | discard | release (of entry `releases`). `at`: seconds since the epoch. `number` is -1 before it is
    in the book.
    """

    kind: str
    token: str
    at: float
    count: int = 0
    by_reason: Mapping[str, int] = field(default_factory=dict)
    files: tuple[LedgerFile, ...] = ()
    input_source: str = ""
    source: str = ""
    suite: str = ""
    reason: str = ""
    repair: Mapping[str, str] = field(default_factory=dict)
    releases: int | None = None
    number: int = -1

    def to_json(self) -> dict[str, Any]:
        """A JSON object that `from_json` reads back; its number is its place in the book."""
        value = {name: getattr(self, name) for name in self.__dataclass_fields__ if name not in {"files", "number"}}
        return {**value, "files": [file.to_json() for file in self.files]}

    @classmethod
    def from_json(cls, number: int, value: Mapping[str, Any]) -> Action:
        """The inverse of `to_json`."""
        files = tuple(LedgerFile.from_json(file) for file in value["files"])
        return cls(**{**value, "files": files, "number": number})


class Taken:
    """Which ids are in which action, for lookups of many ids at once. Memory: 36 bytes an id."""

    def __init__(self) -> None:
        self._ids: Ids = np.empty(0, f"S{ID_LENGTH}")
        self._numbers: npt.NDArray[np.int32] = np.empty(0, np.int32)

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, parts: Sequence[tuple[int, Ids]]) -> None:
        """The ids of some actions."""
        ids = np.concatenate([self._ids, *(ids for _, ids in parts)])
        numbers = np.concatenate([self._numbers, *(np.full(len(ids), number, np.int32) for number, ids in parts)])
        order = np.argsort(ids, kind="stable")
        self._ids, self._numbers = ids[order], numbers[order]

    def drop(self, number: int) -> None:
        """The ids of a released action are free."""
        kept = self._numbers != number
        self._ids, self._numbers = self._ids[kept], self._numbers[kept]

    def numbers(self, ids: Ids) -> npt.NDArray[np.int32]:
        """The action that took each id, -1 where none did."""
        if not len(self._ids):
            return np.full(len(ids), -1, np.int32)
        places = np.minimum(np.searchsorted(self._ids, ids), len(self._ids) - 1)
        return np.where(self._ids[places] == ids, self._numbers[places], np.int32(-1)).astype(np.int32)

    def twice(self) -> Ids:
        """Ids that more than one action took: never, or the book was tampered with."""
        return np.unique(self._ids[1:][self._ids[1:] == self._ids[:-1]])

    def all(self) -> Ids:
        """Every id that is taken, ascending."""
        return self._ids


class Book:
    """The book inside `checkpoints/dead_letters`. Guarantee: each id is in one action at most that was not released.

    `follow` is called with each action whose files are visible, before it counts as finished: again, if that was cut off.
    """

    def __init__(
        self,
        storage: Storage,
        lake: Storage,
        switches: Switches | None = None,
        follow: Callable[[Action], None] = lambda _: None,
    ) -> None:
        self._storage, self._lake, self._switches, self._follow = storage, lake, switches, follow
        self._log = SequencedLog(storage, _PREFIX)
        self.actions: dict[int, Action] = {}
        self.released: set[int] = set()
        self.taken = Taken()
        self.last = -1

    def read(self) -> Book:
        """Learn what was written since the last call; returns itself."""
        new = []
        for number, value in self._log.entries(self.last + 1):
            self._require_next(number)
            try:
                new.append(Action.from_json(number, value))
            except (KeyError, TypeError) as error:
                raise SinkError(
                    f"entry {number} of {self._storage.uri} cannot be understood ({error!r}); restore it from a backup"
                ) from error
            self.last = number
        holding = [action for action in new if action.kind != "release"]
        stored = get_all(self._storage, [_ids_key(action.token) for action in holding])
        if holding:
            found = zip(holding, stored, strict=True)
            self.taken.add([(action.number, self._unpacked(action, data)) for action, data in found])
        for action in new:
            self.actions[action.number] = action
            if action.releases is not None:
                self.released.add(action.releases)
                self.taken.drop(action.releases)
        return self

    def _require_next(self, number: int) -> None:
        if number != self.last + 1:
            raise SinkError(
                f"{self._storage.uri} holds entry {number} but not entry {self.last + 1}: which dead letters were replayed"
                " is not known any more; restore the folder from a backup"
            )

    def _unpacked(self, action: Action, data: bytes | None) -> Ids:
        if data is None or len(data) != action.count * ID_LENGTH // 2:
            raise SinkError(
                f"{self._storage.uri}/{_ids_key(action.token)} is missing or damaged: which dead letters entry"
                f" {action.number} took is not known; restore it from a backup"
            )
        return np.frombuffer(data.hex().encode(), f"S{ID_LENGTH}")

    def ids(self, action: Action) -> Ids:
        """The ids that an action took. Raises SinkError when they are not there any more."""
        return self._unpacked(action, self._storage.get(_ids_key(action.token)))

    def commit(self, action: Action, ids: Ids) -> Action:
        """Write the action, published files and all. Raises AlreadyTakenError, with nothing written, when an id is taken."""
        action = replace(action, count=len(ids))
        self._storage.put(_ids_key(action.token), bytes.fromhex(ids.tobytes().decode()))
        written = self._append(action, ids)
        self.finish()
        if written.number in self.released:
            raise SinkError(
                f"the staged files of action {written.number} vanished before they were published; its dead letters are"
                " open again: run the command once more"
            )
        return written

    def _append(self, action: Action, ids: Ids) -> Action:
        while True:
            held = self.read().taken.numbers(ids) >= 0
            if held.any():
                self._storage.delete([_ids_key(action.token)])
                raise AlreadyTakenError(held)
            number = self.last + 1
            if self._log.append_if_absent(number, action.to_json()):
                return replace(action, number=number)

    def finish(self) -> list[Action]:
        """Publish what dead processes left half-way, and what was just written; returns the actions that were finished."""
        finished = []
        for action in self.unfinished():
            states = [self._lake.publish(file.staged) for file in action.files]
            if Published.GONE in states:
                self._release(action)
            elif action.files:
                if self._switches:
                    self._switches.mirror(self._lake, [file.staged.key for file in action.files])
                self._follow(action)
            finished.append(action)
        if finished:
            self._storage.put(_POINTER, json.dumps({"through": finished[-1].number}).encode())
            with suppress(SinkError):  # another one folds at the same time: he does it for both
                self._log.fold(through=finished[-1].number - _KEEP_OPEN)
        return finished

    def unfinished(self) -> list[Action]:
        """Actions whose files may not all be visible."""
        data = self._storage.get(_POINTER)
        through = int(json.loads(data)["through"]) if data else -1
        self.read()
        return [action for number, action in sorted(self.actions.items()) if number > through]

    def _release(self, action: Action) -> None:
        """Take back what is visible of an action first: only then may others have its dead letters."""
        if action.number in self.released:
            return
        self._lake.delete(file.staged.key for file in action.files)
        entry = Action("release", action.token, time.time(), releases=action.number)
        while action.number not in self.released:
            self._log.append_if_absent(self.last + 1, entry.to_json())
            self.read()

    def begin(self, token: str) -> str:
        """Mark a run that will stage files, and tidy up after runs that died long ago; returns the run's owner name.

        Call it after `finish`. A run's own staged files bear its name, so that nobody removes those of a living one.
        """
        for mark in self._storage.list("runs"):
            name = mark.key.rsplit("/", 1)[-1].removesuffix(".json")
            if name != token and datetime.now(UTC) - mark.modified > _ABANDONED:
                for staged in list(self._lake.staged(owner_of(name), _PREFIXES)):
                    self._lake.discard(staged)
                self._storage.delete([mark.key])
        self._storage.put(f"runs/{token}.json", b"{}")
        return owner_of(token)

    def end(self, token: str) -> None:
        """The run has nothing staged any more."""
        self._storage.delete([f"runs/{token}.json"])


_PREFIXES: Final = [f"{CLEAN}/{INPUT_SOURCE}={label}" for label in InputSource]


def owner_of(token: str) -> str:
    """How the staged files of a run are named."""
    return f"replay-{token}"


def _ids_key(token: str) -> str:
    return f"ids/{token}.bin"
