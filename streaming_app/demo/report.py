"""What the demo prints at its end: the audit, the query's answer, sent against arrived, and what to try next."""

from __future__ import annotations

import glob
import json
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from streaming_app.demo.feed import Expected
from streaming_app.demo.plan import Plan, children_environment, shell, shown
from streaming_app.demo.proof import QUERY, Comparison, Revenue, answer, compare
from streaming_app.demo.state import printable
from streaming_app.errors import AuditDifference
from streaming_app.schema import DEAD_LETTER

_AUDIT_TIMEOUT = 300.0  # seconds


def service_ended(console: Console, plan: Plan, code: int, last_lines: Sequence[str]) -> None:
    """Say that the service failed, with the end of its log."""
    console.print(Text(f"The service ended by itself, with exit code {code}. The end of its log:", "bold red"))
    for line in last_lines:
        console.print(Text(f"  {printable(line)}"), soft_wrap=True)
    console.print(Text(f"The whole log: {shown(plan.log)}"), soft_wrap=True)


def prove(console: Console, plan: Plan, endpoint_url: str, expected: Mapping[str, Expected]) -> int:
    """Audit, query and comparison; 0 when everything agrees, otherwise the exit code of what did not."""
    _heading(console, "Audit: is every row that was read in exactly one place, once?")
    audited = _audit(plan, endpoint_url)
    _heading(console, "The question for Athena, answered by DuckDB")
    console.print(Text(QUERY, "dim"), soft_wrap=True)
    console.print(_answer_table(answer(plan.lake)))
    _heading(console, "Sent and arrived")
    compared = compare(plan.lake, expected)
    console.print(_comparison_table(compared))
    code = audited or (0 if all(one.agrees for one in compared) else AuditDifference.exit_code)
    console.print(_verdict(audited, compared))
    _heading(console, "Try next")
    for what, command in next_commands(plan):
        console.print(Text(f"# {what}", "dim"), soft_wrap=True)
        console.print(Text(command), soft_wrap=True)
    return code


def next_commands(plan: Plan) -> Iterator[tuple[str, str]]:
    """Three command lines with what each is for."""
    python = plan.command("streaming_app", "demo", [])[0]
    lake = shown(plan.lake)
    files = json.dumps(f"{glob.escape(lake)}/{DEAD_LETTER}/*/*=*/*.parquet", ensure_ascii=False)
    look = f'import duckdb; duckdb.read_parquet({files}).project("stage, reasons, raw").limit(20).show()'
    yield "rejected rows, whole and with their reasons", shell([python, "-c", look])
    settings = [plan.settings("")[0], "sources.kinesis.enabled=false"]
    yield (
        f"the service on this lake: copy CSV files into {shown(plan.uploads)} and they are read; Ctrl-C ends it",
        shell(plan.command("streaming_app", "run", settings)),
    )
    yield "ten times the orders", shell([python, "-m", "streaming_app", "demo", "--seconds", "120", "--rate", "200"])


def _heading(console: Console, text: str) -> None:
    console.print()
    console.print(Text(text, "bold"))
    console.file.flush()


def _audit(plan: Plan, endpoint_url: str) -> int:
    """The product's own audit as a command of its own, its output as it comes; its exit code."""
    command = plan.command("batch_app", "audit", plan.settings(endpoint_url))
    environment = children_environment(os.environ)
    done = subprocess.run(  # noqa: S603 - our own command line
        command, stdin=subprocess.DEVNULL, env=environment, timeout=_AUDIT_TIMEOUT, start_new_session=True, check=False
    )
    return done.returncode if done.returncode >= 0 else 128 - done.returncode


def _answer_table(rows: Sequence[Revenue]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("input_source")
    for name in ("total_orders", "revenue", "avg_ticket_size"):
        table.add_column(name, justify="right")
    for row in rows:
        orders, average = f"{row.total_orders:,}", f"{row.avg_ticket_size:,.2f}"
        table.add_row(Text(printable(row.input_source)), orders, f"{row.revenue:,.2f}", average)
    return table


def _comparison_table(compared: Sequence[Comparison]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("source")
    for name in ("good sent", "clean in the lake", "bad sent", "dead letters"):
        table.add_column(name, justify="right")
    table.add_column("")
    for one in compared:
        figures = (one.expected.clean, one.found.clean, one.expected.dead, one.found.dead)
        mark = Text("✓ agree", "green") if one.agrees else Text("✗ differ", "bold red")
        table.add_row(Text(one.source), *[f"{figure:,}" for figure in figures], mark)
    return table


def _verdict(audited: int, compared: Sequence[Comparison]) -> Text:
    if audited:
        return Text(f"The audit did not pass (exit code {audited}).", "bold red")
    missing = sum(one.expected.rows - one.found.rows for one in compared)
    if missing > 0:
        return Text(f"{missing:,} rows had not arrived when the service stopped; try a lower --rate.", "bold red")
    if not all(one.agrees for one in compared):
        return Text("What arrived is not what was sent.", "bold red")
    rows = sum(one.expected.rows for one in compared)
    return Text(f"All {rows:,} rows arrived, each once and where it belongs.", "bold green")
