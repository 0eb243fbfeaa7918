"""Runs a command in a session of its own and measures the whole process tree: wall and CPU seconds, peak memory.

CPU is user and system time of every process ever seen in the session, from /proc; what the kernel charged to the command and
the children it waited for is taken instead where that is more. Memory is the sum of resident sets (RSS), looked at ten times
a second, in which a page that forked workers share counts once for each of them; and the sum of proportional sets (PSS), in
which it counts once, looked at once a second since the kernel walks every page for it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Final

SAMPLE_SECONDS: Final = 0.1
SAMPLES_PER_SHARED: Final = 10
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_STOP_SECONDS: Final = 60
_WORTH_TELLING: Final = 0.5  # CPU seconds
# Fields of /proc/PID/stat after the command's name (proc(5)): session id, user time, system time, resident pages.
_SESSION, _UTIME, _STIME, _RSS = 3, 11, 12, 21


@dataclass(frozen=True)
class Usage:
    """What a finished process tree has used. Times in seconds, memory in bytes; `started` and `ended` since 1970."""

    exit_code: int
    started: float
    ended: float
    cpu_seconds: float
    peak_rss: int
    peak_pss: int
    cpu_by_program: dict[str, float]

    @property
    def wall_seconds(self) -> float:
        """From start to end, interpreter and JVM start included."""
        return self.ended - self.started


@dataclass
class ProcessTree:
    """All processes of one session."""

    session: int
    peak_rss: int = 0
    peak_pss: int = 0
    _members: list[int] = field(default_factory=list)
    _cpu_ticks: dict[int, int] = field(default_factory=dict)
    _programs: dict[int, str] = field(default_factory=dict)
    _foreign: set[int] = field(default_factory=set)

    @property
    def cpu_seconds(self) -> float:
        """CPU time of every process that was seen, also of those that are gone."""
        return sum(self._cpu_ticks.values()) / _TICKS

    @property
    def cpu_by_program(self) -> dict[str, float]:
        """CPU seconds as last seen, by program, most first: `java`, `pyspark.daemon ...worker`, and the like."""
        seconds: defaultdict[str, float] = defaultdict(float)
        for pid, ticks in self._cpu_ticks.items():
            seconds[self._programs.get(pid, "?")] += ticks / _TICKS
        return {
            name: round(used, 1)
            for name, used in sorted(seconds.items(), key=lambda item: -item[1])
            if used >= _WORTH_TELLING
        }

    def sample(self) -> None:
        """Look once at the processes there are."""
        resident = 0
        self._members = []
        pids = {int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()}
        self._foreign &= pids
        for pid in pids - self._foreign:
            resident += self._one(pid)
        self.peak_rss = max(self.peak_rss, resident)

    def sample_shared(self) -> None:
        """Look once at what the processes of the last sample share."""
        self.peak_pss = max(self.peak_pss, sum(map(_proportional, self._members)))

    def _one(self, pid: int) -> int:
        """Resident bytes of a process, 0 when it is not ours or gone."""
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0
        if int(fields[_SESSION]) != self.session:
            self._foreign.add(pid)
            return 0
        self._members.append(pid)
        self._programs[pid] = _program(pid) or self._programs.get(pid, "?")  # it changes after the fork
        self._cpu_ticks[pid] = int(fields[_UTIME]) + int(fields[_STIME])
        return int(fields[_RSS]) * _PAGE


def _proportional(pid: int) -> int:
    """Bytes of a process's proportional set, 0 when it is gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:")), 0)


def _program(pid: int) -> str:
    """What runs in a process: the module of a Python, else the file's name; empty for one that has just ended."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return ""
    if "-m" in words:
        return " ".join(words[words.index("-m") + 1 :][:2]).strip()
    return Path(words[0]).name


class Measured:
    """A command that runs and is measured; `stop` asks it to end, `wait` gives its usage."""

    def __init__(self, command: Sequence[str], log: Path) -> None:
        """Output of both kinds goes to `log`."""
        self.log = log
        self.started = time.time()
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )
        self._tree = ProcessTree(self._process.pid)
        self._usage: Usage | None = None
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    def _watch(self) -> None:
        pid = self._process.pid
        for number in count():
            done, status, usage = os.wait4(pid, os.WNOHANG)
            if done:
                break
            self._tree.sample()
            if number % SAMPLES_PER_SHARED == 0:
                self._tree.sample_shared()
            time.sleep(SAMPLE_SECONDS)
        self._process.returncode = os.waitstatus_to_exitcode(status)
        charged = usage.ru_utime + usage.ru_stime
        cpu = max(self._tree.cpu_seconds, charged)
        self._usage = Usage(
            exit_code=self._process.returncode,
            started=self.started,
            ended=time.time(),
            cpu_seconds=cpu,
            peak_rss=self._tree.peak_rss,
            peak_pss=self._tree.peak_pss,
            cpu_by_program=self._tree.cpu_by_program,
        )

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._usage is None

    def stop(self) -> None:
        """SIGTERM to the command itself, as an operator does it."""
        if self.running:
            os.kill(self._process.pid, signal.SIGTERM)

    def wait(self, timeout: float) -> Usage:
        """Wait for the end; after `timeout` seconds the whole session is killed. Nothing of it outlives this call."""
        try:
            self._watcher.join(timeout)
        finally:  # also when the bench itself is interrupted
            if self.running:
                os.killpg(self._process.pid, signal.SIGKILL)
        self._watcher.join(_STOP_SECONDS)
        self._kill_left_over()
        if self._usage is None:
            raise RuntimeError(f"process {self._process.pid} does not end, not even when it is killed")
        return self._usage

    def _kill_left_over(self) -> None:
        """Workers of a command that was killed may still be there, in groups of their own."""
        left = ProcessTree(self._tree.session)
        left.sample()
        for pid in left._cpu_ticks:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue


def run(command: Sequence[str], log: Path, timeout: float) -> Usage:
    """Run a command to its end."""
    return Measured(command, log).wait(timeout)
