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
PRODUCTION = (REPOSITORY / "conf" / "production.yaml").read_text()
BLOCKS = "\n".join(re.findall(r"```\n(.*?)```", TEXT, re.DOTALL))
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


def test_both_ways_are_there():
    assert len(RUNS) == 2
    assert len(COMMANDS) >= 6
