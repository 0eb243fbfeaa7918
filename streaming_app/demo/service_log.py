"""Follows the service's JSON log while it is written: what it is doing now, and its last lines for people."""

from __future__ import annotations

import json
import re
from collections import deque
from pathlib import Path
from typing import Any, Final

_LAST: Final = 12  # lines shown when something went wrong
_JAVA_FRAME: Final = re.compile(r"\s*(at [\w.$/<>]+\(|\.\.\. \d+ more)")  # a dozen of them would hide what matters
_LEVELS: Final = frozenset({"WARNING", "ERROR", "CRITICAL"})


class ServiceLog:
    """Reads what was added to the file since the last look."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = 0
        self._partial = b""
        self._last: deque[str] = deque(maxlen=_LAST)
        self.ready = False
        self.started: set[str] = set()
        self.warning = ""

    def look(self) -> None:
        """Take in new lines; a line that is still being written is left for later."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._read)
                data = file.read()
        except FileNotFoundError:
            return
        self._read += len(data)
        *whole, self._partial = (self._partial + data).split(b"\n")
        for line in whole:
            self._take(line.decode("utf-8", "replace"))

    def _take(self, text: str) -> None:
        line = _parsed(text)
        if line is None:
            if not _JAVA_FRAME.match(text):
                self._last.append(text.rstrip())
            return
        message, source = str(line.get("message", "")), line.get("source")
        self._last.append(" ".join(str(part) for part in (line.get("level", ""), source, message) if part))
        self.ready = self.ready or message == "ready"
        if message == "started" and source:
            self.started.add(str(source))
        if line.get("level") in _LEVELS:
            first_line = message.partition("\n")[0]
            self.warning = f"{source}: {first_line}" if source else first_line

    def last_lines(self) -> list[str]:
        """The end of the log, JSON lines as level, source and message."""
        self.look()
        partial = [self._partial.decode("utf-8", "replace")] if self._partial else []
        return [line for line in [*self._last, *partial] if line.strip()]


def _parsed(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
