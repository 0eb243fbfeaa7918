"""Glue's scripts, started as Glue starts them; only `awsglue`, which parses a job's arguments, is a stand-in."""

from __future__ import annotations

import argparse
import json
import re
import runpy
import sys
import types
from pathlib import Path

import pytest

from batch_app import cli as batch_cli
from streaming_app import glue, running
from streaming_app.errors import ConfigError, DataLossError, QualityStop, SinkError, SourceError
from tests.moto_server import CREDENTIALS, REGION, moto_server

REPOSITORY = Path(__file__).resolve().parents[2]
GLUE = REPOSITORY / "deploy" / "glue"
CONFIG = str(REPOSITORY / "conf" / "local.yaml")
OF_GLUE = ["--JOB_NAME", "orders", "--JOB_RUN_ID", "jr_1", "--TempDir", "s3://a/temp/", "--enable-metrics", "true"]


def get_resolved_options(args: list[str], options: list[str]) -> dict[str, str]:
    """As Glue's: all names asked for are required, all others on the command line are passed over."""

    class Parser(argparse.ArgumentParser):
        def error(self, message):
            raise RuntimeError(message)

    parser = Parser()
    for name in options:
        parser.add_argument(f"--{name}", required=True)
    return vars(parser.parse_known_args(args[1:])[0])


@pytest.fixture
def start(monkeypatch):
    def run(script: str, *arguments: str) -> None:
        utils = types.ModuleType("awsglue.utils")
        utils.getResolvedOptions = get_resolved_options
        monkeypatch.setitem(sys.modules, "awsglue", types.ModuleType("awsglue"))
        monkeypatch.setitem(sys.modules, "awsglue.utils", utils)
        monkeypatch.setattr(sys, "argv", [script, *OF_GLUE, *arguments])
        runpy.run_path(str(GLUE / script), run_name="__main__")

    return run


@pytest.fixture
def runs(monkeypatch):
    """What the service was started with."""
    found = []
    monkeypatch.setattr(running, "run", lambda loaded, _suite, **how: found.append((loaded.config, how)) or 0)
    return found


def test_streaming_job_runs_the_service_with_its_configuration_settings_and_variables(start, runs, monkeypatch):
    monkeypatch.setenv("LAKE_BUCKET", "before")
    production = str(REPOSITORY / "conf" / "production.yaml")
    start(
        "streaming.py",
        *["--CONFIG", production, "--SET", "service.trigger=7s spark.app_name='two words'"],
        *["--ENVIRONMENT", "LAKE_BUCKET=our-lake QSR_STREAM=orders"],
    )
    ((config, _),) = runs
    assert (config.lake.root, config.sources.kinesis.stream) == ("s3://our-lake/lake", "orders")
    assert (config.service.trigger, config.spark.app_name) == (7.0, "two words")


def test_streaming_job_needs_nothing_but_a_configuration(start, runs):
    start("streaming.py", "--CONFIG", CONFIG)
    ((_, how),) = runs
    assert not how["available_now"]


def test_streaming_job_may_end_once_it_has_read_what_there_is(start, runs):
    start("streaming.py", "--CONFIG", CONFIG, "--AVAILABLE_NOW", "true")
    ((_, how),) = runs
    assert how["available_now"]
    with pytest.raises(glue.JobFailed, match="--AVAILABLE_NOW: 'maybe' is neither true nor false"):
        start("streaming.py", "--CONFIG", CONFIG, "--AVAILABLE_NOW", "maybe")


def test_batch_job_runs_the_command_that_it_names(start, capsys):
    start(
        "batch.py",
        *["--COMMAND", "catalog ddl --json --database shop --location 's3://our-lake/a lake'", "--CONFIG", CONFIG],
    )
    statements = json.loads(capsys.readouterr().out)
    assert any("s3://our-lake/a lake/clean" in statement for statement in statements)


def test_batch_job_may_name_its_configuration_in_the_command(start, capsys):
    start("batch.py", "--COMMAND", f"query --list --json --config {CONFIG}")
    assert "freshness" in capsys.readouterr().out


def test_error_of_ours_fails_the_job_with_its_exit_code_and_message(start, monkeypatch):
    def stop(*_args, **_how):
        raise QualityStop("60 of 100 rows were rejected")

    monkeypatch.setattr(running, "run", stop)
    with pytest.raises(glue.JobFailed, match=r"^exit code 3: 60 of 100 rows were rejected$"):
        start("streaming.py", "--CONFIG", CONFIG)


@pytest.fixture
def account(monkeypatch):
    """Glue with the trigger that Terraform makes, started."""
    with moto_server() as aws:
        for name, value in {**CREDENTIALS, "AWS_ENDPOINT_URL": aws.url}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.delenv("AWS_DEFAULT_REGION")  # nobody promises that a Glue job has it
        made = aws.client("glue")
        made.create_job(Name="orders", Role="arn:aws:iam::1:role/orders", Command={"Name": "gluestreaming"})
        schedule = {"Type": "SCHEDULED", "Schedule": "cron(0/15 * * * ? *)", "StartOnCreation": True}
        made.create_trigger(Name="orders", Actions=[{"JobName": "orders"}], **schedule)
        yield aws


def state_of(account) -> str:
    return account.client("glue").get_trigger(Name="orders")["Trigger"]["State"]


TRIGGER = ["--TRIGGER", f"arn:aws:glue:{REGION}:123456789012:trigger/orders"]


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (ConfigError("no such rule"), "DEACTIVATED"),
        (QualityStop("60 of 100 rows were rejected"), "DEACTIVATED"),
        (DataLossError("3 rows expired"), "DEACTIVATED"),
        (SourceError("the stream does not answer"), "ACTIVATED"),
        (SinkError("S3 does not answer"), "ACTIVATED"),
    ],
)
def test_run_that_no_start_can_mend_stops_its_trigger_and_another_does_not(start, monkeypatch, account, error, state):
    def stop(*_args, **_how):
        raise error

    monkeypatch.setattr(running, "run", stop)
    with pytest.raises(glue.JobFailed, match=f"^exit code {error.exit_code}: "):
        start("streaming.py", "--CONFIG", CONFIG, *TRIGGER)
    assert state_of(account) == state


def test_configuration_that_cannot_be_read_stops_the_trigger_too(start, account):
    with pytest.raises(glue.JobFailed, match="exit code 2"):
        start("streaming.py", "--CONFIG", "nowhere.yaml", *TRIGGER)
    assert state_of(account) == "DEACTIVATED"


def test_run_that_ends_well_leaves_its_trigger(start, runs, account):
    start("streaming.py", "--CONFIG", CONFIG, *TRIGGER)
    assert len(runs) == 1
    assert state_of(account) == "ACTIVATED"


def test_trigger_that_cannot_be_stopped_does_not_hide_why_the_run_ended(start, account, caplog):
    account.fail("POST", "AWSGlue.StopTrigger", status=400, code="AccessDeniedException")
    with pytest.raises(glue.JobFailed, match=r"exit code 2: .*nowhere\.yaml"):
        start("streaming.py", "--CONFIG", "nowhere.yaml", *TRIGGER)
    assert "the trigger could not be stopped" in caplog.text
    assert state_of(account) == "ACTIVATED"


def test_codes_that_stop_the_trigger_are_those_that_the_guarantees_say_no_start_mends():
    table = (REPOSITORY / "docs/guarantees.md").read_text().partition("## Exit codes")[2]
    assert {int(code) for code in re.findall(r"^\| (\d+) \|.*\| no: [^|]*\|$", table, re.MULTILINE)} == glue.FINAL


def test_configuration_that_is_not_there_fails_the_job(start):
    with pytest.raises(glue.JobFailed, match=r"exit code 2: .*nowhere\.yaml: cannot be read"):
        start("streaming.py", "--CONFIG", "nowhere.yaml")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--COMMAND", "ingest", "--CONFIG", CONFIG], "exit code 2: unusable arguments"),
        (["--COMMAND", "fly away", "--CONFIG", CONFIG], "exit code 2: unusable arguments"),
        (["--COMMAND", "audit 'half", "--CONFIG", CONFIG], "exit code 2: .*--COMMAND: no closing quotation"),
        (["--COMMAND", "audit", "--CONFIG", CONFIG, "--SET", "'half"], "--SET: no closing quotation"),
        (["--COMMAND", "audit", "--CONFIG", CONFIG, "--ENVIRONMENT", "A B=1"], "--ENVIRONMENT: 'A' is no NAME=value"),
    ],
)
def test_arguments_that_cannot_be_used_fail_the_job(start, arguments, message):
    with pytest.raises(glue.JobFailed, match=message):
        start("batch.py", *arguments)


@pytest.mark.parametrize(("code", "message"), [(1, "exit code 1"), (3, "exit code 3")])
def test_exit_code_fails_the_job_even_without_an_error(start, monkeypatch, code, message):
    monkeypatch.setattr(batch_cli, "perform", lambda _arguments: code)
    with pytest.raises(glue.JobFailed, match=message):
        start("batch.py", "--COMMAND", "audit", "--CONFIG", CONFIG)


def test_exit_without_an_error_is_a_job_that_succeeded(start, capsys):
    start("batch.py", "--COMMAND", "--version ")
    assert capsys.readouterr().out.strip()
