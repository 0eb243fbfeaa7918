"""What discovery costs where a prefix holds many objects: `python -m tests.bench.listing [OBJECTS]`.

moto serves the prefix from this very process, so the reading thread's own CPU time is given beside the clock's: moto looks at all
its objects for each page, which S3 does not.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time

from streaming_app.sources.csv_files.discovery import Discovery
from streaming_app.sources.csv_files.files import PlannedFile
from streaming_app.sources.csv_files.seen import SeenFiles
from streaming_app.storage import StorageOptions, open_storage
from tests.memory_storage import MemoryStorage
from tests.moto_server import CREDENTIALS, REGION

BUCKET, ACCOUNT = "uploads", "123456789012"


def serve(objects: int) -> str:
    """moto with so many objects; returns its address."""
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
    from moto.s3.models import s3_backends
    from werkzeug.serving import make_server

    backend = s3_backends[ACCOUNT]["aws"]
    backend.create_bucket(BUCKET, REGION)
    for number in range(objects):
        backend.put_object(BUCKET, f"raw/day-{number % 400:03}/orders-{number:07}.csv", b"")
    application = DomainDispatcherApplication(create_backend_app)
    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=MotoRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}"


def measured(what, work) -> dict[str, object]:
    clock, own = time.monotonic(), time.thread_time()
    count = work()
    return {"what": what, "objects": count, "seconds": round(time.monotonic() - clock, 2),
            "own_cpu_seconds": round(time.thread_time() - own, 2)}  # fmt: skip


def main(objects: int) -> None:
    import logging

    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    os.environ.update(CREDENTIALS)
    storage = open_storage(
        f"s3://{BUCKET}/raw", StorageOptions(endpoint_url=serve(objects), region=REGION, path_style=True)
    )
    listed = []
    print(json.dumps(measured("listing", lambda: listed.extend(storage.list("")) or len(listed))))  # noqa: T201 - the result
    seen = SeenFiles()
    seen.planned(1, (PlannedFile.of(item, None) for item in listed))
    seen.save(MemoryStorage(), 1)
    discovery = Discovery(storage, (".csv",), 0.0)
    known = measured("discovery, all files known", lambda: len(discovery.look(seen, 1).files) or objects)
    print(json.dumps(known))  # noqa: T201 - the result


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
