from __future__ import annotations

import pytest

from streaming_app import running
from streaming_app.cli import main


@pytest.fixture
def asked(monkeypatch):
    """What `run` would be started with."""
    calls = []
    monkeypatch.setattr(running, "run", lambda _loaded, _suite, **how: calls.append(how) or 0)
    return calls


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], {"available_now": False, "until": "", "duration": None}),
        (["--available-now"], {"available_now": True}),
        (["--for", "10m"], {"duration": 600.0}),
        (["--until", "2026-03-01T01:00:00+01:00"], {"available_now": True, "until": "2026-03-01T00:00:00Z"}),
    ],
)
def test_run_is_asked_for_what_the_command_line_says(asked, arguments, expected):
    assert main(["run", "--config", "conf/local.yaml", *arguments]) == 0
    (how,) = asked
    assert {name: how[name] for name in expected} == expected


@pytest.mark.parametrize("arguments", [["--until", "tomorrow"], ["--until", "2999-01-01T00:00:00Z"], ["--for", "soon"]])
def test_a_time_that_cannot_be_is_refused_with_the_option(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["run", "--config", "conf/local.yaml", *arguments])
    assert ended.value.code == 2
    assert arguments[0] in capsys.readouterr().err
