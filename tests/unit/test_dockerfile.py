"""The Dockerfile's parts are there and it keeps its promises. No engine runs it here: what can be checked without one is."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


def instructions() -> list[tuple[str, str]]:
    """Keyword and the rest, continued lines joined."""
    text = "\n".join(
        line for line in (REPOSITORY / "Dockerfile").read_text().splitlines() if not line.lstrip().startswith("#")
    )
    joined = re.sub(r"\\\n\s*", "", text)
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1]) for line in joined.splitlines() if line.strip()]


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
