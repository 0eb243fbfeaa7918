"""The DAGs of deploy/airflow in a real Airflow: imported, and run by `airflow dags test` against moto: `make test-airflow`."""

from __future__ import annotations

import json

import pytest

from tests.deploy.airflow_home import DAGS, LAKE, WORK, Airflow, account

pytestmark = [pytest.mark.deploy, pytest.mark.timeout(3600)]
DAY = "2026-03-02"

_BAG = f"""
import json, pathlib
from airflow.dag_processing.dagbag import BundleDagBag
folder = pathlib.Path({str(DAGS)!r})
bag = BundleDagBag(folder, bundle_path=folder, bundle_name="dags")
dags = bag.dags.values()
print(json.dumps({{
    "errors": bag.import_errors,
    "seconds": {{stat.file: stat.duration.total_seconds() for stat in bag.dagbag_stats}},
    "dags": {{dag.dag_id: [dag.catchup, dag.max_active_runs, bool(dag.deadline)] for dag in dags}},
    "retries": sorted({{task.retries for dag in dags for task in dag.tasks}}),
    "silent": [task.task_id for dag in dags for task in dag.tasks if not task.on_failure_callback],
    "waits": {{task.task_id: task.deferrable for dag in dags for task in dag.tasks if hasattr(task, "deferrable")}},
    "pools": {{task.task_id: task.pool for dag in dags for task in dag.tasks if task.pool != "default_pool"}},
}}))
"""


@pytest.fixture(scope="module")
def airflow(tmp_path_factory):
    made = Airflow(tmp_path_factory.mktemp("airflow"))
    made.run("db", "migrate", env=made.environment())
    return made


@pytest.fixture
def there():
    with account() as made:
        yield made


def test_dags_are_imported_quickly_and_without_an_error(airflow):
    bag = airflow.python(_BAG)
    assert bag["errors"] == {}
    assert set(bag["seconds"]) == {"qsr_01_sensor.py", "qsr_02_end_to_end.py", "qsr_03_stream.py"}
    assert max(bag["seconds"].values()) < 2, bag["seconds"]
    assert bag["dags"] == dict.fromkeys(("qsr_01_sensor", "qsr_02_end_to_end", "qsr_03_stream"), [False, 1, True])
    assert bag["retries"] == [3]
    assert bag["silent"] == []
    assert set(bag["waits"].values()) == {True}
    assert bag["pools"] == {"load.gate_and_ingest": "qsr", "load": "qsr", "backfill": "qsr"}


def test_import_opens_no_connection_and_reads_no_variable(airflow):
    watched = """
import os, sys
touched = []
sys.addaudithook(lambda event, found: touched.append([event, repr(found)]) if event in EVENTS else None)
EVENTS = {"socket.connect", "socket.getaddrinfo"}
from airflow.sdk import Connection, Variable
for kind in (Connection, Variable):
    kind.get = classmethod(lambda *found, **more: touched.append([str(kind), repr(found)]))
"""
    seen = airflow.python(f"{watched}\n{_BAG}\nassert not bag.import_errors\nprint(json.dumps(touched))")
    assert seen == []


def _ended(code: int, message: str) -> dict:
    """What Glue answers of a run that one of deploy/glue's scripts ended."""
    failed = {"Id": "jr_1", "JobName": "qsr-ingest", "JobRunState": "FAILED", "StartedOn": 1767225600}
    return {"JobRun": failed | {"ErrorMessage": f"JobFailed: exit code {code}: {message}"}}


def test_uploads_become_glue_runs_of_one_file_each_and_leave_raw(airflow, there):
    there.upload("raw/a.csv", b"1")
    there.upload("raw/north/b.csv.gz", b"2")
    there.upload("raw/_hidden.csv", b"3")
    there.upload("raw/notes.txt", b"4")
    airflow.test("qsr_01_sensor", there, DAY)
    ingest = f"ingest --skip-existing s3://{LAKE}/lake/raw"
    assert sorted(there.commands("ingest")) == [f"{ingest}/a.csv", f"{ingest}/north/b.csv.gz"]
    assert there.keys(LAKE, "lake/archive/") == ["lake/archive/a.csv", "lake/archive/north/b.csv.gz"]
    assert there.keys(LAKE, "lake/raw/") == ["lake/raw/_hidden.csv", "lake/raw/notes.txt"]
    assert there.alerts() == []


def test_file_that_the_gate_refuses_is_set_aside_with_an_alert_and_no_other_try(airflow, there):
    there.upload("raw/bad.csv", b"1")
    gate = "the gate found 3 of 9 expectations that were not met"
    there.aws.fail("POST", "AWSGlue.GetJobRun", status=200, body=json.dumps(_ended(3, gate)), times=-1)
    airflow.test("qsr_01_sensor", there, DAY, ok=False)
    assert len(there.runs("ingest")) == 1
    assert there.keys(LAKE, "lake/raw/", "lake/archive/", "lake/rejected/") == ["lake/rejected/bad.csv"]
    (alert,) = there.alerts()
    assert alert["Subject"] == "qsr_01_sensor: settle failed"
    assert f"s3://{LAKE}/lake/raw/bad.csv is now s3://{LAKE}/lake/rejected/bad.csv: {gate}" in alert["Message"]
