"""Makes the pictures of docs/live-page.md anew, of a real service that reads a stream and files: `python -m tests.live_pictures`.

Look at each of them before it is committed. Needs Chromium; seven minutes.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from tests.browser import Browser, browser
from tests.e2e.test_metrics import address, ask
from tests.fault.rig import REPOSITORY, STREAM, Rig
from tests.strict_kinesis import strict_kinesis

IMAGES = REPOSITORY / "docs" / "images"
FEEDING = 280  # seconds, so that five minutes are full


def take(page: Browser, rig: Rig, name: str, *, dark: bool = False, width: int = 1440, whole: bool = True) -> None:
    """The page with its last five minutes; all of it, or what a window shows."""
    page.open(address(rig) + "/", width=width, dark=dark)
    page.wait_for("document.querySelectorAll('canvas').length === 2")
    page.evaluate("document.querySelector('[data-span=\"300\"]').click()")
    time.sleep(5)
    page.screenshot(IMAGES / f"live-{name}.png", whole=whole)
    sys.stdout.write(f"docs/images/live-{name}.png\n")
    page.leave()


def stall(rig: Rig) -> None:
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


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, strict_kinesis() as kinesis:
        kinesis.create(STREAM, shards=2)
        quick = {"metrics.sample_every": "2s", "metrics.stalled_after": "20s"}
        rig = Rig(Path(folder), kinesis, settings=quick)
        service = rig.start()
        try:
            rig.wait_for(lambda: ask(rig, "/readyz")[0] == 200, timeout=300)
            rig.feed(rate=150, csv_every=15)
            time.sleep(FEEDING)
            rig.batch("audit")
            with browser(Path(folder) / "chromium") as page:
                take(page, rig, "load")
                take(page, rig, "dark", dark=True)
                take(page, rig, "narrow", width=390, whole=False)
                rig.rest()
                time.sleep(30)
                take(page, rig, "rest")
                rig.feed(rate=150, csv_every=15, seed=2)
                stall(rig)
                take(page, rig, "stalled")
                rig.rest()
        finally:
            rig.kill(service)


if __name__ == "__main__":
    main()
