"""The table of worlds and image sizes: small, but true in its sums."""

from dataclasses import replace

import pytest

from handsight.distill.commands import bench_gpu as bench_table
from handsight.distill.commands import bench_mjlab, cli
from handsight.distill.commands.bench import BenchArgs, bench
from handsight.distill.runs.progress import stage
from handsight.sims import EnvConfig


def measure(engine, sights=("state", "depth"), images=("16x16",), worlds=(2,)):
    env = replace(EnvConfig(threads=1), engine=engine)
    with stage("bench", bench_table.rows(sights, images, worlds)) as progress:
        return bench_table.measure(env, sights, images, worlds, "cpu", "cpu", 3, 1, progress)


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
    assert bench_table.rows(("state", "depth", "stereo"), ("64x64", "160x120"), (256, 1024)) == 2 * (1 + 2 + 2)


def test_images_that_are_none_are_refused_before_anything_is_measured():
    args = BenchArgs(env=replace(EnvConfig(), engine="mujoco_warp"), images=("64",))
    with pytest.raises(cli.HandsightError, match="expected WIDTHxHEIGHT"):
        bench(args)


def test_mjlab_is_named_as_absent_where_it_cannot_be_imported(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "mjlab", None)
    found = bench_mjlab.measure(EnvConfig(), ("16x16",), (2,), "cpu", 1)
    assert "mjlab cannot be imported" in found["absent"]
    assert bench_mjlab.shown(found) == f"mjlab's camera sensor: {found['absent']}"
