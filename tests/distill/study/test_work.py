"""Runs that lie in a study's folder: adopted if they are what is asked for, refused with what differs if not."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from handsight.distill.runs import checkpoint
from handsight.distill.runs.run import Run
from handsight.distill.study.spec import StudyConfig
from handsight.distill.study.training import StudyError, Training
from handsight.distill.study.work import Task, Work, find
from handsight.ranges import from_tree

TEACHER, STUDENT = Training("wrist", 0, "state-teacher"), Training("wrist", 0, "state-to-stereo")


@pytest.fixture
def spec(tmp_path):
    return from_tree(
        StudyConfig,
        {
            "out": tmp_path / "out",
            "scenes": {"wrist": {"cells": {"state-to-stereo": 1, "depth-to-stereo": 1}}},
            "state-teacher": {"iterations": 6},
            "student": {"iterations": 3},
        },
    )


def teacher_at(path: Path, weight: int = 1) -> Path:
    checkpoint.save(path, {"weight": weight})
    return path


def run_of(
    spec: StudyConfig, cell: Training, teacher: Path | None = None, iteration: int | None = None, **changes
) -> Run:
    config = replace(spec.config(cell, teacher), **changes)
    run = Run.create("a-run", config, spec.out / cell.key)
    if iteration is not None:
        origin = {"teacher": {"path": str(teacher), "sha256": checkpoint.digest(teacher)}} if teacher else {}
        checkpoint.save(run.checkpoints / f"iteration_{iteration:06d}.ckpt", origin)
    return run


def test_nothing_is_new(spec):
    assert find(spec, TEACHER, None).run is None


def test_run_is_adopted_as_far_as_it_came(spec):
    run_of(spec, TEACHER)  # killed before its first checkpoint: nothing to go on with
    begun = run_of(spec, TEACHER, iteration=5)
    found = find(spec, TEACHER, None)
    assert not found.finished and found.path == begun.path
    checkpoint.save(begun.checkpoints / "iteration_000006.ckpt", {})
    found = find(spec, TEACHER, None)
    assert found.finished and found.path == begun.path


def test_damaged_last_checkpoint_is_not_the_end(spec):
    run = run_of(spec, TEACHER, iteration=5)
    checkpoint.save(run.checkpoints / "iteration_000006.ckpt", {"weight": 1})
    (run.checkpoints / "iteration_000006.ckpt" / checkpoint.TREE).write_text("{}")
    assert find(spec, TEACHER, None).run and not find(spec, TEACHER, None).finished


def test_run_with_other_settings_is_refused_and_says_in_what(spec):
    run_of(spec, TEACHER, iteration=6, num_envs=128, validate_every=50)
    with pytest.raises(
        StudyError,
        match=r"(?s)wrist/seed0/state-teacher cannot adopt.*num_envs: 256 and 128\n.*validate_every: 25 and 50",
    ):
        find(spec, TEACHER, None)


def test_fields_newer_than_the_run_have_their_defaults(spec):
    run = run_of(spec, TEACHER, iteration=6)
    path = run.path / "config.json"
    text = path.read_text().replace('"lag": false,', "")
    assert text != path.read_text()
    path.write_text(text)
    assert find(spec, TEACHER, None).finished
    path.write_text(text.replace('"seed": 0', '"seed": 0, "colour": "red"'))
    with pytest.raises(StudyError, match="no field colour"):
        find(spec, TEACHER, None)


def test_teacher_is_known_by_its_bytes_and_not_by_its_path(spec, tmp_path):
    here, there = teacher_at(tmp_path / "a" / "best.ckpt"), tmp_path / "b" / "best.ckpt"
    shutil.copytree(here, there)
    run_of(spec, STUDENT, here, iteration=3)
    assert find(spec, STUDENT, there).finished
    shutil.rmtree(here)  # the student has written down whose bytes it learnt from
    assert find(spec, STUDENT, there).finished
    other = teacher_at(tmp_path / "c" / "best.ckpt", weight=2)
    with pytest.raises(StudyError, match=r"teacher: .*c/best.ckpt and .*a/best.ckpt, which is another checkpoint"):
        find(spec, STUDENT, other)


def test_warm_start_is_known_by_its_bytes_too(spec, tmp_path):
    cell = Training("wrist", 0, "depth-teacher")
    here, same = teacher_at(tmp_path / "a" / "best.ckpt"), tmp_path / "b" / "best.ckpt"
    shutil.copytree(here, same)
    run_of(spec, cell, iteration=25, warm_start=here)
    assert find(spec, cell, same).run and not find(spec, cell, same).finished
    with pytest.raises(StudyError, match=r"warm_start: .*another checkpoint"):
        find(spec, cell, teacher_at(tmp_path / "c" / "best.ckpt", weight=2))


def test_unlike_run_beside_the_right_one_does_not_matter(spec):
    run_of(spec, TEACHER, iteration=6, seed=4)
    right = run_of(spec, TEACHER, iteration=6)
    assert find(spec, TEACHER, None).path == right.path


def test_a_training_is_our_own_command_on_a_run_that_holds_its_configuration(spec):
    work, task = Work(spec), Task("train", TEACHER)
    command, option, run = work.command(task)
    assert (command, option) == ("train-teacher", "--resume")
    assert Run.open(Path(run)).config(type(spec.config(TEACHER))) == spec.config(TEACHER)
    assert work.command(task)[2] == run  # the one that is there is gone on with


def test_an_evaluation_is_a_comparison_with_the_teacher(spec, tmp_path):
    teacher = run_of(spec, TEACHER, iteration=6)
    best = teacher_at(teacher.checkpoints / "best.ckpt")
    run = run_of(spec, STUDENT, best, iteration=3)
    words = Work(spec).command(Task("evaluate", STUDENT))
    assert words[:3] == ["compare", str(best), str(run.path)]
    assert {"--ablations", "--no-videos", "--no-report"} <= set(words)
    assert words[words.index("--seed") + 1] == str(spec.evaluation.seed)
