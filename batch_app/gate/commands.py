"""Arguments of `validate`; the work is done in run.py.

Exit codes: 0 passed; 2 unusable input (a file, the suite, the configuration); 3 failed: a critical expectation was not
met, or a row could not be read, so a pipeline stops here; 6 the lake could not be read or written.
"""

from __future__ import annotations

import argparse
from typing import Any


def add_parser(commands: Any) -> None:
    """Add `validate`."""
    words = "check files against the suite before they are loaded; exit code 0 passed, 3 failed, 2 unusable input"
    parser = commands.add_parser("validate", help=words, description=words)
    parser.add_argument(
        "paths", nargs="+", metavar="PATH", help="CSV, NDJSON (.gz too) or Parquet; a folder or s3:// prefix"
    )
    parser.add_argument(
        "--suite", metavar="FILE", help="the Great Expectations suite; the configuration's unless given"
    )
    parser.add_argument(
        "--dataset", metavar="FILE", help="columns and types; unless given, datasets/ beside the suite's folder"
    )
    parser.add_argument("--config", metavar="FILE", help="where the lake is, how S3 is reached, whom to alert")
    parser.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override one setting of --config",
    )
    parser.add_argument(
        "--engine",
        choices=("gx", "spark"),
        default="gx",
        help="gx: Great Expectations itself, every expectation; spark: the stream's predicates, one pass",
    )
    parser.add_argument("--format", choices=("table", "json"), default="table")
    parser.add_argument("--json", dest="format", action="store_const", const="json", help="the same as --format json")
    parser.add_argument(
        "--docs", metavar="DIR", help="put Data Docs there; the lake's quality/ where --config names a lake"
    )
    parser.add_argument("--no-docs", action="store_true", help="write no Data Docs")
    parser.set_defaults(command=_run)


def _run(options: argparse.Namespace) -> int:
    from batch_app.gate.run import run  # noqa: PLC0415 - pyspark: not for `--help`

    return run(options)
