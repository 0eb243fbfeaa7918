"""Metrics over real HTTP, parsed as Prometheus parses them: known micro-batches give exactly the known figures."""

from __future__ import annotations

import json
import socket
import threading
import urllib.error
import urllib.request
from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from streaming_app.events import EventKind, SourceEvent
from streaming_app.journal.ledger import Ledger
from streaming_app.journal.read_log import ReadLog, UnitRead
from streaming_app.metrics import catalogue
from streaming_app.metrics.catalogue import CATALOGUE
from streaming_app.metrics.health import Health
from streaming_app.metrics.prometheus import Endpoint
from streaming_app.metrics.recorder import Recorder
from streaming_app.metrics.values import Values
from streaming_app.progress import Batch, Lag, Standing
from tests.memory_storage import MemoryStorage
from tests.metrics_lake import NOW, batch, entry, publish


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Service:
    """What a running service does with its metrics, and what a scraper gets."""

    def __init__(self, storage: MemoryStorage) -> None:
        self.clock, self.values, self.storage = Clock(), Values(), storage
        self.now = NOW
        self.recorder = Recorder(self.values, lambda: self.now)
        self.health = Health(60.0, self.clock)
        self.endpoint = Endpoint(self.values, self.health.look)

    def tell(self, kind: EventKind, source: str = "kinesis", **more) -> None:
        event = SourceEvent(kind, source, **more)
        self.health.on_event(event)
        self.recorder.on_event(event)

    def get(self, path: str, **headers: str) -> tuple[int, str, str]:
        request = urllib.request.Request(self.endpoint.url + path, headers=headers)  # noqa: S310 - http
        try:
            with urllib.request.urlopen(request, timeout=5) as response:  # noqa: S310 - http
                return response.status, response.headers["Content-Type"], response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.headers["Content-Type"], error.read().decode()

    def scrape(self) -> dict:
        """Values by name and labels (without the source's)."""
        families = text_string_to_metric_families(self.get("/metrics")[2])
        return {
            (sample.name, *(value for name, value in sorted(sample.labels.items()) if name != "source")): sample.value
            for family in families
            for sample in family.samples
        }

    def ready(self) -> tuple[int, dict]:
        status, _, body = self.get("/readyz")
        return status, json.loads(body)["sources"]


@pytest.fixture
def storage():
    return MemoryStorage()


@pytest.fixture
def start(storage):
    started = []

    def start() -> Service:
        started.append(Service(storage))
        return started[-1]

    yield start
    for service in started:
        service.endpoint.close()


@pytest.fixture
def service(start):
    service = start()
    service.recorder.begin("kinesis", service.storage)
    return service


def run(service: Service, *numbers: int) -> None:
    for number in numbers:
        publish(service.storage, number)
        service.recorder.on_batch(batch(number))


def test_known_batches_give_exactly_the_known_figures(service):
    run(service, 0, 1, 2)
    found = service.scrape()
    expected = {
        ("qsr_rows_read_total",): 30,
        ("qsr_rows_clean_total",): 18,
        ("qsr_rows_dead_total", "cast"): 3,
        ("qsr_rows_dead_total", "rule"): 6,
        ("qsr_rows_dead_total", "decode"): 0,
        ("qsr_rows_duplicate_total",): 3,
        ("qsr_rejections_total", "quantity_positive"): 6,
        ("qsr_rejections_total", "known_city"): 3,
        ("qsr_rejections_total", "bad_amount"): 3,
        ("qsr_warnings_total", "late_order"): 12,
        ("qsr_infos_total", "round_amount"): 15,
        ("qsr_breaches_total", "late"): 3,
        ("qsr_breached_batches_total",): 3,
        ("qsr_batches_total",): 3,
        ("qsr_files_written_total", "clean"): 6,
        ("qsr_files_written_total", "dead_letter"): 3,
        ("qsr_written_bytes_total", "clean"): 1800,
        ("qsr_written_bytes_total", "dead_letter"): 270,
        ("qsr_batch_duration_seconds_count",): 3,
        ("qsr_batch_duration_seconds_sum",): 7.5,
        ("qsr_batch_duration_seconds_bucket", "2.0"): 0,
        ("qsr_batch_duration_seconds_bucket", "5.0"): 3,
        ("qsr_batch_duration_seconds_bucket", "+Inf"): 3,
        ("qsr_batch_phase_seconds_total", "addBatch"): 6.0,
        ("qsr_rows_per_second",): 4.0,
        ("qsr_last_success_timestamp_seconds",): NOW,
        ("qsr_event_to_queryable_seconds_sum", "oldest"): 16.5,
        ("qsr_event_to_queryable_seconds_sum", "newest"): 4.5,
        ("qsr_event_to_queryable_seconds_bucket", "1.0", "newest"): 0,
        ("qsr_event_to_queryable_seconds_bucket", "2.0", "newest"): 3,
        ("qsr_lag_seconds",): 1.5,
        ("qsr_shard_lag_seconds", "shard-0"): 0,
        ("qsr_shard_lag_seconds", "shard-1"): 1.5,
        ("qsr_shards_open",): 1,
        ("qsr_shards_draining",): 0,
        ("qsr_read_bytes_total",): 3000,
        ("qsr_kinesis_calls_total",): 18,
        ("qsr_kinesis_throttles_total",): 6,
        ("qsr_kinesis_renewals_total",): 6,
        ("qsr_partition_files_last_hour", "clean"): 3,
    }
    assert {key: found.get(key) for key in expected} == expected


def test_rows_read_are_clean_dead_and_duplicate_at_every_scrape(service):
    for number in range(4):
        run(service, number)
        found = service.scrape()
        dead = sum(value for key, value in found.items() if key[0] == "qsr_rows_dead_total")
        assert found[("qsr_rows_read_total",)] == (
            found[("qsr_rows_clean_total",)] + dead + found[("qsr_rows_duplicate_total",)]
        )


def test_a_replayed_batch_is_counted_once(service):
    run(service, 0, 1)
    before = service.scrape()
    service.recorder.on_batch(batch(1))
    service.recorder.on_batch(batch(0))
    assert service.scrape() == before


def test_a_restart_goes_on_with_the_totals_and_counts_a_batch_that_ran_again_once(start, storage):
    first = start()
    first.recorder.begin("kinesis", storage)
    run(first, 0, 1)
    publish(storage, 2)  # published, and the process was killed before anybody told of it
    second = start()
    second.recorder.begin("kinesis", storage)
    assert second.scrape()[("qsr_rows_read_total",)] == 30
    assert second.scrape()[("qsr_last_success_timestamp_seconds",)] == NOW
    second.recorder.on_batch(batch(2))  # Spark had not recorded it as done: it runs again
    assert second.scrape()[("qsr_rows_read_total",)] == 30
    run(second, 3)
    assert second.scrape()[("qsr_rows_read_total",)] == 40


def test_an_idle_stream_has_its_lag_and_counters_after_a_restart(start, storage):
    publish(storage, 0)
    for read in batch(0).standing.reads.values():
        ReadLog(storage).put_if_absent(entry(0).epoch, read)
    service = start()
    service.recorder.begin("kinesis", storage)
    found = service.scrape()
    assert found[("qsr_lag_seconds",)] == 1.5
    assert found[("qsr_shard_lag_seconds", "shard-1")] == 1.5
    assert found[("qsr_shards_open",)] == 1
    assert found[("qsr_kinesis_throttles_total",)] == 0  # of this process


def shard_read(shard: str, rows: int, last_arrival: float, lag_ms: int, **more) -> UnitRead:
    detail = {"closed": False, "last_arrival_ms": round(last_arrival * 1000), "millis_behind": lag_ms, **more}
    return UnitRead(shard, rows, rows * 100, detail)


def read_on(service: Service, number: int, *reads: UnitRead) -> None:
    """A micro-batch with these reads."""
    by_shard = {read.unit: read for read in reads}
    lag = Lag({shard: read.detail["millis_behind"] for shard, read in by_shard.items()})
    publish(service.storage, number)
    service.recorder.on_batch(replace(batch(number), standing=Standing(by_shard, lag)))


def test_a_shard_that_kinesis_has_closed_drains_until_it_is_read_to_its_end(service):
    read_on(service, 0, shard_read("parent", 10, NOW, 60_000), shard_read("other", 10, NOW, 0))
    assert (service.scrape()[("qsr_shards_open",)], service.scrape()[("qsr_shards_draining",)]) == (2, 0)
    service.recorder.closed("kinesis", frozenset({"parent", "long-ago"}))
    assert (service.scrape()[("qsr_shards_open",)], service.scrape()[("qsr_shards_draining",)]) == (1, 1)
    read_on(service, 1, shard_read("parent", 10, NOW, 0, closed=True), shard_read("other", 10, NOW, 0))
    assert (service.scrape()[("qsr_shards_open",)], service.scrape()[("qsr_shards_draining",)]) == (1, 0)


def test_records_behind_are_each_shards_lag_by_the_rate_at_which_its_records_arrived(service):
    """20 records a second arrive in one shard and 1 in the other; both are read from the past on."""
    read_on(service, 0, shard_read("busy", 100, NOW - 600, 600_000), shard_read("calm", 5, NOW - 10, 10_000))
    assert ("qsr_lag_records",) not in service.scrape()  # one read says nothing of a rate
    read_on(service, 1, shard_read("busy", 2000, NOW - 500, 500_000), shard_read("calm", 8, NOW - 2, 2_000))
    assert service.scrape()[("qsr_lag_records",)] == 500 * 20 + 2 * 1
    read_on(service, 2, shard_read("busy", 10_000, NOW, 0), shard_read("calm", 2, NOW, 0))
    assert service.scrape()[("qsr_lag_records",)] == 0


def test_records_behind_count_an_aggregate_once_as_kinesis_does(service):
    read_on(service, 0, shard_read("s", 1, NOW - 110, 110_000))
    read_on(service, 1, shard_read("s", 5000, NOW - 100, 100_000, records=50))
    assert service.scrape()[("qsr_lag_records",)] == 100 * 5


def test_records_behind_are_not_told_of_while_a_new_shard_lags(service):
    read_on(service, 0, shard_read("s", 10, NOW, 0))
    assert service.scrape()[("qsr_lag_records",)] == 0
    read_on(service, 1, shard_read("s", 10, NOW, 0), shard_read("child", 10, NOW - 60, 60_000))
    assert ("qsr_lag_records",) not in service.scrape()


def test_files_wait_after_a_restart_too(start, storage):
    publish(storage, 0)
    ReadLog(storage).put_plan_if_absent(entry(0).epoch, {"waiting": {"files": 7, "bytes": 700, "oldest": 0}})
    ReadLog(storage).put_if_absent(entry(0).epoch, UnitRead("orders.csv", 6, 60, {}))
    service = start()
    service.recorder.begin("csv", storage)
    assert service.scrape()[("qsr_csv_backlog_files",)] == 7


def test_files_of_an_hour_ago_are_no_pressure_any_more(service):
    publish(service.storage, 0, 1)
    service.recorder.on_batch(batch(0, at=NOW - 3700))
    service.recorder.on_batch(batch(1))
    assert service.scrape()[("qsr_partition_files_last_hour", "clean")] == 1


def test_backlog_of_files_is_what_the_plan_says(service):
    service.recorder.begin("csv", MemoryStorage())
    waiting = {"files": 7, "bytes": 700, "oldest": 1_700_000_000_500_000}
    service.recorder.on_batch(Batch("csv", entry(0), {}, Standing(waiting=waiting)))
    found = service.scrape()
    assert found[("qsr_csv_backlog_files",)] == 7
    assert found[("qsr_csv_backlog_bytes",)] == 700
    assert found[("qsr_csv_backlog_oldest_timestamp_seconds",)] == 1_700_000_000.5


def test_failures_count_by_kind_and_starts_after_them_as_restarts(service):
    service.tell(EventKind.STARTED, suite="f1")
    service.tell(EventKind.STARTED, suite="f2")  # changed rules are no restart
    for error in ("SourceError", "SinkError", "SourceError"):
        service.tell(EventKind.FAILED, error=error)
    assert service.scrape()[("qsr_source_up",)] == 0
    service.tell(EventKind.RECOVERED, figures={"finished": 2, "voided": 1, "discarded": 5})
    service.tell(EventKind.STARTED, suite="f2")
    found = service.scrape()
    expected = {
        ("qsr_failures_total", "SourceError"): 2,
        ("qsr_failures_total", "SinkError"): 1,
        ("qsr_restarts_total",): 1,
        ("qsr_restarts_by_kind_total", "SourceError"): 1,
        ("qsr_restarts_by_kind_total", "SinkError"): None,
        ("qsr_recovered_batches_total", "finished"): 2,
        ("qsr_recovered_batches_total", "voided"): 1,
        ("qsr_discarded_files_total",): 5,
        ("qsr_suite_info", "f2"): 1,
        ("qsr_suite_info", "f1"): None,
        ("qsr_source_up",): 1,
    }
    assert {key: found.get(key) for key in expected} == expected


def test_everything_served_stands_in_the_catalogue(service):
    run(service, 0)
    service.tell(EventKind.STARTED, suite="f1")
    served = {
        f"{family.name}_total" if family.type == "counter" else family.name: family
        for family in text_string_to_metric_families(service.get("/metrics")[2])
    }
    known = {metric.name: metric for metric in CATALOGUE}
    assert served.keys() <= known.keys()
    assert all(family.documentation == known[name].help for name, family in served.items())


def test_a_first_micro_batch_that_hangs_has_an_age(service):
    service.tell(EventKind.STARTED, suite="f1")
    assert service.scrape()[("qsr_last_trigger_timestamp_seconds",)] == NOW


def test_a_source_that_has_ended_is_not_waited_for(service):
    """What a Pushgateway keeps of a bounded run; the source's last words may come after its end."""
    for kind in (EventKind.DONE, EventKind.STOPPED):
        service.tell(EventKind.STARTED, suite="f1")
        service.recorder.idle("kinesis")
        service.recorder.looked("kinesis", {"at": NOW, "shards": {}})
        ages = {
            "qsr_last_trigger_timestamp_seconds",
            "qsr_read_until_timestamp_seconds",
            "qsr_source_idle",
        }
        assert ages <= {key[0] for key in service.scrape()}
        service.tell(kind)
        service.recorder.heard("kinesis")
        service.recorder.idle("kinesis")
        service.recorder.looked("kinesis", {"at": NOW, "shards": {}})
        assert not ages & {key[0] for key in service.scrape()}


def test_a_source_that_failed_is_still_waited_for(service):
    service.tell(EventKind.STARTED, suite="f1")
    service.recorder.looked("kinesis", {"at": NOW, "shards": {}})
    service.tell(EventKind.FAILED, error="SourceError")
    assert service.scrape()[("qsr_last_trigger_timestamp_seconds",)] == NOW
    assert service.scrape()[("qsr_read_until_timestamp_seconds",)] == NOW


def test_idle_once_a_batch_took_everything_or_spark_finds_nothing(service):
    assert ("qsr_source_idle",) not in service.scrape()
    service.tell(EventKind.STARTED, suite="f1")
    run(service, 0)
    assert service.scrape()[("qsr_source_idle",)] == 0
    service.recorder.idle("kinesis")
    assert service.scrape()[("qsr_source_idle",)] == 1
    publish(service.storage, 1)
    at_tip = Lag({"shard-0": 0}, frozenset({"shard-0"}))
    service.recorder.on_batch(replace(batch(1), standing=Standing(batch(1).standing.reads, at_tip)))
    assert service.scrape()[("qsr_source_idle",)] == 1
    service.tell(EventKind.FAILED, error="SourceError")
    assert ("qsr_source_idle",) not in service.scrape()


def test_files_that_wait_make_a_source_busy(service):
    service.recorder.begin("csv", MemoryStorage())
    for number, files in ((0, 7), (1, 0)):
        waiting = {"files": files, "bytes": 0, "oldest": 0}
        service.recorder.on_batch(Batch("csv", entry(number), {}, Standing(waiting=waiting)))
        assert service.values.get(catalogue.IDLE, "csv") == (files == 0)


def test_everything_was_read_until_the_least_of_the_shards(service):
    """One is 100 s behind, one idle: for the second a look at its tip counts, and for the first it does not."""
    at = round(NOW * 1000) - 60_000
    behind = shard_read("behind", 10, NOW, 100_000, read_at_ms=at, end="after:7")
    idle = shard_read("idle", 0, NOW, 0, read_at_ms=at - 500_000, end="after:9")
    read_on(service, 0, behind, idle)
    assert service.scrape()[("qsr_read_until_timestamp_seconds",)] == NOW - 560
    service.recorder.looked("kinesis", {"at": NOW - 10, "shards": {"idle": "after:9", "behind": "after:6"}})
    assert service.scrape()[("qsr_read_until_timestamp_seconds",)] == NOW - 160


def test_read_until_is_known_after_a_restart(start, storage):
    publish(storage, 0)
    at = round(NOW * 1000) - 3_600_000
    ReadLog(storage).put_if_absent(
        entry(0).epoch, shard_read("s", 1, NOW - 7200, 3_600_000, read_at_ms=at, end="after:1")
    )
    service = start()
    service.recorder.begin("kinesis", storage)
    assert service.scrape()[("qsr_read_until_timestamp_seconds",)] == NOW - 7200


def test_the_last_breach_has_its_time_after_a_restart_too(start, storage):
    service = start()
    service.recorder.begin("kinesis", storage)
    assert service.scrape()[("qsr_last_breach_timestamp_seconds",)] == 0
    run(service, 0)
    assert service.scrape()[("qsr_last_breach_timestamp_seconds",)] == NOW
    again = start()
    again.recorder.begin("kinesis", storage)
    assert again.scrape()[("qsr_last_breach_timestamp_seconds",)] == NOW


def test_files_of_the_last_hour_are_counted_over_a_restart_and_forgotten_without_a_batch(start, storage):
    for number, ago in enumerate((3700, 1800, 60)):
        Ledger(storage).append_if_absent(entry(number, at=NOW - ago))
        Ledger(storage).mark_published(number)
    service = start()
    service.recorder.begin("kinesis", storage)
    assert service.scrape()[("qsr_partition_files_last_hour", "clean")] == 2
    service.now = NOW + 1801
    service.recorder.refresh()
    assert service.scrape()[("qsr_partition_files_last_hour", "clean")] == 1
    service.now = NOW + 7200
    service.recorder.refresh()
    assert service.scrape()[("qsr_partition_files_last_hour", "clean")] == 0


def test_the_last_hour_is_found_among_many_batches(start, storage):
    for number in range(1000):
        Ledger(storage).append_if_absent(entry(number, at=NOW - 3599 - (600 - number if number < 600 else 0)))
    Ledger(storage).mark_published(999)
    service = start()
    service.recorder.begin("kinesis", storage)
    assert service.scrape()[("qsr_partition_files_last_hour", "clean")] == 401


def test_a_scrape_does_not_wait_for_a_slow_read_log(service, monkeypatch):
    read, answered = threading.Event(), threading.Event()

    def slow(*_) -> Standing:
        read.set()
        assert answered.wait(5)
        return Standing()

    publish(service.storage, 0)
    monkeypatch.setattr(Standing, "of", slow)
    start = threading.Thread(target=service.recorder.begin, args=("kinesis", service.storage))
    start.start()
    assert read.wait(5)
    scrape = threading.Thread(target=service.values.snapshot)
    scrape.start()
    scrape.join(2)
    waits = scrape.is_alive()
    answered.set()
    start.join()
    scrape.join()
    assert not waits


def test_ready_once_every_source_has_recovered_and_runs(service):
    assert service.ready() == (503, {})
    service.health.expect(["csv", "kinesis"])
    assert service.ready() == (503, {"csv": "starting", "kinesis": "starting"})
    service.tell(EventKind.RECOVERED)
    service.tell(EventKind.RECOVERED, "csv")
    service.tell(EventKind.STARTED)
    assert service.ready() == (503, {"csv": "recovered", "kinesis": "running"})
    service.tell(EventKind.STARTED, "csv")
    assert service.ready() == (200, {"csv": "running", "kinesis": "running"})


def test_not_ready_while_a_source_waits_for_its_restart(service):
    service.health.expect(["kinesis"])
    service.tell(EventKind.STARTED)
    service.tell(EventKind.FAILED, error="SourceError")
    service.tell(EventKind.RECOVERED)
    assert service.ready() == (503, {"kinesis": "failed"})
    service.tell(EventKind.STARTED)
    assert service.ready()[0] == 200


def test_not_ready_when_a_running_source_is_silent(service):
    service.health.expect(["kinesis"])
    service.tell(EventKind.STARTED)
    service.clock.now += 59
    service.health.heard("kinesis")
    service.clock.now += 59
    assert service.ready()[0] == 200
    service.clock.now += 1
    assert service.ready() == (503, {"kinesis": "stalled for 60 s"})
    service.health.heard("kinesis")
    assert service.ready()[0] == 200


def test_a_source_that_has_read_everything_is_not_stalled(service):
    service.health.expect(["kinesis"])
    service.tell(EventKind.DONE)
    service.clock.now += 1e6
    assert service.ready() == (200, {"kinesis": "done"})


def test_alive_and_what_else_there_is(service):
    assert service.get("/healthz")[::2] == (200, "alive\n")
    status, _, body = service.get("/")
    assert status == 404
    assert "/metrics" in body
    assert service.get("/metrics?name=x")[0] == 200


def test_a_scraper_that_wants_openmetrics_gets_it(service):
    run(service, 0)
    _, content_type, body = service.get("/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert body.endswith("# EOF\n")


def test_a_client_that_says_nothing_holds_up_nobody(service):
    with socket.create_connection(("127.0.0.1", service.endpoint.port)):
        assert service.get("/healthz")[0] == 200
        service.endpoint.close()
        service.endpoint = Endpoint(service.values, service.health.look, port=service.endpoint.port)


def test_hostile_labels_survive(service):
    evil = 'a"b\\c\nd{}<script> \u202e'
    service.tell(EventKind.FAILED, error=evil)
    assert service.scrape()[("qsr_failures_total", evil)] == 1
