"""`trace` tells where an order is, whatever became of it; the lakes are written by the product's own sink and books."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pytest

from batch_app.cli import main
from batch_app.dead_letters.replay import Replayer
from batch_app.dead_letters.selection import Selection
from batch_app.trace.books import is_position
from streaming_app.schema import InputSource
from streaming_app.sink.commit import Committer
from streaming_app.sink.datasource import TaskWriter
from tests.audit_lake import file_read, numbers, shard_read
from tests.dead_lake import DeadLake, NoAtlantis, Row, dead_lake, judged

ORDERS = ("a-0", "a-1", "a-2")


@dataclass
class TracedLake(DeadLake):
    """Its clean rows have order ids: those of `named`, by position."""

    named: dict[str, str] = field(default_factory=dict)

    def orders(self, first: int, orders, *, publish: bool = True) -> list[str]:
        """One more batch of the stream; returns the positions."""
        sequence = numbers(first, len(orders))
        rows = [Row(f"shard-0:{number}") for number in sequence]
        batch = self.batches.get("kinesis", 0)
        checkpoint = self.checkpoint("kinesis")
        epoch = self.read("kinesis", [shard_read("shard-0", f"AFTER:{sequence[0] - 7}", sequence)])
        made = judged(self.dataset, rows)
        names = pa.array([*orders])
        writer = TaskWriter(self.options("kinesis"))
        writer.add(made.set_column(made.schema.get_field_index("order_id"), "order_id", names))
        results = [writer.finish()]
        if publish:
            checkpoint.put(f"offsets/{batch}", b"v1\n{}\n" + f'{{"epoch": {epoch}}}'.encode())
            Committer(self.options("kinesis")).commit(results, batch)
            checkpoint.put(f"commits/{batch}", b"v1\n{}")
            self.read_log("kinesis").seal(epoch)
            self.batches["kinesis"] = batch + 1
        return [row.position for row in rows]


@pytest.fixture
def lake(tmp_path, orders) -> TracedLake:
    made = dead_lake(str(tmp_path / "lake"), orders)
    return TracedLake(made.root, made.dataset, made.storage, made.batches)


@pytest.fixture
def trace(lake, tmp_path, capsys):
    def call(*arguments: str, code: int = 0) -> dict:
        assert main(["trace", "--config", lake.config_file(tmp_path), "--json", *arguments]) == code
        return json.loads(capsys.readouterr().out)

    return call


def one(found: dict) -> dict:
    (row,) = found["rows"]
    return row


def test_a_clean_order_is_followed_from_its_read_to_its_file(lake, trace):
    positions = lake.orders(7, ORDERS)
    row = one(trace("a-1"))
    assert row["position"] == positions[1]
    assert [(read["source"], read["epoch"], read["unit"], read["rows"]) for read in row["reads"]] == [
        ("kinesis", 2, "shard-0", 3)
    ]
    assert row["reads"][0]["range"].startswith(positions[0].partition(":")[2])
    (batch,) = row["batches"]
    assert (batch["batch"], batch["published"], batch["suite"]) == (1, True, "f")
    (place,) = row["places"]
    assert place["table"] == "clean"
    assert Path(lake.root, place["file"]).exists()
    assert one(trace(positions[1])) == row


def test_a_rejected_order_has_its_reasons_and_text(trace):
    row = one(trace("o2"))
    (place,) = row["places"]
    assert (place["table"], place["stage"], place["reasons"]) == (
        "dead_letter",
        "rule",
        ["city.in_set", "amount.positive"],
    )
    assert '"city":"Bogor"' in place["raw"]
    assert row["batches"][0]["batch"] == 0
    assert one(trace(row["position"])) == row


def test_a_row_of_a_file_is_found_by_its_place_in_it(trace):
    row = one(trace("day 1.csv#2"))
    assert row["reads"] == [{"source": "csv", "epoch": 1, "unit": "day 1.csv", "range": "", "rows": 5}]
    assert row["places"][0]["reasons"] == ["city.in_set"]
    assert one(trace("c2"))["position"] == "day 1.csv#2"


def test_what_cannot_be_taken_apart_is_found_by_its_text(trace):
    assert one(trace("c4"))["places"][0]["stage"] == "decode"
    assert one(trace("c5"))["places"][0]["reasons"] == ["not_utf8"]  # in base64


def test_an_order_that_is_only_mentioned_elsewhere_is_not_meant(trace):
    assert trace("Bogor", code=1)["rows"] == []
    assert len(trace("Bogor", "--column", "city")["rows"]) == 2


def test_an_order_that_came_twice_has_both_rows(lake, trace):
    positions = lake.orders(7, ("twice", "other", "twice"))
    assert [row["position"] for row in trace("twice")["rows"]] == [positions[0], positions[2]]


def test_a_replayed_order_is_a_dead_letter_and_a_clean_row(lake, tmp_path, trace):
    opened = lake.opened(tmp_path, Selection())
    options = {InputSource.STREAM: lake.options("kinesis"), InputSource.BATCH: lake.options("csv")}
    Replayer(opened.letters, opened.book, lake.lake(), NoAtlantis(lake.dataset), options).run(
        Selection(stages=("rule",))
    )
    position = one(trace("o2"))["position"]
    places = {place["table"]: place for place in one(trace(position))["places"]}
    assert set(places) == {"clean", "dead_letter"}
    assert places["dead_letter"]["action"]["kind"] == "replay"
    assert places["clean"]["action"]["number"] == places["dead_letter"]["action"]["number"]


def test_a_compacted_row_is_found_with_its_compaction(lake, tmp_path, trace, capsys):
    for batch in range(4):
        lake.orders(7 + 3 * batch, [f"b{batch}-{number}" for number in range(3)])
    before = one(trace("b2-1"))
    assert main(["compact", "--config", lake.config_file(tmp_path), "--all", "--table", "clean", "--json"]) == 0
    capsys.readouterr()
    after = one(trace("b2-1"))
    assert after["position"] == before["position"]
    assert after["batches"] == before["batches"]
    (place,) = after["places"]
    assert place["file"] != before["places"][0]["file"]
    assert place["compaction"]["files_after"] == 1
    assert place["compaction"]["files_before"] >= 4
    assert one(trace(before["position"]))["places"] == [place]


def test_a_row_that_was_read_and_not_committed_is_under_way(lake, trace):
    position = lake.orders(7, ORDERS, publish=False)[0]
    row = one(trace(position))
    assert row["reads"][0]["epoch"] == 2
    assert (row["batches"], row["places"]) == ([], [])


@pytest.mark.parametrize(
    "what", ["nobody", "shard-0:1", "shard-9:4965", "day 1.csv#99", "none.csv#1", "' OR 1=1 --", "", "#"]
)
def test_what_never_came_is_said_to_be_unknown(trace, what):
    assert trace(what, code=1)["rows"] == []


def test_days_bound_the_search(lake, trace):
    lake.orders(7, ORDERS)
    assert len(trace("a-1", "--since", "2026-03-01", "--until", "2026-03-01")["rows"]) == 1
    assert trace("a-1", "--since", "2026-03-02", code=1)["rows"] == []


def test_wrong_arguments_say_what_to_do(lake, tmp_path, capsys):
    for arguments, words in ((["x", "--column", "cty"], "there is no cty"), (["x", "--since", "soon"], "is no day")):
        assert main(["trace", "--config", lake.config_file(tmp_path), *arguments]) == 2
        assert words in capsys.readouterr().err


def test_a_damaged_file_is_named(lake, tmp_path, capsys):
    file = next(Path(lake.root, "clean").rglob("*.parquet"))
    file.write_bytes(b"nothing")
    assert main(["trace", "--config", lake.config_file(tmp_path), "a-1"]) == 6
    assert file.name in capsys.readouterr().err


def test_people_get_a_table_that_no_value_can_act_on(lake, tmp_path, capsys):
    evil = "evil\x1b[31m\n[bold]"
    lake.orders(7, (evil,))
    assert main(["trace", "--config", lake.config_file(tmp_path), evil]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "kinesis batch 1" in out
    assert main(["trace", "--config", lake.config_file(tmp_path), "o1"]) == 0
    out = capsys.readouterr().out
    assert "city.in_set: city must be one of" in out
    assert "dead-letters show" in out
    assert main(["trace", "--config", lake.config_file(tmp_path), "nobody"]) == 1
    assert "no trace of order_id nobody" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "expected"),
    [("shardId-000000000000:4965", True), ("shardId-0:4965:3", True), ("a b.csv#12", True), ("x/y#z.csv#1", True),
     ("ORD-1", False), ("ORD-1#x", False), ("12:30", True), ("a:b", False), ("", False)],
)  # fmt: skip
def test_positions_are_known_by_their_form(text, expected):
    assert is_position(text) is expected


def test_a_file_whose_reads_have_no_rows_does_not_disturb(lake, trace):
    lake.read("csv", [file_read("empty.csv", 0)], epoch=2)
    assert trace("empty.csv#1", code=1)["rows"] == []


def test_a_value_of_very_many_rows_is_traced_for_the_first_of_them(lake, trace):
    lake.orders(7, ["same"] * 1005)
    found = trace("same")
    assert (len(found["rows"]), found["more"]) == (1000, 5)
    assert all(row["batches"][0]["batch"] == 1 for row in found["rows"])
