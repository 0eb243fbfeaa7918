"""What the DAGs know of a deployment: two Airflow Variables, read when a task runs and never when a DAG file is parsed.

    qsr          Terraform's outputs, as `terraform output -json` prints them; or a JSON object with the same names
    qsr_options  a JSON object, wholly optional: the options below

Credentials and region come from the connection `aws_default`, which needs not exist where the machine has a role.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import Any, Final

from airflow.providers.common.compat.sdk import AirflowFailException, Variable

DEPLOYMENT: Final = "qsr"
OPTIONS: Final = "qsr_options"
AWS: Final = "aws_default"
POOL: Final = "qsr"  # one slot: two loads at the same time may fail (docs/batch.md), and do not see each other's keys
WAYS: Final = ("glue", "worker")


@dataclass(frozen=True)
class Deployment:
    """Terraform's outputs (deploy/terraform/outputs.tf) that the DAGs use; `jobs` are Glue jobs by what they do."""

    lake_uri: str
    uploads_uri: str
    config_uri: str
    work_bucket: str
    database: str
    workgroup: str
    topic_arn: str
    namespace: str
    jobs: dict[str, str]
    named_queries: dict[str, str]


@dataclass(frozen=True)
class Options:
    """How to run, and when to call for somebody.

    run_on: `glue` starts Terraform's jobs; `worker` runs `command` on the Airflow worker. overrides: `--set` of every
    command, as in a shell. service_reads_uploads: the streaming job loads raw/ itself (`sources.csv.enabled`), so that the
    DAGs keep away from raw/ while it runs. max_files: uploads of one DAG run. lag_seconds, stalled_seconds,
    fresh_seconds: limits of DAG 03; freshness counts from `open_from` (inclusive) until `open_until` (exclusive), hours UTC.
    """

    run_on: str = "glue"
    command: str = "python -m batch_app"
    overrides: str = ""
    service_reads_uploads: bool = True
    max_files: int = 50
    lag_seconds: int = 300
    stalled_seconds: int = 900
    fresh_seconds: int = 1800
    open_from: int = 4
    open_until: int = 15


def deployment() -> Deployment:
    """The variable `qsr`. Raises AirflowFailException that names all that is missing."""
    found = {name: _value(item) for name, item in _object(DEPLOYMENT).items()}
    names = [field.name for field in fields(Deployment)]
    if missing := [name for name in names if found.get(name) in (None, "")]:
        raise AirflowFailException(
            f"Variable {DEPLOYMENT}: {', '.join(missing)} missing; set it to what `terraform output -json` prints"
        )
    return Deployment(**{name: found[name] for name in names})


def options() -> Options:
    """The variable `qsr_options`, defaults where it says nothing. Raises AirflowFailException with every problem."""
    given = _object(OPTIONS, default="{}")
    known = {field.name: type(field.default) for field in fields(Options)}
    problems = [f"{name}: unknown; there are {', '.join(known)}" for name in given if name not in known]
    problems += [
        f"{name}: {value!r} is no {known[name].__name__}"
        for name, value in given.items()
        if name in known and type(value) is not known[name]
    ]
    if given.get("run_on", "glue") not in WAYS:
        problems.append(f"run_on: {given['run_on']!r} is neither {' nor '.join(WAYS)}")
    if problems:
        raise AirflowFailException(f"Variable {OPTIONS}: {'; '.join(problems)}")
    return Options(**given)


def _object(name: str, default: str | None = None) -> dict[str, Any]:
    text = Variable.get(name, default)
    if text is None:
        raise AirflowFailException(f"Variable {name} is not set; set it to what `terraform output -json` prints")
    try:
        value = json.loads(text)
    except ValueError as error:
        raise AirflowFailException(f"Variable {name} is no JSON: {error}") from None
    if not isinstance(value, dict):
        raise AirflowFailException(f"Variable {name} is no JSON object")
    return value


def _value(item: Any) -> Any:
    """The value of one output: `terraform output -json` wraps it together with its type."""
    return item["value"] if isinstance(item, dict) and "value" in item and "sensitive" in item else item
