"""Arguments of `trace`; the work is done in run.py.

Exit codes: 0 found; 1 no trace of it; 2 unusable configuration or argument; 6 the lake or its books could not be read; 130
Ctrl-C.
"""

from __future__ import annotations

import argparse
from typing import Any

from streaming_app.arguments import add_config_arguments


def add_parser(commands: Any) -> None:
    """Add `trace`."""
    words = (
        "where an order is: read in which epoch and batch, clean file or dead letter with reasons, replays, compactions"
    )
    parser = commands.add_parser("trace", help=words, description=words)
    parser.add_argument(
        "what",
        metavar="ORDER_ID | POSITION",
        help="a value of --column, or a source position: shardId-000000000000:4965... or file.csv#12",
    )
    add_config_arguments(parser)
    parser.add_argument(
        "--column", metavar="NAME", help="look for the value in this column; the dataset's first one unless given"
    )
    parser.add_argument(
        "--since", metavar="DAY", help="rows of this day and later ones only, which is quicker: 2026-03-01"
    )
    parser.add_argument("--until", metavar="DAY", help="rows of this day and earlier ones only")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.set_defaults(command=_run)


def _run(options: argparse.Namespace) -> int:
    from batch_app.trace.run import run  # noqa: PLC0415 - pyarrow: not for `--help`

    return run(options)
