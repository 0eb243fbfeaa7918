"""What AWS Glue hands a job, turned into a command line of ours; what goes wrong, into a failed job run with the message.

    --CONFIG       s3://bucket/conf/production.yaml; for the streaming job needed, a batch job may name it in --COMMAND
    --COMMAND      a batch job's command and arguments, as in a shell: ingest s3://bucket/lake/raw/upload.csv
    --AVAILABLE_NOW true: the streaming job reads what there is and ends, for a job that a schedule starts now and then
    --SET          settings to override, as in a shell: service.trigger=10s lake.root=s3://bucket/lake
    --ENVIRONMENT  variables that the configuration takes, as in a shell: LAKE_BUCKET=bucket QSR_STREAM=pos-orders

All but the first are left out where they are not needed. No secret belongs here: Glue shows arguments to everybody who may
look at the job. Glue sets no variable of its own choice for a job (`--customer-driver-env-vars` only takes names that
begin with CUSTOMER_), hence --ENVIRONMENT.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from typing import Final

from streaming_app.errors import ConfigError, IngestError

OPTIONAL: Final = ("SET", "ENVIRONMENT")
_TRUTH: Final = {"true": True, "false": False}
Resolve = Callable[[list[str], list[str]], Mapping[str, str]]  # awsglue.utils.getResolvedOptions


class JobFailed(Exception):
    """Glue takes the text of whatever a script raises for the job run's error message."""


def resolved(argv: Sequence[str], required: Sequence[str], optional: Sequence[str], resolve: Resolve) -> dict[str, str]:
    """The job's arguments by name; Glue's own function takes no optional ones, so only those that are there are asked for."""
    there = [name for name in optional if any(word == f"--{name}" or word.startswith(f"--{name}=") for word in argv)]
    names = [*required, *there]
    found = resolve(list(argv), names)
    return {name: found[name] for name in names}


def set_environment(text: str, environ: MutableMapping[str, str]) -> None:
    """Put `NAME=value NAME=value` into the environment. Raises ConfigError for anything else."""
    for word in _words("ENVIRONMENT", text):
        name, found, value = word.partition("=")
        if not found or not name.isidentifier():
            raise ConfigError(f"--ENVIRONMENT: {name!r} is no NAME=value; quote a value with blanks as in a shell")
        environ[name] = value


def command_line(command: str, config: str, settings: str) -> list[str]:
    """The arguments of `streaming_app` or `batch_app`. Raises ConfigError for quotes that do not end."""
    overrides = [word for setting in _words("SET", settings) for word in ("--set", setting)]
    return [*_words("COMMAND", command), *(("--config", config) if config else ()), *overrides]


def truth(name: str, text: str) -> bool:
    """An argument that is true or false. Raises ConfigError for anything else."""
    if text.lower() not in _TRUTH:
        raise ConfigError(f"--{name}: {text!r} is neither true nor false")
    return _TRUTH[text.lower()]


def perform(command: Callable[[list[str]], int], job: Callable[[], list[str]]) -> None:
    """Run the command line that `job` makes; returns when the exit code is 0. Raises JobFailed with code and message."""
    try:
        code = command(job())
    except IngestError as error:
        raise JobFailed(f"exit code {error.exit_code}: {error}") from None
    except SystemExit as ended:  # argparse has printed what it wants
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        if code:
            raise JobFailed(f"exit code {code}: unusable arguments, see the error log of this run") from None
    if code:
        raise JobFailed(f"exit code {code}, see the output log of this run")


def _words(name: str, text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise ConfigError(f"--{name}: {str(error).lower()} in {text!r}; it is read as a shell would") from None
