"""03: every ten minutes: is the streaming job running, and does it keep up?

A job that ended is started again, unless its exit code says that somebody has to mend something first (docs/guarantees.md);
a run by hand with `force` starts it after that. Lag and freshness are the figures that the service sends to CloudWatch.
Somebody is told at the first run that fails, and then once an hour.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import qsr_settings
import qsr_steps
from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook
from airflow.providers.common.compat.sdk import DAG, AirflowFailException, AirflowSkipException, Param, task

STARTS_UP = timedelta(minutes=20)  # no figures are missed before
WINDOW = timedelta(minutes=10)


@task.branch
def look(params: dict[str, Any]) -> str:
    """Whether it runs. Fails when it ended in a way that a start does not mend; skips in portfolio mode."""
    job = qsr_settings.deployment().jobs.get("streaming")
    if job is None:
        raise AirflowSkipException("Terraform's outputs have no streaming job: streaming_enabled is false")
    run = qsr_steps.last_run(job)
    if qsr_steps.is_live(run):
        return "watch"
    message = (run or {}).get("ErrorMessage", "")
    if qsr_steps.exit_code(message) in qsr_steps.MENDED_FIRST and not params["force"]:
        raise AirflowFailException(
            f"{job} has ended and is not started again before somebody has mended what it says: {message}."
            " Then run this DAG by hand with `force`"
        )
    return "start"


@task
def start() -> str:
    """Start the job and say so; returns the run's id. Glue refuses a second run of it, so there are never two."""
    there = qsr_settings.deployment()
    job = there.jobs["streaming"]
    glue = AwsBaseHook(aws_conn_id=qsr_settings.AWS, client_type="glue").get_conn()
    before = qsr_steps.last_run(job)
    try:
        run = glue.start_job_run(JobName=job)["JobRunId"]
    except glue.exceptions.ConcurrentRunsExceededException:
        raise AirflowSkipException(f"{job} was started by somebody else a moment ago") from None
    how = f"{before['JobRunState']} {before.get('ErrorMessage', '')}" if before else "never ran"
    qsr_steps.tell(f"{job} was started", f"It did not run ({how.strip()}); its new run is {run}.")
    return run


@task
def watch() -> dict[str, float | None]:
    """Lag, and how long ago the query was last heard of and a batch was committed, in seconds. Fails beyond the limits."""
    there, options, now = qsr_settings.deployment(), qsr_settings.options(), datetime.now(UTC)
    run = qsr_steps.last_run(there.jobs["streaming"])
    names = ("qsr_lag_seconds", "qsr_last_trigger_age_seconds", "qsr_last_success_age_seconds")
    lag, heard, fresh = newest(there.namespace, names, now)
    problems = []
    if heard is None and run and now - run["StartedOn"] > STARTS_UP:
        problems.append(f"no figures in CloudWatch for {WINDOW}: is metrics.cloudwatch on, and does the service live?")
    if (heard or 0) > options.stalled_seconds:
        problems.append(
            f"stalled: its query was last heard of {heard:.0f} s ago, the limit is {options.stalled_seconds}"
        )
    if (lag or 0) > options.lag_seconds:
        problems.append(f"{lag:.0f} s behind the stream's tip, the limit is {options.lag_seconds}")
    if (fresh or 0) > options.fresh_seconds and options.open_from <= now.hour < options.open_until:
        problems.append(f"no new rows for {fresh:.0f} s, the limit is {options.fresh_seconds} in opening hours")
    if problems:
        raise AirflowFailException(f"{there.jobs['streaming']}: {'; '.join(problems)}")
    return {"lag": lag, "heard": heard, "fresh": fresh}


def newest(namespace: str, names: tuple[str, ...], now: datetime) -> list[float | None]:
    """The newest value of each metric of the Kinesis source within the window, None where there is none."""
    queries = [
        {
            "Id": f"m{place}",
            "MetricStat": {
                "Metric": {
                    "Namespace": namespace,
                    "MetricName": name,
                    "Dimensions": [{"Name": "source", "Value": "kinesis"}],
                },
                "Period": 60,
                "Stat": "Maximum",
            },
        }
        for place, name in enumerate(names)
    ]
    cloudwatch = AwsBaseHook(aws_conn_id=qsr_settings.AWS, client_type="cloudwatch").get_conn()
    answer = cloudwatch.get_metric_data(
        MetricDataQueries=queries, StartTime=now - WINDOW, EndTime=now, ScanBy="TimestampDescending"
    )
    values = {result["Id"]: result["Values"] for result in answer["MetricDataResults"]}
    return [next(iter(values.get(query["Id"], [])), None) for query in queries]


def at_first_and_hourly(context: dict[str, Any]) -> None:
    """The alert, unless the run before failed, too, and this is not the hour's first one."""
    before, at = context["ti"].get_previous_dagrun(), context.get("logical_date")
    if before is None or before.state != "failed" or at is None or at.minute < WINDOW.total_seconds() // 60:
        qsr_steps.alert(context)


with DAG(
    "qsr_03_stream",
    description="Keeps the streaming job running, and watches its lag and freshness.",
    schedule="*/10 * * * *",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args=qsr_steps.DEFAULTS
    | {"on_failure_callback": at_first_and_hourly, "retry_delay": timedelta(seconds=30)},
    user_defined_macros=qsr_steps.MACROS,
    params={"force": Param(False, type="boolean", description="Start the job although its last exit code forbids it.")},
    tags=["qsr"],
    **qsr_steps.deadline(timedelta(minutes=30)),
):
    look() >> [start(), watch()]
