"""`make cost`: sums that can be worked out by hand."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

FOLDER = Path(__file__).resolve().parents[2] / "deploy" / "cost"
_SPEC = importlib.util.spec_from_file_location("cost_estimate", FOLDER / "estimate.py")
cost = importlib.util.module_from_spec(_SPEC)
sys.modules["cost_estimate"] = cost
_SPEC.loader.exec_module(cost)


@pytest.fixture(scope="module")
def prices():
    return yaml.safe_load((FOLDER / "prices.yaml").read_text())


def test_streaming_job_is_its_workers_by_the_hour(prices):
    assert cost.ours(cost.Load(), prices)["Glue streaming job"] == pytest.approx(2 * 730 * 0.44)
    small = cost.Load(worker_type="G.025X", workers=3)
    assert cost.ours(small, prices)["Glue streaming job"] == pytest.approx(3 * 0.25 * 730 * 0.44)


def test_provisioned_stream_is_shards_and_put_units(prices):
    load = cost.Load(rate=1000, peak=2.5, event_bytes=250)
    assert load.shards == 3
    million_events = 1000 * 730 * 3600 / 1e6
    assert cost.ours(load, prices)["Kinesis"] == pytest.approx(3 * 730 * 0.015 + million_events * 0.014)


def test_shards_follow_bytes_where_events_are_large():
    assert cost.Load(rate=100, peak=1, event_bytes=50_000).shards == 5


def test_firehose_rounds_each_record_up_to_five_kibibytes(prices):
    small, large = (cost.ours(cost.Load(event_bytes=size), prices)["Firehose (raw_stream)"] for size in (1, 5120))
    assert small == pytest.approx(large)
    more = cost.ours(cost.Load(event_bytes=5121), prices)["Firehose (raw_stream)"]
    assert more == pytest.approx(2 * large)


def test_on_demand_stream_rounds_up_what_comes_in_and_not_what_goes_out(prices):
    load = cost.Load(rate=1, event_bytes=512, stream_mode="on-demand")
    gib = 730 * 3600 * 1024 / 2**30
    assert cost.ours(load, prices)["Kinesis"] == pytest.approx(730 * 0.04 + gib * 0.08 + 2 * gib / 2 * 0.04)


def test_portfolio_mode_is_what_stays(prices):
    all_of_it, stays = cost.ours(cost.Load(), prices), cost.ours(cost.Load(), prices, streaming=False)
    assert not {"Kinesis", "Firehose (raw_stream)", "Glue streaming job", "CloudWatch"} & set(stays)
    assert {name: all_of_it[name] for name in stays} == stays
    assert sum(stays.values()) < 10


def test_crawler_is_billed_ten_minutes_each_hour(prices):
    assert cost.usual(cost.Load(), prices)["Glue crawler, hourly"] == pytest.approx(730 * 2 * 10 / 60 * 0.44)


def test_more_events_never_cost_less(prices):
    totals = [sum(cost.ours(cost.Load(rate=rate), prices).values()) for rate in (0.001, 1, 100, 10_000)]
    assert totals == sorted(totals)


def test_faster_trigger_costs_requests_only(prices):
    slow, fast = (cost.ours(cost.Load(trigger=seconds), prices) for seconds in (30, 1))
    assert {name for name in slow if slow[name] != fast[name]} == {"S3 requests"}
    assert fast["S3 requests"] == pytest.approx(10 * slow["S3 requests"] * 3)


def test_private_network_and_key_are_added(prices):
    load = replace(cost.Load(), private_endpoints=12, kms=True)
    bill = cost.ours(load, prices)
    assert (bill["VPC endpoints"], bill["KMS key"]) == (pytest.approx(12 * 7.3), 1.0)


def test_fan_out_is_billed_by_shard_and_hour_and_by_what_it_delivers_and_to_the_service_only(prices):
    load = cost.Load(rate=1000, peak=2.5)
    gib = 1000 * 730 * 3600 * 250 / 2**30
    more = cost.ours(replace(load, fan_out=True), prices)["Kinesis"] - cost.ours(load, prices)["Kinesis"]
    assert more == pytest.approx(3 * 730 * 0.015 + gib * 0.013)
    on_demand = replace(load, stream_mode="on-demand")
    more = cost.ours(replace(on_demand, fan_out=True), prices)["Kinesis"] - cost.ours(on_demand, prices)["Kinesis"]
    assert more == pytest.approx(gib * (0.05 - 0.04))
    assert cost.usual(replace(load, fan_out=True), prices) == cost.usual(load, prices)


def test_longer_retention_is_billed_by_the_shard_or_by_what_lies_in_the_stream(prices):
    load = cost.Load(rate=1, event_bytes=1024)
    more = cost.ours(replace(load, retention_hours=168), prices)["Kinesis"] - cost.ours(load, prices)["Kinesis"]
    assert more == pytest.approx(730 * 0.02)
    load = replace(load, stream_mode="on-demand")
    more = cost.ours(replace(load, retention_hours=168), prices)["Kinesis"] - cost.ours(load, prices)["Kinesis"]
    assert more == pytest.approx(144 * 3600 * 1024 / 2**30 * 0.10)


def test_airflow_host_is_a_machine_its_disk_and_its_address_in_portfolio_mode_too(prices):
    bill = cost.ours(cost.Load(airflow=True), prices, streaming=False)
    assert bill["Airflow host"] == pytest.approx(730 * (0.0416 + 0.005) + 20 * 0.08)
    host = (FOLDER.parent / "terraform/modules/airflow/main.tf").read_text()
    assert f"volume_size = {prices['airflow_host']['disk_gb']}" in host


def test_every_price_is_used(prices):
    code = (FOLDER / "estimate.py").read_text()
    groups = [group for group in prices.values() if isinstance(group, dict)]
    assert [name for group in groups for name in group if f'"{name}"' not in code] == []


def test_command_prints_each_design_and_its_total(capsys):
    assert cost.main(["--rate", "50"]) == 0
    out = capsys.readouterr().out
    assert "Firehose + hourly Glue" in out
    assert "list prices of" in out
    assert cost.main(["--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 4


def test_wrong_prices_and_rates_are_said_plainly(tmp_path, capsys):
    (tmp_path / "prices.yaml").write_text("[]")
    assert cost.main(["--prices", str(tmp_path / "prices.yaml")]) == 2
    assert cost.main(["--prices", str(tmp_path / "none.yaml")]) == 2
    assert "no table of prices" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cost.main(["--rate", "0"])
    with pytest.raises(SystemExit):
        cost.main(["--retention-hours", "200"])


def test_table_in_the_readme_is_what_the_command_prints(capsys):
    cost.main([])
    printed = capsys.readouterr().out.strip()
    assert printed in (FOLDER / "README.md").read_text(), "put the new table into deploy/cost/README.md"


def test_alarms_are_billed_by_the_metrics_that_they_look_at():
    """An alarm on an expression costs by the metrics in it; those of a source are made for both sources."""
    text = (FOLDER.parent / "terraform/modules/alerts/alarms.tf").read_text()
    per_source, others = text.split("stream_only = [")
    stages = 4  # of dead letters, one metric each: written as a loop
    counted = [len(re.findall(r'name = "qsr_\w+", dimensions', part)) for part in (per_source, others)]
    assert (
        2 * (counted[0] - 1 + stages) + counted[1] + 1 == cost._ALARM_METRICS
    )  # IngestDown looks at one without a query
