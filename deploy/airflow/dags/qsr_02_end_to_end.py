"""02: the whole way once a day: gate, backfill, compaction, catalog, audit, and the named queries as files.

A run is about one day in UTC. It waits until Firehose has written the day's last file, judges and loads the uploads that are
waiting, loads what of the stream's copy is not in the lake yet (the day and the one before: each file counts once), and
goes on to what people read. A gate that fails stops everything after it: nobody gets figures from half a day.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import qsr_settings
import qsr_steps
from airflow.providers.common.compat.sdk import DAG, task
from airflow.providers.standard.sensors.date_time import DateTimeSensorAsync
from airflow.timetables.interval import CronDataIntervalTimetable

GOES_ON = "none_failed"  # what was skipped had nothing to do


@task
def archive(uploads: list[dict[str, str]]) -> list[str]:
    """Take what was loaded out of raw/."""
    places = [qsr_steps.move(upload, "archive") for upload in uploads]
    return [place for place in places if place]


@task(trigger_rule=GOES_ON)
def queries() -> list[str]:
    """The named queries that Terraform made."""
    return sorted(qsr_settings.deployment().named_queries)


with DAG(
    "qsr_02_end_to_end",
    description="Each day: gate, backfill, compact, catalog, audit, publish the named queries.",
    schedule=CronDataIntervalTimetable("0 0 * * *", timezone="UTC"),
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,  # days of the past: airflow backfill create
    max_active_runs=1,
    default_args=qsr_steps.DEFAULTS,
    user_defined_macros=qsr_steps.MACROS,
    tags=["qsr"],
    **qsr_steps.deadline(timedelta(hours=6)),
):
    firehose = DateTimeSensorAsync(
        task_id="wait_for_firehose",
        target_time="{{ data_interval_end + macros.timedelta(minutes=20) }}",  # it holds a file for 15 minutes at most
    )
    found = qsr_steps.new_uploads()
    # In the pool, too: 01 loads by the same Glue job, of which Glue runs one at a time.
    gate = qsr_steps.BatchCommand(
        task_id="gate", job="ingest", command="validate", uploads=found, pool=qsr_settings.POOL
    )
    ingest = qsr_steps.BatchCommand(
        task_id="load", job="backfill", command="backfill --skip-existing", uploads=found, pool=qsr_settings.POOL
    )
    backfill = qsr_steps.BatchCommand(
        task_id="backfill",
        job="backfill",
        command="backfill --skip-existing --input-source stream"
        " --since {{ (data_interval_start - macros.timedelta(days=1)) | ds }} --until {{ data_interval_start | ds }}",
        trigger_rule=GOES_ON,
        pool=qsr_settings.POOL,
    )
    compact = qsr_steps.BatchCommand(task_id="compact", job="compact", command="compact --all --older-than 1d")
    vacuum = qsr_steps.BatchCommand(task_id="vacuum", job="vacuum", command="vacuum", optional=True)
    catalog = qsr_steps.BatchCommand(task_id="catalog", job="catalog", command="catalog sync", trigger_rule=GOES_ON)
    audit = qsr_steps.BatchCommand(task_id="audit", job="audit", command="audit")
    publish = qsr_steps.PublishQuery.partial(
        task_id="publish", day="{{ data_interval_start | ds }}", map_index_template="{{ task.named }}"
    )

    firehose >> found >> gate >> ingest >> archive(found) >> backfill
    asked = queries()
    backfill >> compact >> vacuum >> catalog >> audit >> asked
    publish.expand(named=asked)
