"""Dead letters replayed through the real pipeline: today's rules, the decoders that read them first, repairs."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from batch_app.cli import main
from tests.audit_lake import REPOSITORY
from tests.dead_lake import dead_lake

pytestmark = pytest.mark.spark


@pytest.fixture
def lake(tmp_path, orders, spark):
    return dead_lake(str(tmp_path / "lake"), orders)


def run(lake, tmp_path, capsys, *arguments: str) -> dict:
    code = main(["dead-letters", "replay", "--config", lake.config_file(tmp_path), "--format", "json", *arguments])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    return json.loads(captured.out)


def replayed(lake) -> dict[str, dict]:
    files = Path(lake.root, "clean").rglob("part-replay-*.parquet")
    return {row["order_id"]: row for file in files for row in pq.ParquetFile(file).read().to_pylist()}


def audit_is_clean(lake, tmp_path, capsys) -> bool:
    code = main(["audit", "--config", lake.config_file(tmp_path), "--settled", "--json"])
    report = json.loads(capsys.readouterr().out)
    return code == 0 and not report["differences"]


def test_rows_that_pass_todays_rules_land_in_clean_with_their_first_position(lake, tmp_path, capsys):
    dry = run(lake, tmp_path, capsys, "--dry-run")
    assert (dry["selected"], dry["passed"], dry["failed"], dry["not_rows"]) == (10, 2, 7, 1)
    assert dry["passing"] == {"old.rule": 2}
    assert replayed(lake) == {}
    done = run(lake, tmp_path, capsys, "--everything")
    assert (done["passed"], done["failed"]) == (2, 7)
    rows = replayed(lake)
    assert set(rows) == {"o5", "c3"}
    assert rows["c3"]["item"] == 'Tea, hot\nno "sugar"'
    assert (rows["c3"]["source_position"], rows["c3"]["amount"]) == ("day 1.csv#3", Decimal("12.50"))
    assert rows["o5"]["source_position"].startswith("shard-0:")
    assert audit_is_clean(lake, tmp_path, capsys)
    assert run(lake, tmp_path, capsys, "--everything")["passed"] == 0
    assert audit_is_clean(lake, tmp_path, capsys)


def test_rule_that_was_mended_moves_exactly_its_rows(lake, tmp_path, capsys):
    suite = yaml.safe_load((REPOSITORY / "conf/expectations/orders.yaml").read_text())
    for expectation in suite["expectations"]:
        if expectation["meta"]["id"] == "city.in_set":
            expectation["kwargs"]["value_set"].append("Bogor")
    file = tmp_path / "suite.yaml"
    file.write_text(yaml.safe_dump(suite))
    done = run(lake, tmp_path, capsys, "--reason", "city.in_set", "--override", f"suite={file}")
    assert (done["passing"], done["still"]) == ({"city.in_set": 1}, {"city.in_set": 1, "amount.positive": 1})
    assert set(replayed(lake)) == {"c2"}
    assert audit_is_clean(lake, tmp_path, capsys)


def test_repairs_of_columns_and_of_the_raw_bytes(lake, tmp_path, capsys):
    repair = tmp_path / "repair.yaml"
    repair.write_text("amount: replace(amount, ',', '.')\n")
    done = run(lake, tmp_path, capsys, "--reason", "amount.cast", "--repair", str(repair))
    assert done["passed"] == 1
    done = run(
        lake, tmp_path, capsys, "--reason", "not_utf8",
        "--set", "raw=decode(raw_bytes, 'ISO-8859-1')",
        "--set", "city=initcap('BANDUNG')",
    )  # fmt: skip
    assert done["passed"] == 1, done
    rows = replayed(lake)
    assert rows["o3"]["amount"] == Decimal("12.50")
    assert (rows["c5"]["city"], rows["c5"]["item"], rows["c5"]["amount"]) == ("Bandung", "Café", Decimal("8.00"))
    assert audit_is_clean(lake, tmp_path, capsys)


def test_duplicates_are_replayed_only_when_asked_for(lake, tmp_path, capsys):
    assert run(lake, tmp_path, capsys, "--everything")["selected"] == 10
    assert "o6" not in replayed(lake)
    assert run(lake, tmp_path, capsys, "--stage", "duplicate")["passed"] == 1
    assert "o6" in replayed(lake)


@pytest.mark.parametrize(
    ("repair", "message"),
    [
        ("amount=nonsense(amount)", "the repair of amount cannot be run"),
        ("amount=(((", "the repair of amount cannot be run"),
        ("raw=nonsense(raw)", "the repair of raw cannot be run"),
        ("quantity=CAST(order_id AS INT)", "a repair failed on a row"),
        ("amonut=1", "did you mean amount"),
        ("lake.root=x", "--override lake.root"),
        ("amount=", "is empty"),
        ("amount", "COLUMN=EXPRESSION"),
    ],
)
def test_repair_that_cannot_be_run_is_a_clear_error(lake, tmp_path, capsys, repair, message):
    arguments = ["dead-letters", "replay", "--config", lake.config_file(tmp_path), "--everything", "--set", repair]
    assert main(arguments) == 2
    assert message in capsys.readouterr().err
    assert replayed(lake) == {}
