"""Which suite judges which batch: bound before it runs, the same when it runs again, whatever was cut off."""

from __future__ import annotations

import pytest

from streaming_app.errors import SinkError
from streaming_app.journal.suites import SuiteBindings
from tests.memory_storage import MemoryStorage


class Checkpoint:
    """A checkpoint as Spark leaves it."""

    def __init__(self) -> None:
        self.storage = MemoryStorage()
        self.bindings = SuiteBindings(self.storage)

    def plan(self, batch_id: int) -> None:
        self.storage.put(f"offsets/{batch_id}", b"v1")

    def commit(self, batch_id: int) -> None:
        self.plan(batch_id)
        self.storage.put(f"commits/{batch_id}", b"v1")

    def bind(self, suite: str) -> int:
        return self.bindings.bind(suite, {"name": suite})


@pytest.fixture
def checkpoint():
    return Checkpoint()


def test_binding_holds_from_the_next_batch_on_until_another(checkpoint):
    assert checkpoint.bind("a") == 0
    for batch in range(3):
        checkpoint.commit(batch)
    assert checkpoint.bind("b") == 3
    checkpoint.commit(3)
    assert [checkpoint.bindings.bound(batch) for batch in (0, 2, 3, 99)] == ["a", "a", "b", "b"]
    assert checkpoint.bindings.document("a") == {"name": "a"}


def test_batch_that_was_planned_and_not_committed_keeps_its_suite(checkpoint):
    checkpoint.bind("a")
    checkpoint.commit(0)
    checkpoint.plan(1)
    assert checkpoint.bindings.begun_under() == "a"
    checkpoint.commit(1)
    assert checkpoint.bindings.begun_under() is None
    assert checkpoint.bind("b") == 2
    assert checkpoint.bindings.bound(1) == "a"


def test_killed_between_binding_and_first_batch_any_suite_may_follow(checkpoint):
    checkpoint.bind("a")
    assert checkpoint.bindings.begun_under() is None
    assert checkpoint.bind("b") == 0
    assert checkpoint.bindings.bound(0) == "b"


def test_batch_that_the_breaker_stopped_may_be_judged_by_other_rules(checkpoint):
    checkpoint.bind("a")
    checkpoint.plan(0)
    checkpoint.bindings.stopped(0)
    assert checkpoint.bindings.begun_under() is None
    assert checkpoint.bind("b") == 0
    assert checkpoint.bindings.bound(0) == "b"
    checkpoint.commit(0)
    checkpoint.plan(1)
    assert checkpoint.bindings.begun_under() == "b"


def test_checkpoint_of_a_version_without_bindings_goes_on(checkpoint):
    checkpoint.commit(0)
    checkpoint.plan(1)
    assert checkpoint.bindings.begun_under() is None
    assert checkpoint.bind("a") == 1


def test_same_suite_writes_nothing_at_a_restart(checkpoint):
    checkpoint.bind("a")
    checkpoint.commit(0)
    checkpoint.bind("a")
    assert [item.key for item in checkpoint.storage.list("suites/bindings")] == [f"suites/bindings/{0:020d}.json"]


def test_suite_that_is_gone_is_named(checkpoint):
    with pytest.raises(SinkError, match=r"suites/documents/x.json is gone; restore"):
        checkpoint.bindings.document("x")
