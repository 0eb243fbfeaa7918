"""What compaction costs and what it saves: many small files of one partition to few, and two queries before and after.

    python -m tests.bench.compaction --files 10000            # a local lake
    python -m tests.bench.compaction --files 2000 --s3        # on moto, which runs in this very process

`compact` and each query run in processes of their own. Of a query the better of two is given: the whole command, and the time from
listing the lake to the last row within it. moto's requests are counted by kind; it takes one at a time, and far more time for each than
S3, so that on S3 the requests are the figure that counts. One JSON object is printed for each step.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs

import numpy as np
import pyarrow as pa
import yaml

from streaming_app.schema import Dataset
from streaming_app.sink.layout import clean_schema
from streaming_app.storage import Storage, StorageOptions, open_storage
from tests.audit_lake import REPOSITORY, LakeBuilder
from tests.bench.generate import CITIES, ITEMS, PAYMENTS
from tests.bench.measure import run
from tests.compaction_lake import START, write
from tests.moto_server import CREDENTIALS, REGION

BUCKET, ACCOUNT = "lake", "123456789012"
QUERIES: Final = {
    "sales by input source": "SELECT input_source, COUNT(*) n, SUM(amount) s, AVG(amount) a FROM clean GROUP BY 1 ORDER BY 1",
    "a quarter of the day, by city": "SELECT city, COUNT(*) n, SUM(amount) s FROM clean WHERE order_ts >= TIMESTAMP '2026-03-01 06:00:00'"
    " AND order_ts < TIMESTAMP '2026-03-01 12:00:00' GROUP BY 1 ORDER BY 1",
}
_DAY: Final = 86_400_000_000
_TIMEOUT: Final = 3600.0


def small_file(orders: Dataset, number: int, rows: int) -> pa.RecordBatch:
    """Orders of all hours of one day, as a service with several sources of delay writes them."""
    random = np.random.default_rng(number)
    schema = clean_schema(orders)
    first = number * rows
    texts = {
        "order_id": [f"ORD-{first + row:010}" for row in range(rows)],
        "customer_id": [f"C{value:06}" for value in random.integers(0, 500_000, rows)],
        "store_id": [f"S{value:04}" for value in random.integers(0, 800, rows)],
        "city": random.choice(CITIES, rows).tolist(),
        "item": random.choice(ITEMS, rows).tolist(),
        "payment_method": random.choice(PAYMENTS, rows).tolist(),
        "source_position": [
            f"shardId-000000000000:{49590338271490256608559692538361571 + first + row}" for row in range(rows)
        ],
    }
    columns: dict[str, Any] = {name: pa.array(values) for name, values in texts.items()}
    columns["quantity"] = pa.array(random.integers(1, 9, rows), pa.int32())
    columns["amount"] = (
        pa.array(random.integers(100, 500_000, rows)).cast(pa.decimal128(20, 0)).cast(pa.decimal128(10, 2))
    )
    times = pa.timestamp("us", tz="UTC")
    begin = int(START.timestamp() * 1_000_000)
    columns["order_ts"] = pa.array(begin + random.integers(0, _DAY, rows)).cast(times)
    columns["ingested_at"] = pa.repeat(pa.scalar(START + timedelta(microseconds=number), times), rows)
    whole = [columns.get(item.name, pa.nulls(rows, item.type)).cast(item.type) for item in schema]
    return pa.RecordBatch.from_arrays(whole, schema=schema)


def fill(lake: Storage, orders: Dataset, files: int, rows: int) -> None:
    """Small files by the sink's own writer."""
    for number in range(files):
        write(lake, orders, "clean", small_file(orders, number, rows))


@dataclass
class Requests:
    """A WSGI application whose requests are counted, and answered one at a time."""

    application: Any
    counts: Counter[str] = field(default_factory=Counter)
    lock: Any = field(default_factory=threading.Lock)

    def __call__(self, environ: Any, start: Any) -> Any:
        """One request."""
        with self.lock:
            self.counts[_kind(environ)] += 1
            return self.application(environ, start)

    def taken(self) -> dict[str, int]:
        """What was counted since the last call."""
        found, self.counts = dict(self.counts.most_common()), Counter()
        return found


def _kind(environ: Any) -> str:
    method, query = environ["REQUEST_METHOD"], parse_qs(environ["QUERY_STRING"], keep_blank_values=True)
    if "uploads" in query or "uploadId" in query:
        names = {
            "POST": "CreateMultipartUpload" if "uploads" in query else "CompleteMultipartUpload",
            "PUT": "UploadPart",
        }
        return names.get(method, "ListMultipartUploads" if "uploads" in query else "ListParts")
    if "list-type" in query:
        return "ListObjectsV2"
    return "DeleteObjects" if "delete" in query else f"{method.title()}Object"


@contextmanager
def served() -> Iterator[tuple[str, Requests]]:
    """moto in this process: its address and its requests."""
    import logging

    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
    from moto.s3.models import s3_backends
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    s3_backends[ACCOUNT]["aws"].create_bucket(BUCKET, REGION)
    requests = Requests(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, requests, threaded=True, request_handler=MotoRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", requests
    server.shutdown()


def put_into_moto(lake: Storage) -> None:
    """All files of a local lake, not by requests."""
    from moto.s3.models import s3_backends

    backend = s3_backends[ACCOUNT]["aws"]
    for info in lake.list("clean"):
        backend.put_object(BUCKET, f"a/{info.key}", lake.get(info.key))


def ask(config: str) -> None:
    """In a process of its own: the seconds of each query, from the listing to the last row."""
    from batch_app.query.duckdb_engine import ask as answer
    from batch_app.query.tables import open_tables
    from streaming_app.arguments import load_all

    loaded, _ = load_all(config, ())
    for sql in QUERIES.values():
        begin = time.monotonic()
        rows = sum(batch.num_rows for batch in answer(sql, open_tables(loaded), {}).batches)
        print(json.dumps({"rows": rows, "seconds": round(time.monotonic() - begin, 3)}))  # noqa: T201 - the result


@dataclass(frozen=True)
class Bench:
    """A lake and what is asked of it."""

    config: str
    folder: Path
    requests: Requests | None

    def step(self, what: str, *arguments: str) -> tuple[dict[str, Any], str]:
        """A command, measured; and its output."""
        log = self.folder / f"{uuid.uuid4().hex}.log"
        usage = run([sys.executable, *arguments], log, _TIMEOUT)
        output = log.read_text()
        if usage.exit_code:
            raise RuntimeError(f"{what} ended with {usage.exit_code}: {output[-2000:]}")
        found = {
            "what": what,
            "seconds": round(usage.wall_seconds, 2),
            "cpu_seconds": round(usage.cpu_seconds, 1),
            "peak_rss_mib": usage.peak_rss >> 20,
            "peak_pss_mib": usage.peak_pss >> 20,
        }
        return found | ({"requests": self.requests.taken()} if self.requests else {}), output

    def queries(self, when: str) -> None:
        """Both queries twice; the better of each is printed."""
        runs = []
        for _ in range(2):
            found, output = self.step(when, "-m", "tests.bench.compaction", "--ask", self.config)
            inside = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
            runs.append((found, [each["seconds"] for each in inside]))
        for place, name in enumerate(QUERIES):
            said({"query": name, "when": when, "seconds": min(inside[place] for _, inside in runs)})
        said(min((found for found, _ in runs), key=lambda found: float(found["seconds"])))

    def compact(self) -> None:
        """The command itself."""
        found, output = self.step("compact", "-m", "batch_app", "compact", "--config", self.config, "--all", "--json")
        done = json.loads(output[output.index("{") :])
        names = ("files_before", "files_after", "bytes_before", "bytes_after", "rows")
        said(found | {name: done[name] for name in names})


def said(result: dict[str, Any]) -> None:
    """One line of the result."""
    print(json.dumps(result), flush=True)  # noqa: T201 - the result


def measure(files: int, rows: int, *, on_s3: bool) -> None:
    """Everything, in a folder that goes afterwards."""
    os.environ.update(CREDENTIALS)
    orders = Dataset.model_validate(yaml.safe_load((REPOSITORY / "conf/datasets/orders.yaml").read_text()))
    with tempfile.TemporaryDirectory(prefix="bench-compaction-") as name:
        folder = Path(name)
        local = LakeBuilder(str(folder / "lake"), orders)
        fill(local.lake(), orders, files, rows)
        said({"what": "lake", "files": files, "rows": files * rows, "load": os.getloadavg()[0], "s3": on_s3})
        if not on_s3:
            everything(Bench(local.config_file(folder), folder, None))
            return
        with served() as (url, requests):
            put_into_moto(local.lake())
            lake = LakeBuilder(f"s3://{BUCKET}/a", orders, StorageOptions(url, REGION, path_style=True))
            open_storage(lake.root, lake.storage)
            everything(Bench(lake.config_file(folder), folder, requests))


def everything(bench: Bench) -> None:
    """Before, the compaction, and after."""
    bench.queries("before")
    bench.compact()
    bench.queries("after")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--rows", type=int, default=200, help="of a file")
    parser.add_argument("--s3", action="store_true")
    parser.add_argument("--ask", metavar="CONFIG", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.ask:
        ask(options.ask)
    else:
        measure(options.files, options.rows, on_s3=options.s3)


if __name__ == "__main__":
    main()
