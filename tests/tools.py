"""Programs that some tests need: where one is missing they are skipped, and with QSR_REQUIRE_TOOLS=1 they run and fail.

A runner that has the programs sets it, so that a test which silently stopped running is found.
"""

from __future__ import annotations

import os
import shutil

import pytest

REQUIRED = os.environ.get("QSR_REQUIRE_TOOLS") == "1"


def program(*names: str) -> str | None:
    """The path of the first of these programs that is installed."""
    return next((found for name in names if (found := shutil.which(name))), None)


def needs(*names: str, package: str) -> pytest.MarkDecorator:
    """Skips a test where none of these programs is installed; `package` is Debian's that has them."""
    missing = program(*names) is None and not REQUIRED
    return pytest.mark.skipif(missing, reason=f"needs {names[0]} (Debian: {package})")
