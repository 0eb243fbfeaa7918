"""The report for people, and the progress bar. Output goes to standard output, progress to standard error."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from batch_app.audit.report import AuditReport
from batch_app.audit.source import Progress as OnProgress

_NUMBERS = (
    *("batches", "rows_read", "clean", "dead", "replayed", "discarded"),
    *("duplicates", "files", "compacted", "units", "rows_checked", "differences"),
)
_LABELS = {
    "units": "shards or files",
    "dead": "dead letters",
    "replayed": "  of these replayed",
    "discarded": "  discarded",
    "compacted": "  of these compacted",
}


def show(report: AuditReport) -> None:
    """Print the table, then each notice and difference on a line of its own, and the verdict."""
    console = Console(highlight=False, soft_wrap=True)
    console.print(_table(report))
    for notice in report.notices:
        console.print(f"note: {notice}", markup=False)
    for difference in report.differences:
        console.print(f"DIFFERENCE {difference}", markup=False, style="red")
    if report.unlisted:
        console.print(f"and {report.unlisted:,} more differences of the same kinds")
    if report.ok:
        rows = sum(source.rows_checked for source in report.sources)
        console.print(f"{rows:,} rows checked in {report.lake}: no difference", markup=False, style="green")


def _table(report: AuditReport) -> Table:
    """One column a source, so that it fits any terminal."""
    table = Table("")
    for source in report.sources:
        table.add_column(source.source, justify="right")
    for name in _NUMBERS:
        table.add_row(
            _LABELS.get(name, name.replace("_", " ")), *(f"{getattr(source, name):,}" for source in report.sources)
        )
    return table


@contextmanager
def progress_bar() -> Iterator[OnProgress]:
    """Shows how far each source is, on a terminal only."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(file=sys.stderr)
    with Progress(*columns, console=console, transient=True, disable=not sys.stderr.isatty()) as bar:
        tasks = {}

        def update(source: str, done: int, total: int) -> None:
            if source not in tasks:
                tasks[source] = bar.add_task(f"audit {source}")
            bar.update(tasks[source], completed=done, total=max(done, total))

        yield update
