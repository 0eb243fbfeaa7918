"""The DAGs of deploy/airflow in a real Airflow: imported, and run by `airflow dags test` against moto: `make test-airflow`."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from streaming_app.cli import main
from streaming_app.producer import events
from tests.deploy.airflow_home import (
    DAGS,
    HOST,
    JOBS,
    LAKE,
    REPOSITORY,
    WORK,
    Airflow,
    account,
    on_the_worker,
    put_configuration,
)
from tests.deploy.permissions import Need, grants, missing, needs_of, unused
from tests.deploy.recording import read_calls, recording_moto
from tests.deploy.terraform import Terraform

pytestmark = [pytest.mark.deploy, pytest.mark.timeout(3600)]
DAY = "2026-03-02"
AMI = "ami-0123456789abcdef0"  # no machine is made of it
UNEXERCISED = yaml.safe_load((Path(__file__).parent / "unexercised.yaml").read_text())["airflow"]

_BAG = f"""
import json, pathlib, time
from airflow.dag_processing.dagbag import BundleDagBag
began = time.process_time()
folder = pathlib.Path({str(DAGS)!r})
bag = BundleDagBag(folder, bundle_path=folder, bundle_name="dags")
dags = bag.dags.values()
print(json.dumps({{
    "errors": bag.import_errors,
    "files": sorted(stat.file for stat in bag.dagbag_stats),
    "cpu": time.process_time() - began,
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
    assert bag["files"] == ["qsr_01_sensor.py", "qsr_02_end_to_end.py", "qsr_03_stream.py"]
    assert (
        bag["cpu"] < 2
    )  # seconds for all three, what they import included; not on the clock, as others use this machine
    assert bag["dags"] == {name: [False, 1, True] for name in ("qsr_01_sensor", "qsr_02_end_to_end", "qsr_03_stream")}
    assert bag["retries"] == [3]
    assert bag["silent"] == []
    assert set(bag["waits"].values()) == {True}
    assert bag["pools"] == dict.fromkeys(("load.gate_and_ingest", "gate", "load", "backfill"), "qsr")


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


def _ended(code: int, message: str) -> str:
    """What Glue answers, of one run or of all, when one of deploy/glue's scripts has ended the only one."""
    run = {"Id": "jr_1", "JobName": "qsr", "JobRunState": "FAILED", "StartedOn": 1767225600}
    run |= {"ErrorMessage": f"JobFailed: exit code {code}: {message}"}
    return json.dumps({"JobRun": run, "JobRuns": [run]})


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


_TIMED_OUT = f"""
import json, pathlib
from airflow.dag_processing.dagbag import BundleDagBag
from airflow.sdk.bases.operator import TriggerFailureReason
folder = pathlib.Path({str(DAGS)!r})
sensor = BundleDagBag(folder, bundle_path=folder, bundle_name="dags").dags["qsr_01_sensor"].get_task("wait_for_uploads")
ends = []
for error in (TriggerFailureReason.TRIGGER_TIMEOUT, TriggerFailureReason.TRIGGER_FAILURE):
    try:
        sensor.resume_execution("__fail__", {{"error": error}}, {{}})
    except Exception as raised:
        ends.append(type(raised).__name__)
print(json.dumps(ends))
"""


def test_quarter_of_an_hour_without_a_file_is_skipped_and_a_trigger_that_fails_is_not(airflow):
    assert airflow.python(_TIMED_OUT) == ["AirflowSkipException", "TaskDeferralError"]


def test_run_that_glue_refused_does_not_hide_the_one_that_runs(airflow, there):
    running = {"Id": "jr_1", "JobName": "qsr-streaming", "JobRunState": "RUNNING", "StartedOn": 1767225600}
    refused = running | {"Id": "jr_2", "JobRunState": "FAILED", "StartedOn": 1767226500}
    refused["ErrorMessage"] = "Concurrent runs exceeded for qsr-streaming (Error Code: ConcurrentRunsExceededException)"
    body = json.dumps({"JobRuns": [refused, running]})
    there.aws.fail("POST", "AWSGlue.GetJobRuns", status=200, body=body, times=-1)
    there.upload("raw/a.csv", b"1")
    airflow.test("qsr_01_sensor", there, DAY)
    there.aws.heal()
    assert there.runs("ingest") == []
    assert there.keys(LAKE, "lake/raw/") == ["lake/raw/a.csv"]


def test_file_that_the_gate_refuses_is_set_aside_with_an_alert_and_no_other_try(airflow, there):
    there.upload("raw/bad.csv", b"1")
    gate = "the gate found 3 of 9 expectations that were not met"
    there.aws.fail("POST", "AWSGlue.GetJobRun", status=200, body=_ended(3, gate), times=-1)
    airflow.test("qsr_01_sensor", there, DAY, ok=False)
    assert len(there.runs("ingest")) == 1
    assert there.keys(LAKE, "lake/raw/", "lake/archive/", "lake/rejected/") == ["lake/rejected/bad.csv"]
    (alert,) = there.alerts()
    assert alert["Subject"] == "qsr_01_sensor: settle failed"
    assert f"s3://{LAKE}/lake/raw/bad.csv is now s3://{LAKE}/lake/rejected/bad.csv: {gate}" in alert["Message"]


def test_day_goes_through_every_job_in_order_and_its_answers_are_published(airflow, there):
    there.upload("raw/a.csv", b"1")
    rows = [{"Data": [{"VarCharValue": "input_source"}]}, {"Data": [{"VarCharValue": "stream"}]}]
    there.moto("static/athena/query-results", {"results": [{"rows": rows, "column_info": []}]})
    airflow.test("qsr_02_end_to_end", there, DAY)
    path = f"s3://{LAKE}/lake/raw/a.csv"
    assert there.commands("ingest") == [f"validate {path}"]
    stream = "backfill --skip-existing --input-source stream --since 2026-02-28 --until 2026-03-01"
    assert sorted(there.commands("backfill")) == [stream, f"backfill --skip-existing {path}"]
    commands = [there.commands(job) for job in ("compact", "catalog", "audit")]
    assert commands == [["compact --all --older-than 1d"], ["catalog sync"], ["audit"]]
    order = [there.runs(job)[-1]["StartedOn"] for job in ("ingest", "backfill", "compact", "catalog", "audit")]
    assert order == sorted(order)
    assert there.keys(LAKE, "lake/raw/", "lake/archive/") == ["lake/archive/a.csv"]
    published = [f"published/sales_by_input_source/{name}.csv" for name in ("2026-03-01", "latest")]
    assert there.keys(WORK, "published/") == published
    assert "stream" in there.read(WORK, published[1])
    assert there.alerts() == []


def test_streaming_job_is_started_where_it_does_not_run_and_left_alone_where_it_does(airflow, there):
    there.job_runs_take(1000)
    airflow.test("qsr_03_stream", there, DAY)
    (run,) = there.runs("streaming")
    (alert,) = there.alerts()
    assert alert["Subject"] == "qsr-streaming was started"
    assert run["Id"] in alert["Message"]
    _figures(there, qsr_lag_seconds=12, qsr_last_trigger_age_seconds=3, qsr_last_success_age_seconds=20)
    airflow.test("qsr_03_stream", there, "2026-03-03")
    assert len(there.runs("streaming")) == 1
    _figures(there, qsr_lag_seconds=4000)
    airflow.test("qsr_03_stream", there, "2026-03-04", ok=False)
    (alert,) = there.alerts()
    assert "4000 s behind the stream's tip, the limit is 300" in alert["Message"]
    there.upload("raw/a.csv", b"1")  # which the running service loads itself
    airflow.test("qsr_01_sensor", there, DAY)
    assert there.runs("ingest") == []
    assert there.keys(LAKE, "lake/raw/") == ["lake/raw/a.csv"]


def test_streaming_job_that_ended_for_a_reason_is_not_started_before_somebody_says_so(airflow, there):
    there.aws.fail("POST", "AWSGlue.GetJobRuns", status=200, body=_ended(3, "60 of 100 rows were rejected"), times=-1)
    airflow.test("qsr_03_stream", there, DAY, ok=False)
    (alert,) = there.alerts()
    assert "60 of 100 rows were rejected" in alert["Message"]
    airflow.test("qsr_03_stream", there, "2026-03-02T00:30:00", ok=False)  # the next one says nothing new
    assert there.alerts() == []
    airflow.test("qsr_03_stream", there, "2026-03-03", "--conf", json.dumps({"force": True}))
    there.aws.heal()
    assert len(there.runs("streaming")) == 1


@pytest.fixture(scope="module")
def calls(airflow, tmp_path_factory):
    """What the host calls in a day of all three DAGs."""
    file = tmp_path_factory.mktemp("calls") / "calls.jsonl"
    with account(file, jobs=(*JOBS, "vacuum")) as there:
        there.upload("raw/a.csv", b"1")
        rows = [{"Data": [{"VarCharValue": "input_source"}]}]
        there.moto("static/athena/query-results", {"results": [{"rows": rows, "column_info": []}]})
        airflow.test("qsr_02_end_to_end", there, DAY)
        there.upload("raw/b.csv", b"2")
        airflow.test("qsr_01_sensor", there, DAY)
        there.job_runs_take(1000)
        airflow.test("qsr_03_stream", there, DAY)
        airflow.test("qsr_03_stream", there, "2026-03-03")
        return [call for call in read_calls(file) if call.key == HOST]


@pytest.fixture(scope="module")
def role(tmp_path_factory):
    """What Terraform lets the host do, of that role's own apply: names are those of airflow_home.py."""
    if shutil.which("terraform") is None:
        pytest.skip("needs terraform on the PATH")
    folder = tmp_path_factory.mktemp("role")
    (folder / "calls.jsonl").touch()
    with recording_moto(folder / "calls.jsonl") as aws:
        terraform = Terraform(folder / "checkout", aws.url)
        terraform.init()
        terraform.apply_part("module.airflow[0].aws_iam_role_policy.this", airflow_enabled=True, airflow_ami_id=AMI)
        found = aws.client("iam").get_role_policy(RoleName="qsr-airflow-us-east-1", PolicyName="airflow")
        return grants(found["PolicyDocument"])


def test_terraforms_role_allows_every_call_of_the_dags(calls, role):
    assert missing(needs_of(calls), role) == []


def test_terraforms_role_grants_nothing_that_the_dags_do_not_take_but_for_a_list_with_reasons(calls, role):
    found = {grant.name for grant in unused(needs_of(calls), role)}
    assert sorted(found) == sorted(UNEXERCISED), "grant no more, or say why in unexercised.yaml"


def test_terraforms_role_sees_neither_checkpoints_nor_rows_as_they_came(role):
    lake = f"arn:aws:s3:::{LAKE}"
    hidden = [Need("s3:GetObject", (f"{lake}/lake/{name}/x",)) for name in ("checkpoints", "raw_stream", "quality")]
    hidden += [Need("s3:ListBucket", (lake,), {"s3:prefix": prefix}) for prefix in ("", "lake/", "lake/raw_stream/")]
    assert len(missing(hidden, role)) == len(hidden)


def test_host_calls_what_the_readme_lists_and_nothing_else(calls):
    taken = {(need.action, _place(resource)) for need in needs_of(calls) for resource in need.resources}
    assert taken == {(action, place) for action, place in _listed() if (action, place) not in UNCALLED}


# What is for others than these calls: Athena reads with the caller's rights, a run that is killed is stopped, an upload that is cut
# off is aborted, and a refused file is put elsewhere; test_our_commands... sees that one.
UNCALLED = {
    ("glue:BatchStopJobRun", "jobs"),
    ("athena:StopQueryExecution", "workgroup"),
    ("s3:PutObject", "lake/rejected"),
    *(
        (f"s3:{action}", place)
        for action in ("AbortMultipartUpload",)
        for place in ("lake/archive", "lake/rejected", "work/athena", "work/published")
    ),
    *((f"glue:{action}", "catalog") for action in ("GetDatabase", "GetTable", "GetTables", "GetPartitions")),
    ("s3:GetBucketLocation", "work"),
    *(("s3:GetObject", f"lake/{name}") for name in ("archive", "rejected", "clean", "dead_letter", "compacted")),
    ("s3:PutObject", "work/athena"),
    ("kms:Decrypt", "key"),
    ("kms:GenerateDataKey", "key"),
}


def _listed() -> set[tuple[str, str]]:
    """Action and place of each line of the README's table, whose last column names the places."""
    table = (
        (REPOSITORY / "deploy/airflow/README.md")
        .read_text()
        .partition("| actions | on | places |")[2]
        .partition("\n\n")[0]
    )
    lines = [line.split("|") for line in table.splitlines() if line.startswith("| `")]
    return {
        (action, place)
        for _, actions, _, places, _ in lines
        for action in re.findall(r"`([a-z0-9]+:\w+)`", actions)
        for place in re.findall(r"`([^`]+)`", places)
    }


def _place(resource: str) -> str:
    """The README's word for a resource. A query's id says nothing of its workgroup."""
    if ":" not in resource:
        return {"?": "workgroup"}.get(resource, resource)
    _, _, _, _, _, name = resource.split(":", 5)
    found = {"job": "jobs", "workgroup": "workgroup", "qsr-alerts": "topic", LAKE: "lake", WORK: "work"}
    first, *rest = re.split("[/:]", name)
    if first == LAKE and len(rest) > 1:
        return f"lake/{rest[1]}"
    return f"work/{rest[0]}" if first == WORK and rest else found.get(first, first)


def _figures(there, **values):
    """What the service sends to CloudWatch."""
    source = [{"Name": "source", "Value": "kinesis"}]
    data = [{"MetricName": name, "Dimensions": source, "Value": value} for name, value in values.items()]
    there.aws.client("cloudwatch").put_metric_data(
        Namespace="qsr", MetricData=[{**datum, "Timestamp": datetime.now(UTC)} for datum in data]
    )


def test_wrong_variables_are_named_all_at_once_and_nothing_is_tried_again(airflow, there):
    there.upload("raw/a.csv", b"1")
    said = airflow.test("qsr_01_sensor", there, DAY, ok=False, run_on="laptop", lag=3)
    assert "Variable qsr_options: lag: unknown; there are run_on, " in said
    assert "run_on: 'laptop' is neither glue nor worker" in said
    assert there.runs("ingest") == []


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    folder = tmp_path_factory.mktemp("samples")
    assert main(["produce", "--samples", str(folder)]) == 0
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_our_commands_load_the_good_file_and_set_the_bad_ones_aside(airflow, there, samples):
    put_configuration(there)
    for name, data in {**samples, "empty.csv": b""}.items():
        there.upload(f"raw/{name}", data)
    worker = on_the_worker(there)
    airflow.test("qsr_01_sensor", there, DAY, ok=False, **worker)
    assert there.keys(LAKE, "lake/raw/", "lake/archive/") == ["lake/archive/orders.csv"]
    assert there.keys(LAKE, "lake/rejected/") == ["lake/rejected/bad_orders.csv", "lake/rejected/empty.csv"]
    told = "".join(alert["Message"] for alert in there.alerts())
    assert f"s3://{LAKE}/lake/raw/bad_orders.csv is now s3://{LAKE}/lake/rejected/bad_orders.csv" in told
    assert f"s3://{LAKE}/lake/raw/empty.csv is now s3://{LAKE}/lake/rejected/empty.csv" in told
    assert _audited(there, worker) == samples["orders.csv"].count(b"\n") - 1


def test_our_commands_take_a_day_from_raw_files_to_published_answers(airflow, there, samples):
    put_configuration(there)
    made = events(1, start=datetime(2026, 3, 1, 9, tzinfo=UTC), count=50)
    there.upload("raw_stream/2026/03/01/09/qsr-1", b"\n".join(event.payload for event in made))
    there.upload("raw/orders.csv", samples["orders.csv"])
    worker = on_the_worker(there)
    airflow.test("qsr_02_end_to_end", there, DAY, **worker)
    files = samples["orders.csv"].count(b"\n") - 1
    assert _audited(there, worker) == files + 50
    assert there.keys(LAKE, "lake/raw/") == []
    assert there.alerts() == []
    answer = list(csv.DictReader(io.StringIO(there.read(WORK, "published/sales_by_input_source/2026-03-01.csv"))))
    assert {row["input_source"] for row in answer} == {"batch", "stream"}
    tables = there.aws.client("glue").get_tables(DatabaseName="qsr")["TableList"]
    assert {table["Name"] for table in tables} == {"clean", "dead_letter"}


def _audited(there, worker) -> int:
    """The rows that the audit found, all of them in one place once."""
    overrides = [word for setting in worker["overrides"].split() for word in ("--set", setting)]
    done = subprocess.run(
        [
            *worker["command"].split(),
            "audit",
            "--settled",
            "--json",
            "--config",
            there.outputs["config_uri"],
            *overrides,
        ],
        env=Airflow(REPOSITORY).environment(there),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return sum(source["rows_read"] for source in json.loads(done.stdout)["sources"])
