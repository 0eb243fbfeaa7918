"""`catalog ddl`. Exit codes: 0 printed; 2 unusable configuration or arguments."""

from __future__ import annotations

import argparse
import json
import re
from datetime import date
from pathlib import Path
from typing import Any, Final

from streaming_app.arguments import add_config_arguments, load_all
from streaming_app.errors import ConfigError
from streaming_app.storage import is_s3

_SINCE: Final = date(2020, 1, 1)
_DATABASE: Final = re.compile(r"[a-z0-9_]{1,255}")  # Glue's and Athena's names


def add_parser(commands: Any) -> None:
    """Add `catalog` with its own commands."""
    parser = commands.add_parser("catalog", help="the lake's tables as Athena knows them")
    inner = parser.add_subparsers(required=True, metavar="COMMAND")
    words = "print the Athena DDL of clean and dead_letter; changes nothing"
    ddl = inner.add_parser("ddl", help=words, description=words)
    add_config_arguments(ddl)
    ddl.add_argument(
        "--mode",
        choices=("registered", "projection"),
        default="registered",
        help="registered: partitions stand in Glue; projection: Athena computes them, there is nothing to register",
    )
    ddl.add_argument("--database", metavar="NAME", help="the configuration's athena.database unless given")
    ddl.add_argument("--location", metavar="URI", help="s3://bucket/prefix of the lake; lake.root unless given")
    ddl.add_argument(
        "--since", type=_day, default=_SINCE, metavar="DAY", help=f"first day of a projection; {_SINCE} unless given"
    )
    ddl.add_argument("--views", action="store_true", help="the named queries as views, too")
    ddl.add_argument("--queries", metavar="DIR", help="named queries; queries/ beside the configuration unless given")
    ddl.add_argument("--json", action="store_true", help="a JSON list of statements, for a program that runs them")
    ddl.set_defaults(command=_ddl)


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no day; write for example 2026-03-01") from None


def _ddl(options: argparse.Namespace) -> int:
    statements = _statements(options)
    text = json.dumps(statements, indent=2) if options.json else "\n\n".join(f"{one};" for one in statements)
    print(text)  # noqa: T201 - the command's output
    return 0


def _statements(options: argparse.Namespace) -> list[str]:
    from batch_app.catalog import ddl  # noqa: PLC0415 - pyarrow and pyspark: not for `--help`
    from batch_app.query.named import read_named  # noqa: PLC0415 - beside it

    loaded, _ = load_all(options.config, options.overrides)
    database = options.database or loaded.config.athena.database
    root = options.location or loaded.config.lake.root
    if not _DATABASE.fullmatch(database):
        raise ConfigError(
            f"{database!r} is no database: set athena.database, or --database, in small letters, digits and _"
        )
    if not is_s3(root):
        raise ConfigError(f"{root} is a local folder, which Athena cannot read; say --location s3://bucket/prefix")
    mode = ddl.Mode(options.mode)
    tables = [ddl.table_of(name, loaded.dataset, root) for name in ddl.TABLES]
    made = [ddl.create_database(database)]
    for table in tables:
        made.append(ddl.create_table(table, database, mode, options.since))
        if mode is ddl.Mode.REGISTERED:
            made.append(ddl.repair_table(table, database))
    if options.views:
        queries = read_named(options.queries or str(Path(options.config).parent / "queries"))
        made += [ddl.create_view(query.name, query.sql, database) for query in queries.values()]
    return made
