"""The script of the Glue streaming job: `python -m streaming_app run` with Glue's arguments (streaming_app/glue.py)."""

from __future__ import annotations

import os
import sys

from awsglue.utils import getResolvedOptions

from streaming_app import cli, glue


def job() -> list[str]:
    """The command line that this job's arguments ask for."""
    options = glue.resolved(sys.argv, ("CONFIG",), ("AVAILABLE_NOW", *glue.OPTIONAL), getResolvedOptions)
    glue.set_environment(options.get("ENVIRONMENT", ""), os.environ)
    command = "run --available-now" if glue.truth("AVAILABLE_NOW", options.get("AVAILABLE_NOW", "false")) else "run"
    return glue.command_line(command, options["CONFIG"], options.get("SET", ""))


def trigger() -> str:
    """The ARN of what starts this job on a schedule, "" where nothing does."""
    return glue.resolved(sys.argv, (), ("TRIGGER",), getResolvedOptions).get("TRIGGER", "")


if __name__ == "__main__":
    with glue.stopping(trigger()):
        glue.perform(cli.perform, job)
