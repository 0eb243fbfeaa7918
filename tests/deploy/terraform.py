"""Terraform in a folder of its own: a copy of what a checkout has, a provider that talks to moto, and the state beside it.

Providers come from Terraform's registry, or, for machines that cannot reach it, from a folder that `terraform providers mirror`
made: build/tf-plugins, or the one that TF_PLUGINS names, or one called tf-plugins at the top of the file system or below.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
PLUGINS = (
    REPOSITORY / "build" / "tf-plugins",
    *([Path(os.environ["TF_PLUGINS"])] if "TF_PLUGINS" in os.environ else []),
    *sorted(Path(Path.cwd().anchor).glob("*/tf-plugins")),
)
# moto takes any credentials, and buckets in the path: a name before the host would have to resolve.
_PROVIDER = """
provider "aws" {
  access_key                  = "terraform"
  secret_key                  = "testing"
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  s3_use_path_style           = true
}
"""
# What moto tells otherwise than it was told, which Terraform would take for somebody else's change and try to mend for ever.
_IGNORED = {
    "airflow": ("aws_instance", "this", "[ami, vpc_security_group_ids]"),
    "alerts": ("aws_budgets_budget", "this", "all"),
    "file_events": ("aws_sqs_queue", "this", "[redrive_policy]"),
}
_SAID = {"projection_since": "2026-01-01"}  # what everybody has to say
_OVERRIDE = """
resource "%s" "%s" {
  lifecycle {
    ignore_changes = %s
  }
}
"""
_DRAWN = re.compile(r"\x1b\[[0-9;]*m|[│╷╵├─]")  # colours and boxes around what Terraform says
_MIRROR = """
provider_installation {
  filesystem_mirror {
    path = "%s"
  }
}
"""


class Terraform:
    """A workspace below `folder`, which is emptied first. Every call raises AssertionError with Terraform's own words."""

    def __init__(self, folder: Path, endpoint: str) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        self._folder = folder
        self.root = folder / "deploy" / "terraform"
        parts = ("conf", "deploy/terraform", "deploy/glue", "deploy/airflow")
        for part in (name for name in parts if (REPOSITORY / name).exists()):
            shutil.copytree(
                REPOSITORY / part, folder / part, ignore=shutil.ignore_patterns(".terraform*", "*.tfstate*")
            )
        (self.root / "emulator_override.tf").write_text(_PROVIDER)
        for module, ignored in _IGNORED.items():
            (self.root / "modules" / module / "emulator_override.tf").write_text(_OVERRIDE % ignored)
        (folder / "dist").mkdir()
        (folder / "dist" / "qsr_ingest-0.gluewheels.zip").write_bytes(b"moto runs no Glue job, which would read it")
        self._environment = {**os.environ, "AWS_ENDPOINT_URL": endpoint, "TF_IN_AUTOMATION": "1", "NO_COLOR": "1"}
        self._environment |= self._plugins()

    def _plugins(self) -> dict[str, str]:
        mirror = next((place for place in PLUGINS if place.is_dir()), None)
        if mirror is None:
            return {}
        config = self._folder / "terraformrc"
        config.write_text(_MIRROR % mirror)
        return {"TF_CLI_CONFIG_FILE": str(config)}

    def init(self) -> None:
        """Fetch the provider; validate."""
        self.run("init", "-input=false")
        self.run("validate")

    def apply(self, **variables: Any) -> None:
        """Make it so, in an empty account."""
        self.run("apply", "-input=false", "-auto-approve", self._variables(variables), timeout=1200)

    def apply_part(self, address: str, **variables: Any) -> None:
        """Make one resource and what it refers to."""
        self.run(
            "apply", "-input=false", "-auto-approve", f"-target={address}", self._variables(variables), timeout=600
        )

    def change(self, **variables: Any) -> None:
        """Make it so, where it is otherwise; what is there is taken from the state, as moto forgets some of what it was told."""
        self.run("apply", "-input=false", "-auto-approve", "-refresh=false", self._variables(variables), timeout=600)

    def plan(self, **variables: Any) -> dict[str, dict[str, Any]]:
        """What an apply into an empty account would make: values by address."""
        file = self._folder / "planned"
        # The state is left out, so that the plan is that of a new account.
        self.run("plan", "-input=false", "-refresh=false", f"-state={self._folder / 'none.tfstate'}", f"-out={file}",
                 self._variables(variables))  # fmt: skip
        shown = json.loads(self.run("show", "-json", str(file)))
        changes = shown["resource_changes"]
        return {change["address"]: change["change"]["after"] or {} for change in changes}

    def change_of(self, address: str, **variables: Any) -> dict[str, Any]:
        """What an apply would do to one resource that is there: its values before, as it is now, and after."""
        file = self._folder / "planned"
        self.run("plan", "-input=false", f"-target={address}", f"-out={file}", self._variables(variables))
        changes = json.loads(self.run("show", "-json", str(file)))["resource_changes"]
        (found,) = (change["change"] for change in changes if change["address"] == address)
        return dict(found)

    def refused(self, **variables: Any) -> str:
        """What Terraform says to variables that a validation refuses."""
        done = self._call("plan", "-input=false", "-refresh=false", f"-state={self._folder / 'none.tfstate'}",
                          self._variables(variables), timeout=300)  # fmt: skip
        assert done.returncode, "the variables were accepted"
        return " ".join(_DRAWN.sub("", done.stdout + done.stderr).split())

    def outputs(self) -> dict[str, Any]:
        """Outputs by name."""
        return {name: output["value"] for name, output in json.loads(self.run("output", "-json")).items()}

    def resources(self) -> set[str]:
        """Addresses of everything in the state."""
        return set(self.run("state", "list").split())

    def run(self, *arguments: str, timeout: float = 600) -> str:
        """One command, its standard output."""
        done = self._call(*arguments, timeout=timeout)
        assert done.returncode == 0, f"terraform {arguments[0]}:\n{done.stdout[-4000:]}\n{done.stderr[-8000:]}"
        return done.stdout

    def _call(self, *arguments: str, timeout: float) -> subprocess.CompletedProcess[str]:
        command = ["terraform", *arguments]
        return subprocess.run(
            command, cwd=self.root, env=self._environment, capture_output=True, text=True, timeout=timeout, check=False
        )

    def _variables(self, variables: dict[str, Any]) -> str:
        file = self._folder / "variables.tfvars.json"
        file.write_text(json.dumps(_SAID | variables))
        return f"-var-file={file}"
