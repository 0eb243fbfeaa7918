"""The Python processes below another process and their memory, from Linux's /proc; elsewhere there are none to see."""

from __future__ import annotations

import os
from collections import defaultdict
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

PROC: Final = Path("/proc")
_PYTHON: Final = "python"


class _Process(NamedTuple):
    """Its number, its parent's, and the first 15 characters of its program's name."""

    pid: int
    parent: int
    name: str


def python_below(root: int, proc: Path = PROC, *, but: int | None = None) -> list[int]:
    """Python processes that `root` or a descendant of it has started, without `but` (this process) and what is below that.

    One short read a process of the machine.
    """
    children: dict[int, list[_Process]] = defaultdict(list)
    for process in _processes(proc):
        children[process.parent].append(process)
    left_out = os.getpid() if but is None else but
    found, waiting = [], [root]
    while waiting:
        for child in children[waiting.pop()]:
            if child.pid != left_out:
                waiting.append(child.pid)
                found += [child.pid] if child.name.startswith(_PYTHON) else []
    return found


def _processes(proc: Path) -> list[_Process]:
    found = []
    for folder in proc.glob("[0-9]*"):
        with suppress(OSError, ValueError, IndexError):  # gone since it was listed
            before, _, after = (folder / "stat").read_text().rpartition(")")  # a name may hold anything
            found.append(_Process(int(folder.name), int(after.split()[1]), before.partition("(")[2]))
    return found


def memory(pid: int, proc: Path = PROC) -> int:
    """Bytes; pages that several processes share count in proportion (PSS), as forked workers share most. 0 once it is gone."""
    with suppress(OSError):
        for line in (proc / str(pid) / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    with suppress(OSError):  # of another user, or an old kernel: resident, shared pages in full
        return int((proc / str(pid) / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0
