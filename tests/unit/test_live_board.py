"""What the live page knows: the last hour by second, the last micro-batches, dead letters and rules."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path

import pytest

from streaming_app.events import EventKind
from streaming_app.metrics import catalogue as m
from streaming_app.metrics.live import history as history_module
from streaming_app.metrics.live.history import HOUR, MOST_SERIES, History
from streaming_app.metrics.live.rejected import LONGEST, MOST
from tests.live_service import LiveService, without_personal

SUITE = (Path(__file__).resolve().parents[2] / "conf/expectations/orders.yaml").read_text()
BEGIN = 1_800_000_000
ROWS = ("rows",)


@pytest.fixture
def service(orders):
    made = LiveService(without_personal(orders), SUITE, frozen=True)
    made.start()
    yield made
    made.close()


def letters_of(service, least: int) -> list[dict]:
    """As the page does: ask, and ask again until they were read."""
    deadline = time.monotonic() + 30
    while True:
        service.clock.ahead += 1.5  # an answer is given again within a second
        found = service.board.state()["dead_letters"]
        if len(found) >= least:
            return found
        assert time.monotonic() < deadline
        time.sleep(0.01)


def later(service, seconds: float = 30.0) -> dict:
    """The state once everything that was told of is known."""
    service.clock.ahead += seconds
    return service.board.state()


def test_an_amount_is_spread_over_its_seconds_and_none_of_it_is_lost():
    history, source = History(), random.Random(1)
    ended, whole = BEGIN, 0
    for _ in range(200):
        begun, ended = ended, ended + source.random() * 20
        amount = source.randrange(1, 1000)
        history.add({ROWS: amount}, begun, ended)
        whole += amount
        if ended > BEGIN + HOUR - 25:
            break
    (values,) = history.sums(BEGIN - 60, BEGIN + HOUR, 10).values()
    assert sum(values) == pytest.approx(whole)
    assert len(values) == HOUR // 10 + 6


def test_batches_of_one_pace_make_a_level_line_wherever_in_a_second_they_end():
    history = History()
    for number in range(40):
        history.add({ROWS: 160}, BEGIN + 1.6 * number, BEGIN + 1.6 * (number + 1))
    assert history.sums(BEGIN + 1, BEGIN + 64)[ROWS] == pytest.approx([100] * 63)


def test_what_is_older_than_an_hour_is_gone_and_its_second_is_used_again():
    history = History()
    history.add({ROWS: 5}, BEGIN - 1, BEGIN)
    history.add({ROWS: 7}, BEGIN + HOUR - 1, BEGIN + HOUR)
    assert history.sums(BEGIN, BEGIN + 1) == {}
    assert history.sums(BEGIN + HOUR, BEGIN + HOUR + 1) == {ROWS: [7]}
    history.add({ROWS: 100}, BEGIN - HOUR, BEGIN)  # told of very late
    assert history.sums(BEGIN - HOUR, BEGIN + HOUR + 1, 2 * HOUR + 1) == {ROWS: [7]}
    history.add({ROWS: 1}, BEGIN + 9 * HOUR, BEGIN + 9 * HOUR)
    assert history.sums(BEGIN + 8 * HOUR + 1, BEGIN + 9 * HOUR + 1, HOUR) == {ROWS: [1]}


def test_memory_is_bounded_however_many_reasons_there_are():
    history = History()
    history.add({("reason", str(number)): 1 for number in range(MOST_SERIES * 3)}, BEGIN - 1, BEGIN)
    assert len(history.sums(BEGIN, BEGIN + 1)) == MOST_SERIES
    assert history_module.HOUR == 3600


def test_a_series_without_an_amount_in_the_hour_gives_its_place_to_a_new_one():
    history = History()
    history.add({("reason", str(number)): 1 for number in range(MOST_SERIES)}, BEGIN - 1, BEGIN)
    history.add({("reason", "0"): 1}, BEGIN + 9, BEGIN + 10)
    history.add({("reason", "too many"): 1}, BEGIN + 99, BEGIN + 100)
    assert ("reason", "too many") not in history.sums(BEGIN + 100, BEGIN + 101)
    end = BEGIN + HOUR + 1
    history.add({("reason", "new"): 1}, end - 1, end)
    assert history.sums(end - HOUR, end + 1, HOUR + 1) == {("reason", "0"): [1], ("reason", "new"): [1]}


def test_rows_are_in_the_charts_however_many_reasons_there_are(service):
    service.batch(read=900, reasons={f"rule-{number}": 1 for number in range(MOST_SERIES * 2)}, ago=60)
    service.batch("csv", read=50)
    assert later(service)["last_hour"]["csv/clean"] == 50


def test_rows_and_reasons_of_the_last_hour_by_second(service):
    for ago in range(60, 0, -1):
        service.batch(read=20, reasons={"amount.positive": 2, "city.in_set": 1}, ago=ago)
    state = later(service)
    assert state["last_hour"] == {"kinesis/clean": 17 * 60, "kinesis/dead": 180}
    charts = service.board.state(300)["history"]
    assert charts["step"] == 1
    assert sum(charts["rows"]["kinesis/clean"]) == pytest.approx(17 * 60)
    assert max(charts["rows"]["kinesis/clean"]) < 40
    assert [(name, round(sum(values))) for name, values in charts["reasons"]] == [
        ("amount.positive", 120),
        ("city.in_set", 60),
    ]
    assert len(state["history"]["rows"]["kinesis/clean"]) == 360


def test_reasons_beyond_the_first_share_one_line(service):
    service.batch(read=100, reasons={f"rule-{number}": number + 1 for number in range(12)})
    charts = later(service)["history"]["reasons"]
    assert [name for name, _ in charts] == [f"rule-{number}" for number in range(11, 4, -1)] + [""]
    assert sum(charts[-1][1]) * 10 == pytest.approx(1 + 2 + 3 + 4 + 5, abs=1)


def test_the_last_audit_is_on_the_page_once_there_is_one(service):
    assert later(service)["audit"] is None
    service.values.set(m.AUDIT_TIME, 1000.0)
    service.values.set(m.AUDIT_DIFFERENCES, 2)
    assert later(service)["audit"] == {"ended": 1000.0, "differences": 2}


def test_shards_that_drain_and_records_behind_are_on_the_page(service):
    service.batch(lag={"parent": 0, "other": 0})
    service.recorder.closed("kinesis", frozenset({"parent"}))
    kinesis = next(source for source in later(service)["sources"] if source["name"] == "kinesis")
    assert (kinesis["shards_open"], kinesis["shards_draining"], kinesis["lag_records"]) == (1, 1, 0)


def test_a_restart_shows_the_hour_before_it_and_counts_nothing_twice(service):
    for ago in (5000, 3000, 2000, 1000):
        service.batch(read=10, reasons={"city.in_set": 1}, ago=ago, tell=False)
    service.board.begin("kinesis", _ledger(service))
    state = later(service)
    assert state["last_hour"] == {"kinesis/clean": 27, "kinesis/dead": 3}
    assert [batch["batch"] for batch in state["batches"]] == [3, 2, 1, 0]
    assert state["batches"][0]["ms"] is None
    service.batch(read=10, ago=0)
    assert later(service)["last_hour"]["kinesis/clean"] == 37


def test_a_gap_before_a_restart_stays_a_gap_and_the_catching_up_after_it_a_step(service):
    late = {35: 150, 30: 50}  # one batch took longer than usual, the next one is short
    for ago in (*range(280, 180, -10), *range(80, 40, -10), *late, 20, 10):
        service.batch(read=late.get(ago, 100), ago=ago, tell=False)
    service.board.begin("kinesis", _ledger(service))
    service.clock.ahead += 3
    history = service.board.state(300)["history"]
    end = history["begin"] + 300
    rates = dict(zip(range(300, 0, -1), history["rows"]["kinesis/clean"], strict=True))  # by the seconds before the end
    shift = round(service.clock() - end)
    assert {rates[ago - shift] for ago in (*range(205, 275), *range(15, 75))} == {10}
    assert {rates[ago - shift] for ago in range(105, 185)} == {0}


def _ledger(service, source: str = "kinesis"):
    from streaming_app.journal.ledger import Ledger

    return Ledger(service.checkpoints[source])


def test_a_restart_shows_the_last_batches_and_dead_letters_of_all_sources_together(service):
    """Each source has had enough of them to fill the page alone."""
    for ago in range(40, 0, -1):
        for source in ("kinesis", "csv"):
            letters = [{"raw": f"{source} {ago}", "reasons": ["b"]}]
            service.batch(source, read=2, reasons={"b": 1}, letters=letters, ago=10 * ago, tell=False)
    for source in ("kinesis", "csv"):
        service.board.begin(source, _ledger(service, source))
    batches = later(service)["batches"]
    assert [(batch["source"], batch["batch"]) for batch in batches[:4]] == [
        ("csv", 39),
        ("kinesis", 39),
        ("csv", 38),
        ("kinesis", 38),
    ]
    assert len(batches) == 30
    assert {row["raw"] for row in letters_of(service, 12)} == {
        f"{source} {ago}" for source in ("kinesis", "csv") for ago in range(1, 7)
    }


def test_a_batch_that_is_told_of_again_counts_once(service):
    service.batch(read=10)
    before = later(service)["last_hour"]
    service.batch(read=10)
    service._numbers["kinesis"] = 1
    service.batch(read=10)  # batch 1 again
    assert later(service)["last_hour"]["kinesis/clean"] == before["kinesis/clean"] + 10


def test_the_charts_end_before_the_seconds_that_batches_may_still_tell_of(service):
    service.batch(read=10)
    state = service.board.state(300)
    assert state["now"] - 30 < state["history"]["begin"] + 300 < state["now"] - 1


def test_dead_letters_come_newest_first_with_their_text_and_reasons(service):
    service.batch(read=5, reasons={"city.in_set": 1}, letters=[{"raw": "old", "reasons": ["city.in_set"]}], ago=50)
    service.batch("csv", read=5, reasons={"b": 1}, letters=[{"raw": "x" * 9000, "reasons": ["b", "c"]}], ago=5)
    found = letters_of(service, 2)
    assert [row["reasons"] for row in found] == [["b", "c"], ["city.in_set"]]
    assert found[1]["raw"] == "old"
    assert (len(found[0]["raw"]), found[0]["length"]) == (LONGEST, 9000)


def test_at_most_so_many_dead_letters_of_so_many_files_are_kept(service):
    for ago in range(40, 0, -1):
        service.batch(reasons={"b": 8}, read=8, letters=[{"raw": f"{ago}", "reasons": ["b"]}] * 8, ago=ago)
    found = letters_of(service, MOST)
    assert len(found) == MOST
    assert {row["raw"] for row in found} == {"1", "2", "3", "4"}


def test_personal_values_are_masked_by_their_names_and_by_the_header_of_their_file(orders):
    made = LiveService(orders, SUITE, frozen=True)
    try:
        made.start()
        event = {"raw": '{"order_id":"o1","customer_id":"C-001"}', "reasons": ["b"]}
        made.batch(read=5, reasons={"b": 1}, letters=[event], ago=9)
        row = {"raw": "Medan,C-001,o1", "reasons": ["b"], "source_position": "a#b.csv#7"}
        header = {"a#b.csv": "city,customer_id,order_id"}
        made.batch("csv", read=5, reasons={"b": 1}, letters=[row, row | {"source_position": "c.csv#7"}], headers=header)
        found = [row["raw"] for row in letters_of(made, 3)]
    finally:
        made.close()
    assert found[0].startswith("[withheld")
    assert found[1:] == ["Medan,***,o1", '{"order_id":"o1","customer_id":"***"}']


def test_a_file_that_is_gone_or_broken_hides_no_other(service):
    for ago in (30, 20, 10):
        service.batch(reasons={"b": 1}, read=2, letters=[{"raw": str(ago), "reasons": ["b"]}], ago=ago)
    service.lake.put("dead_letter/kinesis-0.parquet", b"PAR1 and nothing else")
    service.lake.delete(["dead_letter/kinesis-1.parquet"])
    assert [row["raw"] for row in letters_of(service, 1)] == ["10"]


def test_nothing_is_read_of_the_lake_while_nobody_looks(service):
    reads = []
    service.lake.get = reads.append  # type: ignore[method-assign] # seen, not answered
    service.batch(reasons={"b": 1}, read=2, letters=[{"raw": "a", "reasons": ["b"]}])
    time.sleep(0.2)
    assert reads == []
    service.board.state()
    deadline = time.monotonic() + 30
    while not reads:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_rules_have_words_and_counts_and_reasons_that_are_no_rules_come_after_them(service):
    service.batch(read=10, reasons={"amount.positive": 2, "invalid_json": 1})
    rules = {rule["id"]: rule for rule in later(service)["rules"]}
    assert rules["amount.positive"] == {
        "id": "amount.positive",
        "severity": "critical",
        "where": "stream",
        "words": "amount must be more than 0",
        "hour": 2,
        "ever": 2,
    }
    assert rules["invalid_json"]["words"] == "the event is no JSON"
    assert rules["order_id.not_null"]["ever"] == 0
    assert list(rules)[: len(service.suite.rules)] == [rule.id for rule in service.suite.rules]


def test_sources_have_state_rate_lag_and_backlog(service):
    service.batch(read=100, lag={"shard-0": 0, "shard-1": 2500}, ago=12)
    service.batch("csv", waiting={"files": 3, "bytes": 99, "oldest": 5_000_000}, ago=12)
    service.tell(EventKind.FAILED, "csv", error="SourceError")
    kinesis, csv = service.board.state()["sources"]
    assert (kinesis["state"], kinesis["lag"], kinesis["shards_open"]) == ("running", 2.5, 2)
    assert kinesis["shards"][0] == {"shard": "shard-1", "lag": 2.5}
    assert kinesis["rate"] == pytest.approx(10)
    assert (csv["state"], csv["backlog"], csv["failures"]) == ("failed", [3, 99, 5.0], {"SourceError": 1})


def test_where_a_source_stands_is_known_once_it_has_looked_since_its_start(service):
    service.batch(lag={"shard-0": 0})
    assert [source["looked"] for source in later(service)["sources"]] == [True, True]
    service.tell(EventKind.FAILED, error="SourceError")
    service.tell(EventKind.STARTED, suite=service.suite.fingerprint)
    kinesis, csv = later(service)["sources"]
    assert (kinesis["state"], kinesis["looked"], csv["looked"]) == ("running", False, True)
    service.heard("kinesis")  # it found nothing to read, or ended a batch
    assert later(service)["sources"][0]["looked"]


def test_state_is_json_at_every_moment_of_a_service(orders):
    made = LiveService(orders, SUITE, frozen=True)
    try:
        json.dumps(made.board.state(), allow_nan=False)
        made.start()
        json.dumps(later(made), allow_nan=False)
    finally:
        made.close()
