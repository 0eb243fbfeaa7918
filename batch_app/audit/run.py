"""The audit of a whole lake."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from batch_app.audit.compactions import Compactions
from batch_app.audit.lake import TABLES, LakeFiles, open_rows
from batch_app.audit.replays import ReplayAudit
from batch_app.audit.report import LAKE, AuditReport, Finding, Findings, Kind, SourceReport
from batch_app.audit.source import Place, Progress, SourceAudit
from batch_app.compaction.book import CompactionBook
from batch_app.compaction.reading import UNREADABLE
from batch_app.tables import as_read, open_iceberg
from streaming_app.config import Config, Loaded
from streaming_app.errors import SinkError
from streaming_app.journal.ledger import LEDGER, LedgerFile
from streaming_app.journal.read_log import READ_LOG
from streaming_app.places import INPUT_SOURCES, checkpoint_of, compactions_of, enabled_sources
from streaming_app.quality import Suite
from streaming_app.storage import Storage, open_storage

if TYPE_CHECKING:
    from streaming_app.sink.iceberg import IcebergTables

_OWNER: Final = re.compile(r"part-([A-Za-z0-9_]+)-(?:.+-)?[0-9a-f]{32}\.parquet")  # how the sink names files


def audit(loaded: Loaded, suite: Suite, *, settled: bool = False, progress: Progress | None = None) -> AuditReport:
    """Audit every source that is switched on, or that has written before. Changes nothing; a service may be running.

    `settled` says that no service is running: what it would still have to finish is then a difference, not a notice.
    Raises ConfigError and SinkError when the lake or a checkpoint cannot be read at all.
    """
    config = loaded.config
    options = config.lake.s3.storage_options()
    lake = open_storage(config.lake.root, options)
    compactions = Compactions(CompactionBook(open_storage(compactions_of(config), options), lake), lake)
    iceberg = open_iceberg(loaded)
    read = as_read(lake, iceberg)
    files = LakeFiles(read)  # before any ledger is read
    findings = Findings()
    _read_compactions(compactions, files, findings, settled=settled)
    reports = []
    for source in INPUT_SOURCES:
        checkpoint = open_storage(checkpoint_of(config, source), options)
        if _has_run(checkpoint):
            place = Place(source, checkpoint, lake, files, compactions)
            reports.append(_audit_source(place, findings, suite, settled=settled, progress=progress))
        elif source in enabled_sources(config):
            reports.append(SourceReport(source))
            findings.note(_never_ran(source, checkpoint))
    replays = ReplayAudit(config, read, files, compactions, findings, settled=settled)
    replays.run()
    _find_strange_inputs(compactions, findings)
    _find_orphans(lake, files, findings)
    _find_deletions(iceberg, findings)
    reports = [
        replace(found, replayed=replays.replayed[found.source], discarded=replays.discarded[found.source])
        for found in reports
    ]
    return _report(config, findings, reports, settled=settled)


def _report(config: Config, findings: Findings, reports: list[SourceReport], *, settled: bool) -> AuditReport:
    counted = [_counted(report, findings) for report in reports]
    return AuditReport(
        config.lake.root,
        settled,
        tuple(counted),
        tuple(findings.differences),
        tuple(findings.notices),
        findings.unlisted,
    )


def _counted(report: SourceReport, findings: Findings) -> SourceReport:
    values: dict[str, Any] = {**vars(report), "differences": findings.count(report.source)}
    return SourceReport(**values)


def _has_run(checkpoint: Storage) -> bool:
    return any(next(checkpoint.list(folder), None) is not None for folder in (LEDGER, READ_LOG))


def _never_ran(source: str, checkpoint: Storage) -> Finding:
    message = f"there is no checkpoint in {checkpoint.uri}: this source has not run yet"
    return Finding(source, Kind.NEVER_RAN, message, "if it has, check lake.root and lake.checkpoints")


def _audit_source(
    place: Place, findings: Findings, suite: Suite, *, settled: bool, progress: Progress | None
) -> SourceReport:
    running = SourceAudit(place, findings, settled=settled, progress=progress)
    report = running.run()
    if running.suite not in {"", suite.fingerprint}:
        message = f"the newest batch was judged by suite {running.suite}, the configured one is {suite.fingerprint}"
        findings.note(Finding(place.source, Kind.SUITE, message, "rows judged before keep their verdict"))
    _note_staged(place, findings, running.pending)
    return report


def _read_compactions(compactions: Compactions, files: LakeFiles, findings: Findings, *, settled: bool) -> None:
    """The files that compactions wrote: those that were not replaced in their turn are there, as they were written."""
    try:
        compactions.read()
    except SinkError as error:
        findings.add(Finding(LAKE, Kind.COUNTS, f"the book of compactions: {error}", "restore checkpoints/compaction"))
        return
    for number, outputs in compactions.entries():
        if number > compactions.finished:
            message = f"compaction {number} is committed and not carried out: rows of it may be seen twice until then"
            finding = Finding(LAKE, Kind.UNFINISHED, message, "the next `compact` or `vacuum` finishes it")
            (findings.add if settled else findings.note)(finding)
        for output in outputs:
            _check_output(compactions, files, findings, number, output)


def _check_output(
    compactions: Compactions, files: LakeFiles, findings: Findings, number: int, output: LedgerFile
) -> None:
    key = output.staged.key
    advice = "restore the file from a backup or an older object version"
    if compactions.find(key) is not None or number > compactions.finished:
        files.listed(key)  # it is somebody's, while it is there
        return
    size = files.size_of(key)
    if size is None:
        message = f"{key} is not there; compaction {number} wrote {output.rows} rows into it"
        findings.add(Finding(LAKE, Kind.MISSING_FILE, message, advice, file=key))
    elif size != output.staged.size:
        message = f"{key} has {size} bytes, but compaction {number} wrote {output.staged.size}"
        findings.add(Finding(LAKE, Kind.FILE_SIZE, message, f"somebody replaced it: {advice}", file=key))


def _find_strange_inputs(compactions: Compactions, findings: Findings) -> None:
    for number, key in compactions.unowned():
        message = f"compaction {number} took {key}, which is in no entry of the ledger: its rows are nobody's"
        findings.add(
            Finding(LAKE, Kind.ORPHAN_FILE, message, "if an entry of the ledger is missing, restore that", file=key)
        )


def _note_staged(place: Place, findings: Findings, pending: set[str]) -> None:
    """Staged files are invisible, so they are no difference; `pending` ones belong to an entry that counts them."""
    label = INPUT_SOURCES[place.source].value
    staged = place.lake.staged(place.source, [f"{table}/input_source={label}" for table in TABLES])
    count = max(0, sum(1 for _ in staged) - len(pending))
    if count:
        message = f"{count} staged files wait to be committed, or were left by a process that was killed"
        findings.note(
            Finding(place.source, Kind.STAGED, message, "no reader sees them; the service's next start tidies up")
        )


def _find_orphans(lake: Storage, files: LakeFiles, findings: Findings) -> None:
    for info in files.orphans():
        match = _OWNER.fullmatch(info.key.rsplit("/", 1)[-1])
        source = match[1] if match and match[1] in INPUT_SOURCES else LAKE
        message = f"{info.key} ({_rows(lake, info.key)}) is in no entry of the ledger, but readers of the lake see it"
        advice = "move it out of the tables; if an entry of the ledger is missing, too, restore that first"
        findings.add(Finding(source, Kind.ORPHAN_FILE, message, advice, file=info.key))


def _find_deletions(tables: IcebergTables | None, findings: Findings) -> None:
    """Single rows that an engine has taken out of an Iceberg table: files are proved whole here."""
    for name in TABLES:
        if tables and tables.deletes_rows(name):
            message = (
                f"the Iceberg table {name} has delete files: an engine has deleted or updated rows that are proved here"
            )
            advice = "if it was meant to, have Spark apply them (docs/iceberg.md); the rows are then missing by name"
            findings.add(Finding(LAKE, Kind.MISSING_ROWS, message, advice))


def _rows(lake: Storage, key: str) -> str:
    try:
        with open_rows(lake, key) as rows:
            return f"{rows.rows} rows"
    except UNREADABLE:
        return "no readable Parquet file"
