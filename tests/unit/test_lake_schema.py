"""A dataset that changes under a lake: what may, and what is refused before anything is written."""

from __future__ import annotations

import json

import pytest

from streaming_app.errors import ConfigError, SinkError
from streaming_app.journal.lake_schema import hold_schema
from streaming_app.schema import Dataset
from tests.memory_storage import MemoryStorage


def dataset(*columns: tuple[str, str], **more: str) -> Dataset:
    given = columns or (("id", "string"), ("n", "bigint"), ("ts", "timestamp"))
    document = {"name": "d", "columns": [{"name": name, "type": kind} for name, kind in given], "time_column": "ts"}
    return Dataset.model_validate({**document, **more})


@pytest.fixture
def checkpoints() -> MemoryStorage:
    made = MemoryStorage()
    assert hold_schema(made, dataset(), "d.yaml") == []
    return made


def refused(checkpoints, changed: Dataset) -> dict[str, str]:
    before = checkpoints.get("schema.json")
    with pytest.raises(ConfigError) as caught:
        hold_schema(checkpoints, changed, "d.yaml")
    assert checkpoints.get("schema.json") == before
    return {problem.key: problem.message for problem in caught.value.problems}


def test_added_columns_are_taken_over_wherever_they_stand(checkpoints):
    more = dataset(("tip", "decimal(6,2)"), ("id", "string"), ("n", "bigint"), ("ts", "timestamp"), ("x", "date"))
    assert hold_schema(checkpoints, more, "d.yaml") == ["tip", "x"]
    assert hold_schema(checkpoints, more, "d.yaml") == []
    assert set(refused(checkpoints, dataset())) == {"columns.tip", "columns.x"}


def test_same_columns_in_another_order_are_the_same(checkpoints):
    assert hold_schema(checkpoints, dataset(("ts", "timestamp"), ("n", "bigint"), ("id", "string")), "d.yaml") == []


@pytest.mark.parametrize("kind", ["int", "string", "decimal(10,2)", "double"])
def test_type_neither_narrows_nor_widens(checkpoints, kind):
    found = refused(checkpoints, dataset(("id", "string"), ("n", kind), ("ts", "timestamp")))
    assert f"is bigint in the lake and {kind} here" in found["columns.n.type"]
    assert "add a column with another name" in found["columns.n.type"]


def test_rename_is_refused_and_says_to_keep_the_old_name(checkpoints):
    found = refused(checkpoints, dataset(("id", "string"), ("number", "bigint"), ("ts", "timestamp")))
    assert set(found) == {"columns.n"}
    assert "put it back" in found["columns.n"]


@pytest.mark.parametrize(
    "change", [{"partition_column": "day"}, {"time_zone": "Asia/Jakarta"}, {"time_column": "other"}]
)
def test_partition_cannot_change(checkpoints, change):
    columns = (("id", "string"), ("n", "bigint"), ("ts", "timestamp"), ("other", "timestamp"))
    found = refused(checkpoints, dataset(*columns, **change))
    assert set(found) == set(change)
    assert "another lake" in next(iter(found.values()))


def test_all_changes_are_told_together(checkpoints):
    found = refused(checkpoints, dataset(("n", "int"), ("ts", "timestamp"), time_zone="Asia/Jakarta"))
    assert set(found) == {"columns.id", "columns.n.type", "time_zone"}


def test_description_and_personal_data_may_change(checkpoints):
    document = json.loads(dataset().to_option())
    document["columns"][0] |= {"pii": "mask", "description": "new", "required": True}
    assert hold_schema(checkpoints, Dataset.model_validate(document), "d.yaml") == []


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"columns": 1}', b'{"columns": {}}'])
def test_damaged_record_is_an_error_that_says_what_to_do(checkpoints, damage):
    checkpoints.put("schema.json", damage)
    with pytest.raises(SinkError, match="restore it from a backup"):
        hold_schema(checkpoints, dataset(), "d.yaml")
