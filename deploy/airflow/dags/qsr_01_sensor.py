"""01: waits for CSV files below raw/; each is judged by the gate and loaded, or set aside with an alert.

A run begins every quarter of an hour and waits in the triggerer until files are there, so that a file is taken up within
half a minute. Afterwards it is in archive/, where the streaming service puts what it has loaded, or in rejected/: raw/
holds what is still to be done, and nothing is done twice. A file that failed is mended and uploaded again.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import qsr_settings
import qsr_steps
from airflow.providers.common.compat.sdk import DAG, AirflowFailException, AirflowSkipException, task, task_group


@task(map_index_template="{{ task.op_kwargs['upload']['path'] }}")
def settle(upload: dict[str, str], verdict: dict[str, Any]) -> str:
    """Put the file where its verdict belongs. Fails, which sends the alert, when it was rejected."""
    refused = verdict["code"] != 0
    place = qsr_steps.move(upload, "rejected" if refused else "archive")
    if place is None:
        raise AirflowSkipException(f"{upload['path']} was taken by another run")
    if refused:
        raise AirflowFailException(f"{upload['path']} is now {place}: {verdict['message']}")
    return place


@task_group
def load(upload: dict[str, str]) -> None:
    """One file, on its own: a bad one does not hold up the others."""
    verdict = qsr_steps.BatchCommand(
        task_id="gate_and_ingest",
        job="ingest",
        command="ingest --skip-existing",
        uploads=upload,
        judges=True,
        pool=qsr_settings.POOL,
        max_active_tis_per_dag=1,
        map_index_template="{{ task.uploads['path'] }}",
    )
    settle(upload=upload, verdict=verdict.output)


with DAG(
    "qsr_01_sensor",
    description="Waits for CSV files below raw/, judges and loads each, sets bad ones aside.",
    schedule="*/15 * * * *",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args=qsr_steps.DEFAULTS,
    user_defined_macros=qsr_steps.MACROS,
    tags=["qsr"],
    **qsr_steps.deadline(timedelta(hours=3)),
):
    waited = qsr_steps.UploadsSensor(
        task_id="wait_for_uploads",
        bucket_key="{{ qsr().uploads_uri }}*.csv*",
        wildcard_match=True,
        deferrable=True,
        poke_interval=30,
        timeout=14 * 60,  # then the next run waits on
        aws_conn_id=qsr_settings.AWS,
    )
    found = qsr_steps.new_uploads()
    waited >> found
    load.expand(upload=found)
