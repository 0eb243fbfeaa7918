from __future__ import annotations

import json

import pytest

from streaming_app import running
from streaming_app.cli import main
from streaming_app.errors import ConfigError


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


@pytest.fixture
def suite_file(tmp_path):
    """Makes a suite with one rule and the examples given; returns the arguments that name it."""

    def make(*examples, column="city"):
        rule = {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": column}}
        file = tmp_path / "suite.json"
        file.write_text(json.dumps({"name": "s", "expectations": [rule], "examples": list(examples)}))
        return ["check-config", "--config", "conf/local.yaml", "--set", f"suite={file}"]

    return make


@pytest.fixture
def sessions(monkeypatch):
    """How often Spark was asked for; it is not there."""
    from streaming_app.runtime import session

    asked = []

    def refuse(config):
        asked.append(config)
        raise ConfigError("there is no Java")

    monkeypatch.setattr(session, "build_session", refuse)
    return asked


EXAMPLE = {"row": {"city": None}, "fails": ["city.not_null"]}


@pytest.mark.parametrize(
    ("examples", "option", "starts"),
    [
        ([EXAMPLE], [], True),
        ([EXAMPLE], ["--no-examples"], False),
        ([], [], False),
        ([], ["--examples"], True),
    ],
)
def test_check_config_runs_the_examples_that_there_are_unless_told_not_to(
    suite_file, sessions, examples, option, starts
):
    assert main([*suite_file(*examples), *option]) == (2 if starts else 0)
    assert bool(sessions) is starts


def test_problem_of_the_configuration_is_reported_before_spark_starts(suite_file, sessions, capsys):
    assert main(suite_file(EXAMPLE, column="ctiy")) == 2
    assert sessions == []
    assert "did you mean city?" in capsys.readouterr().err
