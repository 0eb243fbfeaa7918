"""Faults inside the service's own processes: put on PYTHONPATH, steered by QSR_FAULT and QSR_FAULT_MARKER.

hang-before-entry     once a batch is staged and before its ledger entry is written, say so and hang (to be killed)
hang-after-entry      once the ledger entry is written and before any file is published, say so and hang (to be killed)
fail-first-attempt    the first attempt of every writing task fails after it has read and staged all its rows
leak-heap             once the marker is there, hold so much of the driver's heap that 95% of it stays full whatever is collected
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import os
import sys
import time
from pathlib import Path

FAULT = os.environ.get("QSR_FAULT", "")
COMMIT = "streaming_app.sink.commit"
SINK = "streaming_app.sink.datasource"
SAMPLES = "streaming_app.metrics.samples"


def _hang_once(module, name):
    method = getattr(module.Committer, name)

    def hang(self, *arguments):
        marker = Path(os.environ["QSR_FAULT_MARKER"])
        try:
            marker.touch(exist_ok=False)
        except FileExistsError:
            return method(self, *arguments)
        time.sleep(600)
        return None

    setattr(module.Committer, name, hang)


def _hang_before_entry(module):
    _hang_once(module, "_entry")


def _hang_after_entry(module):
    _hang_once(module, "_publish_all")


def _fail_first_attempt(module):
    finish = module.TaskWriter.finish

    def fail(self):
        from pyspark import TaskContext

        result = finish(self)
        context = TaskContext.get()
        if context is not None and context.attemptNumber() == 0:
            raise RuntimeError("injected: the first attempt fails")
        return result

    module.TaskWriter.finish = fail


def _leak_heap(module):
    sample, held = module.sample_jvm, []

    def leak(values, jvm):
        bean = jvm.java.lang.management.ManagementFactory.getMemoryMXBean()
        if Path(os.environ["QSR_FAULT_MARKER"]).exists():
            jvm.java.lang.System.gc()
            heap = bean.getHeapMemoryUsage()
            missing = int(0.95 * heap.getMax()) - heap.getUsed()
            held.extend(jvm.java.nio.ByteBuffer.allocate(1 << 20) for _ in range(missing >> 20))
        sample(values, jvm)

    module.sample_jvm = leak


PATCHES = {
    "hang-before-entry": (COMMIT, _hang_before_entry),
    "hang-after-entry": (COMMIT, _hang_after_entry),
    "fail-first-attempt": (SINK, _fail_first_attempt),
    "leak-heap": (SAMPLES, _leak_heap),
}


class _Finder(importlib.abc.MetaPathFinder):
    """Lets the module be loaded as always, then patches it."""

    def find_spec(self, name, path, target=None):  # noqa: ARG002 - the protocol
        wanted, patch = PATCHES[FAULT]
        if name != wanted:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            patch(module)

        spec.loader.exec_module = exec_module
        return spec


if FAULT in PATCHES:
    sys.meta_path.insert(0, _Finder())
