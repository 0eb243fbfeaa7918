"""What has to be looked at now and then because nobody tells: memory, disks, and what lies half-way in the lake."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from streaming_app.journal.audited import LastAudit
from streaming_app.journal.ledger import Ledger
from streaming_app.metrics import catalogue as m
from streaming_app.metrics import processes
from streaming_app.metrics.values import Values
from streaming_app.schema import CLEAN, DEAD_LETTER
from streaming_app.sink import SinkOptions

_LOG: Final = logging.getLogger(__name__)
_STATM: Final = Path("/proc/self/statm")


class Sampler:
    """Calls its samples every `interval` seconds in a thread of its own, so that a slow S3 delays nothing else."""

    def __init__(self, samples: Sequence[Callable[[], None]], interval: float) -> None:
        self._samples, self._interval = samples, interval
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="metrics-samples", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Sample no more."""
        self._ended.set()
        self._thread.join(timeout=1)

    def _run(self) -> None:
        while True:
            for sample in self._samples:
                try:
                    sample()
                except Exception as error:  # noqa: BLE001 - the next look may work, and a figure is not worth more
                    _LOG.debug("a metric could not be sampled: %r", error)
            if self._ended.wait(self._interval):
                return


def sample_python(values: Values) -> None:
    """Resident memory from /proc; nothing where there is none."""
    if _STATM.exists():
        pages = int(_STATM.read_text().split()[1])
        values.set(m.PYTHON_MEMORY, pages * os.sysconf("SC_PAGE_SIZE"))


def sample_workers(values: Values, jvm: Any) -> None:
    """The Python processes below the JVM, on this machine: how many, and what they hold."""
    if processes.PROC.joinpath("self").exists():
        found = processes.python_below(jvm.java.lang.ProcessHandle.current().pid())
        held = sum(processes.memory(pid) for pid in found)
        with values.change:
            values.set(m.WORKERS, len(found))
            values.set(m.WORKERS_MEMORY, held)


def sample_jvm(values: Values, jvm: Any) -> None:
    """Heap and the rest, from the JVM's own MXBean."""
    bean = jvm.java.lang.management.ManagementFactory.getMemoryMXBean()
    heap = bean.getHeapMemoryUsage()
    values.set(m.JVM_MEMORY, heap.getUsed(), "heap")
    values.set(m.JVM_MEMORY, bean.getNonHeapMemoryUsage().getUsed(), "nonheap")
    values.set(m.JVM_LIMIT, heap.getMax(), "heap")


def sample_disks(values: Values, places: Mapping[str, str]) -> None:
    """Free space of folders by name; the nearest parent of one that is not there yet."""
    for name, folder in places.items():
        place = Path(folder).resolve()
        usage = shutil.disk_usage(next(path for path in (place, *place.parents) if path.exists()))
        values.set(m.DISK_FREE, usage.free, name)
        values.set(m.DISK_SIZE, usage.total, name)


def sample_lake(values: Values, source: str, sink: SinkOptions) -> None:
    """Entries and files that are half-way: a few requests on S3, and two listings of multipart uploads."""
    values.set(m.UNPUBLISHED, len(Ledger(sink.open_checkpoint()).unpublished()), source)
    prefixes = [f"{table}/input_source={sink.input_source}" for table in (CLEAN, DEAD_LETTER)]
    values.set(m.STAGED_FILES, sum(1 for _ in sink.open_lake().staged(sink.owner, prefixes)), source)


def sample_audit(values: Values, last: LastAudit) -> None:
    """What the last audit found: one request on S3."""
    audited = last.get()
    if audited is None:
        return
    with values.change:
        values.set(m.AUDIT_TIME, audited.ended_at)
        values.set(m.AUDIT_DURATION, audited.seconds)
        values.set(m.AUDIT_OK, float(audited.differences == 0))
        values.set(m.AUDIT_DIFFERENCES, audited.differences)


def scratch(conf: Mapping[str, str]) -> str:
    """Where Spark spills: the first folder of its environment, its configuration or the machine's, as Spark itself chooses."""
    configured = os.environ.get("SPARK_LOCAL_DIRS") or conf.get("spark.local.dir") or tempfile.gettempdir()
    return configured.partition(",")[0]
