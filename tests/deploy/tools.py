"""Tools that a test needs and a machine may lack: skipped where somebody runs pytest, an error under `make`, which is to hold all of it."""

from __future__ import annotations

import shutil

import pytest

from tests.tools import REQUIRED


def needs(there: object, what: str) -> pytest.MarkDecorator:
    """Skip without the tool, unless it is required: then the test runs, and fails for want of it."""
    return pytest.mark.skipif(not there and not REQUIRED, reason=f"needs {what}")


TERRAFORM = needs(shutil.which("terraform"), "terraform on the PATH")
