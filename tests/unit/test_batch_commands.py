"""What every command of the batch application has in common."""

from __future__ import annotations

import argparse
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

from batch_app.cli import _parser, main
from tests.audit_lake import REPOSITORY, healthy_lake

WRITERS = {"backfill", "ingest", "compact", "vacuum", "catalog sync", "dead-letters replay", "dead-letters discard"}
NAMES_ITS_FILE = {
    "validate",
    "query",
    "dead-letters export",
}  # they write only what is asked for, and never over a file


def leaves(parser: argparse.ArgumentParser, name: str = "") -> Iterator[tuple[str, argparse.ArgumentParser]]:
    inner = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not inner:
        yield name, parser
    for action in inner:
        for part, child in action.choices.items():
            yield from leaves(child, f"{name} {part}".strip())


COMMANDS = dict(leaves(_parser()))


def options(name: str) -> set[str]:
    return {option for action in COMMANDS[name]._actions for option in action.option_strings}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_json(name, capsys):
    with pytest.raises(SystemExit) as end:
        main([*name.split(), "--help"])
    assert end.value.code == 0
    assert f"batch_app {name}" in capsys.readouterr().out
    assert "--json" in options(name)
    assert all(action.help for action in COMMANDS[name]._actions if action.option_strings and not action.choices)


def test_every_command_that_changes_the_lake_can_say_what_it_would_do():
    assert {name for name in COMMANDS if "--dry-run" in options(name)} == WRITERS
    reading = {"audit", "trace", "catalog show", "catalog ddl"} | {
        f"dead-letters {name}" for name in ("summary", "list", "show")
    }
    assert set(COMMANDS) == WRITERS | NAMES_ITS_FILE | reading


def test_every_command_is_in_the_readme_or_on_the_page_of_the_batch_application():
    text = "".join((REPOSITORY / name).read_text() for name in ("README.md", "docs/batch.md", "docs/dead-letters.md"))
    for name in COMMANDS:
        assert re.search(rf"\b{name.split()[-1]}\b", text), name


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["compact", "--all", "--min-files", "2"], "files"),
        (["vacuum"], "every file of the lake"),
        (["audit"], "audit"),
        (["query", "SELECT COUNT(*) FROM clean"], "asking"),
    ],
)
def test_long_work_says_on_a_terminal_how_far_it_is_and_is_silent_in_a_pipe(tmp_path, orders, arguments, shown):
    config = healthy_lake(str(tmp_path / "lake"), orders).config_file(tmp_path)
    command = [sys.executable, "-m", "batch_app", *arguments, "--config", config]
    ours, theirs = pty.openpty()
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=theirs) as child:
        os.close(theirs)
        said = b""
        while chunk := _read(ours):
            said += chunk
    os.close(ours)
    assert child.returncode == 0
    assert shown in said.decode()
    silent = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert silent.stderr == ""


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # the other end is closed
        return b""
