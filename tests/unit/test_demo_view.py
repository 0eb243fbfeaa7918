"""The demo's live view and plain lines: what is on them, that they fit, and that no text can break them."""

import io

import pytest
from rich.console import Console

from streaming_app.demo.display import save_picture
from streaming_app.demo.plain import PlainLines
from streaming_app.demo.state import SourceLine, State, Step
from streaming_app.demo.view import View, sparkline
from streaming_app.demo.watch import NewFile

HOSTILE = "[bold red]gotcha[/bold red] [/] [link=http://x]\x1b[2J\x07\n\u202eend"


def state(**changed) -> State:
    values = {
        "phase": "orders are arriving",
        "elapsed": 23.0,
        "total": 60.0,
        "sources": (
            SourceLine("kinesis", 480, 460, 414, 46, 20.1, 0.4, 0.9),
            SourceLine("csv", 1420, 420, 398, 22, 0.0, 12.0, 1.9),
        ),
        "reasons": (("amount.cast", 12), ("city.in_set", 10)),
        "files": tuple(NewFile(1_772_000_000 + n, "clean", "stream 2026-03-02", 20, 6000) for n in range(50)),
        "history": (20, 0, 21, 420, 20),
        "median_age": 0.92,
        "slowest": 4.13,
        "slowest_ever": 28.0,
    }
    return State(**(values | changed))


def drawn(shown: State, width: int = 80, height: int = 24, *, colours: bool = False) -> str:
    out = io.StringIO()
    console = Console(file=out, width=width, height=height, color_system="standard" if colours else None)
    console.print(View(shown))
    return out.getvalue()


def plain(*states: State, seconds: float = 0.0) -> list[str]:
    out = io.StringIO()
    lines = PlainLines(out)
    for number, each in enumerate(states):
        lines.update(each, number * seconds)
    return out.getvalue().splitlines()


def test_every_figure_of_every_source_and_their_sum_is_on_the_screen():
    lines = drawn(state()).splitlines()
    assert next(line for line in lines if line.startswith(" kinesis")).split() == [
        *["kinesis", "480", "460", "414", "46", "20.1", "20"],
        *["0.9", "s"],
    ]
    assert next(line for line in lines if line.startswith(" csv")).split()[5:] == [
        "0.0",
        "1,000",
        "(12",
        "s)",
        "1.9",
        "s",
    ]
    assert next(line for line in lines if line.startswith(" both")).split()[:5] == ["both", "1,900", "880", "812", "68"]
    assert "last 30 s  median 0.9 s, slowest 4.1 s (since the start 28.0 s)" in drawn(state())
    assert "0:23 of 1:00" in drawn(state())


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 40), (200, 60), (80, 16)])
def test_the_screen_fits_the_terminal_however_much_there_is_to_show(width, height):
    reasons = tuple((f"{HOSTILE}-a-very-long-rule-name-{n}", 10**9 - n) for n in range(60))
    full = state(reasons=reasons, warning=HOSTILE * 20, phase="x" * 30)
    lines = drawn(full, width, height).splitlines()
    assert max(map(len, lines)) <= width
    assert len(lines) < max(height, 19)


def test_reasons_that_do_not_fit_are_summed_up():
    reasons = tuple((f"rule.{n}", 100 - n) for n in range(20))
    text = drawn(state(reasons=reasons))
    assert "rule.0 " in text
    hidden = [count for name, count in reasons if f"{name} " not in text]
    assert f"{len(hidden)} more" in text
    assert f"{sum(hidden):,}" in text


def test_hostile_text_is_shown_as_it_stands_and_obeyed_by_nobody():
    hostile = state(
        phase=HOSTILE,
        reasons=((HOSTILE, 3),),
        files=(NewFile(0, "clean", HOSTILE, 1, 1),),
        warning=HOSTILE,
        sources=(SourceLine("[red]csv", 1),),
    )
    text = drawn(hostile, 160, 40)
    assert text.count("[bold red]gotcha") == 4
    assert "[red]csv" in text
    steps = state(sources=(), steps=(Step(HOSTILE, 1.0),))
    for output in (text, drawn(steps, 160, 40), "\n".join(plain(hostile, steps))):
        assert "[bold red]gotcha[/bold red]" in output
        assert not set(output) & {"\x1b", "\x07", "\u202e"}


def test_colours_are_the_terminals_own_so_that_light_and_dark_ones_can_read_them():
    text = drawn(state(), colours=True)
    assert "\x1b[32m" in text
    assert not {"\x1b[37m", "\x1b[30m", "\x1b[97m", "\x1b[33m"} & set(text.split("m"))
    assert "38;" not in text
    assert "48;" not in text


def test_before_orders_flow_the_screen_tells_what_is_being_started():
    steps = (Step("embedded Kinesis", 2.04, done=True), Step("Spark", 7.0))
    lines = drawn(state(sources=(), steps=steps)).splitlines()
    assert lines[3].split() == ["✓", "embedded", "Kinesis", "2.0", "s"]
    assert lines[4].split()[1:] == ["Spark", "7.0", "s"]
    assert "✓" not in lines[4]


def test_a_sparkline_keeps_its_shape_beside_one_big_file():
    assert sparkline([]) == ""
    assert sparkline([0, 0]) == ""
    assert sparkline([10, 20, 0, 5000]) == "▂▃ █"


def test_lines_tell_each_step_once_and_progress_every_two_seconds():
    starting = state(sources=(), steps=(Step("Spark", 1.0),))
    started = state(sources=(), steps=(Step("Spark", 2.0, done=True),))
    counts = [state(sources=(SourceLine("kinesis", n, n),)) for n in range(1, 6)]
    lines = plain(starting, starting, started, *counts, seconds=0.5)
    assert lines[:3] == ["Spark ...", "Spark: 2.0 s", "orders are arriving"]
    assert [line.split()[2] for line in lines[3:]] == ["1", "5"]


def test_lines_become_rare_while_nothing_changes():
    same = [state()] * 41
    assert len(plain(*same, seconds=1.0)) == 1 + 5  # the phase, then at 0, 10, 20, 30 and 40 seconds


def test_the_picture_needs_nothing_from_elsewhere(tmp_path):
    save_picture(state(), tmp_path / "images" / "demo.svg")
    svg = (tmp_path / "images" / "demo.svg").read_text()
    assert "amount.cast" in svg
    assert "@font-face" not in svg
    assert svg.count("http") == svg.count("http://www.w3.org/2000/svg") + svg.count("https://www.textualize.io")
