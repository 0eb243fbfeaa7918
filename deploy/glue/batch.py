"""The script of every Glue batch job: `python -m batch_app` with the command in --COMMAND (streaming_app/glue.py)."""

from __future__ import annotations

import os
import sys

from awsglue.utils import getResolvedOptions

from batch_app import cli
from streaming_app import glue


def job() -> list[str]:
    """The command line that this job's arguments ask for."""
    options = glue.resolved(sys.argv, ("COMMAND",), ("CONFIG", *glue.OPTIONAL), getResolvedOptions)
    glue.set_environment(options.get("ENVIRONMENT", ""), os.environ)
    return glue.command_line(options["COMMAND"], options.get("CONFIG", ""), options.get("SET", ""))


if __name__ == "__main__":
    glue.perform(cli.perform, job)
