"""The demo's stages as commands, and its first film."""

import json
import os
import signal
import sys
from dataclasses import replace
from typing import Any, cast

import av
import pytest

from handsight.distill.commands import cli
from handsight.distill.commands.demo import FIRST_FILM, STATE, STATE_STEREO, DemoConfig, Stages
from handsight.distill.runs.run import Run, runs_under
from handsight.distill.study.runner import Progress
from handsight.distill.training.teacher_training import TeacherTraining
from handsight.distill.training.train_student import StudentTraining
from handsight.errors import HandsightError

from ..toy_env import ToyEnv


def test_a_training_of_the_demo_runs_on_the_demos_device(tmp_path):
    """No run holds the device that it is for, so the command has to say it."""
    words = Stages(tmp_path, DemoConfig(device="cuda:7")).command(STATE)
    assert words[0] == "train-teacher" and words[-2:] == ["--device", "cuda:7"]


SMALL = DemoConfig(state_iterations=2, depth_iterations=2, student_iterations=1, num_envs=8)


def killed(words, monkeypatch, training, method):
    """Run a command in a process of its own that dies by SIGKILL when it comes to a method of its training."""
    child = os.fork()
    if not child:
        monkeypatch.setattr(training, method, lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))
        cli.main(words)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


@pytest.mark.parametrize(
    ("task", "training", "method"),
    [(STATE, TeacherTraining, "iterate"), (STATE, TeacherTraining, "save"), (STATE_STEREO, StudentTraining, "save")],
)
def test_a_demo_that_was_killed_before_a_stages_first_checkpoint_goes_on(
    task, training, method, toy_sims, tmp_path, monkeypatch
):
    monkeypatch.setattr(ToyEnv, "reset_kinds", ("near", "wide", "easy"))
    stages = Stages(tmp_path, SMALL)
    small = ["--student.hidden", "8", "--dagger.gradient-steps", "2", "--dagger.batch-sequences", "2"]
    if task == STATE_STEREO:
        assert cli.main(stages.command(STATE)) == 0
    killed([*stages.command(task), *(small if task == STATE_STEREO else [])], monkeypatch, training, method)
    (run,) = runs_under(stages._root(task))
    assert not list((run / "checkpoints").glob("iteration_*"))
    again = Stages(tmp_path, SMALL).command(task)
    assert again[1:3] == ["--resume", str(run)]
    assert cli.main(again) == 0
    assert (run / "checkpoints" / f"iteration_{1 if task == STATE_STEREO else 2:06d}.ckpt").is_dir()
    assert [row["step"] for row in Run.open(run).metrics() if "iteration" in row] == sorted(
        {row["step"] for row in Run.open(run).metrics()}
    )


@pytest.fixture
def toy_demo(toy_sims, tmp_path, monkeypatch):
    """A demo's stages whose state teacher has its first checkpoint, and is taken for one that still trains."""
    monkeypatch.setattr(ToyEnv, "reset_kinds", ("near", "wide", "easy"))
    stages = Stages(tmp_path, SMALL)
    assert cli.main(stages.command(STATE)) == 0
    return stages, Progress(stages.tasks, running={STATE: cast(Any, None)})


def test_a_demo_films_its_first_checkpoint_once_and_says_what_to_open(toy_demo, caplog):
    stages, training = toy_demo
    place = stages.folder / FIRST_FILM
    before = {path: path.read_bytes() for path in stages.folder.rglob("*") if path.is_file()}
    caplog.set_level("INFO")
    stages.look(Progress(stages.tasks))
    assert not place.exists()  # nothing trains
    stages.look(training)
    with av.open(str(place)) as film:
        assert len([*film.decode(video=0)]) == ToyEnv.episode_steps + 1 + 5
    assert f"What the state teacher does after 256 steps: open {place}" in caplog.text
    assert {path: path.read_bytes() for path in before} == before
    place.unlink()
    stages.look(training)
    assert not place.exists()


def test_a_first_film_needs_no_training_any_more_and_no_demo_without_films_has_one(toy_demo):
    stages, training = toy_demo
    for config in (replace(SMALL, videos=False), SMALL):
        later = Stages(stages.folder, config)
        if config is SMALL:
            later.done[STATE] = {"path": "state-teacher", "seconds": 1.0}
            later._file.write_text(json.dumps(later.done))
            later = Stages(stages.folder, config)
        assert later.filmed
        later.look(training)
    assert not (stages.folder / FIRST_FILM).exists()


def test_a_demo_whose_first_film_cannot_be_made_goes_on(toy_demo, monkeypatch, caplog):
    def refuse(*_, **__):
        raise HandsightError("no room")

    monkeypatch.setattr(sys.modules[Stages.__module__], "make_film", refuse)
    stages, training = toy_demo
    stages.look(training)
    assert "no first film: no room" in caplog.text
