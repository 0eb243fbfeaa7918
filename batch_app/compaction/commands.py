"""Arguments of `compact` and `vacuum`; the work is done in run.py and vacuum.py.

Exit codes: 0 done, also when nothing was worth it; 2 unusable configuration or arguments; 6 the lake or its book could not
be read or written; 130 Ctrl-C.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from datetime import date
from typing import Any, Final

from streaming_app.arguments import add_config_arguments
from streaming_app.units import parse_duration, parse_size

_TABLES: Final = ("clean", "dead_letter")


def add_parser(commands: Any) -> None:
    """Add `compact`."""
    words = "make few large Parquet files of the many small ones of a partition, sorted by time"
    parser = commands.add_parser("compact", help=words, description=words)
    add_config_arguments(parser)
    group = parser.add_argument_group("which partitions", "say --all, or some of the others")
    group.add_argument("--all", action="store_true", help="every partition")
    group.add_argument(
        "--older-than", type=_seconds, metavar="AGE", help="only days that ended so long ago (UTC): 1d, 12h, 0s"
    )
    group.add_argument("--since", type=_day, metavar="DAY", help="that day and later ones")
    group.add_argument("--until", type=_day, metavar="DAY", help="that day and earlier ones")
    group.add_argument("--input-source", choices=("stream", "batch"))
    group.add_argument("--table", choices=_TABLES)
    parser.add_argument(
        "--target-size", type=_bytes, default="128MiB", metavar="SIZE", help="of a file; 128MiB unless given"
    )
    parser.add_argument(
        "--min-files",
        type=_count,
        default=4,
        metavar="N",
        help="leave partitions with fewer small files; 4 unless given",
    )
    parser.add_argument(
        "--grace",
        type=_seconds,
        default="1h",
        metavar="AGE",
        help="with a catalog: how long a query may take; files that it may still read stay so long. 1h unless given",
    )
    parser.add_argument("--dry-run", action="store_true", help="only say what would be done; changes nothing")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.set_defaults(command=_run)


def add_vacuum_parser(commands: Any) -> None:
    """Add `vacuum`."""
    words = "remove what is left over: files that nobody owns, staged files and uploads of killed runs, replaced files"
    parser = commands.add_parser("vacuum", help=words, description=words)
    add_config_arguments(parser)
    parser.add_argument(
        "--grace",
        type=_seconds,
        default="1d",
        metavar="AGE",
        help="only what is older; longer than any batch and any query takes. 1d unless given",
    )
    parser.add_argument(
        "--many-orphans",
        action="store_true",
        help="remove files of nobody even where they are more than a tenth of all: look at the checkpoints first",
    )
    parser.add_argument("--dry-run", action="store_true", help="only say what would be removed; changes nothing")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.set_defaults(command=_vacuum)


def _run(options: argparse.Namespace) -> int:
    from batch_app.compaction.run import run  # noqa: PLC0415 - pyarrow and pyspark: not for `--help`

    return run(options)


def _vacuum(options: argparse.Namespace) -> int:
    from batch_app.compaction.vacuum import run  # noqa: PLC0415 - see above

    return run(options)


def _parsed(parse: Callable[[Any], Any], least: float) -> Callable[[str], Any]:
    def parsed(text: str) -> Any:
        try:
            value = float(parse(text))
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None
        if not least <= value < float("inf"):
            raise argparse.ArgumentTypeError(f"{text!r} is too small or no number")
        return value

    return parsed


def _seconds(text: str) -> float:
    return float(_parsed(parse_duration, 0)(text))


def _bytes(text: str) -> int:
    return int(_parsed(parse_size, 1)(text))


def _count(text: str) -> int:
    return int(_parsed(int, 1)(text))


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no day; write for example 2026-03-01") from None
