"""A name that somebody gave a file is shown as it is: it is no markup of rich's."""

import ast
import io
from pathlib import Path

import pytest
from rich.console import Console

from handsight.distill.commands.evaluate import EvaluateArgs, run_evaluate
from handsight.distill.commands.inspect import InspectArgs, inspect
from handsight.distill.runs import provenance
from handsight.distill.runs.progress import stage, tell

from ...datasets.shards import write
from .test_compare import make_teacher

ROOT = Path(provenance.__file__).parents[2]
NAMES = ["[/foo]", "[bold]", "[red]x[/red]", "[link=a]", "\\[x]"]


def places(name: str) -> list[ast.Call]:
    sources = [path for room in provenance.ROOMS for path in (ROOT / room).rglob("*.py")]
    calls = [node for path in sources for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    return [call for call in calls if getattr(call.func, "id", getattr(call.func, "attr", "")) == name]


@pytest.mark.parametrize("name", ["Console", "TextColumn"])
def test_whatever_prints_takes_words_as_they_are(name):
    found = places(name)
    assert found
    for call in found:
        assert "markup=False" in [ast.unparse(word) for word in call.keywords], ast.unparse(call)
        if ast.unparse(call).startswith("Console(stderr=True"):  # nor does it colour what looks like a number
            assert "highlight=False" in [ast.unparse(word) for word in call.keywords], ast.unparse(call)
    assert not places("from_markup")


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_shown_as_it_is_by_commands_tables_and_bars(name, tmp_path, toy_sims, capsys):
    policy = make_teacher(tmp_path / name, "depth")
    run_evaluate(EvaluateArgs(policy, episodes=4, num_envs=4, out=tmp_path / name / "e"))
    (tmp_path / name / "data").mkdir()
    write(tmp_path / name / "data", shards=1)
    inspect(InspectArgs(tmp_path / name / "data"))
    said = capsys.readouterr()
    assert f"Saved in {tmp_path / name / 'e'}\n" in said.out and f"{name}/data/contact_sheet.png\n" in said.out
    assert f"Evaluate {policy}" in said.err
    screen = io.StringIO()
    with stage(name, 3, console=Console(file=screen, force_terminal=True, width=200)) as bar:
        bar.advance(1, **{name: 1.0})
    assert name in screen.getvalue()


def test_a_long_path_is_not_broken_over_lines(capsys):
    tell(f"Saved in /{'deep/' * 60}file")
    assert capsys.readouterr().out.count("\n") == 1
