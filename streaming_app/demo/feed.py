"""What goes in: the producer in a thread of its own, and the sample files; and an exact count of both."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from streaming_app.config.models import SourceName
from streaming_app.demo.plan import REGION, STREAM, Plan
from streaming_app.errors import IngestError
from streaming_app.producer import Event, ProduceOptions, ProduceReport, Verdict, produce, write_samples
from streaming_app.producer.sender import PutRecordsClient

BAD_RATIO = 0.1
VARIANT_RATIO = 0.1


@dataclass(frozen=True)
class Expected:
    """Rows that were sent and what should become of them."""

    clean: int = 0
    dead: int = 0

    @property
    def rows(self) -> int:
        """All of them."""
        return self.clean + self.dead


class Feed:
    """Sends orders until stopped. Safe to look at from another thread."""

    def __init__(self, plan: Plan, client: PutRecordsClient, *, now: Callable[[], float] = time.time) -> None:
        self._plan, self._client, self._now = plan, client, now
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._clean = self._dead = 0
        self._unread: deque[float] = deque()  # when each event was accepted that is not in the lake yet
        self._arrived = 0
        self._files = Expected()
        self._files_at = 0.0
        self._thread = threading.Thread(target=self._send, name="producer", daemon=True)
        self.report: ProduceReport | None = None
        self.error: Exception | None = None

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def stop(self) -> None:
        """End sending; returns when the last request was answered."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()

    def drop_files(self) -> None:
        """Put the sample files where the service looks for uploads, each under its name at once."""
        report = write_samples(self._plan.uploads)
        self._files = Expected(report.good_rows + report.bad_file_clean, report.bad_file_dead)
        self._files_at = self._now()

    def expected(self) -> dict[str, Expected]:
        """What was sent to each source so far."""
        with self._lock:
            return {SourceName.KINESIS: Expected(self._clean, self._dead), SourceName.CSV: self._files}

    def oldest_waiting(self, arrived: dict[str, int]) -> dict[str, float]:
        """Seconds that the oldest row of each source has waited, given how many rows arrived in the lake; 0 for none.

        Events are taken to arrive in the order they were sent, which over several shards is nearly so.
        """
        with self._lock:
            while self._unread and self._arrived < arrived.get(SourceName.KINESIS, 0):
                self._unread.popleft()
                self._arrived += 1
            events = self._now() - self._unread[0] if self._unread else 0.0
        files_wait = arrived.get(SourceName.CSV, 0) < self._files.rows
        return {SourceName.KINESIS: events, SourceName.CSV: self._now() - self._files_at if files_wait else 0.0}

    def _send(self) -> None:
        options = ProduceOptions(STREAM, REGION, rate=self._plan.rate, bad_ratio=BAD_RATIO, variant_ratio=VARIANT_RATIO)
        try:
            self.report = produce(options, self._stop.is_set, client=self._client, on_accepted=self._accepted)
        except IngestError as error:
            self.error = error
        except Exception as error:  # noqa: BLE001 - it would vanish with the thread
            self.error = error

    def _accepted(self, event: Event, position: str) -> None:
        del position
        with self._lock:
            self._unread.append(self._now())
            if event.verdict is Verdict.CLEAN:
                self._clean += 1
            else:
                self._dead += 1
