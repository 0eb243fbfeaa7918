"""Commands of the streaming application: arguments -> configuration -> service; errors -> messages and exit codes.

Exit codes: 0 done or stopped as asked; 1 anything unexpected; 2 unusable configuration; 3 quality stop; 4 a source
failed for good; 5 data lost; 6 the lake could not be written; 130 or 143 a second signal ended it at once.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

from streaming_app import __version__
from streaming_app.arguments import add_config_arguments, load_all
from streaming_app.commands import demo, doctor, positions, produce
from streaming_app.config import Loaded, effective_yaml
from streaming_app.config.models import parse_past
from streaming_app.errors import ConfigError, IngestError
from streaming_app.quality import Suite
from streaming_app.units import parse_duration


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    try:
        return perform(arguments)
    except IngestError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - a command's last word
        return error.exit_code


def perform(arguments: Sequence[str] | None = None) -> int:
    """The same for a caller that reports errors in its own way. Raises IngestError."""
    options = _parser().parse_args(arguments)
    return int(options.command(options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="streaming_app", description="Orders from Kinesis and CSV to exactly-once Parquet."
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="run the service until it is stopped")
    add_config_arguments(run)
    run.add_argument("--available-now", action="store_true", help="read everything there is at the start, then stop")
    run.add_argument(
        "--until",
        type=_past,
        metavar="TIME",
        help="as --available-now, and of Kinesis only what arrived before this moment (2026-03-01T00:00:00Z)",
    )
    run.add_argument("--for", dest="duration", type=_duration, metavar="10m", help="stop by itself after so long")
    run.set_defaults(command=run_service)
    check = commands.add_parser(
        "check-config", help="report every problem of a configuration, or print what is in force"
    )
    add_config_arguments(check)
    check.add_argument(
        "--examples",
        action=argparse.BooleanOptionalAction,
        help="run the rules on the suite's examples, which takes some seconds, for it starts Spark; done where there are any",
    )
    check.set_defaults(command=check_config)
    positions.add_parser(commands)
    doctor.add_parser(commands)
    produce.add_parser(commands)
    demo.add_parser(commands)
    return parser


def check_config(options: argparse.Namespace) -> int:
    """Print the effective configuration and which rule runs where, once the suite's examples hold.

    Every problem of the configuration is reported before Spark starts, and then none of the examples runs.
    """
    loaded, suite = load_all(options.config, options.overrides)
    ran = bool(suite.examples) if options.examples is None else options.examples
    if ran:
        _run_examples(loaded, suite)
    lines = [
        "# effective configuration, secrets masked",
        effective_yaml(loaded).rstrip(),
        f"# suite {suite.fingerprint}",
    ]
    if suite.examples:
        how = "as they should be" if ran else "not run"
        lines.append(f"#   {len(suite.examples)} example{'s' * (len(suite.examples) != 1)}, {how}")
    lines += [f"#   {rule.id:<32} {rule.severity.value:<8} stream and gate" for rule in suite.row_rules]
    lines += [f"#   {rule.id:<32} {rule.severity.value:<8} gate only" for rule in suite.gate_rules]
    print("\n".join(lines))  # noqa: T201 - the command's output
    return 0


def _run_examples(loaded: Loaded, suite: Suite) -> None:
    """Raises ConfigError with every example that does not fail what it should."""
    from streaming_app.examples import example_problems  # noqa: PLC0415 - Spark's import takes a second
    from streaming_app.runtime.session import build_session  # noqa: PLC0415 - see above

    spark = loaded.config.spark.model_copy(update={"master": "local[1]"})
    quiet = loaded.config.logging.model_copy(update={"spark_level": "ERROR"})
    session = build_session(loaded.config.model_copy(update={"spark": spark, "logging": quiet}))
    try:
        problems = example_problems(session, suite, loaded.dataset, loaded.suite_file)
    finally:
        session.stop()
    if problems:
        raise ConfigError(problems)


def run_service(options: argparse.Namespace) -> int:
    """Run the service; 0 when it ended as it was asked to."""
    from streaming_app.running import run  # noqa: PLC0415 - Spark's import takes a second: not for a bad configuration

    loaded, suite = load_all(options.config, options.overrides)
    return run(
        loaded,
        suite,
        available_now=options.available_now or bool(options.until),
        until=options.until or "",
        duration=options.duration,
        on_signal=handle_signals,
    )


def handle_signals(stop: Callable[[], Any]) -> None:
    """SIGTERM and Ctrl-C ask for a graceful stop; a second one ends the process at once."""
    asked = threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:
        del frame
        if asked.is_set():
            os._exit(128 + number)
        asked.set()
        stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handle)


def _past(text: str) -> str:
    try:
        return parse_past(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _duration(text: str) -> float:
    try:
        return float(parse_duration(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
