"""The service itself, with the CPU time of all of its metrics counted: `python -m tests.bench.metered_service FILE run ...`.

Counted is the time (CLOCK_THREAD_CPUTIME_ID) of every thread that the metrics begin, from its first to its last instruction
(samples, HTTP, each request, the dead letters' reader, each sender), and of every call that the service makes into them on a
thread of its own. FILE gets the seconds by part, as JSON. What the JVM does for `sample_jvm` is not counted (two calls of an
MXBean each time), nor what imports cost at the start.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

from streaming_app.cli import main
from streaming_app.metrics.monitoring import Monitoring
from streaming_app.metrics.prometheus import _Server

SPENT: Counter[str] = Counter()
_CALLED = ("watch", "show_rules", "on_batch", "on_event", "heard", "close")
_inside = threading.local()


def counted(part: str, action: Callable[..., Any]) -> Callable[..., Any]:
    """The same, with its thread's CPU time added to a part; a call inside such a call is the outer one's."""

    @wraps(action)
    def run(*arguments: Any, **more: Any) -> Any:
        if getattr(_inside, "counting", False):
            return action(*arguments, **more)
        _inside.counting, begun = True, time.thread_time()
        try:
            return action(*arguments, **more)
        finally:
            SPENT[part] += time.thread_time() - begun
            _inside.counting = False

    return run


def of_metrics(thread: threading.Thread) -> bool:
    return thread.name.startswith(("metrics-", "live-"))


def install() -> None:
    """From here on everything is counted."""
    for name in _CALLED:
        setattr(Monitoring, name, counted(f"calls of {name}", getattr(Monitoring, name)))
    _Server.process_request_thread = counted("requests over HTTP", _Server.process_request_thread)
    run = threading.Thread.run

    def run_counted(thread: threading.Thread) -> None:
        (counted(f"thread {thread.name}", run) if of_metrics(thread) else run)(thread)

    threading.Thread.run = run_counted


if __name__ == "__main__":
    install()
    code = main(sys.argv[2:])
    Path(sys.argv[1]).write_text(json.dumps(SPENT))
    sys.exit(code)
