"""A real Airflow in an environment of its own, with our DAGs, and moto with what Terraform's outputs name."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from tests.deploy.recording import recording_moto
from tests.moto_server import CREDENTIALS, REGION, MotoServer, moto_server

REPOSITORY = Path(__file__).resolve().parents[2]
DAGS = REPOSITORY / "deploy" / "airflow" / "dags"
JOBS = ("streaming", "ingest", "backfill", "compact", "catalog", "audit")
LAKE, WORK = (f"qsr-{name}-123456789012-{REGION}" for name in ("lake", "work"))  # as Terraform names them
HOST = "airflow-host"  # whose access key Airflow signs with
_TIMEOUT = 600.0  # seconds of one `dags test`
# Airflow 3.3.2's `dags test` ends so after it has marked a run of a DAG with a deadline as successful, and only then
# (apache/airflow#73428).
_SUCCEEDED_BUT = "FROM deadline_alert"


@dataclass
class Account:
    """Buckets, Glue jobs, a topic with a queue behind it, and a named query, as Terraform makes them."""

    aws: MotoServer
    outputs: dict[str, Any] = field(default_factory=dict)
    queue: str = ""
    jobs: tuple[str, ...] = JOBS

    def make(self) -> None:
        """All of it."""
        for bucket in (LAKE, WORK):
            self.aws.client("s3").create_bucket(Bucket=bucket)
        topic = self.aws.client("sns").create_topic(Name="qsr-alerts")["TopicArn"]
        sqs = self.aws.client("sqs")
        self.queue = sqs.create_queue(QueueName="somebody")["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=self.queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        self.aws.client("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
        for name in self.jobs:
            command = {"Name": "glueetl", "ScriptLocation": f"s3://{WORK}/artifacts/glue/batch.py"}
            self.aws.client("glue").create_job(Name=f"qsr-{name}", Role="arn:aws:iam::1:role/qsr", Command=command)
        athena = self.aws.client("athena")
        athena.create_work_group(Name="qsr", Tags=[{"Key": "project", "Value": "qsr"}])
        query = athena.create_named_query(
            Name="sales_by_input_source", Database="qsr", QueryString="SELECT 1", WorkGroup="qsr"
        )
        self.outputs = {
            "lake_uri": f"s3://{LAKE}/lake",
            "uploads_uri": f"s3://{LAKE}/lake/raw/",
            "config_uri": f"s3://{WORK}/artifacts/conf/production.yaml",
            "work_bucket": WORK,
            "database": "qsr",
            "workgroup": "qsr",
            "topic_arn": topic,
            "namespace": "qsr",
            "jobs": {name: f"qsr-{name}" for name in self.jobs},
            "named_queries": {"sales_by_input_source": query["NamedQueryId"]},
        }

    def upload(self, name: str, data: bytes) -> None:
        """Put a file into the lake."""
        self.aws.client("s3").put_object(Bucket=LAKE, Key=f"lake/{name}", Body=data)

    def keys(self, bucket: str, *prefixes: str) -> list[str]:
        """Objects below the prefixes."""
        s3 = self.aws.client("s3")
        listed = [s3.list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", []) for prefix in prefixes]
        return [item["Key"] for part in listed for item in part]

    def read(self, bucket: str, key: str) -> str:
        """An object's text."""
        return self.aws.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read().decode()

    def alerts(self) -> list[dict[str, str]]:
        """What arrived behind the topic since the last call."""
        sqs, found = self.aws.client("sqs"), []
        while got := sqs.receive_message(QueueUrl=self.queue, MaxNumberOfMessages=10).get("Messages"):
            for message in got:
                found.append(json.loads(message["Body"]))
                sqs.delete_message(QueueUrl=self.queue, ReceiptHandle=message["ReceiptHandle"])
        return found

    def runs(self, job: str) -> list[dict[str, Any]]:
        """Runs of a Glue job."""
        return self.aws.client("glue").get_job_runs(JobName=f"qsr-{job}")["JobRuns"]

    def commands(self, job: str) -> list[str]:
        """What a Glue job was asked to run."""
        return [run["Arguments"]["--COMMAND"] for run in self.runs(job)]

    def job_runs_take(self, looks: int) -> None:
        """A Glue job run goes on to its next state after so many looks at it; 0: it has succeeded at the first."""
        how = {"progression": "manual", "times": looks} if looks else {"progression": "immediate"}
        self.moto("state-manager/set-transition", {"model_name": "glue::job_run", "transition": how})

    def moto(self, what: str, document: dict[str, Any]) -> None:
        """Call moto's own API."""
        body = json.dumps(document).encode()
        request = Request(f"{self.aws.url}/moto-api/{what}", body, {"Content-Type": "application/json"})  # noqa: S310
        with urlopen(request, timeout=10) as answer:  # noqa: S310
            assert answer.status in {200, 201}


@contextmanager
def account(calls: Path | None = None, jobs: tuple[str, ...] = JOBS) -> Iterator[Account]:
    """An account of its own, gone at the end; its calls are written down where a file is named."""
    with moto_server() if calls is None else recording_moto(calls) as aws:
        made = Account(aws, jobs=jobs)
        made.make()
        yield made


@dataclass(frozen=True)
class Airflow:
    """Airflow's commands with a home of their own, DAGs from this repository, and an account."""

    home: Path

    def environment(self, there: Account | None = None, **options: Any) -> dict[str, str]:
        """The variables of a child; with an account, both Airflow Variables and the connection, too."""
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
        found = kept | {
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
            "AIRFLOW__CORE__UNIT_TEST_MODE": "false",
        }
        if there is None:
            return found
        variables = {
            "AIRFLOW_VAR_QSR": json.dumps(there.outputs),
            "AIRFLOW_VAR_QSR_OPTIONS": json.dumps(options),
            "AIRFLOW_CONN_AWS_DEFAULT": "aws://",
        }
        return found | CREDENTIALS | variables | {"AWS_ENDPOINT_URL": there.aws.url, "AWS_ACCESS_KEY_ID": HOST}

    def run(self, *arguments: str, env: dict[str, str], check: bool = True) -> subprocess.CompletedProcess[str]:
        """One command of `airflow`."""
        done = subprocess.run(
            [os.environ["AIRFLOW_PYTHON"], "-m", "airflow", *arguments],
            env=env,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
            check=False,
        )
        assert not check or done.returncode == 0, (done.stdout + done.stderr)[-8000:]
        return done

    def python(self, code: str, env: dict[str, str] | None = None) -> Any:
        """Run a few lines in Airflow's environment; returns what they print as JSON in their last line."""
        done = subprocess.run(
            [os.environ["AIRFLOW_PYTHON"], "-c", code],
            env=env or self.environment(),
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
            check=False,
        )
        assert done.returncode == 0, (done.stdout + done.stderr)[-8000:]
        return json.loads(done.stdout.splitlines()[-1])

    def test(self, dag: str, there: Account, *arguments: str, ok: bool = True, **options: Any) -> str:
        """`airflow dags test` of one day; returns all it printed. A run whose DAG fails exits with an error."""
        done = self.run("dags", "test", dag, *arguments, env=self.environment(there, **options), check=False)
        said = done.stdout + done.stderr
        succeeded = done.returncode == 0 or (_SUCCEEDED_BUT in said and "successful [airflow.models.dagrun" in said)
        assert succeeded is ok, said[-12000:]
        return said


def on_the_worker(there: Account) -> dict[str, Any]:
    """Options that run our own commands in this project's environment, with a lake on moto's S3."""
    settings = {
        "lake.s3.path_style": "true",
        "lake.s3.endpoint_url": there.aws.url,
        "lake.s3.region": REGION,
        "sources.kinesis.enabled": "false",
        "spark.master": "local[2,4]",
        "alerts.sns_topic_arn": there.outputs["topic_arn"],
        "catalog.type": "glue",
        "catalog.database": there.outputs["database"],
    }
    overrides = " ".join(f"{name}={value}" for name, value in settings.items())
    command = f"env LAKE_BUCKET={LAKE} QSR_METRICS=false AWS_REGION={REGION} {sys.executable} -m batch_app"
    return {"run_on": "worker", "command": command, "overrides": overrides}


def put_configuration(there: Account) -> None:
    """conf/ where Terraform puts it."""
    for file in (path for path in (REPOSITORY / "conf").rglob("*") if path.is_file()):
        there.aws.client("s3").upload_file(str(file), WORK, f"artifacts/{file.relative_to(REPOSITORY)}")
