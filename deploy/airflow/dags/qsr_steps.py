"""Steps that the three DAGs share: one of our commands, a named query, the way of an upload, an alert.

Nothing here runs when it is imported. A command is a Glue job of Terraform's, waited for in the triggerer, or a process on
the worker, by the option `run_on` (qsr_settings.py); its exit code decides whether another try makes sense, as
docs/guarantees.md says.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import qsr_settings
from airflow.providers.amazon.aws.hooks.glue import GlueJobHook
from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.providers.amazon.aws.hooks.sns import SnsHook
from airflow.providers.amazon.aws.notifications.sns import SnsNotifier
from airflow.providers.amazon.aws.operators.athena import AthenaOperator
from airflow.providers.amazon.aws.operators.glue import GlueJobOperator
from airflow.providers.amazon.aws.sensors.s3 import S3KeySensor
from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    Context,
    task,
)
from airflow.providers.standard.hooks.subprocess import SubprocessHook

UNUSABLE: Final = 2
GATE_FAILED: Final = 3
MENDED_FIRST: Final = frozenset({1, UNUSABLE, GATE_FAILED, 5})  # "start again? no", docs/guarantees.md
SUFFIXES: Final = (".csv", ".csv.gz")
_EXIT: Final = re.compile(r"exit code (\d+)(?:[:,] (.*))?", re.DOTALL)  # how deploy/glue's scripts end a failed run
_GONE: Final = "there is no file"  # another run took it after this one had looked: the next try looks again
_REFUSED: Final = re.compile("concurrent runs", re.IGNORECASE)  # "exceeded": Glue's guide, "Job run statuses"
_RUNS: Final = (
    1000  # of a week, as long as a streaming run may last: one refused run every quarter of an hour, and others
)
_LIVE: Final = frozenset({"STARTING", "RUNNING", "STOPPING", "WAITING"})


def alert(context: Context) -> None:
    """Tell the topic that a task has failed for good. A new notifier each time: one keeps the first text it rendered."""
    SnsNotifier(
        aws_conn_id=qsr_settings.AWS,
        target_arn="{{ qsr().topic_arn }}",
        subject="{{ ti.dag_id }}: {{ ti.task_id.split('.')[-1] }} failed",
        message="{{ ti.dag_id }} {{ run_id }}: {{ ti.task_id }} failed.\n\n{{ exception }}\n\n{{ ti.log_url }}",
    )(context)


MACROS: Final = {"qsr": qsr_settings.deployment}
DEFAULTS: Final = {
    "owner": "qsr",
    "retries": 3,
    "retry_delay": timedelta(minutes=2),
    "retry_exponential_backoff": True,
    "max_retry_delay": timedelta(minutes=20),
    "on_failure_callback": alert,
}


def deadline(after: timedelta) -> dict[str, Any]:
    """The DAG argument that calls `late` when a run is not done in time; nothing where Airflow is older than this (README)."""
    try:
        from airflow.sdk import DeadlineAlert, DeadlineReference, SyncCallback  # noqa: PLC0415 - not in every Airflow 3
    except ImportError:
        return {}
    return {"deadline": DeadlineAlert(DeadlineReference.DAGRUN_QUEUED_AT, after, SyncCallback(late))}


def late(context: dict[str, Any]) -> None:
    """Say that a run took too long; Airflow calls it on a worker."""
    run = context["dag_run"]
    tell(f"{run['dag_id']}: late", f"{run['dag_run_id']} is not done in the time that it usually takes.")


def tell(subject: str, message: str) -> None:
    """Publish to the topic of alerts and alarms."""
    topic = qsr_settings.deployment().topic_arn
    SnsHook(aws_conn_id=qsr_settings.AWS).publish_to_target(target_arn=topic, subject=subject, message=message)


class BatchCommand(GlueJobOperator):
    """`python -m batch_app` with a command, as the Glue job that Terraform made for it or on the worker.

    Returns {"code", "message"}: 0, or, where `judges` is set and one upload is at fault, the gate's 3 or an unusable file's 2.
    Raises AirflowFailException for a code that no other try mends, AirflowException for the rest.
    """

    template_fields: Sequence[str] = (*GlueJobOperator.template_fields, "command", "uploads")

    def __init__(
        self,
        *,
        job: str,
        command: str,
        uploads: Any = None,
        judges: bool = False,
        optional: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            job_name="{{ qsr().jobs.get('" + job + "', '') }}",
            aws_conn_id=qsr_settings.AWS,
            deferrable=True,
            waiter_delay=20,
            waiter_max_attempts=24 * 180,  # a day: the job's own timeout ends it before
            stop_job_run_on_kill=True,
            **kwargs,
        )
        self.job, self.command, self.uploads, self.judges, self.optional = job, command, uploads, judges, optional
        self._process = SubprocessHook()

    def execute(self, context: Context) -> Any:
        """Start it; on Glue the rest is done by `execute_complete`."""
        options = qsr_settings.options()
        uploads = [upload["path"] for upload in self._uploads() if _waits(upload)]
        if self.uploads and not uploads:
            raise AirflowSkipException("another run has taken the uploads in the meantime")
        words = [self.command, *map(shlex.quote, uploads)]
        if options.run_on == "worker":
            arguments = [*shlex.split(" ".join(words)), *_config(options)]
            done = self._process.run_command([*shlex.split(options.command), *arguments])
            return self._ended(done.exit_code, done.output.removeprefix("error: "))
        if not self.job_name and self.optional:
            raise AirflowSkipException(f"Terraform's outputs have no Glue job for {self.job}")
        if not self.job_name:
            raise AirflowFailException(f"Variable qsr: jobs has none for {self.job}; see batch_jobs in Terraform")
        self.script_args = {"--COMMAND": " ".join(words)} | ({"--SET": options.overrides} if options.overrides else {})
        return super().execute(context)

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> Any:  # noqa: ARG002 - Airflow's
        """Judge how the job run ended, by the exit code that deploy/glue's script left in its error message."""
        if event and event.get("status") == "success":
            return self._ended(0, "")
        if not event or "run_id" not in event:
            raise AirflowException(f"the Glue job could not be waited for: {event}")
        run = self.hook.get_conn().get_job_run(JobName=self.job_name, RunId=event["run_id"])["JobRun"]
        message = run.get("ErrorMessage", "")
        if found := _EXIT.search(message):
            return self._ended(int(found[1]), found[2] or message)
        raise AirflowException(f"{self.job_name} {event['run_id']}: {run['JobRunState']} {message}")

    def on_kill(self) -> None:
        """End whichever of both runs."""
        self._process.send_sigterm()
        super().on_kill()

    def _uploads(self) -> list[dict[str, str]]:
        return [self.uploads] if isinstance(self.uploads, dict) else list(self.uploads or [])

    def _ended(self, code: int, message: str) -> dict[str, Any]:
        if code == 0 or (self.judges and self._is_the_files_fault(code, message)):
            return {"code": code, "message": message}
        text = f"{self.command}: exit code {code}: {message}"
        final = code in MENDED_FIRST and not (code == UNUSABLE and _GONE in message)
        raise AirflowFailException(text) if final else AirflowException(text)

    def _is_the_files_fault(self, code: int, message: str) -> bool:
        """A 2 may as well come from the configuration; a message about a file begins with the file's name."""
        paths = [upload["path"] for upload in self._uploads()]
        names_it = any(Path(path).name in message for path in paths)
        return code == GATE_FAILED or (code == UNUSABLE and names_it and _GONE not in message)


class UploadsSensor(S3KeySensor):
    """Waits in the triggerer until a file is there; skips when none came in time.

    Not by `soft_fail`, which Airflow 3.0 does not apply to a time that ran out in the triggerer, and which would skip over a
    bucket that cannot be read as well.
    """

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """What the trigger brought."""
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except AirflowSensorTimeout as ended:
            raise AirflowSkipException("no CSV file came in this run's time") from ended


class PublishQuery(AthenaOperator):
    """The answer of a named query as CSV below `published/` of the work bucket: by Athena, or by DuckDB on the worker.

    Returns the addresses: one that says the day, and `latest.csv`. Another try writes the same ones again.
    """

    template_fields: Sequence[str] = (*AthenaOperator.template_fields, "named", "day")

    def __init__(self, *, named: str, day: str, **kwargs: Any) -> None:
        super().__init__(
            query="",
            database="{{ qsr().database }}",
            workgroup="{{ qsr().workgroup }}",
            output_location="s3://{{ qsr().work_bucket }}/athena/",
            aws_conn_id=qsr_settings.AWS,
            deferrable=True,
            sleep_time=5,
            **kwargs,
        )
        self.named, self.day = named, day

    def execute(self, context: Context) -> Any:
        """Ask; what Athena answers is published by `execute_complete`."""
        options = qsr_settings.options()
        if options.run_on == "worker":
            return self._on_worker(options)
        query = qsr_settings.deployment().named_queries[self.named]
        self.query = self.hook.get_conn().get_named_query(NamedQueryId=query)["NamedQuery"]["QueryString"]
        return super().execute(context)

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> Any:
        """Copy Athena's result to where people look for it."""
        answer = self.hook.get_output_location(super().execute_complete(context, event))
        bucket, key = S3Hook.parse_s3_url(answer)
        client = S3Hook(qsr_settings.AWS).get_conn()
        return self._publish(lambda to, name: client.copy({"Bucket": bucket, "Key": key}, to, name))

    def _on_worker(self, options: qsr_settings.Options) -> list[str]:
        with TemporaryDirectory() as folder:
            answer = f"{folder}/answer.csv"
            command = [
                *shlex.split(options.command),
                "query",
                "--named",
                self.named,
                "--format",
                "csv",
                "--output",
                answer,
            ]
            done = SubprocessHook().run_command([*command, *_config(options)])
            if done.exit_code:
                raise AirflowException(f"query {self.named}: exit code {done.exit_code}: {done.output}")
            client = S3Hook(qsr_settings.AWS).get_conn()
            return self._publish(lambda to, name: client.upload_file(answer, to, name))

    def _publish(self, put: Any) -> list[str]:
        bucket = qsr_settings.deployment().work_bucket
        names = [f"published/{self.named}/{name}.csv" for name in (self.day, "latest")]
        for name in names:
            put(bucket, name)
        return [f"s3://{bucket}/{name}" for name in names]


def _config(options: qsr_settings.Options) -> list[str]:
    overrides = [word for setting in shlex.split(options.overrides) for word in ("--set", setting)]
    return ["--config", qsr_settings.deployment().config_uri, *overrides]


@task
def new_uploads() -> list[dict[str, str]]:
    """The files below raw/ that wait to be loaded, oldest first, as {"path", "etag"}. Skips when there is none for us."""
    options, there = qsr_settings.options(), qsr_settings.deployment()
    if options.service_reads_uploads and "streaming" in there.jobs and is_live(last_run(there.jobs["streaming"])):
        raise AirflowSkipException("the streaming job runs and loads raw/ itself (option service_reads_uploads)")
    bucket, prefix = S3Hook.parse_s3_url(there.uploads_uri)
    listed = S3Hook(qsr_settings.AWS).get_file_metadata(prefix, bucket)
    files = [item for item in listed if _is_upload(item["Key"].removeprefix(prefix))]
    files.sort(key=lambda item: (item["LastModified"], item["Key"]))
    if not files:
        raise AirflowSkipException(f"no CSV file waits below {there.uploads_uri}")
    taken = files[: options.max_files]
    return [{"path": f"s3://{bucket}/{item['Key']}", "etag": item["ETag"].strip('"')} for item in taken]


def _is_upload(name: str) -> bool:
    """As the CSV source and `backfill` see it: hidden files and folders are none."""
    hidden = any(part.startswith(("_", ".")) for part in name.split("/"))
    return name.lower().endswith(SUFFIXES) and not hidden


def _waits(upload: dict[str, str]) -> bool:
    bucket, key = S3Hook.parse_s3_url(upload["path"])
    return S3Hook(qsr_settings.AWS).head_object(key, bucket) is not None


def move(upload: dict[str, str], folder: str) -> str | None:
    """Move an upload from raw/ to a folder beside it; returns where it is now, None when another run has taken it.

    One that was replaced since it was listed stays for the next run. Can be done again after any failure: the copy comes
    before the removal.
    """
    there, hook = qsr_settings.deployment(), S3Hook(qsr_settings.AWS)
    target = f"{there.lake_uri}/{folder}/{upload['path'].removeprefix(there.uploads_uri)}"
    (bucket, key), (to_bucket, to_key) = S3Hook.parse_s3_url(upload["path"]), S3Hook.parse_s3_url(target)
    found = hook.head_object(key, bucket)
    if found is None:
        return target if hook.head_object(to_key, to_bucket) else None  # an earlier try came so far
    if found["ETag"].strip('"') != upload["etag"]:
        return upload["path"]
    as_a_new_one = {"TaggingDirective": "REPLACE"}  # tags stay behind, as copying them takes two more permissions
    hook.get_conn().copy({"Bucket": bucket, "Key": key}, to_bucket, to_key, ExtraArgs=as_a_new_one)
    hook.delete_objects(bucket, key)
    return target


def last_run(job: str) -> dict[str, Any] | None:
    """The run of a Glue job that is under way, else its newest; None when it never ran.

    A trigger that fires while the job runs leaves a run that Glue refused, which tells nothing and is passed over.
    """
    pages = GlueJobHook(aws_conn_id=qsr_settings.AWS).get_conn().get_paginator("get_job_runs")
    found = pages.paginate(JobName=job, PaginationConfig={"MaxItems": _RUNS, "PageSize": 200})
    runs = [run for page in found for run in page["JobRuns"] if not _REFUSED.search(run.get("ErrorMessage", ""))]
    live = [run for run in runs if is_live(run)]
    return max(live or runs, key=lambda run: run["StartedOn"], default=None)


def is_live(run: dict[str, Any] | None) -> bool:
    """Whether a run is under way, its start and its end included."""
    return run is not None and run["JobRunState"] in _LIVE


def exit_code(message: str) -> int | None:
    """The exit code in a Glue job run's error message, None when Glue itself ended it."""
    found = _EXIT.search(message)
    return int(found[1]) if found else None
