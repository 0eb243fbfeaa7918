"""Mends what can be mended without loss, by the same code as the service's own start, and refuses the rest."""

from __future__ import annotations

from dataclasses import dataclass

from streaming_app.config import Loaded
from streaming_app.doctor.findings import Finding, Kind, removable_offset
from streaming_app.doctor.report import Diagnosis
from streaming_app.doctor.state import POINTER
from streaming_app.errors import DataLossError
from streaming_app.journal.spark_log import COMMITS, OFFSETS
from streaming_app.quality import Suite

# With these the folder may be somebody else's, or what recovery relies on cannot be read.
_FORBID: frozenset[Kind] = frozenset({Kind.OTHER_SOURCE, Kind.OTHER_STREAM})


@dataclass(frozen=True)
class Repaired:
    """What was done, and why the rest was not."""

    done: tuple[str, ...] = ()
    refused: str = ""


def repair(loaded: Loaded, suite: Suite, diagnosis: Diagnosis) -> Repaired:
    """Mend one source; the service must be stopped. Raises SinkError when the place cannot be written."""
    mendable = [finding for finding in diagnosis.findings if finding.mendable]
    if not mendable:
        return Repaired()
    against = [finding for finding in diagnosis.findings if _forbids(finding)]
    if against:
        return Repaired(
            refused=f"nothing was repaired, because of {', '.join(sorted({f.kind.value for f in against}))}"
        )
    done = [*_remove_offset(diagnosis), *_remove_pointer(diagnosis), *_reopen(diagnosis)]
    try:
        return Repaired((*done, *_recover(loaded, suite, diagnosis)))
    except DataLossError as error:
        return Repaired(tuple(done), str(error))


def _forbids(finding: Finding) -> bool:
    return finding.kind in _FORBID or (finding.kind is Kind.UNREADABLE and not finding.mendable)


def _remove_offset(diagnosis: Diagnosis) -> list[str]:
    """Spark's last offset, where it is unreadable and nothing was written with it; what was read stays in the read log."""
    key = removable_offset(diagnosis.state)
    if not key:
        return []
    diagnosis.place.checkpoint.delete([key, _checksum(OFFSETS, key)])
    return [f"removed {key}"]


def _remove_pointer(diagnosis: Diagnosis) -> list[str]:
    """The mark of what is visible: without it recovery publishes all recent batches again, which changes nothing."""
    if POINTER not in diagnosis.state.damaged:
        return []
    diagnosis.place.checkpoint.delete([POINTER])
    return [f"removed {POINTER}"]


def _reopen(diagnosis: Diagnosis) -> list[str]:
    """Spark's last commit, where files of its batch are gone: recovery then takes the entry back, and Spark runs it again."""
    if not any(finding.kind is Kind.FILES_GONE and finding.mendable for finding in diagnosis.findings):
        return []
    key = f"{COMMITS}/{diagnosis.state.spark.last_committed}"
    diagnosis.place.checkpoint.delete([key, _checksum(COMMITS, key)])
    return [f"removed {key}"]


def _checksum(folder: str, key: str) -> str:
    """Hadoop's checksum file beside a file on a local disk."""
    return f"{folder}/.{key.rsplit('/', 1)[-1]}.crc"


def _recover(loaded: Loaded, suite: Suite, diagnosis: Diagnosis) -> list[str]:
    from streaming_app.sink import Committer  # noqa: PLC0415 - imports pyspark
    from streaming_app.streams import sink_options  # noqa: PLC0415 - see above

    leftovers = len(diagnosis.state.spark.leftovers)
    report = Committer(sink_options(loaded, diagnosis.place.source, suite)).recover()
    done = [f"removed {leftovers} half-written files of Spark"] if leftovers else []
    done += [f"batch {batch}: its files are visible now" for batch in report.finished]
    done += [f"batch {batch}: files were gone, its entry was taken back, and it runs again" for batch in report.voided]
    return done + ([f"threw {report.discarded} staged files away"] if report.discarded else [])
