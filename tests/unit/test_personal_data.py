"""Personal data is nowhere in the lake where the dataset says so: not in a column and not in a dead letter's text."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from streaming_app.config import load
from streaming_app.errors import ConfigError
from streaming_app.schema import PII_KEY, Column, Dataset
from streaming_app.sink.commit import Committer
from streaming_app.sink.datasource import TaskWriter
from streaming_app.sink.personal import PersonalData
from tests.property.test_commit_crashes import batch, prepare

CONF = Path(__file__).resolve().parents[2] / "conf"
KEY = {PII_KEY: "a key of more than sixteen characters"}


def dataset(orders: Dataset, **pii: str) -> Dataset:
    columns = [column.model_copy(update={"pii": pii.get(column.name, False)}) for column in orders.columns]
    return orders.model_copy(update={"columns": tuple(columns)})


def personal(orders, delimiter=",", **pii: str) -> PersonalData:
    return PersonalData(dataset(orders, **pii), delimiter, KEY)


def dead(raw: str, stage: str = "rule", **values: str | None) -> pa.RecordBatch:
    columns = {"raw": [raw], "stage": [stage], **{name: [value] for name, value in values.items()}}
    return pa.RecordBatch.from_pydict({name: pa.array(value, pa.string()) for name, value in columns.items()})


def raw_of(treated: PersonalData, rows: pa.RecordBatch) -> str:
    return treated.raws(rows).to_pylist()[0]


def test_column_is_masked_or_hashed_and_null_stays(orders):
    rows = pa.RecordBatch.from_pydict({"customer_id": ["C1", None, "C1", "C2"], "city": ["a", "b", None, "a"]})
    made = personal(orders, customer_id="hash", city="mask").columns(rows)
    hashed = made["customer_id"].to_pylist()
    assert hashed[0] == hashed[2] != hashed[3]
    assert hashed[1] is None
    assert hashed[0].startswith("hmac:")
    assert len(hashed[0]) == 37
    assert made["city"].to_pylist() == ["***", "***", None, "***"]


def test_hash_is_keyed_and_hashing_twice_changes_nothing(orders):
    rows = pa.RecordBatch.from_pydict({"customer_id": ["C1"]})
    one = personal(orders, customer_id="hash").columns(rows)
    other = PersonalData(dataset(orders, customer_id="hash"), ",", {PII_KEY: "another key of enough characters"})
    assert other.columns(rows)["customer_id"] != one["customer_id"]
    assert personal(orders, customer_id="hash").columns(one)["customer_id"] == one["customer_id"]


def test_json_text_loses_the_value_and_keeps_every_other_as_written(orders):
    raw = '{"order_id": "o1", "customer_id":"C\\u0031\\"x", "amount": 1.50}'
    made = raw_of(personal(orders, customer_id="mask"), dead(raw, customer_id='C1"x'))
    assert made == '{"order_id":"o1","customer_id":"***","amount":1.50}'


@pytest.mark.parametrize(
    ("raw", "delimiter", "expected"),
    [
        ("o1,C-001,Medan", ",", "o1,***,Medan"),
        ('"o,1";"C-001";Medan', ";", '"o,1";***;Medan'),
        ('C-001,"x ""y""",C-001', ",", '***,"x ""y""",***'),
    ],
)
def test_csv_text_loses_the_field(orders, raw, delimiter, expected):
    assert raw_of(personal(orders, delimiter, customer_id="mask"), dead(raw, customer_id="C-001")) == expected


def test_value_that_stands_elsewhere_in_the_row_goes_too(orders):
    raw = "o1,Medan,C-001,call C-001 first"
    assert "C-001" not in raw_of(personal(orders, customer_id="mask"), dead(raw, customer_id="C-001"))


@pytest.mark.parametrize(
    "rows", [dead("C-001,\xff{", stage="decode", customer_id=None), dead("o1 C-001", customer_id="C-001")]
)
def test_text_in_which_the_value_cannot_be_found_is_withheld_whole(orders, rows):
    made = raw_of(personal(orders, customer_id="hash"), rows)
    assert "C-001" not in made
    assert made.startswith("[withheld")


def test_text_stays_exact_where_nothing_is_to_be_hidden(orders):
    assert raw_of(personal(orders, customer_id="keep"), dead("x", stage="decode", customer_id=None)) == "x"
    assert raw_of(personal(orders, customer_id="mask"), dead("o1,,x", customer_id=None)) == "o1,,x"


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20)


@given(value=TEXT, other=TEXT)
@example(value='"000', other="000")
@example(value='000"', other="000")
@example(value="n000", other="\n000")
@example(value="00e9ab", other="\u00e9ab")
@example(value="\\" * 4, other="\\" * 7)
@example(value='"000', other='a "000 b')
def test_no_event_shows_the_value_whatever_it_is(orders, value, other):
    raw = json.dumps({"order_id": other, "customer_id": value})
    made = raw_of(personal(orders, customer_id="mask"), dead(raw, customer_id=value))
    assert json.loads(made)["customer_id"] == "***"
    if len(value) >= 4 and value.isalnum() and value.isascii():
        assert value not in made


def test_lake_holds_no_personal_value_and_rules_still_reject(tmp_path, orders, monkeypatch):
    monkeypatch.setenv(PII_KEY, KEY[PII_KEY])
    masked = dataset(orders, customer_id="hash", store_id="mask")
    options = prepare(tmp_path, masked, read=10)
    rows = batch(orders, 0, 10)
    for name, text in (("customer_id", "CUST-1"), ("store_id", "STORE-7")):
        rows = rows.set_column(rows.schema.get_field_index(name), name, pa.array([text] * 10))
    raws = ['{"customer_id":"CUST-1","store_id":"STORE-7"}' if row % 5 == 0 else None for row in range(10)]
    rows = rows.set_column(rows.schema.get_field_index("raw"), "raw", pa.array(raws))
    writer = TaskWriter(options)
    writer.add(rows)
    entry = Committer(options).commit([writer.finish()], 0)
    assert (entry.counts.clean, entry.counts.dead) == (8, 2)
    for file in Path(options.lake).rglob("*.parquet"):
        shown = str(pq.ParquetFile(file).read().to_pylist())
        assert "CUST-1" not in shown
        assert "STORE-7" not in shown
        assert "hmac:" in shown
        assert "***" in shown


def test_only_a_text_can_be_masked():
    with pytest.raises(ValidationError, match="needs a string"):
        Column(name="born", type="date", pii="mask")


def test_key_is_asked_for_with_its_place_and_never_shown(tmp_path):
    text = (CONF / "datasets/orders.yaml").read_text().replace("pii: true", "pii: hash")
    (tmp_path / "orders.yaml").write_text(text)
    (tmp_path / "suite.yaml").write_text("name: s\nexpectations: []\n")
    (tmp_path / "conf.yaml").write_text(
        "dataset: orders.yaml\nsuite: suite.yaml\nlake: {root: lake}\nsources: {csv: {enabled: true}}\n"
    )
    with pytest.raises(ConfigError, match=r"orders.yaml: columns\[1\].pii: hash needs a key; set .*QSR_PII_KEY"):
        load(str(tmp_path / "conf.yaml"), (), {PII_KEY: "short"})
    assert KEY[PII_KEY] in load(str(tmp_path / "conf.yaml"), (), KEY).secrets
    with pytest.raises(ConfigError, match="QSR_PII_KEY has to be set where tasks run"):
        PersonalData(load(str(tmp_path / "conf.yaml"), (), KEY).dataset, ",", {})
