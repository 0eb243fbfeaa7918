"""`catalog ddl | sync | show`. Exit codes: 0 done; 2 unusable configuration or arguments, or drift that sync refuses; 6 Glue."""

from __future__ import annotations

import argparse
import json
import re
from datetime import date
from typing import Any, Final

from streaming_app.arguments import add_config_arguments, load_all
from streaming_app.config import Loaded
from streaming_app.errors import ConfigError
from streaming_app.storage import beside, is_s3

_DATABASE: Final = re.compile(r"[a-z0-9_]{1,255}")  # Glue's and Athena's names


def add_parser(commands: Any) -> None:
    """Add `catalog` with its own commands."""
    parser = commands.add_parser("catalog", help="the lake's tables as Athena knows them")
    inner = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_ddl(inner)
    words = "make or mend the Glue database and tables, and register what the lake has and the catalog lacks"
    sync = inner.add_parser("sync", help=words, description=words)
    sync.add_argument("--dry-run", action="store_true", help="say what would be done")
    sync.set_defaults(command=_sync)
    words = "how the catalog differs from the lake and the dataset; changes nothing"
    show = inner.add_parser("show", help=words, description=words)
    show.set_defaults(command=_show)
    for command in (sync, show):
        add_config_arguments(command)
        command.add_argument("--json", action="store_true", help="print one JSON object instead of tables")


def _add_ddl(inner: Any) -> None:
    words = "print the Athena DDL of clean and dead_letter, for an Iceberg lake of the views alone; changes nothing"
    ddl = inner.add_parser("ddl", help=words, description=words)
    add_config_arguments(ddl)
    ddl.add_argument(
        "--mode",
        choices=("registered", "projection"),
        help="registered: partitions stand in Glue; projection: Athena computes them, there is nothing to register;"
        " the configuration's catalog.partitions unless given",
    )
    ddl.add_argument(
        "--database", metavar="NAME", help="the configuration's catalog.database or athena.database unless given"
    )
    ddl.add_argument("--location", metavar="URI", help="s3://bucket/prefix of the lake; lake.root unless given")
    ddl.add_argument(
        "--since",
        type=_day,
        metavar="DAY",
        help="first day of a projection; the configuration's catalog.since unless given",
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


def _sync(options: argparse.Namespace) -> int:
    from batch_app.catalog.run import sync  # noqa: PLC0415 - pyarrow, pyspark and boto3: not for `--help`

    return sync(options)


def _show(options: argparse.Namespace) -> int:
    from batch_app.catalog.run import show  # noqa: PLC0415 - see above

    return show(options)


def _ddl(options: argparse.Namespace) -> int:
    statements = _statements(options)
    text = json.dumps(statements, indent=2) if options.json else "\n\n".join(f"{one};" for one in statements)
    print(text)  # noqa: T201 - the command's output
    return 0


def _statements(options: argparse.Namespace) -> list[str]:
    from batch_app.catalog import ddl  # noqa: PLC0415 - pyarrow and pyspark: not for `--help`
    from batch_app.query.named import read_named  # noqa: PLC0415 - beside it
    from streaming_app.catalog import TABLES, Mode, table_of  # noqa: PLC0415 - see above

    loaded, _ = load_all(options.config, options.overrides)
    if loaded.config.sink.format == "iceberg":
        return _iceberg_views(options, loaded)
    catalog = loaded.config.catalog
    database = options.database or catalog.database or loaded.config.athena.database
    root = options.location or loaded.config.lake.root
    _require_database(database)
    if not is_s3(root):
        raise ConfigError(f"{root} is a local folder, which Athena cannot read; say --location s3://bucket/prefix")
    mode, since = Mode(options.mode or catalog.partitions), options.since or catalog.since
    made = [ddl.create_database(database)]
    for table in (table_of(name, loaded.dataset, root) for name in TABLES):
        made.append(ddl.create_table(table, database, mode, since))
        if mode is Mode.REGISTERED:
            made.append(ddl.repair_table(table, database))
    if options.views:
        queries = read_named(_queries(options))
        made += [ddl.create_view(query.name, query.sql, database) for query in queries.values()]
    return made


def _iceberg_views(options: argparse.Namespace, loaded: Loaded) -> list[str]:
    """The named queries over Iceberg's own tables, which need no DDL. Raises ConfigError where tables are asked for."""
    from batch_app.catalog import ddl  # noqa: PLC0415 - see above
    from batch_app.query.days import with_days  # noqa: PLC0415 - beside it
    from batch_app.query.named import read_named  # noqa: PLC0415 - see above
    from batch_app.tables import refuse_plain_tables  # noqa: PLC0415 - see above

    if not options.views:
        refuse_plain_tables(loaded, "--views prints the named queries over them")
    database = options.database or loaded.config.iceberg.namespace
    _require_database(database)
    queries = read_named(_queries(options)).values()
    return [ddl.create_view(query.name, with_days(query.sql, loaded.dataset, database), database) for query in queries]


def _queries(options: argparse.Namespace) -> str:
    return str(options.queries or beside(options.config, "queries"))


def _require_database(database: str) -> None:
    if not _DATABASE.fullmatch(database):
        raise ConfigError(
            f"{database!r} is no database: set athena.database, or --database, in small letters, digits and _"
        )
