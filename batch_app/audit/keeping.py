"""Keeps an audit's result where the service's metrics find it (`qsr_audit_*`)."""

from __future__ import annotations

import sys
import time

from batch_app.audit.report import AuditReport
from streaming_app.config import Config
from streaming_app.errors import SinkError
from streaming_app.journal.audited import Audited, LastAudit
from streaming_app.storage import open_storage


def keep(config: Config, report: AuditReport, seconds: float) -> None:
    """Note the result beside the checkpoints. Where they may only be read it says so on standard error, and that is all."""
    if not any(source.batches for source in report.sources):
        return  # nothing has run here, perhaps as the place is a wrong one: leave no trace in it
    found = len(report.differences) + report.unlisted
    audited = Audited(time.time(), seconds, found, len(report.notices), report.settled)
    try:
        LastAudit(open_storage(config.lake.checkpoint_root(), config.lake.s3.storage_options())).put(audited)
    except (SinkError, OSError) as error:
        print(f"note: the result is not kept for the metrics: {error}", file=sys.stderr)  # noqa: T201 - to who runs it
