"""Which suite judges which micro-batch: bound before the batch runs, inside the source's checkpoint.

    suites/bindings/<first batch>.json   {"suite": fingerprint}: that batch and those after it, up to the next binding
    suites/documents/<fingerprint>.json  the suite itself
    suites/stopped.json                  {"batch": number}: the circuit breaker stopped this one, other rules may judge it

So a batch that runs again is judged by the rules it began with, also when the file has changed since and the process was
killed in between. The one exception is a batch that the circuit breaker stopped: it waits for other rules.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from streaming_app.errors import SinkError
from streaming_app.journal.spark_log import SparkLog, read_spark_log
from streaming_app.storage import Storage

SUITES: Final = "suites"  # its folder inside a source's checkpoint
_BINDINGS: Final = f"{SUITES}/bindings"
_DOCUMENTS: Final = f"{SUITES}/documents"
_STOPPED: Final = f"{SUITES}/stopped.json"
_DIGITS: Final = 20  # of a 64-bit number, so that keys sort as numbers do


class SuiteBindings:
    """The bindings inside a checkpoint folder. Call `begun_under` and `bind` while no query runs on it."""

    def __init__(self, checkpoint: Storage) -> None:
        self._storage = checkpoint

    def bound(self, batch_id: int) -> str | None:
        """Fingerprint of the suite that a batch is bound to; None where nothing was bound yet."""
        firsts = [first for first in self._firsts() if first <= batch_id]
        return str(self._json(self._key(max(firsts)))["suite"]) if firsts else None

    def document(self, fingerprint: str) -> Any:
        """The suite of a binding, as its file had it. Raises SinkError when it is gone."""
        return self._json(f"{_DOCUMENTS}/{fingerprint}.json")

    def begun_under(self) -> str | None:
        """Fingerprint that the batch which Spark will run again is bound to; None when there is none to run again."""
        log = read_spark_log(self._storage)
        waits = _is_unfinished(log) and log.last_logged != self._stopped()
        return self.bound(log.last_logged) if waits else None

    def bind(self, fingerprint: str, document: Mapping[str, Any]) -> int:
        """Bind what Spark runs next, and all after it; returns its batch id. Durable when this returns.

        Call it with the suite of `begun_under` or, where that is None, with any.
        """
        log = read_spark_log(self._storage)
        first = log.last_logged if _is_unfinished(log) else log.last_logged + 1
        if self.bound(first) != fingerprint:
            self._storage.put_if_absent(f"{_DOCUMENTS}/{fingerprint}.json", _dump(document))
            # A binding of the same number may be replaced: no batch ran under it, or the breaker stopped the one that did.
            self._storage.put(self._key(first), _dump({"suite": fingerprint}))
        return first

    def stopped(self, batch_id: int) -> None:
        """The circuit breaker stopped this batch."""
        self._storage.put(_STOPPED, _dump({"batch": batch_id}))

    def _stopped(self) -> int | None:
        data = self._storage.get(_STOPPED)
        return int(json.loads(data)["batch"]) if data else None

    def _firsts(self) -> list[int]:
        names = (item.key.rsplit("/", 1)[-1].removesuffix(".json") for item in self._storage.list(_BINDINGS))
        return [int(name) for name in names if name.isdigit()]

    def _key(self, first: int) -> str:
        return f"{_BINDINGS}/{first:0{_DIGITS}d}.json"

    def _json(self, key: str) -> Any:
        data = self._storage.get(key)
        if data is None:
            raise SinkError(f"{self._storage.uri}/{key} is gone; restore the checkpoint from a backup")
        return json.loads(data)


def _is_unfinished(log: SparkLog) -> bool:
    """Whether Spark has planned a batch and not committed it: it will run it again."""
    return log.last_logged > log.last_committed


def _dump(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=True).encode()
