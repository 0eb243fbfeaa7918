"""Arguments of `query`; the work is done in run.py.

Exit codes: 0 answered; 2 unusable configuration or SQL; 6 the lake could not be read; 130 Ctrl-C.
"""

from __future__ import annotations

import argparse
from typing import Any

from streaming_app.arguments import add_config_arguments


def add_parser(commands: Any) -> None:
    """Add `query`."""
    words = "SQL over the lake: tables clean and dead_letter, and a view for each named query"
    parser = commands.add_parser("query", help=words, description=words)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("sql", nargs="?", metavar="SQL", help="one SELECT")
    what.add_argument("--named", metavar="NAME", help="a query of the folder --queries")
    what.add_argument("--list", action="store_true", help="list the named queries")
    add_config_arguments(parser)
    parser.add_argument(
        "--queries", metavar="DIR", help="named queries; queries/ beside the configuration unless given"
    )
    parser.add_argument(
        "--engine", choices=("duckdb", "athena"), default="duckdb", help="athena takes the configuration's `athena`"
    )
    parser.add_argument("--format", choices=("table", "csv", "json", "parquet"), default="table")
    parser.add_argument("--json", dest="format", action="store_const", const="json", help="the same as --format json")
    parser.add_argument("--output", metavar="FILE", help="a new file; standard output unless given")
    parser.add_argument("--limit", type=_count, metavar="N", help="rows at most; 100 for a table, otherwise all")
    parser.set_defaults(command=_run)


def _count(text: str) -> int:
    if not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of 1 or more")
    return int(text)


def _run(options: argparse.Namespace) -> int:
    from batch_app.query.run import run  # noqa: PLC0415 - pyarrow: not for `--help`

    return run(options)
