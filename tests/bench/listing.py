"""What discovery costs where a prefix holds many objects: `python -m tests.bench.listing [OBJECTS]`.

All but one are read already; the new upload is found by listing, and by S3's message about it (`discovery: sqs`). moto serves the
prefix and the queue from a child process, so that `own_cpu_seconds` are this process's own. For its clock time moto looks at all its
objects for each page, which S3 does not.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

from streaming_app.sources.csv_files.arrivals import Arrivals
from streaming_app.sources.csv_files.discovery import Discovery
from streaming_app.sources.csv_files.files import PlannedFile
from streaming_app.sources.csv_files.seen import SeenFiles
from streaming_app.sources.csv_files.sqs import SqsQueue
from streaming_app.storage import StorageOptions, open_storage
from tests.memory_storage import MemoryStorage
from tests.moto_server import CREDENTIALS, REGION, MotoServer

BUCKET, ACCOUNT, PLACE = "uploads", "123456789012", "s3://uploads/raw"
UPLOADS = 50  # found by message, one after the other


def serve(objects: int, pipe: Connection) -> None:
    """moto with so many objects and a queue: tells both addresses, then uploads what it is asked to, until it is left."""
    import threading

    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
    from moto.s3.models import s3_backends
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    backend = s3_backends[ACCOUNT]["aws"]
    backend.create_bucket(BUCKET, REGION)
    for number in range(objects):
        backend.put_object(BUCKET, f"raw/day-{number % 400:03}/orders-{number:07}.csv", b"")
    application = DomainDispatcherApplication(create_backend_app)
    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=MotoRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    aws = MotoServer(f"http://127.0.0.1:{server.server_port}")
    s3 = aws.client("s3")
    pipe.send((aws.url, _queue(aws, s3)))
    while key := pipe.recv():
        s3.put_object(Bucket=BUCKET, Key=f"raw/{key}", Body=b"order_id\n")
        pipe.send(key)


def _queue(aws: MotoServer, s3: Any) -> str:
    """It is told of every upload."""
    sqs = aws.client("sqs")
    url = str(sqs.create_queue(QueueName="uploads")["QueueUrl"])
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    rules = [{"QueueArn": arn, "Events": ["s3:ObjectCreated:*"]}]
    s3.put_bucket_notification_configuration(Bucket=BUCKET, NotificationConfiguration={"QueueConfigurations": rules})
    return url


@contextmanager
def served(objects: int) -> Iterator[tuple[StorageOptions, str, Callable[[str], None]]]:
    """How to reach that prefix, the queue's address, and what uploads a file into it."""
    ours, theirs = multiprocessing.Pipe()
    child = multiprocessing.get_context("spawn").Process(target=serve, args=(objects, theirs), daemon=True)
    child.start()
    url, queue = ours.recv()

    def upload(key: str) -> None:
        ours.send(key)
        ours.recv()

    try:
        yield StorageOptions(endpoint_url=url, region=REGION, path_style=True), queue, upload
    finally:
        ours.send("")
        child.join()


def measured(what: str, work: Callable[[], int]) -> None:
    clock, own = time.monotonic(), time.process_time()
    count = work()
    seconds, cpu = time.monotonic() - clock, time.process_time() - own
    print(json.dumps({"what": what, "found": count, "seconds": round(seconds, 3), "own_cpu_seconds": round(cpu, 3)}))  # noqa: T201 - the result


def main(objects: int) -> None:
    os.environ.update(CREDENTIALS)
    with served(objects) as (options, queue, upload):
        storage = open_storage(PLACE, options)
        listed: list[Any] = []
        measured("listing", lambda: listed.extend(storage.list("")) or len(listed))
        seen = SeenFiles()
        seen.planned(1, (PlannedFile.of(item, None) for item in listed))
        seen.save(MemoryStorage(), 1)
        arrivals = Arrivals(SqsQueue(queue, options), storage, PLACE, (".csv",))
        while arrivals.take(seen, 1):  # begins to receive
            pass
        found_by_message(arrivals, seen, upload)
        arrivals.stop()
        upload("day-000/late.csv")
        discovery = Discovery(storage, (".csv",), 0.0)
        measured("one upload found by listing", lambda: len(discovery.look(seen, 1).files))


def found_by_message(arrivals: Arrivals, seen: SeenFiles, upload: Callable[[str], None]) -> None:
    """Each from its upload to the moment when it may be planned; uploading is the child's work."""

    def work() -> int:
        for number in range(UPLOADS):
            key = f"day-000/new-{number:03}.csv"
            upload(key)
            while not (files := arrivals.take(seen, 1)):
                time.sleep(0.01)
            seen.planned(1, files)
            arrivals.planned([file.key for file in files])
        return UPLOADS

    measured(f"{UPLOADS} uploads found by message, one after the other", work)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
