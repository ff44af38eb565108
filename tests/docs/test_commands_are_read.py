"""Every command line that README, docs/ and the notebooks show is one that the command line understands."""

from __future__ import annotations

from pathlib import Path

import pytest

from handsight.distill import StudentRunConfig, TeacherConfig
from handsight.distill.commands import cli
from handsight.distill.runs.run import Run

from ..distill.test_plugins import fresh as fresh
from ..sims.robots.tiny_robot import write_robot
from .command_lines import ROOT, all_command_lines, command_lines

LINES = all_command_lines()
MENTIONS = {*cli.COMMANDS, "objects import", "objects draw", "train-student --data"}
"""What names a command and does not show it."""
CHOSEN = {"--robot": "kuka_allegro", "--objects": "procedural", "--scene": "open"}
"""What is chosen where a page leaves it open."""


@pytest.fixture(scope="module")
def things(tmp_path_factory):
    """What the words in capitals stand for, in the order in which they are tried."""
    folder = tmp_path_factory.mktemp("docs")
    teacher = Run.create("teacher-depth", TeacherConfig.depth(), folder).path
    student = Run.create("student", StudentRunConfig(teacher=Path("zoo:state")), folder).path
    return {
        ("train-teacher", "--resume", "RUN"): teacher,
        ("train-teacher", "--resume", "$RUN"): teacher,
        ("train-student", "--resume", "RUN"): student,
        ("train-teacher", "--warm-start", "RUN"): "zoo:state",
        "RUN": "zoo:depth",
        "STUDENT": student,
        "T": "zoo:depth",
        "S": student,
        "FILE.toml": write_robot(folder / "robot"),
        "mine.toml": folder / "robot" / "tiny.toml",
        "$RUN": "zoo:depth",
        "$STUDENT": "zoo:depth",
        ("report", "report", "RESULTS"): "RESULTS",
        "N": "4",
        "HOST:PORT": "127.0.0.1:6379",
        "iiwa_allegro": "kuka_allegro",  # whose files are not here
        "panda_leap": "kuka_allegro",
        "mine": "procedural",
        ("train-teacher", "--resume", "latest"): teacher,
        **dict.fromkeys(("latest", "latest:state"), "zoo:state"),
        "latest:student": student,
        **{f"docs/plugins/{path.name}": path for path in (ROOT / "docs" / "plugins").glob("*.py")},
    }


def filled(words, things):
    """The words with something real for what stands in capitals."""
    given = []
    for before, word in zip(["", *words], words, strict=False):
        word = CHOSEN.get(before, word) if word.isupper() else word
        given.append(str(things.get((words[0], before, word), things.get(word, word))))
    return given


def understood(words, monkeypatch):
    """The exit code of the real command line, up to where the command would begin."""
    found = cli._found
    monkeypatch.setattr(cli, "_found", lambda place: found(place) if ".arguments." in place else lambda *_, **__: None)
    monkeypatch.setattr(cli, "_check_device", lambda config: None)
    monkeypatch.setattr(cli, "check_writable", lambda path: None)
    try:
        return cli.main(words)
    except SystemExit as stop:
        return stop.code


@pytest.mark.parametrize(("where", "words"), LINES, ids=[f"{where}: {' '.join(words)}" for where, words in LINES])
def test_the_command_line_understands_what_the_pages_show(where, words, things, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    if " ".join(words) in MENTIONS:
        return
    code = understood(filled(words, things), monkeypatch)
    assert code == 0, f"{where}: handsight {' '.join(words)}\n{capsys.readouterr().err}"


def test_the_pages_show_every_command():
    shown = {name for name in cli.COMMANDS for _, words in LINES if " ".join(words).startswith(name)}
    assert shown == set(cli.COMMANDS)


def test_command_lines_are_found_wherever_a_page_has_them():
    page = """Say `uv run handsight evaluate
RUN`, `evaluate RUN --level 1` or `handsight robot check`.

```
pip install uv && uv run handsight demo
A=1 handsight train-teacher {state,depth} \\
    --seed 1  # a note
handsight compare RUN ... [--ablations]
```

```python
handsight nothing
```
"""
    assert [" ".join(words) for words in command_lines(page)] == [
        "demo", "train-teacher state --seed 1", "train-teacher depth --seed 1", "compare RUN --ablations",
        "evaluate RUN", "evaluate RUN --level 1", "robot check",
    ]  # fmt: skip
    assert ROOT.joinpath("README.md").is_file()
