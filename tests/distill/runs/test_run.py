"""Run folders: what is written, what is read back, what happens on a resume."""

import json
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import pytest

from handsight.distill.runs import checkpoint
from handsight.distill.runs.metrics import MetricsFile
from handsight.distill.runs.run import Run, RunError, runs_under


@dataclass(frozen=True)
class Net:
    widths: tuple[int, ...] = (256, 128)
    memory: Literal["none", "gru"] = "none"


@dataclass(frozen=True)
class Config:
    seed: int = 3
    net: Net = field(default_factory=Net)
    warm_start: Path | None = None
    mix: dict[str, float] = field(default_factory=lambda: {"near": 0.5, "wide": 0.5})
    limit: float = math.inf


def test_configuration_comes_back_with_its_types(tmp_path):
    config = Config(seed=7, net=Net((3,), "gru"), warm_start=Path("runs/a"))
    run = Run.create("teacher-state", config, tmp_path)
    again = Run.open(run.path).config(Config)
    assert again == config
    assert isinstance(again.warm_start, Path) and isinstance(again.net.widths, tuple)
    assert run.name == "teacher-state"


def test_meta_says_where_a_result_comes_from(tmp_path):
    meta = Run.create("a", Config(), tmp_path).meta
    assert meta["seed"] == 3
    assert meta["versions"]["torch"] and meta["hardware"]["cpu"] and meta["hardware"]["cores"] >= 1
    assert meta["git"] is None or len(meta["git"]["commit"]) == 40
    assert meta["command"]


def test_runs_of_the_same_second_do_not_collide(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        runs = list(pool.map(lambda seed: Run.create("a", Config(seed=seed), tmp_path), range(16)))
    assert len({run.path for run in runs}) == 16
    assert {run.config(Config).seed for run in runs} == set(range(16))


def test_a_checkpoint_leads_to_its_run(tmp_path):
    run = Run.create("a", Config(), tmp_path)
    checkpoint.save(run.checkpoints / "best.ckpt", {})
    assert Run.open(run.checkpoints / "best.ckpt").path == run.path


def test_unknown_run_lists_the_available_ones(tmp_path):
    run = Run.create("teacher-state", Config(), tmp_path)
    with pytest.raises(RunError, match=rf"does not exist: expected .* available runs:\n  {run.path}"):
        Run.open(tmp_path / "teacher-depth" / "2026-01-01_00-00-00")
    with pytest.raises(RunError, match=rf"is no run folder: .*\n  {run.path}"):
        Run.open(tmp_path / "teacher-state")


def test_relative_unknown_run_lists_those_under_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = Run.create("teacher-state", Config())
    with pytest.raises(RunError, match=rf"available runs:\n  {run.path}"):
        Run.open("nowhere/at-all")


@dataclass(frozen=True)
class Other:
    seed: int = 0


def test_configuration_of_another_type_is_named(tmp_path):
    run = Run.create("a", Config(), tmp_path)
    with pytest.raises(RunError, match="expected a Other, found a Config"):
        run.config(Other)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"net": {"memory": "lstm"}}, r"net\.memory: .*'none' or 'gru', found 'lstm'"),
        ({"sede": 1}, "Config has no field sede in this version"),
        ({"net": {"width": 1}}, r"Config has no field net\.width"),
    ],
)
def test_configuration_that_does_not_fit_is_named(tmp_path, change, message):
    run = Run.create("a", Config(), tmp_path)
    facts = json.loads((run.path / "config.json").read_text())
    facts["config"] |= change
    (run.path / "config.json").write_text(json.dumps(facts))
    with pytest.raises(RunError, match=message):
        run.config(Config)


def test_new_metric_names_widen_the_file(tmp_path):
    run = Run.create("a", Config(), tmp_path)
    run.log({"kl": 0.5}, 1)
    run.log({"kl": 0.25, "reward/lift": 2.0}, 2)
    run.log({"reward/lift": math.nan}, 3)
    run.close()
    text = (run.path / "metrics.csv").read_text()
    assert text.splitlines() == ["step,kl,reward/lift", "1,0.5,", "2,0.25,2.0", "3,,nan"]
    assert run.metrics()[:2] == [{"step": 1, "kl": 0.5}, {"step": 2, "kl": 0.25, "reward/lift": 2.0}]
    assert list(run.path.glob("events.*"))


def test_resume_drops_later_rows_and_continues_the_file(tmp_path):
    run = Run.create("a", Config(), tmp_path)
    for step in range(4):
        run.log({"kl": float(step)}, step)
    run.close()
    again = Run.open(run.path)
    again.rewind(1)
    again.log({"kl": 9.0, "new": 1.0}, 2)
    again.close()
    assert [(row["step"], row["kl"]) for row in again.metrics()] == [(0, 0.0), (1, 1.0), (2, 9.0)]
    assert again.meta["resumed"][0]["step"] == 1


def test_tensorboard_shows_the_same_metrics_and_forgets_what_a_resume_drops(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = Run.create("a", Config(), tmp_path)
    for step in range(4):
        run.log({"reward/lift": step / 4}, step)
    run.close()
    again = Run.open(run.path)
    again.rewind(1)
    again.log({"reward/lift": 9.0}, 2)
    again.close()
    board = EventAccumulator(str(run.path), purge_orphaned_data=True).Reload()
    assert [(event.step, event.value) for event in board.Scalars("reward/lift")] == [(0, 0.0), (1, 0.25), (2, 9.0)]


def test_row_that_a_killed_process_wrote_in_part_is_dropped(tmp_path):
    file = tmp_path / "metrics.csv"
    file.write_text("step,kl\n1,0.5\n2,0.")
    log = MetricsFile(file)
    log.append({"kl": 0.75}, 2)
    assert file.read_text().splitlines() == ["step,kl", "1,0.5", "2,0.75"]


def test_reading_makes_no_new_files(tmp_path):
    run = Run.create("a", Config(), tmp_path)
    before = sorted(run.path.rglob("*"))
    assert Run.open(run.path).metrics() == []
    assert sorted(run.path.rglob("*")) == before


@pytest.mark.parametrize("name", ["", "a/b", "..", ".hidden"])
def test_run_name_must_be_one_folder(tmp_path, name):
    with pytest.raises(RunError, match="expected one folder name"):
        Run.create(name, Config(), tmp_path)


def test_runs_under_a_root(tmp_path):
    runs = [Run.create(name, replace(Config(), seed=1), tmp_path).path for name in ("a", "b")]
    assert runs_under(tmp_path) == runs
    assert runs_under(tmp_path / "a") == runs[:1]


def test_a_resume_misses_the_row_of_every_iteration_that_is_not_there_and_no_other(tmp_path, caplog):
    run = Run.create("a", Config(), tmp_path)
    for step in (40, 80, 120):
        run.log({"kl": 0.5}, step)
    run.rewind(120, iterations=3)
    assert "lacked" not in caplog.text and [row["step"] for row in run.metrics()] == [40, 80, 120]
    for events in run.path.glob("events.*"):
        events.unlink()
    text = (run.path / "metrics.csv").read_text().splitlines(keepends=True)
    (run.path / "metrics.csv").write_text("".join([text[0], *text[2:]]))  # the first row is lost
    run.rewind(120, iterations=3)
    assert "lacked 1 rows" in caplog.text and "of steps [40]" in caplog.text
