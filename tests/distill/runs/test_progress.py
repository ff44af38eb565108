"""Progress: a bar for people, lines for logs."""

import io
import re

import pytest
from rich.console import Console
from rich.table import Table

from handsight.distill.runs import progress
from handsight.distill.runs.interrupt import Unread
from handsight.distill.runs.progress import stage, tell


def test_log_gets_plain_lines_with_rate_and_time_left(monkeypatch):
    clock = iter([0.0, 0.0, 0.0, 4.0, 20.0, 20.0, 20.0, 30.0, 40.0, 40.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    out = io.StringIO()
    with stage("depth teacher", 1000, console=Console(file=out, width=40)) as work:
        work.advance(100)  # after 4 s: too early for a line
        work.advance(300, success=0.5)  # after 20 s: 400 done, 20/s, 600 left
        work.advance(0.5)
    assert out.getvalue().splitlines() == [
        "depth teacher: 0/1,000 steps",
        "depth teacher: 400/1,000 steps, 20/s, 0:30 left, success 0.5",
        "depth teacher: 400.5/1,000 steps, 10/s, 1:00 left, success 0.5",
    ]


def test_the_last_line_of_a_log_stands_there_once():
    out = io.StringIO()
    with stage("study", 2, console=Console(file=out)) as work:
        work.advance(2, success=0.5)
        work.show()
    assert out.getvalue().count("2/2") == 1


def test_whoever_breaks_a_stage_off_is_told_what_it_was_and_how_far():
    for terminal in (False, True):
        with pytest.raises(KeyboardInterrupt) as stopped:  # noqa: SIM117
            with stage("Evaluate a", 8, "episodes", console=Console(file=io.StringIO(), force_terminal=terminal)) as it:
                it.advance(3)
                raise KeyboardInterrupt
        assert stopped.value.__notes__ == ["Evaluate a at 3 of 8 episodes"]


def test_a_narrow_terminal_shows_the_end_of_a_long_name():
    out = io.StringIO()
    with stage(
        "Evaluate runs/teacher-state/2026-11-27_05-11-29", 3, console=Console(file=out, force_terminal=True, width=80)
    ):
        pass
    assert "2026-11-27_05-11-29 " in out.getvalue()


def test_a_table_is_folded_on_a_narrow_terminal_and_whole_in_a_log(monkeypatch, capsys):
    name = "runs/teacher-state/2026-11-27_05-11-29"
    for width in ("40", None):
        monkeypatch.setenv("COLUMNS", width) if width else monkeypatch.delenv("COLUMNS", raising=False)
        table = Table("policy", "success at end", "in view at reset", "lost")
        table.add_row(name, "0.958", "0.9", "0")
        tell(table)
        said = capsys.readouterr().out
        cells = [line.split("│")[1].strip() for line in said.splitlines() if line.startswith("│")]
        assert "".join(cells) == name and (len(cells) == 1) == (width is None)


def test_no_color_leaves_nothing_but_words(monkeypatch):
    out = io.StringIO()
    monkeypatch.setenv("NO_COLOR", "1")
    Unread(out).write("\x1b[36m(default: runs)\x1b[0m")
    assert out.getvalue() == "(default: runs)"


def test_what_happened_stays_in_the_log_and_above_the_bar():
    for terminal in (False, True):
        out = io.StringIO()
        with stage("teacher", 10, console=Console(file=out, force_terminal=terminal, width=160)) as work:
            work.say("1 of the simulators failed")
        lines = [line for line in out.getvalue().splitlines() if "1 of the simulators failed" in line]
        assert len(lines) == 1


def test_resumed_stage_counts_its_own_rate(monkeypatch):
    clock = iter([0.0, 0.0, 0.0, 10.0, 10.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    out = io.StringIO()
    with stage("student", 100, unit="batches", done=90, console=Console(file=out)) as work:
        work._done += 5  # five in ten seconds
    assert out.getvalue().splitlines()[-1] == "student: 95/100 batches, 0.50/s, 0:10 left"


def test_terminal_gets_a_bar_with_figures_and_stages_may_nest():
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=160)
    with stage("outer", 2, console=console) as outer, stage("inner", 10, unit="episodes") as inner:
        inner.advance(10, success=0.875)
        outer.advance(1)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue())
    assert "outer" in text and "1/2" in text
    assert "10/10" in text and "episodes/s" in text and "success 0.875" in text
    assert progress._screen is None


def test_a_notebook_gets_one_bar_that_moves(monkeypatch):
    clock = iter([0.0, 0.0, 0.0, 0.5, 2.0, 2.0, 2.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    shown, moved = [], []

    class Handle:
        def update(self, both, raw):
            moved.append(both["text/plain"])

    def display(both, raw, display_id):
        shown.append(both["text/html"])
        return Handle()

    monkeypatch.setattr("IPython.display.display", display)
    with stage("<student>", 100, console=Console(file=io.StringIO(), force_jupyter=True)) as work:
        work.advance(10)  # after .5 s: too early
        work.advance(30, success=0.5)
    assert shown == ['<progress value="0" max="100"></progress> &lt;student&gt;: 0/100 steps']
    assert moved == ["<student>: 40/100 steps, 20/s, 0:03 left, success 0.5"]
