"""Takes alerts without waiting, leaves out repeats, and delivers them in a thread of its own."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

from streaming_app.alerts.alert import Alert, Level
from streaming_app.alerts.channels import Channel
from streaming_app.runtime import logs

_LOG: Final = logging.getLogger(__name__)
_WAITING: Final = 100  # alerts that wait for delivery; more are only logged
_ATTEMPTS: Final = 3
_PAUSE: Final = 1.0  # seconds before the second attempt, then twice that


class Alerts:
    """Every alert is logged at once; each goes to all channels unless the same was sent within `repeat_after` seconds.

    Guarantee: `send` never blocks and never raises. No guarantee of delivery: a channel that fails three times, or a
    process that is killed, loses the alert, and the log line remains. `redact` takes secrets out of texts.
    """

    def __init__(
        self,
        channels: Sequence[Channel] = (),
        *,
        repeat_after: float = 900.0,
        redact: Callable[[str], str] = str,
        clock: Callable[[], float] = time.monotonic,
        pause: float = _PAUSE,
    ) -> None:
        self._channels, self._repeat_after = channels, repeat_after
        self._redact, self._clock, self._pause = redact, clock, pause
        self._queue: queue.Queue[Alert | None] = queue.Queue(_WAITING)
        self._sent: dict[tuple[str, str], float] = {}
        self._left_out: dict[tuple[str, str], int] = {}
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._deliver_all, name="alerts", daemon=True)
        if channels:
            self._thread.start()

    def send(self, alert: Alert) -> None:
        """Tell of something."""
        try:
            self._take(replace(alert, title=self._redact(alert.title), text=self._redact(alert.text)))
        except Exception:  # noqa: BLE001 - an alert is not worth a failed stream
            _LOG.exception("an alert could not be taken")

    def _take(self, alert: Alert) -> None:
        repeats = self._repeats(alert)
        if repeats is None:
            return
        again = f"\n({repeats} more of the same since the last alert)" if repeats else ""
        level = logging.ERROR if alert.level is Level.ERROR else logging.WARNING
        _LOG.log(level, "ALERT %s: %s%s", alert.title, alert.text, again, extra=logs.fields(alert.source or None))
        if self._channels:
            try:
                self._queue.put_nowait(replace(alert, text=alert.text + again))
            except queue.Full:
                _LOG.error("too many alerts are waiting to be sent; this one is only logged")

    def _repeats(self, alert: Alert) -> int | None:
        """How many of the same were left out before this one; None when this one is left out, too."""
        key, now = (alert.key, alert.source), self._clock()
        with self._lock:
            last = self._sent.get(key)
            if last is not None and now - last < self._repeat_after:
                self._left_out[key] = self._left_out.get(key, 0) + 1
                return None
            self._sent[key] = now
            return self._left_out.pop(key, 0)

    def close(self, timeout: float = 10.0) -> None:
        """Give what waits so many seconds to be delivered."""
        if not self._channels:
            return
        deadline = time.monotonic() + timeout
        self._closing.set()
        try:
            self._queue.put(None, timeout=timeout)
        except queue.Full:
            return
        self._thread.join(max(0.0, deadline - time.monotonic()))

    def _deliver_all(self) -> None:
        while (alert := self._queue.get()) is not None:
            for channel in self._channels:
                self._deliver(channel, alert)

    def _deliver(self, channel: Channel, alert: Alert) -> None:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                channel.send(alert)
            except Exception as error:  # noqa: BLE001 - whatever it is, the next channel and the next alert have their turn
                failure: Any = error
            else:
                return
            if attempt < _ATTEMPTS:
                self._closing.wait(self._pause * 2 ** (attempt - 1))
        _LOG.error("alert %s could not be sent by %s: %s", alert.key, channel.name, self._redact(str(failure)))
