"""A Kinesis in memory that keeps the service's rules where moto does not, and fails on demand.

moto 5.2 never ends a closed shard, copies records into the children of a split or merge under new numbers, and knows no
limits. This one does what the API reference says: a closed shard ends with a null iterator and its children, sequence
numbers are unique, not dense and never change, iterators expire, shards and records expire, an answer may be empty
before the tip, and 5 calls and 2 MiB a second are all that a shard gives. Speaks JSON 1.1 over HTTP, so that the real
client is tested too.

    with strict_kinesis(throttle=0.3) as kinesis:
        kinesis.create("orders", shards=2)
        kinesis.put("orders", [b"..."])
        kinesis.split("orders", "shardId-000000000000")
"""

# ruff: noqa: N802 - handlers are named after the operations they answer

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import random
import socket
import struct
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, NoReturn

from tests.strict_fan_out import Consumer, Subscribers, pushed

LAST_HASH = 2**128 - 1
MIB = 1 << 20
MOST_CONSUMERS = 20


@dataclass(frozen=True)
class Rules:
    """Rates are shares of the GetRecords calls that fail so; `empty` ones answer nothing before the tip.

    `elsewhere` is the share of all other reading calls that are throttled or fail inside. Of any of them the share `reset`
    finds its connection reset, before or after it was carried out, and a tenth takes up to `latency` seconds longer.
    With `behind_rounds_down` what arrived less than a millisecond ago does not count as behind.
    """

    throttle: float = 0.0
    expire: float = 0.0
    internal: float = 0.0
    empty: float = 0.0
    elsewhere: float = 0.0
    reset: float = 0.0
    latency: float = 0.0
    limits: bool = False
    behind_rounds_down: bool = False
    iterator_life: float = 300.0
    page_records: int = 10_000
    page_bytes: int = 10 * MIB
    clock_skew: float = 0.0
    retention_hours: int = 24
    subscribe_again_after: float = 5.0
    subscription_life: float = 300.0
    cut: float = 0.0  # share of pushed events after which the subscription ends, for this reason or that
    event_records: int = 1000
    heartbeat: float = 0.2  # seconds between two events of an idle shard
    register_duration: float = 0.0
    seed: int = 7


_INTERNAL = "InternalFailureException"
_WRITING = frozenset({"PutRecord", "PutRecords", "CreateStream", "SplitShard", "MergeShards"})
_THROTTLED = {"GetShardIterator": "ProvisionedThroughputExceededException"}  # elsewhere it is LimitExceededException


class Fate(NamedTuple):
    """What becomes of a call besides its answer."""

    delay: float = 0.0
    reset: str = ""  # or before, after


class ApiError(Exception):
    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code, self.status = code, status


@dataclass(frozen=True)
class Stored:
    sequence: int
    arrival: float
    key: str
    data: bytes


@dataclass
class Shard:
    id: str
    first_hash: int
    last_hash: int
    parents: list[str] = field(default_factory=list)
    records: list[Stored] = field(default_factory=list)
    children: list[str] = field(default_factory=list)
    closed: bool = False
    calls: deque[float] = field(default_factory=deque)
    iterators: deque[float] = field(default_factory=deque)
    refused_until: float = 0.0
    sent: deque[tuple[float, int]] = field(default_factory=deque)


class StrictKinesis:
    """The service's state; methods are what tests do to it, `answer` is what clients ask of it."""

    def __init__(self, rules: Rules, clock: Callable[[], float] = time.time) -> None:
        self.rules, self.clock, self.url = rules, clock, ""
        self.calls: Counter[str] = Counter()
        self.calls_by_shard: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.script: deque[str] = deque()  # error codes for the next GetRecords calls, before any rate counts
        self._streams: dict[str, dict[str, Shard]] = {}
        self._created: dict[str, float] = {}
        self._before: dict[str, int] = {}  # the last sequence number that was given out before the stream was created
        self.parents: dict[str, list[str]] = {}  # of every shard there ever was
        self._expired: set[tuple[str, str]] = set()
        self._numbers = 0
        self._random = random.Random(rules.seed)
        self.subscribers = Subscribers()
        self._lock = threading.RLock()

    # What tests do.

    def set(self, **rules: Any) -> None:
        self.rules = replace(self.rules, **rules)

    def create(self, stream: str, shards: int = 1) -> list[str]:
        width = (LAST_HASH + 1) // shards
        self._streams[stream] = {}
        self._created[stream] = round(self.clock(), 3)
        self._before[stream] = self._numbers
        for number in range(shards):
            last = LAST_HASH if number == shards - 1 else (number + 1) * width - 1
            self._new_shard(stream, number * width, last, [])
        return list(self._streams[stream])

    def delete(self, stream: str) -> None:
        del self._streams[stream]

    def reset(self) -> None:
        """Forget every stream and rule; clients may stay."""
        with self._lock:
            self.rules = Rules(seed=self.rules.seed)
            self.script.clear()
            self._streams.clear()
            self._expired.clear()
            self.parents.clear()
            self.subscribers.stopping.set()
            self.subscribers = Subscribers()

    def put(self, stream: str, events: Sequence[bytes], key: Callable[[bytes], str] | None = None) -> list[str]:
        """Append; returns each record's shardId:sequenceNumber."""
        with self._lock:
            return [self._append(stream, key(event) if key else event.hex()[:256], event) for event in events]

    def split(self, stream: str, shard: str) -> list[str]:
        with self._lock:
            parent = self._streams[stream][shard]
            middle = (parent.first_hash + parent.last_hash) // 2
            parent.closed = True
            parent.children = [
                self._new_shard(stream, parent.first_hash, middle, [shard]),
                self._new_shard(stream, middle + 1, parent.last_hash, [shard]),
            ]
            return parent.children

    def merge(self, stream: str, first: str, second: str) -> str:
        with self._lock:
            pair = [self._streams[stream][first], self._streams[stream][second]]
            hashes = [edge for shard in pair for edge in (shard.first_hash, shard.last_hash)]
            child = self._new_shard(stream, min(hashes), max(hashes), [first, second])
            for shard in pair:
                shard.closed, shard.children = True, [child]
            return child

    def expire_shard(self, stream: str, shard: str, *, missing_ok: bool = False) -> None:
        with self._lock:
            if shard in self._streams[stream] or not missing_ok:
                del self._streams[stream][shard]
                self._expired.add((stream, shard))

    def trim(self, stream: str, shard: str, records: int) -> None:
        """Retention takes the oldest records."""
        with self._lock:
            del self._streams[stream][shard].records[:records]

    def open_shards(self, stream: str) -> list[str]:
        return [shard.id for shard in self._streams[stream].values() if not shard.closed]

    def adjacent_shards(self, stream: str) -> list[tuple[str, str]]:
        """Pairs of open shards that can be merged."""
        shards = sorted((s for s in self._streams[stream].values() if not s.closed), key=lambda s: s.first_hash)
        return [(one.id, two.id) for one, two in itertools.pairwise(shards) if one.last_hash + 1 == two.first_hash]

    def records(self, stream: str) -> list[str]:
        return [f"{shard.id}:{number(r.sequence)}" for shard in self._streams[stream].values() for r in shard.records]

    # What clients ask.

    def answer(self, operation: str, body: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            self.calls[operation] += 1
            handler = getattr(self, f"_op_{operation}", None)
            if handler is None:
                raise ApiError("UnknownOperationException", operation)
            return handler(body) or {}

    def fate(self, operation: str) -> Fate:
        """Raises ApiError for a call that fails by chance."""
        if operation in _WRITING:
            return Fate()
        with self._lock:
            if operation not in {"GetRecords", "SubscribeToShard"} and self._happens(self.rules.elsewhere):
                code = self._random.choice([_THROTTLED.get(operation, "LimitExceededException"), _INTERNAL])
                self.calls[f"{code} elsewhere"] += 1
                raise ApiError(code, "injected", 500 if code == _INTERNAL else 400)
            slow = self.rules.latency and self._happens(0.1)
            reset = self._random.choice(["before", "after"]) if self._happens(self.rules.reset) else ""
            self.calls["resets"] += bool(reset)
            return Fate(self._random.uniform(0.0, self.rules.latency) if slow else 0.0, reset)

    def _happens(self, rate: float) -> bool:
        """By chance; where nothing can happen no random number is taken, so that others stay the same."""
        return rate > 0 and self._random.random() < rate

    # Enhanced fan-out.

    def _op_RegisterStreamConsumer(self, body: dict[str, Any]) -> dict[str, Any]:
        name, arn = body["ConsumerName"], f"{body['StreamARN']}/consumer/{body['ConsumerName']}:1"
        if name in self._consumers():
            raise ApiError("ResourceInUseException", f"Consumer {name} exists")
        if len(self._consumers()) >= MOST_CONSUMERS:
            raise ApiError("LimitExceededException", "The maximum number of consumers is reached")
        self.subscribers.consumers[name] = Consumer(arn, self.clock() + self.rules.register_duration)
        return {"Consumer": {"ConsumerName": name, "ConsumerARN": arn, "ConsumerStatus": "CREATING"}}

    def _op_DescribeStreamConsumer(self, body: dict[str, Any]) -> dict[str, Any]:
        found = self._consumer(body["ConsumerName"])
        status = "CREATING" if self.clock() < found.active_at else "ACTIVE" if found.gone_at is None else "DELETING"
        description = {"ConsumerName": body["ConsumerName"], "ConsumerARN": found.arn, "ConsumerStatus": status}
        return {"ConsumerDescription": {**description, "ConsumerCreationTimestamp": 0, "StreamARN": body["StreamARN"]}}

    def _op_DeregisterStreamConsumer(self, body: dict[str, Any]) -> None:
        self._consumer(body["ConsumerName"]).gone_at = self.clock() + self.rules.register_duration

    def _consumer(self, name: str) -> Consumer:
        found = self._consumers().get(name)
        if found is None:
            raise ApiError("ResourceNotFoundException", f"Consumer {name} not found")
        return found

    def _consumers(self) -> dict[str, Consumer]:
        kept = {n: c for n, c in self.subscribers.consumers.items() if c.gone_at is None or self.clock() < c.gone_at}
        self.subscribers.consumers = kept
        return kept

    def subscribe(self, body: dict[str, Any]) -> Iterator[bytes]:
        """Messages of a new subscription, by the rules of SubscribeToShard."""
        with self._lock:
            self.calls["SubscribeToShard"] += 1
            arn, stream = body["ConsumerARN"], body["ConsumerARN"].split("/")[1]
            if arn not in [consumer.arn for consumer in self._consumers().values()]:
                raise ApiError("ResourceNotFoundException", f"Consumer {arn} not found")
            self._maybe_refuse_subscription()
            shard = self._shard(stream, body["ShardId"])
            position = body["StartingPosition"]
            first = self._first(
                stream,
                shard,
                {
                    "ShardIteratorType": position["Type"],
                    "StartingSequenceNumber": position.get("SequenceNumber"),
                    "Timestamp": position.get("Timestamp"),
                },
            )
            key = (arn, shard.id)
            if self.clock() < self.subscribers.begun.get(key, 0.0) + self.rules.subscribe_again_after:
                self.calls["refused subscriptions"] += 1
                raise ApiError("ResourceInUseException", f"Another active subscription exists for {shard.id}")
            self.calls["subscriptions"] += 1
            me = object()
            self.subscribers.begun[key], self.subscribers.holder[key] = self.clock(), me
            return pushed(self.subscribers, key, me, _Pushing(self, stream, shard.id, first).next_event)

    def _maybe_refuse_subscription(self) -> None:
        for name, rate in (
            ("LimitExceededException", self.rules.throttle),
            ("InternalFailureException", self.rules.internal),
        ):
            if self._random.random() < rate:
                self.calls[name] += 1
                raise ApiError(name, "injected", 500 if name == "InternalFailureException" else 400)

    def _op_CreateStream(self, body: dict[str, Any]) -> None:
        self.create(body["StreamName"], body.get("ShardCount", 1))

    def _op_SplitShard(self, body: dict[str, Any]) -> None:
        self.split(body["StreamName"], body["ShardToSplit"])

    def _op_MergeShards(self, body: dict[str, Any]) -> None:
        self.merge(body["StreamName"], body["ShardToMerge"], body["AdjacentShardToMerge"])

    def _op_DescribeStreamSummary(self, body: dict[str, Any]) -> dict[str, Any]:
        shards = self._stream(body["StreamName"])
        arn = f"arn:aws:kinesis:us-east-1:000000000000:stream/{body['StreamName']}"
        return {
            "StreamDescriptionSummary": {
                "StreamName": body["StreamName"],
                "StreamARN": arn,
                "StreamStatus": "ACTIVE",
                "RetentionPeriodHours": self.rules.retention_hours,
                "StreamCreationTimestamp": self._created[body["StreamName"]],
                "EnhancedMonitoring": [],
                "OpenShardCount": sum(not shard.closed for shard in shards.values()),
            }
        }

    def _op_PutRecords(self, body: dict[str, Any]) -> dict[str, Any]:
        done = [self._put(body["StreamName"], record) for record in body["Records"]]
        return {"FailedRecordCount": 0, "Records": done}

    def _op_PutRecord(self, body: dict[str, Any]) -> dict[str, Any]:
        return self._put(body["StreamName"], body)

    def _put(self, stream: str, record: dict[str, Any]) -> dict[str, Any]:
        self._stream(stream)
        place = self._append(stream, record["PartitionKey"], base64.b64decode(record["Data"]))
        shard, _, sequence = place.partition(":")
        return {"ShardId": shard, "SequenceNumber": sequence}

    def _op_ListShards(self, body: dict[str, Any]) -> dict[str, Any]:
        stream, begin = body.get("StreamName"), 0
        if token := body.get("NextToken"):
            stream, begin = json.loads(base64.b64decode(token))
        shards = list(self._stream(stream).values())
        page = body.get("MaxResults", 1000)
        answer: dict[str, Any] = {"Shards": [self._listed(shard) for shard in shards[begin : begin + page]]}
        if begin + page < len(shards):
            answer["NextToken"] = base64.b64encode(json.dumps([stream, begin + page]).encode()).decode()
        return answer

    @staticmethod
    def _listed(shard: Shard) -> dict[str, Any]:
        numbers = {"StartingSequenceNumber": number(0)}
        if shard.closed:
            numbers["EndingSequenceNumber"] = number(LAST_HASH)
        names = dict(zip(("ParentShardId", "AdjacentParentShardId"), shard.parents, strict=False))
        hashes = {"StartingHashKey": str(shard.first_hash), "EndingHashKey": str(shard.last_hash)}
        return {"ShardId": shard.id, "HashKeyRange": hashes, "SequenceNumberRange": numbers, **names}

    def _op_GetShardIterator(self, body: dict[str, Any]) -> dict[str, Any]:
        stream, shard = body["StreamName"], self._shard(body["StreamName"], body["ShardId"])
        self.calls_by_shard[shard.id]["GetShardIterator"] += 1
        if self.rules.limits:
            self._refuse_sixth_in_a_second(shard.iterators, shard)
        return {"ShardIterator": self._iterator(stream, shard.id, self._first(stream, shard, body))}

    def _first(self, stream: str, shard: Shard, body: dict[str, Any]) -> int:
        """The least sequence number that the iterator will return."""
        kind = body["ShardIteratorType"]
        if kind == "TRIM_HORIZON":
            return 0
        if kind == "LATEST":
            return self._numbers + 1
        if kind == "AT_TIMESTAMP":
            self._refuse_future(float(body["Timestamp"]))
            later = (r.sequence for r in shard.records if r.arrival >= float(body["Timestamp"]))
            return next(later, self._numbers + 1)
        sequence = body["StartingSequenceNumber"]
        before, last = number(self._before[stream]), number(self._numbers)
        if not sequence.startswith("49") or not int(before) < int(sequence) <= int(last):
            raise ApiError(
                "InvalidArgumentException",
                f"StartingSequenceNumber {sequence} used in GetShardIterator on shard {shard.id} in stream {stream} is"
                " invalid because it did not come from this stream.",
            )
        return int(sequence[2:]) + (kind == "AFTER_SEQUENCE_NUMBER")

    def _refuse_future(self, moment: float) -> None:
        now = self.clock() + self.rules.clock_skew
        if moment > now:
            raise ApiError(
                "InvalidArgumentException",
                "The timestampInMillis parameter cannot be greater than the currentTimestampInMillis."
                f" timestampInMillis: {moment * 1000:.0f}, currentTimestampInMillis: {now * 1000:.0f}",
            )

    def _op_GetRecords(self, body: dict[str, Any]) -> dict[str, Any]:
        stream, shard_id, first, made = json.loads(base64.b64decode(body["ShardIterator"]))
        self.calls_by_shard[shard_id]["GetRecords"] += 1
        self._maybe_fail()
        if self.clock() - made > self.rules.iterator_life:
            raise ApiError("ExpiredIteratorException", "Iterator expired")
        shard = self._shard(stream, shard_id)
        if self.rules.limits:
            self._refuse_over_limit(shard)
        waiting = [record for record in shard.records if record.sequence >= first]
        taken = self._page(waiting, body.get("Limit", 10_000))
        self._sent(shard, taken)
        following = taken[-1].sequence + 1 if taken else first
        left = waiting[len(taken) :]
        answer: dict[str, Any] = {
            "Records": [self._record(record) for record in taken],
            "MillisBehindLatest": self._behind(left),
        }
        if shard.closed and not waiting:
            answer["ChildShards"] = [self._child(stream, child) for child in shard.children]
        else:
            answer["NextShardIterator"] = self._iterator(stream, shard_id, following)
        return answer

    def _behind(self, left: Sequence[Stored]) -> int:
        if not left:
            return 0
        return max(int(not self.rules.behind_rounds_down), int((self.clock() - left[0].arrival) * 1000))

    def _maybe_fail(self) -> None:
        rules = self.rules
        code = self.script.popleft() if self.script else ""
        for name, rate in (
            ("ProvisionedThroughputExceededException", rules.throttle),
            ("ExpiredIteratorException", rules.expire),
            ("InternalFailureException", rules.internal),
        ):
            if not code and self._random.random() < rate:
                code = name
        if code:
            self.calls[code] += 1
            raise ApiError(code, "injected", 500 if code == "InternalFailureException" else 400)

    def _refuse_over_limit(self, shard: Shard) -> None:
        if self.clock() < shard.refused_until:
            self._over_limit(shard)
        self._refuse_sixth_in_a_second(shard.calls, shard)

    def _refuse_sixth_in_a_second(self, calls: deque[float], shard: Shard) -> None:
        now = self.clock()
        while calls and calls[0] <= now - 1:
            calls.popleft()
        if len(calls) >= 5:
            self._over_limit(shard)
        calls.append(now)

    def _over_limit(self, shard: Shard) -> NoReturn:
        self.calls["over limit"] += 1
        raise ApiError("ProvisionedThroughputExceededException", f"Rate exceeded for shard {shard.id}")

    def _sent(self, shard: Shard, taken: Sequence[Stored]) -> None:
        size = sum(len(record.data) for record in taken)
        shard.refused_until = max(shard.refused_until, self.clock() + size / (2 * MIB) - 1)

    def _page(self, waiting: Sequence[Stored], limit: int) -> Sequence[Stored]:
        if waiting and self._random.random() < self.rules.empty:
            return []
        size = 0
        for count, record in enumerate(waiting[: min(limit, self.rules.page_records)]):
            size += len(record.data)
            if count and size > self.rules.page_bytes:
                return waiting[:count]
        return waiting[: min(limit, self.rules.page_records)]

    @staticmethod
    def _record(record: Stored) -> dict[str, Any]:
        return {
            "Data": base64.b64encode(record.data).decode(),
            "PartitionKey": record.key,
            "SequenceNumber": number(record.sequence),
            "ApproximateArrivalTimestamp": round(record.arrival, 3),
        }

    def _child(self, stream: str, child: str) -> dict[str, Any]:
        shard = self._streams[stream].get(child)
        if shard is None:
            return {"ShardId": child, "ParentShards": [], "HashKeyRange": {}}
        hashes = {"StartingHashKey": str(shard.first_hash), "EndingHashKey": str(shard.last_hash)}
        return {"ShardId": child, "ParentShards": shard.parents, "HashKeyRange": hashes}

    def _iterator(self, stream: str, shard: str, first: int) -> str:
        return base64.b64encode(json.dumps([stream, shard, first, self.clock()]).encode()).decode()

    def _stream(self, stream: str | None) -> dict[str, Shard]:
        if stream not in self._streams:
            raise ApiError("ResourceNotFoundException", f"Stream {stream} not found")
        return self._streams[stream]

    def _shard(self, stream: str, shard: str) -> Shard:
        found = self._stream(stream).get(shard)
        if found is None:
            raise ApiError("ResourceNotFoundException", f"Shard {shard} in stream {stream} does not exist")
        return found

    def _new_shard(self, stream: str, first_hash: int, last_hash: int, parents: list[str]) -> str:
        made = self._streams[stream]
        expired = sum(name == stream for name, _ in self._expired)
        shard = Shard(f"shardId-{len(made) + expired:012d}", first_hash, last_hash, parents)
        made[shard.id] = shard
        self.parents[shard.id] = parents
        return shard.id

    def _append(self, stream: str, key: str, data: bytes) -> str:
        where = int(hashlib.md5(key.encode()).hexdigest(), 16)  # noqa: S324 - as Kinesis does
        shards = self._streams[stream].values()
        shard = next(s for s in shards if not s.closed and s.first_hash <= where <= s.last_hash)
        self._numbers += self._random.randint(1, 9)
        shard.records.append(Stored(self._numbers, self.clock(), key, data))
        return f"{shard.id}:{number(self._numbers)}"


@dataclass
class _Pushing:
    """Where one subscription stands."""

    kinesis: StrictKinesis
    stream: str
    shard: str
    first: int
    heard: float = 0.0
    begun: float = 0.0

    def next_event(self) -> tuple[dict[str, Any] | None, str]:
        kinesis = self.kinesis
        with kinesis._lock:
            now = kinesis.clock()
            self.begun = self.begun or now
            shard = kinesis._streams.get(self.stream, {}).get(self.shard)
            if shard is None:
                return None, "ResourceNotFoundException"
            if now > self.begun + kinesis.rules.subscription_life:
                return None, "end of life"
            waiting = [record for record in shard.records if record.sequence >= self.first]
            taken = waiting[: kinesis.rules.event_records]
            ended = shard.closed and len(taken) == len(waiting)
            if not taken and not ended and now < self.heard + kinesis.rules.heartbeat:
                return None, ""
            self.heard = now
            return self._event(shard, taken, waiting[len(taken) :], ended=ended)

    def _event(
        self, shard: Shard, taken: Sequence[Stored], left: Sequence[Stored], *, ended: bool
    ) -> tuple[dict[str, Any], str]:
        kinesis = self.kinesis
        body: dict[str, Any] = {
            "Records": [kinesis._record(record) for record in taken],
            "MillisBehindLatest": kinesis._behind(left),
        }
        if ended:
            return {**body, "ChildShards": [kinesis._child(self.stream, child) for child in shard.children]}, "end"
        self.first = taken[-1].sequence + 1 if taken else max(self.first, kinesis._numbers + 1 if not left else 0)
        cut = kinesis._random.random() < kinesis.rules.cut
        how = kinesis._random.choice(["end", "InternalFailureException", "ResourceInUseException"]) if cut else ""
        return {**body, "ContinuationSequenceNumber": number(self.first - 1)}, how


def number(sequence: int) -> str:
    """As the service writes them: 56 digits that begin with 49."""
    return f"49{sequence:054d}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    kinesis: StrictKinesis

    def do_POST(self) -> None:
        operation = self.headers["X-Amz-Target"].partition(".")[2]
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        reset = ""
        try:
            delay, reset = self.kinesis.fate(operation)
            time.sleep(delay)
            if reset == "before":
                self._reset()
                return
            if operation == "SubscribeToShard":
                self._push(self.kinesis.subscribe(body))
                return
            status, answer = 200, self.kinesis.answer(operation, body)
        except ApiError as error:
            status, answer = error.status, {"__type": error.code, "message": str(error)}
        if reset:
            self._reset()
        else:
            self._send(status, json.dumps(answer).encode())

    def _reset(self) -> None:
        """No answer, not even an end: closing with nothing lingering resets the connection."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True

    def _push(self, messages: Iterator[bytes]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/vnd.amazon.eventstream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for message in messages:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(message), message))
        self.wfile.write(b"0\r\n\r\n")

    def _send(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def date_time_string(self, timestamp: float | None = None) -> str:
        return super().date_time_string((timestamp or self.kinesis.clock()) + self.kinesis.rules.clock_skew)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        del format, args


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no error of ours."""


@contextmanager
def strict_kinesis(clock: Callable[[], float] = time.time, **rules: Any) -> Iterator[StrictKinesis]:
    """A service of its own on a free port, in a thread of this process."""
    kinesis = StrictKinesis(Rules(**rules), clock)
    handler = type("Handler", (_Handler,), {"kinesis": kinesis})
    with _Server(("127.0.0.1", 0), handler) as server:
        kinesis.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        try:
            yield kinesis
        finally:
            kinesis.subscribers.stopping.set()
            server.shutdown()
