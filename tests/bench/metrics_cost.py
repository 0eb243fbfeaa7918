"""What all of the metrics cost: CPU time of each part, and its share of one core. `python -m tests.bench.metrics_cost`.

Everything is real but Spark: recorder, board, endpoint, ledgers in a local folder; 64 shards, 40 reasons. CPU time of this
process is measured, not the clock, so that other programs on the machine do not count.
"""

from __future__ import annotations

import tempfile
import time
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import yaml

from streaming_app.journal.read_log import UnitRead
from streaming_app.metrics import samples
from streaming_app.progress import Lag, Standing
from streaming_app.schema import Dataset
from streaming_app.sink import SinkOptions
from tests.live_service import LiveService
from tests.metrics_lake import batch, publish

REPOSITORY = Path(__file__).resolve().parents[2]
SHARDS = {
    f"shardId-{number:012}": UnitRead(f"shardId-{number:012}", 5, 500, {"millis_behind": 0, "calls": 1})
    for number in range(64)
}
REASONS = {f"rule-{number}": 3 for number in range(40)}


def cpu(action: Callable[[int], object], times: int) -> float:
    """Milliseconds of CPU time for one."""
    begun = time.process_time()
    for number in range(times):
        action(number)
    return (time.process_time() - begun) / times * 1000


def fetch(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - http
        return answer.read()


def main() -> None:
    dataset = Dataset.model_validate(yaml.safe_load((REPOSITORY / "conf/datasets/orders.yaml").read_text()))
    service = LiveService(dataset, (REPOSITORY / "conf/expectations/orders.yaml").read_text())
    service.start()
    standing = Standing(SHARDS, Lag(dict.fromkeys(SHARDS, 0)))

    def tell(number: int) -> None:
        made = batch(number, at=time.time())
        counts = replace(made.entry.counts, by_reason=REASONS)
        made = replace(made, entry=replace(made.entry, counts=counts), standing=standing)
        service.recorder.on_batch(made)
        service.board.on_batch(made)
        service.heard("kinesis")

    def nothing(number: int) -> None:
        made = batch(number, at=time.time())
        replace(
            made, entry=replace(made.entry, counts=replace(made.entry.counts, by_reason=REASONS)), standing=standing
        )

    def look(_: int) -> None:
        service.clock.ahead += 2  # or the answer of a second ago is given again
        fetch(f"{service.url}/api/live")

    with tempfile.TemporaryDirectory() as folder:
        sink = SinkOptions(f"{folder}/lake", f"{folder}/cp", "kinesis:o", "kinesis", "stream", dataset.to_option(), "f")
        publish(sink.open_checkpoint(), *range(20))
        parts = {
            "a micro-batch told of": (cpu(tell, 3000) - cpu(nothing, 3000), 2.0),
            "a scrape of /metrics": (cpu(lambda _: fetch(f"{service.url}/metrics"), 200), 1 / 5),
            "a refresh of the live page": (cpu(look, 100), 1 / 2),
            "a look at memory, disks, half-way files": (
                cpu(
                    lambda _: (
                        samples.sample_python(service.values),
                        samples.sample_lake(service.values, "kinesis", sink),
                    ),
                    200,
                ),
                2 / 30,
            ),
        }
    print("| part | ms of CPU | a second | share of one core |\n| --- | --- | --- | --- |")  # noqa: T201 - the output
    for name, (each, often) in parts.items():
        print(f"| {name} | {each:.2f} | {often:.2f} | {each * often / 10:.3f}% |")  # noqa: T201 - see above
    print(f"| together | | | {sum(each * often / 10 for each, often in parts.values()):.2f}% |")  # noqa: T201 - see above
    service.close()


if __name__ == "__main__":
    main()
