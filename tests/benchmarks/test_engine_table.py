"""The table of worlds and image sizes: small, but true in its sums."""

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from handsight.distill.commands.bench import BenchArgs, bench
from handsight.distill.runs.progress import stage
from handsight.errors import HandsightError
from handsight.sims import EnvConfig

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "engine_table.py"
SPEC = importlib.util.spec_from_file_location("benchmark_engine_table", SCRIPT)
table = importlib.util.module_from_spec(SPEC)
sys.modules[SPEC.name] = table
SPEC.loader.exec_module(table)


def measure(engine, sights=("state", "depth"), images=("16x16",), worlds=(2,)):
    env = replace(EnvConfig(threads=1), engine=engine)
    with stage("bench", table.rows(sights, images, worlds)) as progress:
        return table.measure(env, sights, images, worlds, "cpu", "cpu", 3, 1, progress)


def test_every_share_is_one_and_together_they_are_a_step():
    state, depth = measure("mujoco")
    assert (state.sight, state.image, depth.sight, depth.image) == ("state", "", "depth", "16x16")
    assert state.rendering == 0 < depth.rendering
    for cell in (state, depth):
        assert cell.per_second > 0 and cell.physics > 0 and cell.transfer < 0.5
        assert cell.physics + cell.rendering + cell.task >= 0.99  # what is left after both is the task's
        assert cell.bytes_per_world is None and cell.raw_per_second is None
    assert depth.planned_bytes_per_world - state.planned_bytes_per_world == 16 * 16 * 32


def test_plain_mujoco_warp_is_measured_in_the_same_run():
    cell, seen = measure("mujoco_warp")
    assert cell.raw_per_second and cell.raw_per_second > 0
    assert seen.raw_per_second is seen.overhead is None
    assert cell.overhead == pytest.approx(cell.raw_per_second / cell.per_second - 1)


def test_the_number_of_rows_is_known_before():
    assert table.rows(("state", "depth", "stereo"), ("64x64", "160x120"), (256, 1024)) == 2 * (1 + 2 + 2)


def test_images_that_are_none_are_refused_before_anything_is_measured(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["engine_table.py", "--images", "64x64", "64"])
    with pytest.raises(SystemExit):
        table.main()
    assert "expected WIDTHxHEIGHT" in capsys.readouterr().err


def test_the_command_measures_this_machines_cpu_and_names_the_script_for_the_rest():
    with pytest.raises(HandsightError, match=r"benchmarks/engine_table\.py measures mujoco_warp"):
        bench(BenchArgs(env=replace(EnvConfig(), engine="mujoco_warp")))


def test_mjlab_is_named_as_absent_where_it_cannot_be_imported(monkeypatch):
    monkeypatch.setitem(sys.modules, "mjlab", None)
    found = table.mjlab_images(EnvConfig(), ("16x16",), (2,), "cpu", 1)
    assert "mjlab cannot be imported" in found["absent"]
    assert table.mjlab_line(found) == f"mjlab's camera sensor: {found['absent']}"
