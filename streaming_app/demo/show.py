"""The demo from beginning to end: Kinesis, the service, orders, an orderly stop, and the proof that all of it arrived."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from typing import Final

from rich.console import Console

from streaming_app.demo import report
from streaming_app.demo.course import Course, ServiceEnded
from streaming_app.demo.display import RESTORE, make_display
from streaming_app.demo.plan import Plan

INTERRUPTED: Final = 130  # as shells report a Ctrl-C


def show(plan: Plan, *, picture: Path | None = None) -> int:
    """Run the demo; 0 when the audit passed and all that was sent has arrived.

    The service's own exit code when it ended before it was asked to. Raises IngestError when a part of it cannot work.
    """
    console = Console(highlight=False)
    signals = Signals(console.is_terminal)
    course = Course(plan, signals.stop, make_display(console), picture)
    try:
        course.run()
    except ServiceEnded as ended:
        report.service_ended(console, plan, ended.code, course.log.last_lines())
        return ended.code or 1
    finally:
        signals.leave_at_next()
    if not any(expected.rows for expected in course.expected().values()):
        console.print(f"Stopped before the first order was sent. The service's log: {plan.log}", markup=False)
        return INTERRUPTED
    return report.prove(console, plan, course.endpoint_url, course.expected())


class Signals:
    """The first Ctrl-C or SIGTERM asks for the orderly end; the next one leaves, and the children end by themselves."""

    def __init__(self, terminal: bool) -> None:
        self.stop = threading.Event()
        self._terminal = terminal
        self._leave = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._handle)

    def leave_at_next(self) -> None:
        """From here on there is nothing left that must be ended in order."""
        self._leave = True

    def _handle(self, number: int, _: object) -> None:
        if not self._leave:
            self._leave = True
            self.stop.set()
            return
        if self._terminal:
            os.write(sys.stdout.fileno(), RESTORE)
        os._exit(128 + number)
