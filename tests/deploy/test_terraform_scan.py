"""deploy/terraform under checkov and tflint, and each exception with its reason."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.deploy import tools
from tests.deploy.recording import REPOSITORY
from tests.deploy.tools import needs

pytestmark = [pytest.mark.deploy, pytest.mark.timeout(900)]
TERRAFORM = REPOSITORY / "deploy" / "terraform"
CHECKOV = REPOSITORY / "build" / "deploy" / "checkov" / "bin" / "checkov"
TFLINT = shutil.which("tflint") or shutil.which("tflint", path=str(REPOSITORY / "build" / "deploy" / "bin"))


@pytest.fixture
def sources(tmp_path) -> Path:
    """What is committed, without a state or a provider beside it, and the files that it reads."""
    for part in ("conf", "deploy/glue", "deploy/terraform"):
        shutil.copytree(REPOSITORY / part, tmp_path / part, ignore=shutil.ignore_patterns(".terraform", "*.tfstate*"))
    return tmp_path / "deploy" / "terraform"


@needs(CHECKOV.exists(), "checkov: make deploy-tools")
def test_checkov_finds_nothing(sources):
    command = [
        CHECKOV,
        "--directory",
        sources,
        "--framework",
        "terraform",
        "--skip-download",
        "--output",
        "json",
        "--quiet",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    report = json.loads(done.stdout)
    failed = [f"{each['check_id']} {each['resource']}" for each in report["results"]["failed_checks"]]
    assert failed == []
    assert report["summary"]["parsing_errors"] == 0
    assert report["summary"]["resource_count"] > 50


def test_each_suppression_says_why():
    found = [
        line for file in TERRAFORM.rglob("*.tf") for line in file.read_text().splitlines() if "checkov:skip" in line
    ]
    assert found
    for line in found:
        reason = re.fullmatch(r"\s*# checkov:skip=CKV2?_AWS_\d+: (\S.{8,})", line)
        assert reason, line


def test_each_wildcard_resource_says_why():
    for file in TERRAFORM.rglob("*.tf"):
        for line in file.read_text().splitlines():
            if re.search(r'resources\s*=\s*\[\s*"\*"\s*\]', line):
                assert re.search(r"# .{15,}", line), f"{file.name}: {line.strip()}"


# Without Go there is no way to a tflint of ours; the Makefile says so in large letters.
@needs(TFLINT or not shutil.which("go"), "tflint: make deploy-tools builds it where there is Go")
@pytest.mark.skipif(TFLINT is None and not shutil.which("go"), reason="needs tflint, and there is no Go to build it")
def test_tflint_finds_nothing(sources):
    command = [str(TFLINT), "--recursive", f"--config={sources / '.tflint.hcl'}", "--format", "json"]
    done = subprocess.run(command, cwd=sources, capture_output=True, text=True, timeout=300, check=False)
    assert json.loads(done.stdout)["issues"] == []
    assert done.returncode == 0, done.stderr


@tools.TERRAFORM
def test_formatted_as_terraform_formats(sources):
    done = subprocess.run(["terraform", "fmt", "-check", "-recursive", "-diff"], cwd=sources, capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stdout
