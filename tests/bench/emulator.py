"""A Kinesis for benchmarks: serves reads as fast as the machine copies bytes, at next to no cost of its own.

    python -m tests.bench.emulator --data build/bench-data/ndjson --shards 4             # everything is there at once
    python -m tests.bench.emulator --data build/bench-data/ndjson --shards 2 --feed 4000 # arrives at 4,000 records/s

It prints `ready PORT` when it can be asked. JSON 1.1 over HTTP/1.1: ListShards, DescribeStream, DescribeStreamSummary,
GetShardIterator (all types) and GetRecords (Limit, MillisBehindLatest, 10 MiB an answer). `--limits` keeps the real limits a
shard has: 5 calls and 2 MiB a second (AWS service quotas). A feed starts at the first GetRecords. GET /stats tells what was
served and what the emulator itself cost; GET /arrivals/N when each record of shard N arrived. It has no credentials, no
expiry of iterators, no resharding: correctness is tested against moto, speed against this.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final

from tests.bench.shard_logs import (
    Answer,
    FileRange,
    LiveShard,
    Shard,
    file_shards,
    lines,
    now_ms,
    sequence_index,
    sequence_number,
)

HASH_KEYS: Final = 1 << 128
CALLS_PER_SECOND: Final = 5
BYTES_PER_SECOND: Final = 2 << 20
MAX_RECORDS: Final = 10_000
FEED_TICK: Final = 0.01  # seconds between two appends of a feed
Json = dict[str, Any]


class ApiError(Exception):
    """An error as Kinesis answers it, with status 400."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Limiter:
    """A shard's limits: 5 calls in any second, and 2 MiB/s where one large answer may borrow from the seconds after it."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._calls: deque[float] = deque()
        self._tokens = float(BYTES_PER_SECOND)
        self._filled = now()

    def check(self) -> None:
        """Count a call; raises ApiError when it is one too many, or earlier answers are not paid off."""
        now = self._now()
        while self._calls and self._calls[0] <= now - 1:
            self._calls.popleft()
        self._tokens = min(BYTES_PER_SECOND, self._tokens + (now - self._filled) * BYTES_PER_SECOND)
        self._filled = now
        if len(self._calls) >= CALLS_PER_SECOND or self._tokens <= 0:
            raise ApiError("ProvisionedThroughputExceededException", "Rate exceeded for shard")
        self._calls.append(now)

    def spend(self, size: int) -> None:
        """Count the bytes of an answer."""
        self._tokens -= size


@dataclass
class ShardState:
    """A shard, its limiter and what was served of it."""

    log: Shard
    limiter: Limiter | None
    calls: int = 0
    empty_calls: int = 0
    throttled: int = 0
    records: int = 0
    high_water: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


class Kinesis:
    """The API over one stream."""

    def __init__(self, stream: str, shards: list[Shard], *, limits: bool = False) -> None:
        self.stream = stream
        self.shards = [ShardState(shard, Limiter() if limits else None) for shard in shards]
        self.first_read = threading.Event()
        self.feed_started_ms = 0
        self._operations: dict[str, Callable[[Json], Json]] = {
            "ListShards": lambda _: {"Shards": self._shard_list()},
            "DescribeStream": self._describe,
            "DescribeStreamSummary": self._describe,
            "GetShardIterator": self._iterator,
        }

    def call(self, operation: str, request: Json) -> Json:
        """Any operation but GetRecords."""
        if request.get("StreamName", self.stream) != self.stream:
            raise ApiError(
                "ResourceNotFoundException", f"Stream {request['StreamName']} under account 000000000000 not found."
            )
        if operation not in self._operations:
            raise ApiError("UnknownOperationException", f"the bench's emulator has no {operation}")
        return self._operations[operation](request)

    def get_records(self, request: Json) -> tuple[ShardState, Answer, str]:
        """The shard, its records, and the next iterator."""
        number, position = self._place(request.get("ShardIterator", ""))
        limit = request.get("Limit", MAX_RECORDS)
        if not 1 <= limit <= MAX_RECORDS:
            raise ApiError("ValidationException", f"Limit {limit} is not between 1 and {MAX_RECORDS}")
        self.first_read.set()
        state = self.shards[number]
        with state.lock:
            answer = self._read(state, position, limit)
        return state, answer, f"{self.stream}/{number}/{answer.last}"

    def _read(self, state: ShardState, position: int, limit: int) -> Answer:
        try:
            if state.limiter:
                state.limiter.check()
        except ApiError:
            state.throttled += 1
            raise
        answer = state.log.read(position, limit)
        if state.limiter:
            state.limiter.spend(_size(answer) * 3 // 4)
        state.calls += 1
        state.empty_calls += answer.first == answer.last
        state.records += answer.last - answer.first
        state.high_water = max(state.high_water, answer.last)
        return answer

    def stats(self) -> Json:
        """What was served, and the emulator's own cost."""
        usage = resource.getrusage(resource.RUSAGE_SELF)
        names = ("calls", "empty_calls", "throttled", "records", "high_water")
        shards = [{"held": len(one.log)} | {name: getattr(one, name) for name in names} for one in self.shards]
        totals = {name: sum(shard[name] for shard in shards) for name in ("held", *names)}
        own = {"cpu_seconds": usage.ru_utime + usage.ru_stime, "peak_rss_mib": usage.ru_maxrss / 1024}
        return {"stream": self.stream, **totals, **own, "feed_started_ms": self.feed_started_ms, "shards": shards}

    def _shard_list(self) -> list[Json]:
        count = len(self.shards)
        edges = [HASH_KEYS * number // count for number in range(count + 1)]
        return [
            {
                "ShardId": shard_id(number),
                "HashKeyRange": {"StartingHashKey": str(edges[number]), "EndingHashKey": str(edges[number + 1] - 1)},
                "SequenceNumberRange": {"StartingSequenceNumber": sequence_number(number, 0)},
            }
            for number in range(count)
        ]

    def _describe(self, _: Json) -> Json:
        common = {
            "StreamName": self.stream,
            "StreamARN": f"arn:aws:kinesis:us-east-1:000000000000:stream/{self.stream}",
            "StreamStatus": "ACTIVE",
            "StreamModeDetails": {"StreamMode": "PROVISIONED"},
            "RetentionPeriodHours": 24,
            "StreamCreationTimestamp": 1772323200.0,
            "EnhancedMonitoring": [{"ShardLevelMetrics": []}],
            "EncryptionType": "NONE",
        }
        summary = common | {"OpenShardCount": len(self.shards), "ConsumerCount": 0}
        whole = common | {"Shards": self._shard_list(), "HasMoreShards": False}
        return {"StreamDescriptionSummary": summary, "StreamDescription": whole}

    def _iterator(self, request: Json) -> Json:
        number = self._number(request["ShardId"].removeprefix("shardId-"))
        return {"ShardIterator": f"{self.stream}/{number}/{self._position(self.shards[number].log, request)}"}

    @staticmethod
    def _position(shard: Shard, request: Json) -> int:
        kind = str(request["ShardIteratorType"])
        if kind in {"AT_SEQUENCE_NUMBER", "AFTER_SEQUENCE_NUMBER"}:
            return sequence_index(str(request["StartingSequenceNumber"])) + (kind == "AFTER_SEQUENCE_NUMBER")
        if kind == "AT_TIMESTAMP":
            return shard.index_at(round(request["Timestamp"] * 1000))
        return len(shard) if kind == "LATEST" else 0

    def _place(self, iterator: str) -> tuple[int, int]:
        parts = iterator.split("/")
        if len(parts) != 3 or parts[0] != self.stream or not parts[2].isdigit():
            raise ApiError("InvalidArgumentException", f"Invalid ShardIterator {iterator!r}")
        number = self._number(parts[1])
        return number, min(int(parts[2]), len(self.shards[number].log))

    def _number(self, text: str) -> int:
        if not text.isdigit() or int(text) >= len(self.shards):
            raise ApiError("ResourceNotFoundException", f"Shard {text} in stream {self.stream} does not exist")
        return int(text)


def shard_id(number: int) -> str:
    """The name of a shard."""
    return f"shardId-{number:012d}"


def _size(answer: Answer) -> int:
    return answer.body.size if isinstance(answer.body, FileRange) else len(answer.body)


class Connection:
    """One client's connection, served until it closes it; a request at a time."""

    def __init__(self, peer: socket.socket, kinesis: Kinesis) -> None:
        self._peer = peer
        self._kinesis = kinesis
        self._in = peer.makefile("rb")

    def serve(self) -> None:
        """Answer requests until the client goes."""
        try:
            while request := self._request():
                self._answer(*request)
        except OSError:
            pass  # the client went in the middle, as a killed service does
        finally:
            self._in.close()
            self._peer.close()

    def _request(self) -> tuple[str, str, bytes] | None:
        """Path, operation and body."""
        first = self._in.readline().split()
        if not first:
            return None
        headers: dict[bytes, bytes] = {}
        while (line := self._in.readline().strip()) != b"":
            name, _, value = line.partition(b":")
            headers[name.lower()] = value.strip()
        operation = headers.get(b"x-amz-target", b"").decode().rpartition(".")[2]
        return first[1].decode(), operation, self._in.read(int(headers.get(b"content-length", b"0")))

    def _answer(self, path: str, operation: str, body: bytes) -> None:
        try:
            if path == "/stats":
                self._json(self._kinesis.stats())
            elif path.startswith("/arrivals/"):
                self._json(self._kinesis.shards[int(path.rpartition("/")[2])].log.arrivals())
            elif operation == "GetRecords":
                self._records(json.loads(body))
            else:
                self._json(self._kinesis.call(operation, json.loads(body or b"{}")))
        except ApiError as error:
            self._json({"__type": error.code, "message": str(error)}, status=400)

    def _records(self, request: Json) -> None:
        _, answer, following = self._kinesis.get_records(request)
        head = f'{{"MillisBehindLatest":{answer.behind_ms},"NextShardIterator":"{following}","Records":['.encode()
        if isinstance(answer.body, bytes):
            self._peer.sendall(_headers(200, len(head) + len(answer.body) + 2) + head + answer.body + b"]}")
            return
        self._peer.sendall(_headers(200, len(head) + answer.body.size + 2) + head, socket.MSG_MORE)
        self._send_file(answer.body)
        self._peer.sendall(b"]}")

    def _send_file(self, part: FileRange) -> None:
        """From the page cache into the socket; the bytes never pass through Python."""
        sent = 0
        while sent < part.size:
            sent += os.sendfile(self._peer.fileno(), part.file, part.offset + sent, part.size - sent)

    def _json(self, value: Any, status: int = 200) -> None:
        body = json.dumps(value).encode()
        self._peer.sendall(_headers(status, len(body)) + body)


def _headers(status: int, size: int) -> bytes:
    reason = "OK" if status == 200 else "Bad Request"
    return (
        f"HTTP/1.1 {status} {reason}\r\nContent-Type: application/x-amz-json-1.1\r\n"
        f"x-amzn-RequestId: 00000000-0000-0000-0000-000000000000\r\nContent-Length: {size}\r\n\r\n"
    ).encode()


def serve(kinesis: Kinesis, port: int = 0) -> socket.socket:
    """Listen on localhost and serve from threads; the socket that is given back knows the port and ends it when closed."""
    listener = socket.create_server(("127.0.0.1", port), backlog=64)
    threading.Thread(target=_accept, args=(listener, kinesis), daemon=True).start()
    return listener


def _accept(listener: socket.socket, kinesis: Kinesis) -> None:
    while True:
        try:
            peer, _ = listener.accept()
        except OSError:
            return  # closed
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=Connection(peer, kinesis).serve, daemon=True).start()


def feed(kinesis: Kinesis, records: list[bytes], rate: int) -> None:
    """Append the records at `rate` a second to the shards in turn, from the first read on; returns when all are there."""
    shards = [state.log for state in kinesis.shards if isinstance(state.log, LiveShard)]
    kinesis.first_read.wait()
    kinesis.feed_started_ms = now_ms()
    began = time.monotonic()
    done = 0
    waiting = iter(records)
    while done < len(records):
        due = min(len(records), int((time.monotonic() - began) * rate))
        arrived_ms = now_ms()
        for data in islice(waiting, due - done):
            shards[done % len(shards)].append(data, arrived_ms)
            done += 1
        time.sleep(FEED_TICK)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of NDJSON files")
    parser.add_argument("--stream", default="orders")
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--rows", type=int, help="at most so many records")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--cache", type=Path, help="where encoded records are kept; beside the data by default")
    parser.add_argument("--feed", type=int, metavar="RATE", help="records arrive at so many a second")
    parser.add_argument("--limits", action="store_true", help="5 calls/s and 2 MiB/s a shard")
    return parser.parse_args()


def main() -> None:
    """Serve until standard input closes, so that no emulator outlives the bench that started it."""
    arguments = _arguments()
    if arguments.feed:
        shards: list[Shard] = [LiveShard(number) for number in range(arguments.shards)]
    else:
        cache = arguments.cache or arguments.data.parent / f"emulator-{arguments.shards}"
        shards = file_shards(arguments.data, cache, arguments.shards, arguments.rows)
    kinesis = Kinesis(arguments.stream, shards, limits=arguments.limits)
    records = list(lines(arguments.data, arguments.rows)) if arguments.feed else []
    listener = serve(kinesis, arguments.port)
    sys.stdout.write(f"ready {listener.getsockname()[1]}\n")
    sys.stdout.flush()
    if arguments.feed:
        threading.Thread(target=feed, args=(kinesis, records, arguments.feed), daemon=True).start()
    sys.stdin.read()


if __name__ == "__main__":
    main()
