"""Makes the pictures of docs/live-page.md anew, of a real service that reads a stream and files: `python -m tests.live_pictures`.

Look at each of them before it is committed. Needs Chromium and an hour and a quarter, as the page shows an hour: another number
of minutes can be given.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from streaming_app.producer import events
from streaming_app.producer.events import Mix
from tests.browser import Browser, browser
from tests.e2e.test_metrics import address, ask
from tests.fault.rig import REPOSITORY, STREAM, Rig
from tests.strict_kinesis import strict_kinesis

IMAGES = REPOSITORY / "docs" / "images"
SETTINGS = {
    "metrics.sample_every": "2s",
    "metrics.stalled_after": "20s",
    # Small batches, so that a rush is more than is read at once.
    "sources.kinesis.max_records_per_shard": "500",
    "sources.csv.max_files_per_batch": "3",
}
MIX = Mix(bad=0.015, variants=0.03)
USUAL = 150  # seconds of one rate
RUSH = 400  # events a second
OUTAGE = 75  # seconds
LATE = 60  # seconds behind
NEVER = 1e6  # seconds between two files


class Restaurants(Rig):
    """Points of sale that are wrong now and then. Every feed has other orders than those before."""

    fed = 0

    def feed(self, *, rate: float = 60.0, csv_every: float = NEVER, seed: int = 0) -> None:
        self.fed += 1
        super().feed(rate=rate, csv_every=csv_every, seed=seed or self.fed)

    def _put_events(self, rate: float, seed: int) -> None:
        made = events(seed, start=datetime.now(UTC), mix=MIX)
        while not self._stop.wait(0.1):
            self.kinesis.put(STREAM, [next(made).payload for _ in range(max(1, int(rate / 10)))])

    def upload(self, files: int) -> None:
        """So many files at once."""
        for number in range(files):
            self.drop_file(f"branch-{self.fed}-{number}.csv", seed=1_000_000 + 1000 * self.fed + number, rows=60)

    def source(self, name: str) -> dict[str, Any]:
        """What the page knows of a source."""
        found = json.loads(ask(self, "/api/live")[1])["sources"]
        return next(source for source in found if source["name"] == name)


def take(page: Browser, rig: Rig, name: str, *, span: int = 3600, dark: bool = False, width: int = 1440) -> None:
    """The page; on a telephone what its window shows."""
    page.open(address(rig) + "/", width=width, height=844 if width < 600 else 900, dark=dark)
    page.wait_for("document.querySelectorAll('canvas').length === 2")
    page.evaluate(f"document.querySelector('[data-span=\"{span}\"]').click()")
    time.sleep(5)
    page.screenshot(IMAGES / f"live-{name}.png", whole=width >= 600)
    sys.stdout.write(f"docs/images/live-{name}.png\n")
    page.leave()


def usual(rig: Restaurants, minutes: float) -> None:
    """Traffic as on any day."""
    rates = random.Random(3)
    until = time.monotonic() + 60 * minutes
    while time.monotonic() < until:
        rig.feed(rate=rates.uniform(60, 200), csv_every=rates.uniform(12, 40))
        time.sleep(min(USUAL, max(0.0, until - time.monotonic())))
        rig.rest()


def outage(rig: Restaurants) -> None:
    """Nothing runs for a while, and more comes in than is read at once."""
    rig.feed(rate=RUSH)
    rig.upload(200)
    time.sleep(OUTAGE)


def under_load(rig: Restaurants) -> bool:
    """Whether the stream is well behind and files wait."""
    return (rig.source("kinesis")["lag"] or 0) > LATE and (rig.source("csv")["backlog"][0] or 0) > 0


def catch_up(rig: Restaurants) -> None:
    """Until nothing waits any more, and a while longer."""
    rig.rest()
    rig.feed(rate=40)
    rig.wait_for(lambda: rig.source("kinesis")["lag"] == 0 and rig.source("csv")["backlog"][0] == 0, timeout=900)
    time.sleep(60)


def stall(rig: Restaurants) -> None:
    """Refuse every call from the middle of a read on: a source that only looks for records is idle, and does not stall."""
    for _ in range(10):
        rig.kinesis.set(throttle=0.0)
        time.sleep(10)
        rig.kinesis.set(throttle=1.0)
        deadline = time.monotonic() + 40
        while time.monotonic() < deadline:
            if "stalled" in ask(rig, "/readyz")[1]:
                return
            time.sleep(0.5)
    raise AssertionError(rig.tail())


def pictures(rig: Restaurants, folder: Path) -> None:
    """All of them, of a service that has read for an hour and was down for a minute. The hour comes from the ledger."""
    outage(rig)
    service = rig.start()
    try:
        rig.wait_for(lambda: ask(rig, "/readyz")[0] == 200, timeout=300)
        time.sleep(90)
        rig.batch("audit")
        with browser(folder / "chromium") as page:
            rig.wait_for(lambda: under_load(rig))
            take(page, rig, "load")
            take(page, rig, "dark", dark=True, span=300)
            take(page, rig, "narrow", width=390)
            catch_up(rig)
            take(page, rig, "rest")
            rig.rest()
            rig.feed(rate=150, csv_every=15)
            stall(rig)
            take(page, rig, "stalled", span=300)
            rig.rest()
            rig.kinesis.set(throttle=0.0)
    finally:
        rig.kill(service)


def main() -> None:
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    with tempfile.TemporaryDirectory() as folder, strict_kinesis() as kinesis:
        kinesis.create(STREAM, shards=2)
        rig = Restaurants(Path(folder), kinesis, settings=SETTINGS)
        service = rig.start()
        try:
            rig.wait_for(lambda: ask(rig, "/readyz")[0] == 200, timeout=300)
            usual(rig, minutes)
        finally:
            rig.kill(service)
        pictures(rig, Path(folder))


if __name__ == "__main__":
    main()
