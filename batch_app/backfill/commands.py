"""Arguments of `backfill` and `ingest`; the work is done in run.py.

Exit codes: 0 done, also when there was nothing new; 2 unusable configuration, path or file; 3 the gate failed, or the
circuit breaker stopped a batch; 5 counts that do not add up, or a file that changed while it was loaded; 6 the lake could
not be read or written; 130 Ctrl-C.
"""

from __future__ import annotations

import argparse
from datetime import date
from typing import Any

from streaming_app.arguments import add_config_arguments


def add_parsers(commands: Any) -> None:
    """Add both."""
    words = "load files of raw/ or of Firehose's raw_stream/, each exactly once, however often it is named"
    parser = commands.add_parser("backfill", help=words, description=words)
    parser.add_argument(
        "paths",
        nargs="*",
        metavar="PATH",
        help="files, folders or s3:// prefixes; unless given, the lake's raw_stream/ and raw/ with --since or --until",
    )
    parser.add_argument("--since", type=_day, metavar="DAY", help="files of that day and later ones, by their name")
    parser.add_argument("--until", type=_day, metavar="DAY", help="files of that day and earlier ones")
    parser.add_argument(
        "--rescue",
        metavar="COLUMN",
        help="load no files: fill a column that the dataset has got since from the rescued_data of the rows in the lake;"
        " --since and --until are the rows' days",
    )
    parser.add_argument(
        "--forget-plan",
        action="store_true",
        help="load no files: give up the batch that a run could not finish, as a file of it is gone, changed or bad; only where"
        " nothing of it is in the lake",
    )
    _add_common(parser)
    parser.set_defaults(command=_backfill)
    words = "check files by the gate (validate) and load them if it passes; exit code 3 and an alert if not"
    parser = commands.add_parser("ingest", help=words, description=words)
    parser.add_argument(
        "paths", nargs="+", metavar="PATH", help="CSV or NDJSON files (.gz too), folders or s3:// prefixes"
    )
    parser.add_argument("--engine", choices=("gx", "spark"), default="gx", help="what checks; as for validate")
    parser.add_argument("--no-docs", action="store_true", help="write no Data Docs")
    _add_common(parser)
    parser.set_defaults(command=_ingest, since=None, until=None, docs=None, suite=None, dataset=None)


def _add_common(parser: argparse.ArgumentParser) -> None:
    add_config_arguments(parser)
    parser.add_argument(
        "--input-source", choices=("stream", "batch"), help="what the files hold; unless given, as their names say"
    )
    parser.add_argument(
        "--skip-existing",
        action="store_true",
        help="leave out rows whose --key is in the same day's partition already, by whatever way it came; they are counted",
    )
    parser.add_argument("--key", metavar="COLUMN", help="for --skip-existing; the dataset's first column unless given")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be loaded; changes nothing")
    parser.add_argument("--format", choices=("table", "json"), default="table")
    parser.add_argument("--json", dest="format", action="store_const", const="json", help="the same as --format json")


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no day; write for example 2026-03-01") from None


def _backfill(options: argparse.Namespace) -> int:
    if options.rescue:
        from batch_app.backfill.rescue import run_rescue  # noqa: PLC0415 - see below

        return run_rescue(options)
    if options.forget_plan:
        from batch_app.backfill.run import run_forget  # noqa: PLC0415 - see below

        return run_forget(options)
    from batch_app.backfill.run import run_backfill  # noqa: PLC0415 - pyspark: not for `--help`

    return run_backfill(options)


def _ingest(options: argparse.Namespace) -> int:
    from batch_app.backfill.run import run_ingest  # noqa: PLC0415 - see above

    return run_ingest(options)
