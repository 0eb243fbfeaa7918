"""What AWS Glue hands a job, turned into a command line of ours; what goes wrong, into a failed job run with the message.

    --CONFIG       s3://bucket/conf/production.yaml; for the streaming job needed, a batch job may name it in --COMMAND
    --COMMAND      a batch job's command and arguments, as in a shell: ingest s3://bucket/lake/raw/upload.csv
    --AVAILABLE_NOW true: the streaming job reads what there is and ends, for a job that a schedule starts now and then
    --SET          settings to override, as in a shell: service.trigger=10s lake.root=s3://bucket/lake
    --ENVIRONMENT  variables that the configuration takes, as in a shell: LAKE_BUCKET=bucket QSR_STREAM=pos-orders
    --TRIGGER      the streaming job's: ARN of the trigger that starts it, which it stops when no start can mend why it ended

All but the first are left out where they are not needed. No secret belongs here: Glue shows arguments to everybody who may
look at the job. Glue sets no variable of its own choice for a job (`--customer-driver-env-vars` only takes names that
begin with CUSTOMER_), hence --ENVIRONMENT.
"""

from __future__ import annotations

import logging
import shlex
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from typing import Final

from streaming_app import errors
from streaming_app.errors import ConfigError, IngestError

OPTIONAL: Final = ("SET", "ENVIRONMENT")
FINAL: Final = frozenset(kind.exit_code for kind in errors.FINAL)  # "start again? no", docs/guarantees.md
_LOG: Final = logging.getLogger(__name__)
_TRUTH: Final = {"true": True, "false": False}
Resolve = Callable[[list[str], list[str]], Mapping[str, str]]  # awsglue.utils.getResolvedOptions


class JobFailed(Exception):
    """Glue takes the text of whatever a script raises for the job run's error message."""

    def __init__(self, code: int, words: str) -> None:
        super().__init__(f"exit code {code}{words}")
        self.code = code


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
        raise JobFailed(error.exit_code, f": {error}") from None
    except SystemExit as ended:  # argparse has printed what it wants
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        if code:
            raise JobFailed(code, ": unusable arguments, see the error log of this run") from None
    if code:
        raise JobFailed(code, ", see the output log of this run")


@contextmanager
def stopping(trigger: str) -> Iterator[None]:
    """Stop a trigger when the run within ends by a code that no start mends; without one, nothing. Its error goes on unchanged.

    A trigger knows no exit codes and would start the job again and again. Somebody starts it after mending: docs/runbook.md.
    """
    try:
        yield
    except JobFailed as failed:
        if trigger and failed.code in FINAL:
            _stop(trigger)
        raise


def _stop(trigger: str) -> None:
    import boto3  # noqa: PLC0415 - takes 0.3 s, and a run that goes well needs it not here
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    _, _, _, region, _, name = trigger.split(":", 5)
    try:
        boto3.client("glue", region_name=region).stop_trigger(Name=name.removeprefix("trigger/"))
    except (BotoCoreError, ClientError):  # the run's own error must reach Glue, and the next run tries again
        _LOG.exception("the trigger could not be stopped", extra={"trigger": trigger})
    else:
        _LOG.error("the trigger was stopped: mend what this run says, then start both", extra={"trigger": trigger})


def _words(name: str, text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise ConfigError(f"--{name}: {str(error).lower()} in {text!r}; it is read as a shell would") from None
