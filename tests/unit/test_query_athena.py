"""What moto's Athena never does: queue, fail, answer in pages, and be given up."""

from __future__ import annotations

import pyarrow as pa
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError

from batch_app.query.athena_engine import Athena
from streaming_app.config.models import AthenaConfig
from streaming_app.errors import ConfigError, SinkError

CONFIG = AthenaConfig(database="qsr")


class Scripted:
    """An Athena that goes through the given states and answers the given pages."""

    def __init__(self, *states: dict | BaseException, pages: list[list[str]] | None = None):
        self._states, self._pages = list(states), pages or []
        self.stopped: list[str] = []

    def start_query_execution(self, **request):
        self.request = request
        return {"QueryExecutionId": "q-1"}

    def get_query_execution(self, QueryExecutionId):  # noqa: ARG002, N803 - boto3's name
        state = self._states.pop(0)
        if isinstance(state, BaseException):
            raise state
        return {"QueryExecution": {"Status": state, "Statistics": {"DataScannedInBytes": 5}}}

    def stop_query_execution(self, QueryExecutionId):  # noqa: N803 - boto3's name
        self.stopped.append(QueryExecutionId)

    def get_paginator(self, name):
        assert name == "get_query_results"
        return self

    def paginate(self, **_):
        info = {"ColumnInfo": [{"Name": "n", "Type": "bigint"}]}
        for page in self._pages:
            rows = [{"Data": [{"VarCharValue": text}]} for text in page]
            yield {"ResultSet": {"ResultSetMetadata": info, "Rows": rows}}


def ask(client) -> pa.Table:
    answer = Athena(CONFIG, wait=0, client=client).ask("SELECT n")
    return pa.Table.from_batches(answer.batches, answer.schema)


def test_all_pages_are_read_and_only_the_first_has_a_header():
    states = [{"State": "QUEUED"}, {"State": "RUNNING"}, {"State": "SUCCEEDED"}]
    table = ask(Scripted(*states, pages=[["n", "1", "2"], ["3"], ["4"]]))
    assert table.column("n").to_pylist() == [1, 2, 3, 4]


def test_query_that_athena_refuses_is_the_users_and_any_other_failure_is_not():
    wrong = {"State": "FAILED", "StateChangeReason": "no column x", "AthenaError": {"ErrorCategory": 2}}
    with pytest.raises(ConfigError, match="no column x"):
        ask(Scripted(wrong))
    broken = {"State": "FAILED", "StateChangeReason": "internal", "AthenaError": {"ErrorCategory": 1}}
    with pytest.raises(SinkError, match="internal"):
        ask(Scripted(broken))


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        ("InvalidRequestException", ConfigError, "refused"),
        ("ThrottlingException", SinkError, "again"),
        ("TooManyRequestsException", SinkError, "again"),
        ("InternalServerException", SinkError, "again"),
        ("AccessDeniedException", SinkError, "athena:StartQueryExecution"),
        (EndpointConnectionError(endpoint_url="https://athena"), SinkError, "again"),
        (NoCredentialsError(), ConfigError, "credentials"),
    ],
)
def test_what_the_user_has_to_mend_is_told_from_what_passes(error, kind, words):
    if isinstance(error, str):
        error = ClientError({"Error": {"Code": error, "Message": "injected"}}, "StartQueryExecution")
    with pytest.raises(kind, match=words) as caught:
        ask(Scripted(error))
    assert str(error) in str(caught.value)


def test_query_that_is_interrupted_is_stopped_at_athena_too():
    client = Scripted({"State": "RUNNING"}, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        ask(client)
    assert client.stopped == ["q-1"]
