"""Figures to those who do not come for them: sent now and then from a thread of its own.

Guarantee: nothing waits for it and nothing fails by it. What cannot be sent is made up for by the next time, since each sender
either sends totals or remembers what has arrived.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final

_LOG: Final = logging.getLogger(__name__)


class Pusher:
    """Calls `send` every `every` seconds, and once more at its end. `to` is what the log calls the receiver.

    `send` may raise whatever it likes: the first failure in a row is a warning, the others are for who debugs.
    """

    def __init__(self, to: str, every: float, send: Callable[[], None]) -> None:
        self._to, self._every, self._send = to, every, send
        self._failures = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"metrics-to-{to}", daemon=True)
        self._thread.start()

    def close(self, timeout: float = 10.0) -> None:
        """Send what is left, for so many seconds at most."""
        self._ended.set()
        self._thread.join(timeout)

    def _run(self) -> None:
        while True:
            ended = self._ended.wait(self._every)
            try:
                self._send()
                self._failures = 0
            except Exception as error:  # noqa: BLE001 - whatever it is, the next time makes up for it
                self._failures += 1
                level = logging.WARNING if self._failures == 1 else logging.DEBUG
                _LOG.log(level, "metrics could not be sent to %s; trying again: %s", self._to, error)
            if ended:
                return
