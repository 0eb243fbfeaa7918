"""What a long command shows on a terminal: a bar where the end is known, else only what it does."""

from __future__ import annotations

import io
import sys

from batch_app.output import Working, working


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_each_item_is_given_once_where_nobody_looks():
    assert list(Working().each(["a", "b"], "removing")) == ["a", "b"]


def test_bar_has_a_count_only_where_the_end_is_known(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    with working("looking") as shown:
        assert list(shown.each(range(3), "removing [files]")) == [0, 1, 2]
        counted = terminal.getvalue()
        shown.say("looking again")
        shown._bar.refresh()
    frames = terminal.getvalue()[len(counted) :]
    assert "looking" in counted
    assert "looking again" in frames
    assert "/3" not in frames.rpartition("looking again")[2]


def test_nothing_is_shown_in_a_pipe(capsys):
    with working("looking") as shown:
        assert list(shown.each([1], "removing")) == [1]
    assert capsys.readouterr().err == ""
