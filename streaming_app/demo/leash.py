"""Runs a command and asks it to stop (SIGTERM) when standard input ends: what the demo starts does not outlive it.

    python -m streaming_app.demo.leash COMMAND ARGUMENT...

Exits with the command's own code, or 128 + the signal that ended it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Sequence


def run(command: Sequence[str]) -> int:
    """Run the command to its end."""
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as child:  # noqa: S603 - the demo's own command line
        threading.Thread(target=_stop_at_end_of_input, args=(child,), daemon=True).start()
        code = child.wait()
    return code if code >= 0 else 128 - code


def _stop_at_end_of_input(child: subprocess.Popen[bytes]) -> None:
    while os.read(sys.stdin.fileno(), 1024):  # unbuffered: a buffer's lock would be held when the interpreter ends
        pass
    child.terminate()


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
