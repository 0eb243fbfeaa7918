"""One query: configuration -> SQL -> an engine -> rows in the form that was asked for."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from itertools import chain
from typing import Final

import pyarrow as pa

from batch_app.output import status
from batch_app.query.answer import Answer, write
from batch_app.query.days import with_days
from batch_app.query.named import NamedQuery, has_folder, named, read_named
from streaming_app.arguments import load_all
from streaming_app.config import Loaded
from streaming_app.errors import ConfigError
from streaming_app.storage import beside

_MOST_TRIES: Final = 10  # a compaction of many partitions removes files all the time while it runs


def run(options: argparse.Namespace) -> int:
    """`query`. Raises ConfigError and SinkError."""
    if options.format == "table" and options.output:
        raise ConfigError("--output needs --format csv, json or parquet: a table is for the screen")
    loaded, _ = load_all(options.config, options.overrides)
    folder = options.queries or beside(options.config, "queries")
    if options.queries and not has_folder(folder):
        raise ConfigError(f"--queries {folder}: there is no such folder")
    queries = read_named(folder)
    with status("asking"):
        answer = _listing(queries) if options.list else _asked(options, loaded, queries, folder)
    try:
        write(answer, options.format, options.output, options.limit)
        sys.stdout.flush()
    except BrokenPipeError:  # `| head` has read enough
        sys.stdout = None  # or Python complains at its end
    for note in answer.notes:
        print(note, file=sys.stderr)  # noqa: T201 - beside the output
    return 0


def _asked(options: argparse.Namespace, loaded: Loaded, queries: dict[str, NamedQuery], folder: str) -> Answer:
    sql = named(queries, options.named, folder).sql if options.named else options.sql
    if options.engine == "athena":
        from batch_app.query.athena_engine import Athena  # noqa: PLC0415 - boto3: only where it is used

        if options.named and loaded.config.sink.format == "iceberg":
            sql = with_days(sql, loaded.dataset, loaded.config.athena.database)
        return Athena(loaded.config.athena).ask(sql)
    from batch_app.query.duckdb_engine import ask  # noqa: PLC0415 - DuckDB is an extra package
    from batch_app.query.tables import open_tables  # noqa: PLC0415 - see above

    return _begun(lambda: ask(sql, open_tables(loaded), queries))


def _begun(ask: Callable[[], Answer]) -> Answer:
    """The answer with its first rows there. Until then, a file that a compaction took meanwhile costs another try only.

    Raises VanishedError when that goes on, or when it happens to a long answer whose first rows are out.
    """
    from batch_app.query.duckdb_engine import VanishedError  # noqa: PLC0415 - see above

    for _ in range(_MOST_TRIES):
        try:
            answer = ask()
            first = next(answer.batches, None)
        except VanishedError as error:
            problem = error
            continue
        answer.batches = chain([] if first is None else [first], answer.batches)
        return answer
    raise problem


def _listing(queries: dict[str, NamedQuery]) -> Answer:
    rows = [{"name": query.name, "description": query.description} for query in queries.values()]
    schema = pa.schema([("name", pa.string()), ("description", pa.string())])
    return Answer(schema, iter(pa.Table.from_pylist(rows, schema=schema).to_batches()))
