"""What deploy/terraform would make, by `terraform plan` against moto, and one resource that is made (`make test-deploy`, minutes of it)."""

from __future__ import annotations

import json
import re

import pytest

from tests.deploy import tools
from tests.deploy.recording import REPOSITORY, recording_moto
from tests.deploy.terraform import Terraform

pytestmark = [
    pytest.mark.deploy,
    pytest.mark.timeout(900),
    tools.TERRAFORM,
]


@pytest.fixture(scope="module")
def aws(tmp_path_factory):
    calls = tmp_path_factory.mktemp("plans") / "calls.jsonl"
    with recording_moto(calls) as server:  # which takes the buckets' policy for what it is, and so lets objects be made
        yield server


@pytest.fixture(scope="module")
def terraform(aws):
    made = Terraform(REPOSITORY / "build" / "deploy" / "plans", aws.url)
    made.init()
    return made


@pytest.fixture(scope="module")
def defaults(terraform):
    return terraform.plan()


def test_portfolio_mode_takes_a_stream_away_that_has_a_fan_out_consumer(terraform):
    planned = terraform.plan(enhanced_fan_out=True)["module.stream[0].aws_kinesis_stream.this"]
    assert planned["enforce_consumer_deletion"], "the service registers its consumer itself: Terraform knows none"


@pytest.mark.parametrize(
    "variables", [{}, {"streaming_enabled": False, "kms_enabled": True}], ids=["defaults", "portfolio"]
)
def test_batch_job_that_fails_is_told_to_the_topic_for_tickets(terraform, variables):
    planned = terraform.plan(**variables)
    rule = planned["module.alerts.aws_cloudwatch_event_rule.failed_job[0]"]
    jobs = {
        planned[address]["name"] for address in planned if re.fullmatch(r"module.batch_job.*aws_glue_job.this", address)
    }
    pattern = json.loads(rule["event_pattern"])
    assert set(pattern["detail"]["jobName"]) == jobs
    assert len(jobs) == 6
    assert (pattern["source"], pattern["detail"]["state"]) == (["aws.glue"], ["FAILED", "TIMEOUT"])
    assert "module.alerts.aws_cloudwatch_event_target.failed_job[0]" in planned


def test_projection_wants_to_be_told_its_first_day_and_registered_partitions_do_not(terraform, defaults):
    assert "from which day on there are orders" in terraform.refused(projection_since=None)
    clean = 'module.catalog.aws_glue_catalog_table.this["clean"]'
    assert defaults[clean]["parameters"]["projection.order_date.range"] == "2026-01-01,NOW+1DAYS"
    registered = terraform.plan(projection_since=None, partitions="registered")[clean]["parameters"]
    assert not [name for name in registered if name.startswith("projection.")]


def test_streaming_job_has_a_trigger_unless_somebody_else_starts_it(terraform, defaults):
    trigger = "module.streaming_job[0].aws_glue_trigger.this[0]"
    assert defaults[trigger]["schedule"] == "cron(0/15 * * * ? *)"
    planned = terraform.plan(streaming_job={"scheduled": False})
    assert trigger not in planned
    assert "--TRIGGER" not in planned["module.streaming_job[0].aws_glue_job.this"]["default_arguments"]


def test_next_apply_would_start_a_trigger_that_was_stopped(terraform, aws):
    glue, trigger = aws.client("glue"), "module.streaming_job[0].aws_glue_trigger.this[0]"
    terraform.apply_part(trigger)
    glue.stop_trigger(Name="qsr-streaming")
    change = terraform.change_of(trigger)  # docs/operating.md: do not apply while the job must not run
    assert (change["before"]["enabled"], change["after"]["enabled"]) == (False, True)
