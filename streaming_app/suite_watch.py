"""Looks after the suite's file while the service runs: a changed one is checked and offered, a broken one refused.

The file is read every `interval` seconds, and once more a moment after it has changed: an editor may still be writing. What
cannot be used is alerted once for each content, and the suite in force stays.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any, Final

from streaming_app.alerts import Alert
from streaming_app.config import Loaded
from streaming_app.config.load import read_suite
from streaming_app.errors import ConfigError, Problem
from streaming_app.quality import Suite
from streaming_app.runtime import logs

_LOG: Final = logging.getLogger(__name__)
_SETTLE: Final = 0.5  # seconds between two readings that have to agree


class SuiteWatch:
    """A thread that reads the file. `check` may find further problems in a suite that could be parsed (its examples)."""

    def __init__(
        self,
        loaded: Loaded,
        in_force: Suite,
        interval: float,
        *,
        alert: Callable[[Alert], None] = lambda _: None,
        check: Callable[[Suite], list[Problem]] = lambda _: [],
        settle: float = _SETTLE,
    ) -> None:
        self._loaded, self._in_force, self._interval, self._settle = loaded, in_force, interval, settle
        self._alert, self._check = alert, check
        self._refused: object = None
        self._offered: Suite | None = None
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="suite-watch", daemon=True)

    def start(self) -> None:
        """Begin to look; an interval of 0 never looks."""
        if self._interval:
            self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._ended.set()

    def take(self) -> Suite | None:
        """The suite to change to, handed out once; None when nothing has changed."""
        with self._lock:
            offered, self._offered = self._offered, None
            return offered

    def _watch(self) -> None:
        while not self._ended.wait(self._interval):
            try:
                self.look()
            except Exception:  # noqa: BLE001 - whatever it is, the suite in force stays and the next look may work
                _LOG.exception("the suite's file could not be looked at")

    def look(self) -> None:
        """Read the file and offer it, refuse it or leave it."""
        try:
            document = self._settled()
            suite = Suite.parse(document, self._loaded.suite_file, self._loaded.dataset)
            if suite.fingerprint == self._in_force.fingerprint:
                self._refused = None
                return
            problems = self._check(suite)
            if problems:
                raise ConfigError(problems)  # noqa: TRY301 - reported like a problem of the file itself
        except ConfigError as error:
            self._refuse(error)
            return
        self._refused, self._in_force = None, suite
        with self._lock:
            self._offered = suite
        _LOG.info("the suite's file has changed", extra=logs.fields(suite=suite.fingerprint))

    def _settled(self) -> Any:
        document = read_suite(self._loaded)
        while document != self._in_force.source and not self._ended.wait(self._settle):
            again = read_suite(self._loaded)
            if again == document:
                break
            document = again
        return document

    def _refuse(self, error: ConfigError) -> None:
        if str(error) != self._refused:
            self._refused = str(error)
            text = f"{error}\nThe suite {self._in_force.fingerprint} stays in force."
            self._alert(Alert(f"suite-refused:{hash(str(error))}", "the changed suite was refused", text))
