"""Accepted losses: noted once, told once, counted over restarts."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from streaming_app.journal.losses import Losses
from streaming_app.journal.read_log import ReadLog
from streaming_app.metrics import catalogue as m
from streaming_app.metrics.recorder import Recorder
from streaming_app.metrics.values import Values
from streaming_app.running import _watching_losses
from streaming_app.storage.local import LocalStorage


@pytest.fixture
def log(tmp_path):
    return ReadLog(LocalStorage(tmp_path))


def test_a_loss_is_noted_once_whoever_notices_it(log):
    assert Losses(log).note("shard-1", "what came in 6 hours", where="shard-1")
    assert not Losses(log).note("shard-1", "what came in 7 hours")
    (loss,) = Losses(log).all()
    assert (loss.name, loss.what, loss.detail) == ("shard-1", "what came in 6 hours", {"where": "shard-1"})


def test_each_loss_is_told_once_over_restarts(log):
    told = []
    Losses(log).note("a", "first")
    assert len(Losses(log).tell(lambda loss: told.append(loss.what))) == 1
    Losses(log).note("b", "second")
    for _ in range(2):
        assert len(Losses(log).tell(lambda loss: told.append(loss.what))) == 2
    assert told == ["first", "second"]


def test_a_loss_that_an_older_version_noted_counts(log):
    log.note("lost-shard-1", {"what": "shard 1", "from": 1.0, "to": 2.0})
    (loss,) = Losses(log).all()
    assert (loss.what, loss.noticed_at) == ("shard 1", 0.0)


@pytest.mark.parametrize("accepted", [True, False])
def test_the_service_counts_and_alerts_where_losses_are_accepted(log, accepted):
    Losses(log).note("a", "shard a was read up to noon")
    values, sent = Values(), []
    kinesis = SimpleNamespace(fail_on_data_loss=not accepted)
    loaded = SimpleNamespace(config=SimpleNamespace(sources=SimpleNamespace(kinesis=kinesis)))
    look = _watching_losses(loaded, {"kinesis": log}, Recorder(values), SimpleNamespace(send=sent.append))
    look(SimpleNamespace(source="kinesis"))
    Losses(log).note("b", "shard b was read up to one")
    look(SimpleNamespace(source="csv"))
    assert [alert.text for alert in sent] == (["shard a was read up to noon"] if accepted else [])
    assert values.get(m.LOSSES, "kinesis") == (1 if accepted else 0)
    assert (values.get(m.LAST_LOSS, "kinesis") > 0) == accepted
