"""What the demo makes of ledgers, logs and counts of what was sent."""

import json
import threading
import time
from pathlib import Path

import pytest

from streaming_app.demo.feed import Expected, Feed
from streaming_app.demo.plan import Plan
from streaming_app.demo.service_log import ServiceLog
from streaming_app.demo.watch import Figures, LedgerWatch
from streaming_app.journal.ledger import Counts, Entry, Ledger, LedgerFile
from streaming_app.storage import StagedFile, open_storage


def entry(batch_id: int, read: int = 20, dead: int = 2, arrived=(100.0, 102.0), committed_at: float = 103.0) -> Entry:
    key = f"clean/input_source=stream/order_date=2026-03-02/part-kinesis-{batch_id}.parquet"
    file = LedgerFile("clean", "order_date=2026-03-02", read - dead, StagedFile(key, 1000))
    counts = Counts(read, read - dead, dead, by_reason={"amount.cast": dead}, by_stage={"cast": dead})
    return Entry(batch_id, batch_id, "kinesis:orders", "suite", str(batch_id), counts, (file,), arrived, committed_at)


@pytest.fixture
def ledger(tmp_path):
    return Ledger(open_storage(str(tmp_path / "kinesis")))


def test_a_batch_is_handed_out_once_and_only_when_its_files_are_visible(ledger, tmp_path):
    watch = LedgerWatch(tmp_path)
    assert watch.poll() == []
    ledger.append_if_absent(entry(0))
    assert watch.poll() == []
    ledger.mark_published(0)
    ledger.append_if_absent(entry(1))
    assert [batch.entry.batch_id for batch in watch.poll()] == [0]
    ledger.mark_published(1)
    assert [batch.entry.batch_id for batch in watch.poll()] == [1]
    assert watch.poll() == []


def test_batches_that_were_folded_meanwhile_are_not_missed(ledger, tmp_path):
    watch = LedgerWatch(tmp_path)
    for number in range(250):
        ledger.append_if_absent(entry(number))
        ledger.mark_published(number)
    assert [batch.entry.batch_id for batch in watch.poll()] == list(range(250))


def test_the_last_batch_is_queryable_when_its_mark_was_written(ledger, tmp_path):
    before = time.time()
    for number in range(2):
        ledger.append_if_absent(entry(number))
    ledger.mark_published(1)
    earlier, last = LedgerWatch(tmp_path).poll()
    assert earlier.queryable_at == 103.0
    assert before - 1 <= last.queryable_at <= time.time() + 1


def test_watching_writes_nothing(tmp_path):
    LedgerWatch(tmp_path / "checkpoints").poll()
    assert list(tmp_path.iterdir()) == []


def test_figures_add_up_over_batches_and_sources(ledger, tmp_path):
    csv = Ledger(open_storage(str(tmp_path / "csv")))
    for log, rows in ((ledger, 20), (csv, 300)):
        log.append_if_absent(entry(0, rows))
        log.append_if_absent(entry(1, rows, arrived=None))
        log.mark_published(1)
    figures = Figures(now=lambda: 104.0)
    for batch in LedgerWatch(tmp_path).poll():
        figures.add(batch)
    counts = figures.sources["kinesis"]
    assert (counts.read, counts.clean, counts.dead, counts.batches) == (40, 36, 4, 2)
    assert figures.arrived() == {"kinesis": 40, "csv": 600}
    assert figures.reasons == {"amount.cast": 8}
    assert [file.partition for file in figures.files] == ["stream 2026-03-02"] * 4
    assert figures.history(3) == [0, 0, 107]  # 320 rows in three seconds; the second batches were marked today
    assert (figures.median_age(), figures.slowest(), figures.slowest_ever) == (2.0, 3.0, 3.0)


def test_ages_are_told_of_the_last_seconds_and_the_slowest_of_all(ledger, tmp_path):
    ledger.append_if_absent(entry(0, committed_at=120.0))
    ledger.append_if_absent(entry(1, arrived=(199.0, 199.0), committed_at=200.0))
    ledger.append_if_absent(entry(2, arrived=None))
    ledger.mark_published(2)
    clock = [201.0]
    figures = Figures(now=lambda: clock[0])
    for batch in LedgerWatch(tmp_path).poll():
        figures.add(batch)
    assert (figures.median_age(), figures.slowest(), figures.slowest_ever) == (1.0, 1.0, 20.0)
    clock[0] = 300.0
    assert (figures.median_age(), figures.slowest(), figures.slowest_ever) == (None, None, 20.0)


def test_half_of_the_rows_were_sooner_than_the_median_not_half_of_the_batches(ledger, tmp_path):
    for number, (rows, at) in enumerate([(10, 101.0), (10, 101.0), (1000, 109.0)]):
        ledger.append_if_absent(entry(number, rows, arrived=(at - 1, at - 1), committed_at=at))
        ledger.append_if_absent(entry(3, 1, arrived=None))
    ledger.mark_published(3)
    figures = Figures(now=lambda: 110.0)
    for batch in LedgerWatch(tmp_path).poll():
        figures.add(batch)
    assert figures.median_age() == 1.0


def write(path: Path, *lines) -> None:
    with path.open("ab") as file:
        file.writelines(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n" for line in lines)


def test_the_log_is_followed_while_it_grows_in_the_middle_of_a_line(tmp_path):
    path = tmp_path / "service.log"
    log = ServiceLog(path)
    log.look()
    write(path, {"level": "INFO", "message": "ready", "source": None}, b'{"level": "INFO", "source": "csv", "mess')
    log.look()
    assert (log.ready, log.started) == (True, set())
    write(path, b'age": "started"}\n', {"level": "WARNING", "message": "failed\nat java", "source": "csv"})
    log.look()
    assert (log.started, log.warning) == ({"csv"}, "csv: failed")


def test_a_java_stack_does_not_hide_what_went_wrong(tmp_path):
    path = tmp_path / "service.log"
    frames = (
        b"\tat java.base/java.lang.Thread.run(Thread.java:840)\n\tat org.apache.spark.SparkContext.<init>(S.scala:1)\n"
        * 30
    )
    write(
        path,
        b"IllegalArgumentException: spark.ui.enabled should be boolean\n",
        frames,
        b"\t... 11 more\n",
        b"at last\n",
    )
    assert ServiceLog(path).last_lines() == ["IllegalArgumentException: spark.ui.enabled should be boolean", "at last"]


def test_the_last_lines_of_a_log_are_readable_whatever_is_in_it(tmp_path):
    path = tmp_path / "service.log"
    write(path, *({"level": "INFO", "message": f"line {n}"} for n in range(50)))
    write(
        path,
        b"Traceback of somebody else\n",
        b"[1]\n",
        b"\xff\xfe\n",
        {"level": "ERROR", "message": "out of disk"},
        b"cut of",
    )
    assert ServiceLog(path).last_lines()[-6:] == [
        *["INFO line 49", "Traceback of somebody else", "[1]", "\ufffd\ufffd"],
        *["ERROR out of disk", "cut of"],
    ]


class OneShard:
    def __init__(self, error=None):
        self.error, self.sent = error, threading.Event()

    def put_records(self, *, StreamName, Records):  # noqa: ARG002, N803 - boto3's names
        self.sent.set()
        if self.error:
            raise self.error
        return {"Records": [{"ShardId": "shardId-0", "SequenceNumber": "1"} for _ in Records]}


def feed(tmp_path, client, now=time.time) -> Feed:
    return Feed(Plan(10.0, 100.0, tmp_path, Path("conf/local.yaml")), client, now=now)


def test_what_was_sent_is_known_by_what_should_become_of_it(tmp_path):
    client = OneShard()
    sending = feed(tmp_path, client)
    sending.start()
    assert client.sent.wait(10)
    sending.drop_files()
    sending.stop()
    expected = sending.expected()
    assert sending.report is not None
    assert expected["kinesis"] == Expected(sending.report.sent_clean, sending.report.sent_dead)
    assert expected["csv"] == Expected(392, 28)
    assert sorted(path.name for path in (tmp_path / "raw").iterdir()) == ["bad_orders.csv", "orders.csv"]


def test_the_oldest_row_waits_until_it_has_arrived(tmp_path):
    clock = iter(range(100, 200))
    sending = feed(tmp_path, OneShard(), now=lambda: float(next(clock)))
    sending.drop_files()  # at 100
    waits = sending.oldest_waiting({"kinesis": 0, "csv": 419})
    assert waits == {"kinesis": 0.0, "csv": 1.0}
    assert sending.oldest_waiting({"csv": 420})["csv"] == 0.0


def test_an_error_of_the_producer_is_kept_for_the_one_who_watches(tmp_path):
    client = OneShard(RuntimeError("broken"))
    sending = feed(tmp_path, client)
    sending.start()
    assert client.sent.wait(10)
    sending.stop()
    assert str(sending.error) == "broken"


def test_a_feed_that_never_began_can_be_stopped(tmp_path):
    feed(tmp_path, OneShard()).stop()
