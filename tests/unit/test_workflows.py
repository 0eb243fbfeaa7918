"""The workflows of GitHub say what the Makefile can do, and hold no more rights than they need."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from streaming_app import __version__
from tests import tools

REPOSITORY = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((REPOSITORY / ".github" / "workflows").glob("*.yml"))
TARGETS = set(re.findall(r"^([a-z][a-z0-9-]*):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
WRITES = {("release.yml", "pypi"): {"id-token": "write"}, ("release.yml", "github"): {"contents": "write"}}


def jobs(workflow: Path) -> dict[str, Any]:
    return yaml.safe_load(workflow.read_text())["jobs"]


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_every_make_target_that_a_workflow_names_exists(workflow):
    for job in jobs(workflow).values():
        named = set(job.get("strategy", {}).get("matrix", {}).get("target", []))
        for step in job["steps"]:
            for arguments in re.findall(r"make ([^\n]*)", step.get("run", "")):
                named |= {word for word in arguments.split() if "=" not in word and "$" not in word}
        assert named <= TARGETS


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_only_publishing_may_write(workflow):
    assert yaml.safe_load(workflow.read_text())["permissions"] == {"contents": "read"}
    for name, job in jobs(workflow).items():
        assert job.get("permissions", {}) == WRITES.get((workflow.name, name), {})
        assert "timeout-minutes" in job


def test_actions_of_a_release_are_commits_but_for_the_one_with_its_reason_beside_it():
    text = (REPOSITORY / ".github/workflows/release.yml").read_text()
    used = re.findall(r"((?:^ +#.*\n)?)^ +- uses: (\S+)(.*)$", text, re.MULTILINE)
    assert len(used) > 5
    moving = [(reason, action) for reason, action, _ in used if not re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", action)]
    assert [action for _, action in moving] == ["pypa/gh-action-pypi-publish@release/v1"]
    assert all(reason.strip() for reason, _ in moving)
    assert all(re.fullmatch(r" # v\d+\.\d+\.\d+", version) for _, action, version in used if "@release" not in action)


def test_every_list_that_something_is_installed_from_is_in_a_list_of_parts():
    described = set(re.findall(r"cyclonedx-py requirements (\S+)", (REPOSITORY / "Makefile").read_text()))
    assert described == {"deploy/requirements.txt", "deploy/image.txt", "deploy/glue/requirements.txt"}


def test_lists_that_are_checked_for_vulnerabilities_are_all_there_are():
    pins = set(jobs(REPOSITORY / ".github/workflows/security.yml")["audit"]["strategy"]["matrix"]["pins"])
    made = {str(file.relative_to(REPOSITORY)) for file in (REPOSITORY / "deploy").rglob("requirements.txt")}
    assert pins == made | {"requirements.lock", "deploy/image.txt"}


def test_version_stands_in_one_place_where_the_release_looks_for_it():
    text = (REPOSITORY / "streaming_app" / "__init__.py").read_text()
    assert re.findall(r'^__version__.*"(.*)"$', text, re.MULTILINE) == [__version__]
    assert "version = attr: streaming_app.__version__" in (REPOSITORY / "setup.cfg").read_text()
    assert "__version__" in (REPOSITORY / ".github/workflows/release.yml").read_text()


def test_runners_install_what_tests_are_otherwise_skipped_for():
    """Debian's Prometheus brings promtool; `.ci/run` runs where it is missing, too."""
    found = jobs(REPOSITORY / ".github/workflows/ci.yml")
    for job in ("test", "drills"):
        steps = found[job]["steps"]
        made = next(number for number, step in enumerate(steps) if step.get("run", "").startswith("make "))
        assert any(re.search(r"apt-get install .*\bprometheus\b", step.get("run", "")) for step in steps[:made])
        assert "1" in steps[made]["env"]["QSR_REQUIRE_TOOLS"]
    assert "QSR_REQUIRE_TOOLS" not in (REPOSITORY / ".ci" / "run").read_text()


def test_a_missing_tool_skips_a_test_unless_it_is_required(monkeypatch):
    names = ("no-such-program", "nor-this-one")
    assert tools.needs(*names, package="none").args == (True,)
    assert tools.needs("no-such-program", "sh", package="dash").args == (False,)
    monkeypatch.setattr(tools, "REQUIRED", True)
    assert tools.needs(*names, package="none").args == (False,)
