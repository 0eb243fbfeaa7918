"""The commands of docs/deploy.md for EMR, held against AWS's own description of its API (botocore's) and against our parts."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from botocore.session import get_session
from botocore.validate import ParamValidator

from streaming_app import cli

REPOSITORY = Path(__file__).resolve().parents[2]
TEXT = (REPOSITORY / "docs" / "deploy.md").read_text()
VARIABLES = (REPOSITORY / "deploy" / "terraform" / "variables.tf").read_text()
PRODUCTION = (REPOSITORY / "conf" / "production.yaml").read_text()
FENCED = re.findall(r"^```(\w*)\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)  # language and text
BLOCKS = "\n".join(text for language, text in FENCED if not language)
COMMANDS = [
    words
    for command in re.split(r"\n(?=aws )", BLOCKS.replace("\\\n", " "))
    if (words := shlex.split(command.split("\n\n")[0]))[:2] in (["aws", "emr-serverless"], ["aws", "emr-containers"])
]


def camel(option: str) -> str:
    """As the API names what the command line calls so."""
    first, *more = option.removeprefix("--").split("-")
    return first + "".join(word.capitalize() for word in more)


def parameters(words: list[str]) -> dict[str, object]:
    """A command's options as the API is asked."""
    options = dict(zip(words[3::2], words[4::2], strict=True))
    given = {camel(name): json.loads(value) if value.startswith("{") else value for name, value in options.items()}
    return {"clientToken": "made-by-the-client", **given}


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: f"{words[1]} {words[2]}")
def test_command_asks_what_aws_takes(words):
    _, service, name, *_ = words
    model = get_session().get_service_model(service)
    shape = model.operation_model("".join(part.capitalize() for part in name.split("-"))).input_shape
    given = {key: value for key, value in parameters(words).items() if key != "clientToken" or key in shape.members}
    assert set(given) <= set(shape.members)
    report = ParamValidator().validate(given, shape)
    assert not report.has_errors(), report.generate_report()


(NAMESPACE,) = re.findall(r'variable "name" \{.*?default\s+= "(\w+)"', VARIABLES, re.DOTALL)[:1]
RUNS = [parameters(words)["jobDriver"] for words in COMMANDS if words[2] == "start-job-run"]


@pytest.mark.parametrize("driver", RUNS)
def test_run_starts_our_entry_point_with_the_archives_python(driver):
    (job,) = driver.values()
    assert Path(job["entryPoint"]).name == "run.py"
    assert cli._parser().parse_args(job["entryPointArguments"]).config.endswith("conf/production.yaml")
    settings = dict(pair.split("=", 1) for pair in re.findall(r"--conf (\S+)", job["sparkSubmitParameters"]))
    archive, _, folder = settings["spark.archives"].partition("#")
    assert f"ARCHIVE := dist/{Path(archive).name}" in (REPOSITORY / "Makefile").read_text()
    pythons = {value for name, value in settings.items() if name.endswith("_PYTHON")}
    assert pythons == {f"./{folder}/bin/python"}
    given = {name.rsplit(".", 1)[1] for name in settings if ".driverEnv." in name and "PYTHON" not in name}
    assert given <= set(re.findall(r"\$\{(\w+)", PRODUCTION))
    (namespace,) = (value for name, value in settings.items() if name.endswith(".QSR_CLOUDWATCH_NAMESPACE"))
    assert namespace == NAMESPACE, "the streaming job's policy lets metrics go there only"


GROUPS = [
    monitoring["logGroupName"]
    for words in COMMANDS
    if words[2] == "start-job-run"
    for monitoring in parameters(words)["configurationOverrides"]["monitoringConfiguration"].values()
]


@pytest.mark.parametrize("group", GROUPS)
def test_role_may_write_its_log_and_read_its_code_and_nothing_else(group):
    (policy,) = (json.loads(text) for language, text in FENCED if language == "json")
    by_sid = {statement["Sid"]: statement for statement in policy["Statement"]}
    assert by_sid["Logs"]["Resource"].endswith(f":log-group:{group}:*")
    assert {"logs:CreateLogStream", "logs:PutLogEvents"} <= set(by_sid["Logs"]["Action"])
    places = {f"s3://{arn.removeprefix('arn:aws:s3:::')}" for arn in by_sid["Code"]["Resource"]}
    named = re.findall(r"s3://BUCKET/[^\s\"#']+", BLOCKS)
    assert named
    assert all(any(place.startswith(allowed[:-1]) for allowed in places) for place in named)


def test_both_ways_are_there():
    assert len(RUNS) == 2
    assert len(COMMANDS) >= 6
