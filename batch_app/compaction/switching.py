"""Compaction with a catalog: readers are sent to the new files by one call, and back once nobody reads the old ones.

    new files in compacted/<token>/ -> note (from now on writers copy what they publish there, too) -> what else the partition has,
    copied, unless the book has another entry of it by now -> the catalog's location switched -> grace period -> the partition's own folder: new files in, replaced files out
    (book.py) -> the location switched back -> grace period -> `vacuum` removes compacted/<token>/

At every moment the catalog names a folder that holds every published row once, and nothing is removed from a folder until
`grace` after the catalog has named another. So a query that takes less than the grace period sees each row exactly once,
whatever is written, switched or cut off meanwhile. The partition's own folder stays the truth: the ledgers name its files,
and all is there again in the end.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from batch_app.compaction.book import COPY_OF, AlreadyReplacedError, Compaction, Since
from batch_app.compaction.engine import Compactor, Outcome
from batch_app.compaction.plan import Group
from batch_app.compaction.reading import prove
from streaming_app.errors import SinkError
from streaming_app.journal.switches import Switch, Switches
from streaming_app.storage import ObjectInfo, Published, StagedFile, Storage

GRACE: Final = 3600.0  # seconds: Athena ends a query after 30 minutes unless its quota was raised
AREA: Final = "compacted"  # beside the tables, where no reader of them looks
_MOVES: Final = "moves"
_RETIRED: Final = "retired"
_WAIT: Final = 30.0  # seconds for batches under way to be published
_STEP: Final = 0.2


class Catalog(Protocol):
    """Where readers of the catalog are sent. Folders are below the lake's root, without a slash at the end."""

    def folder(self, folder: str) -> str | None:
        """Where a partition's files are looked for, None where that is outside the lake."""
        ...

    def switch(self, folder: str, target: str) -> None:
        """Send readers of a partition to another folder, in one call."""
        ...


@dataclass(frozen=True)
class Switcher:
    """Compacts partitions of a catalog. `book_storage` is the folder of the book; `wait` sleeps."""

    compactor: Compactor
    catalog: Catalog
    book_storage: Storage
    grace: float = GRACE
    wait: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.time

    @property
    def _lake(self) -> Storage:
        return self.compactor.lake

    @property
    def _switches(self) -> Switches:
        return Switches(self.book_storage)

    def finish(self, outcome: Outcome) -> set[str]:
        """Carry on what earlier runs began; returns the folders that are still switched, which must be left alone."""
        self.compactor.book.finish()
        waiting = set()
        for switch in self._switches.open():
            if switch.switched and self.clock() - switch.at >= self.grace:
                self._settle(switch)
                outcome.settled += 1
            elif switch.switched or self._send(switch, outcome):
                outcome.waiting += 1
                waiting.add(switch.folder)
        return waiting

    def run(self, groups: Sequence[Group], since: Since, outcome: Outcome) -> bool:
        """Compact one partition's groups and send readers there; True when that was done. Raises SinkError."""
        if not self.has(groups[0].folder, outcome):
            return False
        place = self.new_place()
        made = [self.kept(part) for group in groups if (part := self.compactor.build(group, outcome, place))]
        return bool(made) and self.replace(made, since, outcome)

    def has(self, folder: str, outcome: Outcome) -> bool:
        """Whether the catalog has a partition in its own folder, which is what can be moved."""
        if self.catalog.folder(folder) == folder:
            return True
        outcome.skipped.append(f"{folder}: the catalog has this partition elsewhere; see `catalog show`")
        return False

    def new_place(self) -> str:
        """A folder where no reader looks yet; the new files of a partition are staged below it, with their own keys."""
        return f"{AREA}/{self.compactor.new_token()}"

    def kept(self, made: Compaction) -> Compaction:
        """The same, its new files published where they were staged, and read back. Raises SinkError."""
        self.compactor.watch.now("checking")
        for file in made.outputs:
            if self._lake.publish(file.staged) is Published.GONE:
                raise SinkError(f"{file.staged.key} vanished between staging and publication; run the command again")
        if prove(self._lake, made.output_keys) != made.proof:
            self._lake.delete(made.output_keys)
            raise SinkError(
                f"what was written for {made.folder} does not read back as it was: look at the disk's health"
            )
        return made

    def replace(self, parts: Sequence[Compaction], since: Since, outcome: Outcome) -> bool:
        """Send a partition's readers to the new files of all parts, which are in one place; `since`: from before the listing."""
        folder = parts[0].folder
        switch = Switch(self.compactor.new_token(), folder, _folder_of(parts[0]), self.clock())
        document = {"since": since.number, "compactions": [part.to_json() for part in parts]}
        self.book_storage.put(f"{_MOVES}/{switch.token}.json", json.dumps(document).encode())
        if not self._switches.begin(switch):
            outcome.skipped.append(f"{folder}: another command compacts it, too")
            self._retire(switch)
            return False
        if not self._send(switch, outcome):
            return False
        for part in parts:
            outcome.add(part)
        outcome.waiting += 1
        return True

    def _send(self, switch: Switch, outcome: Outcome) -> bool:
        """Copy what else the partition has and switch the catalog; False, and all is as it was, where that cannot be done now.

        Once the catalog names the target it has everything: what was there is copied, and what came since was by its writers.
        """
        if self.catalog.folder(switch.folder) != switch.target:
            why = self._why_not(switch)
            if why:
                outcome.skipped.append(f"{switch.folder}: {why}")
                self._retire(switch)
                self._switches.end(switch.folder)
                return False
            self.catalog.switch(switch.folder, switch.target)
        self._switches.replace(replace(switch, at=self.clock(), switched=True))
        outcome.switched += 1
        return True

    def _why_not(self, switch: Switch) -> str:
        """Make the target whole; what stands against it, or an empty text."""
        if not self._settled_down(switch.folder):
            return "a batch is committed and not published; try again once it is"
        if not self._copy_the_rest(switch):
            return "another command has replaced files meanwhile; run it again"
        return ""

    def _settled_down(self, folder: str) -> bool:
        """Wait until batches that may not have seen the note are published. Later ones copy their files themselves."""
        before = self._in_doubt(folder)
        for _ in range(int(_WAIT / _STEP)):
            if not before & self._in_doubt(folder):
                return True
            self.wait(_STEP)
        return False

    def _in_doubt(self, folder: str) -> set[str]:
        return {key for key in self.compactor.in_doubt() if key.startswith(f"{folder}/")}

    def _copy_the_rest(self, switch: Switch) -> bool:
        """Copy what the move does not replace; False when somebody has replaced a file of the partition since it was listed.

        The rows of the move's files would then be in files of the listing, too, or those of one of these in another.
        """
        parts, since = self._load(switch)
        replaced = {key for part in parts for key in part.input_keys}
        there = {info.key.rsplit("/", 1)[-1] for info in self._lake.list(switch.target)}
        listed = [info.key for info in self._lake.list(switch.folder)]
        doubtful = self._in_doubt(switch.folder)  # after the listing; their writers have seen the note
        if since.changed(switch.folder):  # after the listing: whatever it shows of an entry, the entry was there before
            return False
        for key in listed:
            name = key.rsplit("/", 1)[-1]
            if key not in replaced and key not in doubtful and name not in there and not name.startswith(("_", ".")):
                try:
                    self._lake.copy(key, f"{switch.target}/{name}")
                except FileNotFoundError:
                    return False
        return True

    def _settle(self, switch: Switch) -> None:
        """Make the partition's own folder what readers see, and send them back there."""
        parts, since = self._load(switch)
        book = self.compactor.book
        carried_out = {entry.token for entry in book.entries(since.number + 1)}
        for part in parts:
            if part.token not in carried_out:
                outputs = tuple(replace(file, staged=_copy(file.staged, switch.folder)) for file in part.outputs)
                with suppress(
                    AlreadyReplacedError
                ):  # by one that did not see the note: the own folder is whole as it is
                    book.commit(replace(part, outputs=outputs, at=self.clock()), since)
        self.catalog.switch(switch.folder, switch.folder)
        self._retire(switch)
        self._switches.end(switch.folder)

    def _retire(self, switch: Switch) -> None:
        self.book_storage.put(f"{_RETIRED}/{switch.token}.json", json.dumps({"target": switch.target}).encode())

    def _load(self, switch: Switch) -> tuple[list[Compaction], Since]:
        key = f"{_MOVES}/{switch.token}.json"
        data = self.book_storage.get(key)
        if data is None:
            raise SinkError(f"{self.book_storage.uri}/{key} is not there; restore it from a backup")
        document: dict[str, Any] = json.loads(data)
        parts = [Compaction.from_json(-1, part) for part in document["compactions"]]
        return parts, self.compactor.book.since(int(document["since"]))


def _folder_of(made: Compaction) -> str:
    return made.outputs[0].staged.key.rsplit("/", 1)[0]


def _copy(staged: StagedFile, folder: str) -> StagedFile:
    return StagedFile(f"{folder}/{staged.key.rsplit('/', 1)[-1]}", staged.size, {COPY_OF: staged.key})


def retired(book_storage: Storage, before: float) -> list[tuple[str, str]]:
    """Moves whose readers were sent back before a moment (seconds): their token and folder.

    Not one whose note is still there: it was given up by a process that died then, and the next one may have sent readers to it.
    """
    found = []
    for info in book_storage.list(_RETIRED):
        data = book_storage.get(info.key)
        if data is not None and info.modified.timestamp() < before:
            found.append((_token(info), str(json.loads(data)["target"])))
    open_now = {switch.token for switch in Switches(book_storage).open()}
    return [(token, folder) for token, folder in found if token not in open_now]


def forget(book_storage: Storage, token: str) -> None:
    """Drop what is kept of a move whose files are removed."""
    book_storage.delete([f"{_MOVES}/{token}.json", f"{_RETIRED}/{token}.json"])


def never_begun(book_storage: Storage, before: float) -> list[str]:
    """Tokens of moves that were written down before a moment (seconds), by a process that died before it made their note."""
    tokens = [_token(info) for info in book_storage.list(_MOVES) if info.modified.timestamp() < before]
    begun = {switch.token for switch in Switches(book_storage).open()}
    begun.update(
        _token(info) for info in book_storage.list(_RETIRED)
    )  # after the notes: one goes only when this is there
    return [token for token in tokens if token not in begun]


def _token(info: ObjectInfo) -> str:
    return info.key.rsplit("/", 1)[-1].removesuffix(".json")


def targets_in_use(book_storage: Storage) -> set[str]:
    """Folders below `compacted/` that a move has, open or retired."""
    kept = {switch.target for switch in Switches(book_storage).open()}
    return kept | {target for _, target in retired(book_storage, float("inf"))}
