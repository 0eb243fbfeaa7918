"""The Dockerfile's parts are there and it keeps its promises; `make test-image` carries its steps out."""

from __future__ import annotations

import json
import re
import shlex

import pytest

from tests.dockerfile import REPOSITORY, instructions

FOUND = instructions()
LAST = max(number for number, (word, _) in enumerate(FOUND) if word == "FROM")


def of(word: str, found: list[tuple[str, str]] = FOUND) -> list[str]:
    return [rest for name, rest in found if name == word]


def copied() -> list[str]:
    """Sources of the build context."""
    lines = [shlex.split(rest) for rest in of("COPY") if not rest.startswith("--from")]
    return [source for *sources, _ in lines for source in sources]


@pytest.mark.parametrize("source", copied())
def test_what_is_copied_is_there_and_not_ignored(source):
    assert (REPOSITORY / source).exists()
    kept = [line[1:] for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert any(source.rstrip("/") == name or source.startswith(f"{name}/") for name in kept)


def test_both_stages_have_the_base_that_the_argument_names():
    assert of("FROM") == ["${PYTHON_IMAGE} AS build", "${PYTHON_IMAGE}"]
    assert FOUND[0][0] == "ARG"


def test_it_runs_as_nobody_special_and_signals_reach_it():
    assert of("USER", FOUND[LAST:]) == ["10001"]
    assert json.loads(of("ENTRYPOINT")[0])[0] == "tini"
    assert of("STOPSIGNAL") == ["SIGTERM"]


def test_health_is_asked_of_this_machine_only_and_of_a_port_that_is_set():
    (check,) = of("HEALTHCHECK")
    command = json.loads(check[check.index("CMD ") + 4 :])
    compile(command[2], "healthcheck", "exec")
    assert "127.0.0.1" in command[2]
    assert "QSR_METRICS_PORT" in command[2]
    assert any("QSR_METRICS_PORT=9464" in rest for rest in of("ENV", FOUND[LAST:]))


def test_every_package_has_its_hash_and_the_engine_is_among_them():
    text = (REPOSITORY / "deploy/image.txt").read_text()
    packages = re.findall(r"^([a-z0-9-]+)==\S+.*\\\n((?:\s+--hash=\S+.*\n)+)", text, re.MULTILINE)
    assert {"pyspark", "pyarrow", "boto3", "great-expectations"} <= {name for name, _ in packages}
    assert len(packages) == len(re.findall(r"^[a-z0-9-]+==", text, re.MULTILINE))
    locked = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", (REPOSITORY / "requirements.lock").read_text(), re.MULTILINE))
    assert dict(re.findall(r"^([a-z0-9-]+)==(\S+)", text, re.MULTILINE)) == {name: locked[name] for name, _ in packages}


def test_what_builds_the_package_is_pinned_by_hash_too():
    text = (REPOSITORY / "deploy/build.txt").read_text()
    locked = re.search(r"^setuptools==\S+", (REPOSITORY / "requirements.lock").read_text(), re.MULTILINE)
    assert locked
    assert re.findall(r"^[a-z0-9-]+==\S+", text, re.MULTILINE) == [locked[0]]
    commands = [command for rest in of("RUN") for command in rest.split("&&")]
    installs = [command for command in commands if "pip install" in command or "pip wheel" in command]
    places = [next(place for place, one in enumerate(installs) if name in one) for name in ("build.txt", "image.txt")]
    assert places == sorted(places), "what builds comes first"
    for command in installs:
        builds = (
            "image.txt" in command or "pip wheel" in command
        )  # pyspark is source, so pip would fetch any setuptools
        assert ("--no-build-isolation" in command) == builds, command
        assert "--require-hashes" in command or "--no-deps" in command, command


def test_nothing_but_tmp_has_to_be_written_to():
    (environment,) = (shlex.split(rest) for rest in of("ENV", FOUND[LAST:]))
    assert "SPARK_LOCAL_DIRS=/tmp" in environment
    assert "QSR_SPARK_MASTER=local[*,4]" in environment
    assert "${QSR_SPARK_MASTER:-}" in (REPOSITORY / "conf/production.yaml").read_text()
