"""`run`: which arguments it takes, and what a moment in the past means."""

from __future__ import annotations

import pytest

from streaming_app.cli import main


def test_plain_run_gets_as_far_as_its_configuration(capsys):
    assert main(["run", "--config", "no-such-file.yaml"]) == 2
    assert "no-such-file.yaml: cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize("moment", ["yesterday", "2999-01-01T00:00:00Z"])
def test_until_is_a_moment_in_the_past(capsys, moment):
    with pytest.raises(SystemExit):
        main(["run", "--config", "-", "--until", moment])
    assert "--until" in capsys.readouterr().err
