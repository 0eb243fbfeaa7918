"""Commands of the batch application: arguments -> configuration -> work; errors -> messages and exit codes.

Exit codes: 0 done, nothing wrong; 1 the audit found a difference, or `trace` nothing; 2 unusable configuration, filters or input; 3 the gate
failed or the circuit breaker stopped a backfill; 5 counts that do not add up; 6 the lake or its ledger could not be read
or written; 130 Ctrl-C.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence

from batch_app.backfill import commands as backfill
from batch_app.catalog import commands as catalog
from batch_app.compaction import commands as compaction
from batch_app.dead_letters import commands as dead_letters
from batch_app.gate import commands as gate
from batch_app.query import commands as query
from batch_app.trace import commands as trace
from streaming_app import __version__
from streaming_app.arguments import add_config_arguments, load_all
from streaming_app.errors import AuditDifference, IngestError

_INTERRUPTED = 130  # as a shell reports Ctrl-C


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    try:
        return perform(arguments)
    except IngestError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - a command's last word
        return error.exit_code
    except KeyboardInterrupt:
        return _INTERRUPTED


def perform(arguments: Sequence[str] | None = None) -> int:
    """The same for a caller that reports errors in its own way. Raises IngestError."""
    options = _parser().parse_args(arguments)
    return int(options.command(options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="batch_app", description="Commands on what the service has written.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    audit = commands.add_parser(
        "audit", help="prove that every position read is in exactly one place of the lake, once"
    )
    add_config_arguments(audit)
    audit.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    audit.add_argument(
        "--settled",
        action="store_true",
        help="no service is running: what it has still to finish is a difference, too",
    )
    audit.set_defaults(command=run_audit)
    dead_letters.add_parser(commands)
    gate.add_parser(commands)
    backfill.add_parsers(commands)
    compaction.add_parser(commands)
    compaction.add_vacuum_parser(commands)
    query.add_parser(commands)
    trace.add_parser(commands)
    catalog.add_parser(commands)
    return parser


def run_audit(options: argparse.Namespace) -> int:
    """Audit and print the report. Raises AuditDifference, after printing, when anything is wrong."""
    loaded, suite = load_all(options.config, options.overrides)
    from batch_app.audit import audit  # noqa: PLC0415 - pyarrow and rich: not for a bad configuration
    from batch_app.audit.keeping import keep  # noqa: PLC0415 - see above
    from batch_app.audit.show import progress_bar, show  # noqa: PLC0415 - see above

    begun = time.monotonic()
    with progress_bar() as progress:
        report = audit(loaded, suite, settled=options.settled, progress=progress)
    keep(loaded.config, report, time.monotonic() - begun)
    if options.json:
        print(json.dumps(report.to_json(), indent=2))  # noqa: T201 - the command's output
    else:
        show(report)
    if not report.ok:
        count = len(report.differences) + report.unlisted
        raise AuditDifference(f"the audit of {report.lake} found {count} difference{'s' if count > 1 else ''}")
    return 0
