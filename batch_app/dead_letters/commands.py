"""Arguments of `dead-letters summary | list | show | replay | discard | export`; the work is done in work.py.

Exit codes: 0 done, also when nothing matched or some rows still fail; 2 unusable configuration, filter, id or repair; 5
counts that do not add up; 6 the lake or its book could not be read or written; 130 Ctrl-C.
"""

from __future__ import annotations

import argparse
from typing import Any, Final

_LIMIT: Final = 50


def add_parser(commands: Any) -> None:
    """Add `dead-letters` with its own commands."""
    parser = commands.add_parser("dead-letters", help="look at rejected rows, replay them, or mark them as done")
    inner = parser.add_subparsers(required=True, metavar="COMMAND")
    _summary(inner)
    _list(inner)
    _show(inner)
    _replay(inner)
    _discard(inner)
    _export(inner)


def _add(inner: Any, name: str, words: str, *, override: str = "--set") -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = inner.add_parser(name, help=words, description=words)
    parser.add_argument("--config", required=True, metavar="FILE", help="for example conf/local.yaml")
    parser.add_argument(
        override,
        dest="overrides",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override one setting of the configuration; repeatable",
    )
    parser.set_defaults(command=_run, name=name)
    return parser


def _add_format(parser: argparse.ArgumentParser, *more: str) -> None:
    parser.add_argument("--format", choices=("table", "json", *more), default="table")
    parser.add_argument("--json", dest="format", action="store_const", const="json", help="the same as --format json")


def _run(options: argparse.Namespace) -> int:
    from batch_app.dead_letters.work import COMMANDS  # noqa: PLC0415 - pyarrow: not for `--help`

    return COMMANDS[options.name](options)


def _add_filters(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("filters", "days are those of rejection (UTC): 2026-03-01, today, yesterday")
    group.add_argument("--date", metavar="DAY", help="that day only")
    group.add_argument("--since", metavar="DAY", help="that day and later ones")
    group.add_argument("--until", metavar="DAY", help="that day and earlier ones")
    group.add_argument(
        "--source", dest="sources", action="append", default=[], metavar="NAME", help="kinesis, csv, or the full name"
    )
    group.add_argument("--stage", dest="stages", action="append", default=[], help="decode, cast, rule or duplicate")
    group.add_argument(
        "--reason", dest="reasons", action="append", default=[], metavar="ID", help="for example city.in_set"
    )
    group.add_argument("--text", help="found in the raw text or the position, in any case of letters")
    group.add_argument("--id", dest="ids", action="append", default=[], help="a dead letter's id, or its beginning")


def _summary(inner: Any) -> None:
    parser = _add(inner, "summary", "counts by day, source, stage, reason and store, with the trend")
    _add_filters(parser)
    parser.add_argument("--all", action="store_true", help="count replayed and discarded ones, too")
    parser.add_argument("--by", metavar="COLUMN", help="count by this column of the dataset; store_id if there is one")
    _add_format(parser)


def _list(inner: Any) -> None:
    parser = _add(inner, "list", "the newest dead letters, one a line")
    _add_filters(parser)
    parser.add_argument("--all", action="store_true", help="replayed and discarded ones, too, with their state")
    parser.add_argument("--limit", type=_count, default=_LIMIT, metavar="N", help=f"{_LIMIT} unless given; 0 is all")
    parser.add_argument("--columns", metavar="A,B", help="columns of the dead letters, of the dataset, and state")
    _add_format(parser, "csv")


def _show(inner: Any) -> None:
    parser = _add(inner, "show", "all about one dead letter, its reasons in words")
    parser.add_argument("id", metavar="ID", help="its id, or the first characters of it")
    _add_format(parser)


def _replay(inner: Any) -> None:
    words = "judge dead letters by today's rules again and publish those that pass"
    parser = _add(inner, "replay", words, override="--override")
    _add_filters(parser)
    parser.add_argument("--everything", action="store_true", help="every open dead letter, where no filter is given")
    parser.add_argument("--dry-run", action="store_true", help="only say how many would pass; changes nothing")
    parser.add_argument(
        "--set",
        dest="repairs",
        action="append",
        default=[],
        metavar="COLUMN=EXPRESSION",
        help="repair a column, or raw, by a Spark SQL expression; repeatable",
    )
    parser.add_argument("--repair", metavar="FILE", help="YAML file with lines COLUMN: EXPRESSION")
    _add_format(parser)


def _discard(inner: Any) -> None:
    parser = _add(inner, "discard", "mark dead letters as done without a replay; they stay where they are")
    _add_filters(parser)
    parser.add_argument("--everything", action="store_true", help="every open dead letter, where no filter is given")
    parser.add_argument("--dry-run", action="store_true", help="only say how many would be marked; changes nothing")
    parser.add_argument("--because", required=True, metavar="TEXT", help="why; kept for the record")
    _add_format(parser)


def _export(inner: Any) -> None:
    parser = _add(inner, "export", "write dead letters into a file")
    parser.add_argument("file", metavar="FILE", help="a new file: .parquet, .csv, .ndjson or .jsonl")
    _add_filters(parser)
    parser.add_argument("--all", action="store_true", help="replayed and discarded ones, too")
    _add_format(parser)


def _count(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is no number of 0 or more")
    return int(text)
