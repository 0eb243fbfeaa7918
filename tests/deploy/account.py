"""A whole deployment on moto: Terraform applied, the service and the jobs run on exactly what it made, then portfolio mode.

Everything that later steps change is written down when it is there, so that tests ask in any order.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.deploy.recording import REPOSITORY, Call, read_calls
from tests.deploy.terraform import Terraform
from tests.moto_server import CREDENTIALS, REGION, MotoServer

# Everything that can be on at the same time.
EVERYTHING = {
    "partitions": "registered",
    "crawler_schedule": "cron(0 3 * * ? *)",
    "kms_enabled": True,
    "file_events_enabled": True,
    "csv_discovery": "sqs",
    "airflow_enabled": True,
    "alert_emails": ["oncall@example.com"],
    "budget_usd": 50,
    "stream_shards": 2,
    "batch_jobs": {
        "ingest": {},
        "backfill": {},
        "compact": {"command": "compact --all --min-files 2", "schedule": "cron(0 19 * * ? *)"},
        "vacuum": {"command": "vacuum --grace 0s", "schedule": "cron(0 22 ? * SUN *)"},
        "audit": {"schedule": "cron(0 21 * * ? *)"},
        "catalog": {},
    },
}
EVENTS, FILES = 300, ("orders.csv", "bad_orders.csv")
JOBS = ("audit", "backfill", "catalog", "compact", "ingest", "vacuum")
_TIMEOUT = 900.0  # seconds for one command; it takes one or two minutes on two quiet cores


@dataclass
class Ran:
    """What a command said."""

    code: int
    out: str
    log: str


@dataclass
class Account:
    """The deployment after its whole course."""

    aws: MotoServer
    terraform: Terraform
    folder: Path
    outputs: dict[str, Any] = field(default_factory=dict)
    resources: set[str] = field(default_factory=set)
    tables: dict[str, Any] = field(default_factory=dict)
    job_definitions: dict[str, Any] = field(default_factory=dict)
    policies: dict[str, str] = field(default_factory=dict)
    airflow_policy: dict[str, Any] = field(default_factory=dict)
    alarms: list[dict[str, Any]] = field(default_factory=list)
    dashboard: dict[str, Any] = field(default_factory=dict)
    ran: dict[str, Ran] = field(default_factory=dict)
    trino_answers: dict[str, list[list[Any]]] = field(default_factory=dict)
    projected_answers: dict[str, list[list[Any]]] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)
    moved: dict[str, str] = field(default_factory=dict)
    settled: dict[str, str] = field(default_factory=dict)
    left_over: dict[str, str] = field(default_factory=dict)
    portfolio_outputs: dict[str, Any] = field(default_factory=dict)
    portfolio_resources: set[str] = field(default_factory=set)

    def everything(self) -> dict[str, Any]:
        """All switches on. moto has images of Canonical's, but not the parameter that names the newest."""
        images = self.aws.client("ec2").describe_images(Owners=["099720109477"])["Images"]
        return {**EVERYTHING, "airflow_ami_id": images[0]["ImageId"]}

    @property
    def lake_bucket(self) -> str:
        """The lake's bucket."""
        return str(self.outputs["lake_uri"].split("/")[2])

    def keys(self, prefix: str) -> list[str]:
        """Objects of the lake below a prefix."""
        pages = self.aws.client("s3").get_paginator("list_objects_v2")
        found = pages.paginate(Bucket=self.lake_bucket, Prefix=f"lake/{prefix}")
        return [item["Key"] for page in found for item in page.get("Contents", [])]

    def places(self) -> dict[str, str]:
        """Where the catalog sends readers of the clean table's partitions, by the partition's own folder."""
        glue = self.aws.client("glue")
        found = glue.get_partitions(DatabaseName=self.outputs["database"], TableName="clean")["Partitions"]
        return {
            "lake/clean/input_source={}/order_date={}".format(*one["Values"]): one["StorageDescriptor"]["Location"]
            .rstrip("/")
            .split("/", 3)[3]
            for one in found
        }

    def calls(self, role: str) -> list[Call]:
        """What a role called; each command runs with an access key of its role's name."""
        return [call for call in read_calls(self.folder / "calls.jsonl") if call.key == role]

    def run(self, name: str, role: str, *command: str) -> Ran:
        """Run one of our command lines as a role, with the configuration that Terraform wrote, where Terraform put it."""
        environment = {**os.environ, **CREDENTIALS, "AWS_ACCESS_KEY_ID": role, "AWS_ENDPOINT_URL": self.aws.url}
        environment |= {"QSR_METRICS": "false", "AWS_REGION": REGION}
        settings = {
            "lake.s3.path_style": "true",
            "lake.s3.endpoint_url": self.aws.url,
            "spark.master": "local[2,4]",
            "spark.conf.spark.driver.extraClassPath": "build/s3a/*",  # S3A, which Glue and EMR bring
        }
        overrides = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
        done = subprocess.run(
            [sys.executable, "-m", *command, "--config", self.outputs["config_uri"], *overrides],
            cwd=REPOSITORY,
            env=environment,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
            check=False,
        )
        self.ran[name] = Ran(done.returncode, done.stdout, done.stderr)
        return self.ran[name]

    def produce(self) -> None:
        """Send events into Terraform's stream, as the points of sale do."""
        environment = {**os.environ, **CREDENTIALS, "AWS_ACCESS_KEY_ID": "point-of-sale"}
        where = ["--stream", self.outputs["stream"], "--region", REGION, "--endpoint-url", self.aws.url]
        command = [sys.executable, "-m", "streaming_app", "produce", *where, "--rate", "0", "--count", str(EVENTS)]
        subprocess.run([*command, "--seed", "7"], cwd=REPOSITORY, env=environment, check=True, timeout=_TIMEOUT)

    def note_what_is_there(self) -> None:
        """Tables, jobs, policies and alarms, before portfolio mode takes some of them away."""
        glue, iam = self.aws.client("glue"), self.aws.client("iam")
        for table in self.outputs["tables"]:
            self.tables[table] = glue.get_table(DatabaseName=self.outputs["database"], Name=table)["Table"]
        for name, job in self.outputs["jobs"].items():
            self.job_definitions[name] = glue.get_job(JobName=job)["Job"]
        for name, role in self.outputs["roles"].items():
            self.policies[name] = json.dumps(iam.get_role_policy(RoleName=role, PolicyName="job")["PolicyDocument"])
        host = iam.get_role_policy(RoleName="qsr-airflow-us-east-1", PolicyName="airflow")
        self.airflow_policy = host["PolicyDocument"]
        cloudwatch = self.aws.client("cloudwatch")
        self.dashboard = json.loads(cloudwatch.get_dashboard(DashboardName="qsr")["DashboardBody"])
        pages = cloudwatch.get_paginator("describe_alarms")
        self.alarms = [alarm for page in pages.paginate() for alarm in page["MetricAlarms"]]

    def upload(self, name: str, data: bytes, below: str = "raw") -> None:
        """Put a file into the lake, as a restaurant or Firehose does."""
        self.aws.client("s3").put_object(Bucket=self.lake_bucket, Key=f"lake/{below}/{name}", Body=data)

    def remove(self, key: str) -> None:
        """Take a file out of the lake."""
        self.aws.client("s3").delete_object(Bucket=self.lake_bucket, Key=f"lake/{key}")

    def command_of(self, job: str) -> list[str]:
        """The command line that a Glue batch job of this name runs."""
        return ["batch_app", *shlex.split(self.job_definitions[job]["DefaultArguments"]["--COMMAND"])]
