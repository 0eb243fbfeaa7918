"""`run`: which arguments it takes, and what a moment in the past means."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from streaming_app.cli import main

REPOSITORY = Path(__file__).resolve().parents[2]


def test_plain_run_gets_as_far_as_its_configuration(capsys):
    assert main(["run", "--config", "no-such-file.yaml"]) == 2
    assert "no-such-file.yaml: cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize("moment", ["yesterday", "2999-01-01T00:00:00Z"])
def test_until_is_a_moment_in_the_past(capsys, moment):
    with pytest.raises(SystemExit):
        main(["run", "--config", "-", "--until", moment])
    assert "--until" in capsys.readouterr().err


def test_older_spark_is_named_with_what_is_needed():
    older = "import pyspark.sql.datasource as made; del made.DataSourceStreamArrowWriter"  # as pyspark 4.0.2 is
    command = "import sys; from streaming_app.cli import main; sys.exit(main(['run', '--config', 'conf/local.yaml']))"
    done = subprocess.run(
        [sys.executable, "-c", f"{older}; {command}"], capture_output=True, text=True, cwd=REPOSITORY, check=False
    )
    assert done.returncode == 2
    assert "4.1 is needed" in done.stderr
    assert "Traceback" not in done.stderr
