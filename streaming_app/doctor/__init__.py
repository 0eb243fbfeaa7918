"""The checkpoint doctor: what a source's checkpoint holds, what a restart will do, what disagrees, and what can be mended.

    examine (state.py) -> findings (findings.py) and the next start (restart.py) -> report, or repair first (repair.py)

Looks at the last 1,000 batches and epochs only, and at no row: `batch_app audit` proves those. Never starts Spark.
"""

from __future__ import annotations

from streaming_app.doctor.findings import Finding, Kind
from streaming_app.doctor.repair import Repaired, repair
from streaming_app.doctor.report import Diagnosis, diagnose, render
from streaming_app.doctor.state import seconds_since_change

__all__ = ["Diagnosis", "Finding", "Kind", "Repaired", "diagnose", "render", "repair", "seconds_since_change"]
